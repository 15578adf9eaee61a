"""A CT as every reader hands it over, where it was found, and the checks and the orientation all readers share."""

import importlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
from scipy import ndimage

from bench.errors import BenchError
from bench.system.files import digest_of, sha256_of

from .side_file import NO_SIDE_FILE, SideFile, Unit

AIR_HU = -1000
MAX_VOXELS = 2**30  # a bag of 1024³; more is a wrong header
MAX_RATIO = 1100  # deflate, the best of the codecs met, packs at most 1032 bytes into one
SPACING_MM = (0.1, 10.0)  # outside of it a header is wrong, not coarse
MIN_VOXELS = 16  # fewer along an axis is a picture or a slab
STRAIGHT_DEGREES = 0.5  # axes nearer than this to the scanner's count as parallel to them: 1.4 mm over 160 mm

MAX_LABEL = 255
NUMBER = re.compile(r"\d+(?:\.\d+)?")
OTHER_UNIT = "if it is HU + 1024 or another unit, state it in a side file"
EMPTY = "the file is empty; copy it again"


class ScanError(BenchError):
    """A file that is no usable CT; the message is the reason, without the name."""


class UnitError(ScanError):
    """A CT whose values are not HU."""


class NoScanError(ScanError):
    """A file that holds no CT at all, as its voxels show: passed over, not a failure."""


@dataclass(frozen=True)
class Stored:
    """What a file holds, before its unit and its orientation are known."""

    values: np.ndarray  # (i, j, k), the first index varies fastest in the file
    affine: np.ndarray | None  # (4, 4) voxel index → RAS millimetres; None where the format cannot state it
    unit: Unit | None  # None where the format cannot state it


@dataclass(frozen=True)
class Scan:
    """A CT in HU, (D, H, W): D superior→inferior, H anterior→posterior, W patient right→left."""

    hounsfield: np.ndarray  # (D, H, W) int16 where the file holds whole numbers, else float32; padding included
    spacing_mm: tuple[float, float, float]  # D, H, W order
    centre_ras_mm: tuple[float, float, float]


@dataclass(frozen=True)
class TakenAt:
    """How an X-ray was taken."""

    angle: float  # gantry angle in degrees: 270 is PA, 0 left lateral
    mirrored: bool  # its columns are flipped from what the source sees


@dataclass(frozen=True)
class ScanSource:
    """A CT that was found and not yet read."""

    patient: str
    series: str  # SeriesInstanceUID, or the name of the file
    slices: int
    format: str
    path: Path  # of the file or the series' folder
    files: tuple[Path, ...]
    reader: Callable[["ScanSource"], Stored]
    side_file: SideFile = NO_SIDE_FILE
    view_files: tuple[Path, ...] = ()  # that hold X-rays which came with it
    view_reader: Callable[["ScanSource"], dict[str, np.ndarray]] | None = None
    study: str = ""  # StudyInstanceUID, where the format has one
    view_angles: Mapping[str, TakenAt] = field(default_factory=dict)  # of X-rays by name, where known

    def read(self) -> Scan:
        """Return the CT. Raises ScanError with the reason when it cannot be used, NoScanError for labels."""
        stored = self.reader(self)
        if stored.unit == "hu" and not self.side_file.unit:
            check_labels(stored.values)
        try:
            values, affine = self.side_file.apply(stored.values, stored.affine, stored.unit)
        except ValueError as error:
            raise ScanError(str(error)) from error
        scan = orient(values, affine)
        check_hounsfield(scan.hounsfield)
        return scan

    def sha256(self) -> str:
        """Return the SHA-256 of the content; names and order of the files of a series do not matter."""
        hashes = sorted(sha256_of(path) for path in self.files)
        if self.side_file.path:
            hashes.append(sha256_of(self.side_file.path))
        return hashes[0] if len(hashes) == 1 else digest_of(hashes)


@dataclass(frozen=True)
class Rejected:
    """Something found that is not prepared, and why."""

    path: Path
    reason: str
    expected: bool = False  # no CT at all (a segmentation, a radiograph, a scout): passed over, not a failure
    patient: str = ""  # whose too few slices they are: `expected` where the patient has a whole scan as well


def merge_faults(faults: Iterable[tuple[Path, str]]) -> Iterator[Rejected]:
    """Yield what is wrong with the files of stacks and series, once where many of a folder have the same fault."""
    groups: dict[tuple[Path, str], list[tuple[Path, str]]] = {}
    for path, fault in faults:
        groups.setdefault((path.parent, NUMBER.sub("#", fault)), []).append((path, fault))
    for (folder, _), ((path, fault), *others) in groups.items():
        several = f"{len(others) + 1} files, such as {printable(path.name)}: {fault}"
        yield Rejected(folder, several) if others else Rejected(path, fault)


def inspect_each(
    paths: Iterable[Path], suffixes: tuple[str, ...], inspect: Callable[[Path], ScanSource | Rejected]
) -> Iterator[ScanSource | Rejected]:
    """Yield what `inspect` makes of each path with one of the suffixes; a Rejected where it raises ScanError."""
    for path in paths:
        if path.name.lower().endswith(suffixes):
            try:
                yield inspect(path) if path.stat().st_size else Rejected(path, EMPTY)
            except ScanError as error:
                yield Rejected(path, str(error))


def printable(name: str) -> str:
    """Return the name of a file, or a part of it, as UTF-8 can hold it; bytes that are none as \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its name when it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def library(name: str) -> ModuleType:
    """Import a package of the extra `data`. Raises BenchError when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BenchError(f"reading this format needs {name}; run: pip install 'ct-from-views-bench[data]'") from error


