"""The .h5 files of X2CT-GAN, `<case>/ct_xray_data.h5`: `ct` in HU + 1000, `xray1` frontal and `xray2` lateral.

`ct` is (z, y, x), a cube of 320 mm at any grid. Those who hold the published files report z superior→inferior, others
write it the other way round; the X-rays in the file decide. It lost its position in the scanner, so the cube is centred
at the origin. Values below 0 are outside of what the official code reads and become air; plain HU, which are mostly
below 0, are told by that. Source: the official code (CT2XRAY/ctpro.py, xraypro.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from bench.dataset import Geometry

from .names import name_of, patient_of
from .scan import Rejected, ScanError, ScanSource, Stored, TakenAt, check_hounsfield, check_size, inspect_each, library
from .side_file import Unit

SUFFIXES = (".h5", ".hdf5")
CUBE_MM = 320.0
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
STALE_MM = 1.0  # that the published files state, whatever their grid
GEOMETRY = Geometry(541.0, 949.0, 500.0)  # of its X-rays
DENSE, LEAST_DENSE = (800, 1250), 0.03  # tissue in HU + 1000 or 1024; in HU few bones are as dense
EMPTY, LEAST_EMPTY = -500, 0.02  # lungs and air in HU
VIEWS = {"xray1": TakenAt(270.0, mirrored=True), "xray2": TakenAt(0.0, mirrored=False)}
MAX_VIEW = 4096  # pixels a side
COMMON_NAME = "ct_xray_data"  # all files are called so: the folder tells the case
COARSE = 48  # voxels a side to project, and pixels a side to compare
LEAST_LIKENESS = 0.9  # mean correlation of projections and X-rays that are of one chest
CLEARLY = 0.7  # of the dissimilarity of the next best that the best may have


def find(paths: Iterable[Path]) -> Iterator[ScanSource | Rejected]:
    """Yield every HDF5 file with an array `ct` among `paths`; of each only the shape is looked at."""
    return inspect_each(paths, SUFFIXES, _inspect)


def _inspect(path: Path) -> ScanSource:
    with _open(path) as file:
        slices, has_views = _volume(file).shape[0], any(name in file for name in VIEWS)
    stem = name_of(path)
    series = path.resolve().parent.name if stem == COMMON_NAME else stem
    return ScanSource(
        patient_of(series), series, slices, "x2ct-h5", path, (path,), _read,
        view_files=(path,) if has_views else (), view_reader=_read_views, view_angles=VIEWS,
    )  # fmt: skip


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open an HDF5 file; all that its library raises of a damaged one is then a ScanError."""
    h5py = library("h5py")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DAMAGE as error:
        raise ScanError("the file is damaged or no HDF5; copy it again") from error


def _volume(file: Any) -> Any:
    """Return the array `ct` of a file. Raises ScanError when there is none."""
    if not isinstance(file.get("ct", getlink=True), library("h5py").HardLink):  # another link may lead out
        names = ", ".join(list(file)[:8]) or "nothing"
        raise ScanError(f"it holds {names} and no array 'ct'; it is no file of X2CT-GAN's layout")
    volume = file["ct"]
    if not hasattr(volume, "shape") or len(volume.shape) != 3 or volume.dtype.kind not in "iuf":
        raise ScanError("its 'ct' is no 3-D array of numbers; write it as X2CT-GAN does")
    if volume.external or volume.is_virtual:
        raise ScanError("its 'ct' lies in other files; write it into this one")
    return volume


def _read(source: ScanSource) -> Stored:
    """Return the CT. Raises ScanError with the reason when it cannot be used, or when nothing tells how it lies."""
    stated = source.side_file
    with _open(source.path) as file:
        volume = _volume(file)
        check_size(volume.shape, volume.dtype.itemsize, volume.id.get_storage_size())
        if len(set(volume.shape)) > 1 and not (stated.spacing_mm and stated.axes):
            shape = " × ".join(map(str, volume.shape))
            raise ScanError(f"its 'ct' is {shape}, not the cube of X2CT-GAN; state spacing_mm and axes in a side file")
        if not stated.spacing_mm:
            _check_spacing(file, volume)
        values = np.asarray(volume[()])
    unit = stated.unit or _unit(values)
    if unit in ("mhu", "hu+1024"):
        values = np.maximum(values, values.dtype.type(0))
    flips: Sequence[bool] = (False, False, False)  # where a side file states the axes, or no unit can be told
    if unit is not None and not stated.axes:
        flips = _find_flips(source, stated.to_hounsfield(values, unit))
    return Stored(values.transpose(2, 1, 0), cube_affine(values.shape, CUBE_MM, flips), unit)


