"""The .h5 files of X2CT-GAN, `<case>/ct_xray_data.h5`: `ct` in HU + 1024, `xray1` frontal and `xray2` lateral.

`ct` is (z, y, x): z inferior→superior, y anterior→posterior, x right→left, a cube of 320 mm at any grid. It lost its
position in the scanner, so the cube is centred at the origin. Values below 0 are outside of what the official code
reads and become air. Source: data preparation of the official code (CT2XRAY/ctpro.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .names import name_of, patient_of
from .scan import Rejected, ScanError, ScanSource, Stored, TakenAt, check_size, inspect_each, library

SUFFIXES = (".h5", ".hdf5")
CUBE_MM = 320.0
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
VIEWS = {"xray1": TakenAt(270.0, mirrored=True), "xray2": TakenAt(0.0, mirrored=False)}
MAX_VIEW = 4096  # pixels a side
COMMON_NAME = "ct_xray_data"  # all files are called so: the folder tells the case


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
        view_files=(path,) if has_views else (), view_reader=_read_views, view_angles=_angles,
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
    """Return the CT. Raises ScanError with the reason when it cannot be used."""
    with _open(source.path) as file:
        volume = _volume(file)
        check_size(volume.shape, volume.dtype.itemsize, volume.id.get_storage_size())
        if len(set(volume.shape)) > 1 and not source.side_file.spacing_mm:
            shape = " × ".join(map(str, volume.shape))
            raise ScanError(f"its 'ct' is {shape}, not the cube of X2CT-GAN; state spacing_mm in a side file")
        values = np.asarray(volume[()])
    values = np.maximum(values, values.dtype.type(0)) if source.side_file.unit in (None, "hu+1024") else values
    return Stored(values.transpose(2, 1, 0), cube_affine(values.shape, CUBE_MM), "hu+1024")


def cube_affine(shape: tuple[int, ...], side_mm: float) -> np.ndarray:
    """Return the affine (4, 4) (x, y, z) index → RAS of a cube (z, y, x) with z up, y to the back, x to the left."""
    affine = np.diag([-side_mm / shape[2], -side_mm / shape[1], side_mm / shape[0], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def _angles(names: Sequence[str]) -> dict[str, TakenAt]:
    return {name: VIEWS[name] for name in names}


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
