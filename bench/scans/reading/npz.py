"""NumPy archives: CodeDiff3D's chests `<nnnn>_chest/*.npz`, bags of the same layout, and others with a side file.

`ct` is (z, y, x) like X2CT-GAN's: z inferior→superior, y anterior→posterior, x right→left. A chest is a cube of 320 mm
in HU or HU + 1024, told apart by its lowest value; all else has no unit, spacing or axes that could be known, and a
side file must state them. Rendered X-rays lie beside it as PNG: of a chest all in its folder, of a bag
`<bag>_azimuth_<angle>.png` and `<bag>_elevation_<angle>.png` wherever they are.
Source: data loaders of the official code.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from tokenize import TokenError

import numpy as np
from skimage.io import imread

from .hdf5 import CUBE_MM, MAX_VIEW, cube_affine
from .names import CHEST_FOLDER, name_of, patient_of
from .scan import Rejected, ScanError, ScanSource, Stored, TakenAt, check_size, inspect_each, printable
from .side_file import Unit

SUFFIXES = (".npz",)
KEY = "ct"
CHEST_VIEWS = 8
BAG_VIEW = re.compile(r"(.+)_(azimuth|elevation)_(\d+)", re.IGNORECASE)
HALF_PRECISION = re.compile(r"_f16$")
DAMAGE = (OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)
DAMAGED = "the file is damaged or no .npz; copy it again"
MEDMNIST = "train_images"


def find(paths: Iterable[Path]) -> Iterator[ScanSource | Rejected]:
    """Yield every .npz among `paths` that may hold a CT; of each only the names and shapes are looked at."""
    paths = list(paths)
    pictures = [path for path in paths if path.suffix.lower() == ".png"]
    return inspect_each(paths, SUFFIXES, partial(_inspect, pictures))


def _inspect(pictures: list[Path], path: Path) -> ScanSource | Rejected:
    try:
        with zipfile.ZipFile(path) as archive:
            shapes = {entry.removesuffix(".npy"): _header(archive, entry)[0] for entry in archive.namelist()[:64]}
    except DAMAGE as error:
        raise ScanError(DAMAGED) from error
    if MEDMNIST in shapes:
        return Rejected(path, "crops of a collection such as MedMNIST, no whole CT", expected=True)
    shape = shapes.get(KEY, (0,))
    name, views = _name_and_views(path, pictures)
    return ScanSource(
        patient_of(name), name_of(path), shape[0] if shape else 0, "npz", path, (path,), _read, view_files=views,
        view_reader=_read_views, view_angles=_angles_of_turn(views) if CHEST_FOLDER.fullmatch(name) else {},
    )  # fmt: skip


def _name_and_views(path: Path, pictures: list[Path]) -> tuple[str, tuple[Path, ...]]:
    """Return what a scan is called, and the pictures that belong to it."""
    folder = path.resolve().parent
    if CHEST_FOLDER.fullmatch(folder.name):
        return folder.name, tuple(picture for picture in pictures if picture.parent == path.parent)
    above = {parent.name for parent in folder.parents} | {folder.name}
    matches = [(match.group(1), picture) for picture in pictures if (match := BAG_VIEW.fullmatch(picture.stem))]
    named = next((bag for bag, _ in matches if bag in above), HALF_PRECISION.sub("", name_of(path)))
    return named, tuple(picture for bag, picture in matches if bag == named)


def _angles_of_turn(views: tuple[Path, ...]) -> dict[str, TakenAt]:
    """Return one turn from the left lateral view on, all mirrored, for eight pictures in the order of their names."""
    names = sorted({printable(picture.stem) for picture in views})
    if len(names) != CHEST_VIEWS:
        return {}
    return {name: TakenAt(360.0 / CHEST_VIEWS * index, mirrored=True) for index, name in enumerate(names)}


def _header(archive: zipfile.ZipFile, entry: str) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and number type of an array. Raises ValueError for what is no header, whatever its parser met."""
    with archive.open(entry) as file:
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        version = np.lib.format.read_magic(file)
        try:
            shape, _, kind = read[version](file)
        except (SyntaxError, TypeError, RecursionError, MemoryError, TokenError) as error:
            raise ValueError(f"{entry} has no readable header") from error
    return shape, kind


def _read(source: ScanSource) -> Stored:
    """Return the array of an archive. Raises ScanError with the reason when it cannot be used."""
    key = source.side_file.key or KEY
    try:
        with zipfile.ZipFile(source.path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if key not in names:
                held = ", ".join(names[:8]) or "nothing"
                raise ScanError(f"it holds {held} and no array '{key}'; name one by key in a side file")
            shape, kind = _header(archive, f"{key}.npy")
            check_size(shape, kind.itemsize, archive.getinfo(f"{key}.npy").compress_size)
        if len(shape) != 3 or kind.kind not in "iuf":
            raise ScanError(f"its array '{key}' is {kind} {shape}, no 3-D array of numbers; save the CT alone")
        with np.load(source.path, allow_pickle=False) as arrays:
            values = np.ascontiguousarray(arrays[key])
    except DAMAGE as error:
        raise ScanError(DAMAGED) from error
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    is_chest = bool(CHEST_FOLDER.fullmatch(source.path.resolve().parent.name)) and len(set(shape)) == 1
    affine = cube_affine(shape, CUBE_MM, (True, False, False)) if is_chest else None
    return Stored(values.transpose(2, 1, 0), affine, _chest_unit(values) if is_chest else None)


def _chest_unit(values: np.ndarray) -> Unit | None:
    """Return HU where there is air below -500, HU + 1024 where air is 0, None for values of a range of their own."""
    low, high = float(values.min()), float(values.max())
    if low < -500:
        return "hu"
    return "hu+1024" if high > 1024 and low > -200 else None


def _read_views(source: ScanSource) -> dict[str, np.ndarray]:
    """Return the X-rays (rows, columns) uint8 as stored, by file name. Raises ScanError when one is damaged."""
    views = {}
    for path in source.view_files:
        try:
            picture = imread(path)
        except (OSError, ValueError, SyntaxError) as error:
            raise ScanError(f"the X-ray {path.name} cannot be read; copy it again or delete it") from error
        if max(picture.shape[:2]) > MAX_VIEW or picture.dtype.kind != "u":
            raise ScanError(f"the X-ray {path.name} is no picture of up to {MAX_VIEW} pixels a side; delete it")
        views[printable(path.stem)] = picture if picture.ndim == 2 else picture[..., 0]
    return views