def _check_spacing(file: Any, volume: Any) -> None:
    """Raise ScanError for a stated voxel size that is neither that of the cube of 320 mm nor the stale one."""
    h5py = library("h5py")
    stated = [attributes.get("spacing") for attributes in (file.attrs, volume.attrs)]
    if isinstance(file.get("spacing", getlink=True), h5py.HardLink) and isinstance(file["spacing"], h5py.Dataset):
        stated.append(file["spacing"][()] if file["spacing"].size <= 3 and not file["spacing"].external else None)
    for spacing in (np.ravel(np.asarray(place, float)) for place in stated if place is not None):
        if not (np.allclose(spacing, STALE_MM) or np.allclose(spacing * volume.shape[0], CUBE_MM, rtol=0.02)):
            text = " × ".join(f"{value:g}" for value in spacing)
            raise ScanError(
                f"its spacing of {text} mm makes no cube of {CUBE_MM:g} mm; state spacing_mm in a side file"
            )


def _unit(values: np.ndarray) -> Unit | None:
    """Return HU + 1000 where much is as dense as tissue is then, HU where much is far below 0, None for neither."""
    some = values[::2, ::2, ::2]
    if float(np.mean((some >= DENSE[0]) & (some <= DENSE[1]))) >= LEAST_DENSE:
        return "mhu"
    return "hu" if float(np.mean(some < EMPTY)) >= LEAST_EMPTY else None


def _find_flips(source: ScanSource, hounsfield: np.ndarray) -> Sequence[bool]:
    """Return which axes of a cube (z, y, x) in HU run against D, H, W: flipped, its projections are its X-rays.

    Raises ScanError where it holds no X-rays, or where no way of the eight fits them clearly best.
    """
    check_hounsfield(hounsfield)
    pictures = _read_views(source)
    if not pictures:
        raise ScanError(
            "it holds no X-rays to tell which way up its 'ct' lies; write scans.toml into its folder or one above it: "
            'axes = ["D", "H", "W"] where index 0 is the head, axes = ["-D", "H", "W"] where it is the feet'
        )
    side = np.array(source.side_file.spacing_mm or (CUBE_MM / hounsfield.shape[0],)) * hounsfield.shape[0]
    coarse = _shrink(hounsfield.astype(np.float32, copy=False))
    shrunk = {name: _shrink(picture.astype(np.float32)) for name, picture in pictures.items()}
    ways = list(product((False, True), repeat=3))
    turned = [coarse[tuple(slice(None, None, -1 if flip else None) for flip in way)] for way in ways]
    unlike = np.array([_unlikeness(cube, float(side[0]), shrunk) for cube in turned])
    best, second = np.argsort(unlike)[:2]
    if not unlike[best] <= 1 - LEAST_LIKENESS or unlike[best] > CLEARLY * unlike[second]:
        raise ScanError(
            f"its X-rays do not tell which way up it lies (they correlate with its projections by "
            f"{1 - unlike[best]:.2f}, the next way round by {1 - unlike[second]:.2f}); state axes in a side file"
        )
    return ways[best]


def _unlikeness(cube: np.ndarray, side_mm: float, pictures: Mapping[str, np.ndarray]) -> float:
    """Return 1 minus the mean correlation of X-rays, by name, and the projections of a cube (D, H, W) in HU."""
    import torch  # here: no other reader needs it

    from bench.projector import project

    scan, taken = torch.from_numpy(np.ascontiguousarray(cube))[None], [VIEWS[name] for name in pictures]
    angles, mirrored = [how.angle for how in taken], [how.mirrored for how in taken]
    projected = project(scan, side_mm / cube.shape[0], GEOMETRY, angles, COARSE, mirrored=mirrored)[0].numpy()
    pairs = zip(projected, pictures.values(), strict=True)
    with np.errstate(invalid="ignore", divide="ignore"):  # a picture without contrast is like none
        likeness = [np.corrcoef(ours.ravel(), own.ravel())[0, 1] for ours, own in pairs]
    return 1 - float(np.nan_to_num(np.mean(likeness), nan=-1.0))


def _shrink(values: np.ndarray) -> np.ndarray:
    """Return values of COARSE along each axis: means, then linear interpolation."""
    block = [max(1, size // COARSE) for size in values.shape]
    means = ndimage.uniform_filter(values, block)
    return ndimage.zoom(means, [COARSE / size for size in values.shape], order=1, grid_mode=True, mode="nearest")


def cube_affine(shape: tuple[int, ...], side_mm: float, flips: Sequence[bool]) -> np.ndarray:
    """Return the affine (4, 4) (x, y, z) index → RAS of a cube (z, y, x) around the origin.

    z runs to the feet, y to the back, x to the left, but for the axes that `flips` names.
    """
    steps = [side_mm / size * (1 if flip else -1) for size, flip in zip(shape, flips, strict=True)]
    affine = np.diag([*reversed(steps), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def _read_views(source: ScanSource) -> dict[str, np.ndarray]:
    """Return the X-rays (rows, columns) as stored, by name. Raises ScanError when one is damaged."""
    views = {}
    with _open(source.path) as file:
        for name in VIEWS:
            if name not in file or not isinstance(file.get(name, getlink=True), library("h5py").HardLink):
                continue
            if len(file[name].shape) != 2 or max(file[name].shape) > MAX_VIEW or file[name].dtype.kind not in "iuf":
                raise ScanError(f"its '{name}' is no picture (up to {MAX_VIEW} pixels a side); write it anew")
            views[name] = np.asarray(file[name][()])
    return views
