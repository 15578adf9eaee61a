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
from .scan import Rejected, ScanError, ScanSource, Stored, TakenAt, check_size, library

SUFFIXES = (".h5", ".hdf5")
CUBE_MM = 320.0
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
VIEWS = {"xray1": TakenAt(270.0, mirrored=True), "xray2": TakenAt(0.0, mirrored=False)}
MAX_VIEW = 4096  # pixels a side
UNIQUE_NAMES = ("ct_xray_data",)  # all files are called so: the folder tells the case


def find(paths: Iterable[Path]) -> Iterator[ScanSource | Rejected]:
    """Every HDF5 file with an array `ct` among `paths`; of each only the shape is looked at."""
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            with _opened(path) as file:
                shape, names = _volume(file).shape, [name for name in VIEWS if name in file]
        except ScanError as error:
            yield Rejected(path, str(error))
            continue
        stem = name_of(path)
        series = path.resolve().parent.name if stem in UNIQUE_NAMES else stem
        views = (path,) if names else ()
        yield ScanSource(
            patient_of(series), series, shape[0], "x2ct-h5", path, (path,), _read,
            view_files=views, view_reader=_views, view_angles=_angles,
        )  # fmt: skip


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An HDF5 file within which all that its library meets in a damaged one is a ScanError."""
    h5py = library("h5py")
    if not path.stat().st_size:
        raise ScanError("the file is empty; copy it again")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DAMAGE as error:
        raise ScanError("the file is damaged or no HDF5; copy it again") from error


def _volume(file: Any) -> Any:
    """The array `ct` of a file. Raises ScanError when there is none."""
    # a link may lead into another file
    if not isinstance(file.get("ct", getlink=True), library("h5py").HardLink):
        names = ", ".join(list(file)[:8]) or "nothing"
        raise ScanError(f"it holds {names} and no array 'ct'; it is no file of X2CT-GAN's layout")
    volume = file["ct"]
    if not hasattr(volume, "shape") or len(volume.shape) != 3 or volume.dtype.kind not in "iuf":
        raise ScanError("its 'ct' is no 3-D array of numbers; write it as X2CT-GAN does")
    if volume.external or volume.is_virtual:
        raise ScanError("its 'ct' lies in other files; write it into this one")
    return volume


def _read(source: ScanSource) -> Stored:
    """The CT. Raises ScanError with the reason when it cannot be used."""
    with _opened(source.path) as file:
        volume = _volume(file)
        check_size(volume.shape, volume.dtype.itemsize, volume.id.get_storage_size())
        if len(set(volume.shape)) > 1 and not source.side_file.spacing_mm:
            shape = " × ".join(map(str, volume.shape))
            raise ScanError(f"its 'ct' is {shape}, not the cube of X2CT-GAN; state spacing_mm in a side file")
        values = np.asarray(volume[()])
    values = np.maximum(values, values.dtype.type(0)) if source.side_file.unit in (None, "hu+1024") else values
    return Stored(values.transpose(2, 1, 0), cube_affine(values.shape, CUBE_MM), "hu+1024")


def cube_affine(shape: tuple[int, ...], side_mm: float) -> np.ndarray:
    """Affine (4, 4) (x, y, z) index → RAS of a cube (z, y, x) stored superior up, posterior down, left right."""
    affine = np.diag([-side_mm / shape[2], -side_mm / shape[1], side_mm / shape[0], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def _angles(names: Sequence[str]) -> dict[str, TakenAt]:
    return {name: VIEWS[name] for name in names}


def _views(source: ScanSource) -> dict[str, np.ndarray]:
    """The X-rays (rows, columns) as stored, by their names. Raises ScanError when one is damaged."""
    views = {}
    with _opened(source.path) as file:
        for name in VIEWS:
            if name not in file or not isinstance(file.get(name, getlink=True), library("h5py").HardLink):
                continue
            if len(file[name].shape) != 2 or max(file[name].shape) > MAX_VIEW or file[name].dtype.kind not in "iuf":
                raise ScanError(f"its '{name}' is no picture (up to {MAX_VIEW} pixels a side); write it anew")
            views[name] = np.asarray(file[name][()])
    return views