def check_size(shape: Sequence[int], item_bytes: int, stored_bytes: int, *, compressed: bool = True) -> None:
    """Raise ScanError when a header declares more than a CT holds, or more than its file can; before it is believed.

    `stored_bytes` is what the file holds of it, `item_bytes` the size of a voxel.
    """
    voxels = math.prod(int(size) for size in shape)
    text = " × ".join(map(str, shape))
    if voxels > MAX_VOXELS:
        raise ScanError(f"its header declares {text} voxels, more than a CT has; correct the header")
    if voxels * item_bytes > stored_bytes * (MAX_RATIO if compressed else 1):
        raise ScanError(f"it is damaged or cut short: {text} voxels declared in {stored_bytes} bytes; copy it again")


def orient(voxels: np.ndarray, affine: np.ndarray) -> Scan:
    """Return the scan of an array (i, j, k) in HU whose `affine` (4, 4) maps voxel indices to RAS millimetres.

    Axes are permuted and flipped; an array that stands oblique to the scanner, or sheared by a tilted gantry, is
    resampled linearly onto the scanner's axes at its own spacing. Raises ScanError where the geometry is impossible.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACING_MM
    if not np.isfinite(affine).all() or not ((low <= spacing) & (spacing <= high)).all():
        text = " × ".join(f"{value:g}" for value in spacing)
        raise ScanError(f"voxel spacing {text} mm is not a CT's ({low:g} to {high:g} mm); correct the header")
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 0.1:
        raise ScanError("the axes of its orientation are not independent; correct the header")
    if min(voxels.shape) < MIN_VOXELS:
        shape = " × ".join(map(str, voxels.shape))
        raise ScanError(f"{shape} voxels are not a volume (at least {MIN_VOXELS} an axis)")

    orientations = nibabel.orientations
    current, wanted = orientations.io_orientation(affine), orientations.axcodes2ornt(("I", "P", "L"))
    transform = orientations.ornt_transform(current, wanted)
    affine = affine @ orientations.inv_ornt_aff(transform, voxels.shape)
    voxels = _compact(orientations.apply_orientation(voxels, transform))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs((affine[:3, :3] / spacing)[[2, 1, 0], [0, 1, 2]])
    if np.degrees(np.arccos(np.clip(cosines, 0, 1))).max() > STRAIGHT_DEGREES:
        voxels, affine = _straighten(voxels, affine, spacing)
    centre = affine @ np.append((np.array(voxels.shape) - 1) / 2, 1.0)
    return Scan(voxels, tuple(spacing.tolist()), tuple(centre[:3].tolist()))


def stand_upright(scan: Scan) -> Scan:
    """Return a bag (D, H, W) with D up→down, of a scan whose slices, as in DICOM, follow one another along D.

    The slices cross the belt and stand upright on a screen: their rows run up→down, so D and H change places.
    """
    down, along, across = scan.spacing_mm
    right, anterior, superior = scan.centre_ras_mm
    volume = np.ascontiguousarray(scan.hounsfield.transpose(1, 0, 2))
    return Scan(volume, (along, down, across), (right, superior, anterior))


def _compact(voxels: np.ndarray) -> np.ndarray:
    limits, kind = np.iinfo(np.int16), voxels.dtype.kind
    fits = voxels.dtype == np.int16 or (kind in "iu" and limits.min <= voxels.min() and voxels.max() <= limits.max)
    return voxels.astype(np.int16 if fits else np.float32, copy=False)


def _straighten(voxels: np.ndarray, affine: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a scan (D, H, W) on axes parallel to the scanner's, in the box that holds all of it, air around it."""
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in voxels.shape])).reshape(3, -1)
    world = affine[:3, :3] @ corners + affine[:3, 3:]
    straight = np.eye(4)
    straight[:3, :3] = -np.diag(spacing)[::-1]  # D, H, W run against S, A, R
    straight[:3, 3] = world.max(axis=1)
    extent = (world.max(axis=1) - world.min(axis=1))[::-1]
    shape = tuple(math.ceil(size) + 1 for size in extent / spacing)
    to_voxels = np.linalg.inv(affine) @ straight
    result = ndimage.affine_transform(
        voxels.astype(np.float32), to_voxels[:3, :3], to_voxels[:3, 3], shape, order=1, cval=AIR_HU
    )
    return result, straight


def check_labels(values: np.ndarray) -> None:
    """Raise NoScanError for values that name tissues, as masks beside a CT do: whole numbers from 0 to at most 255."""
    low, high = float(values.min()), float(values.max())
    if low == 0 and 0 < high <= MAX_LABEL and (values.dtype.kind in "iu" or bool((values % 1 == 0).all())):
        raise NoScanError(f"no CT: labels or a picture (whole numbers from 0 to {high:g})")


def check_hounsfield(values: np.ndarray) -> None:
    """Raise ScanError when (D, H, W) values cannot be the HU of a scanned body or bag."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ScanError("it holds NaN or infinite values; fill them with air (-1000 HU)")
    low = float(values.min())
    matter, dense = (sum(np.count_nonzero(plane > limit) for plane in values) / values.size for limit in (-500, 800))
    if matter < 0.002:
        raise ScanError(f"it is all air ({matter:.2%} of it above -500 HU)")
    if low > -500:
        raise UnitError(f"its lowest value {low:g} is no air: not HU; {OTHER_UNIT}")
    if dense > 0.1:
        raise UnitError(f"{dense:.0%} of it lies above 800 HU: not HU; {OTHER_UNIT}")
