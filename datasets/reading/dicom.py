"""CT series in DICOM files, found by their tags wherever they lie: pydicom reads headers, SimpleITK decodes pixels."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from bench.errors import BenchError

from .scan import AIR_HU, Rejected, Scan, ScanError, ScanSource, oriented

SUFFIXES = (".dcm", ".dicom", ".ima")
MIN_SLICES = 40
UNEVEN = 0.1  # largest deviation of a slice distance from the median, as a part of it
IDENTITY_TAGS = [
    "Modality", "ImageType", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "NumberOfFrames",
]  # fmt: skip
GEOMETRY_TAGS = [
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "PixelPaddingValue", "PixelRepresentation", "BitsAllocated", "RescaleSlope", "RescaleIntercept",
]  # fmt: skip


def find(paths: Iterable[Path]) -> Iterator[ScanSource | Rejected]:
    """Every CT series among the files, grouped by SeriesInstanceUID whatever the folders are called.

    Raises BenchError when there are DICOM files and the packages to read them are missing.
    """
    series: dict[str, _Series] = {}
    for path in paths:
        try:
            if not _has_marker(path):
                if path.suffix.lower() in SUFFIXES:
                    empty = not path.stat().st_size
                    yield Rejected(path, "the file is empty; copy it again" if empty else "it is no DICOM file")
                continue
            header = _header(path, IDENTITY_TAGS)
        except _unreadable() as error:
            yield Rejected(path, f"its DICOM header cannot be read ({error})")
            continue
        uid = header.get("SeriesInstanceUID")
        if uid:
            series.setdefault(str(uid), _Series(path.parent)).add(path, header)
        elif path.name.upper() != "DICOMDIR":
            yield Rejected(path, "its DICOM header names no series; copy it again")
    for uid, found in series.items():
        yield found.judged(uid)


class _Series:
    """The files of one series as they come in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # of the first file
        self.files: dict[str, Path] = {}  # by SOPInstanceUID: a file copied twice counts once
        self.patients: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()  # of what is no axial CT image
        self.frames = False

    def add(self, path: Path, header: dict) -> None:
        modality = str(header.get("Modality", "none"))
        if modality != "CT":
            self.kinds[f"Modality {modality}"] += 1
        elif "LOCALIZER" in str(header.get("ImageType", "")).upper():
            self.kinds["a localiser"] += 1
        else:
            self.files.setdefault(str(header.get("SOPInstanceUID", path)), path)
            patient = str(header.get("PatientID", "") or "").strip(" \0")
            self.patients[patient or str(header.get("StudyInstanceUID", ""))] += 1
            self.frames |= int(header.get("NumberOfFrames") or 1) > 1

    def judged(self, uid: str) -> ScanSource | Rejected:
        if not self.files:
            return Rejected(self.folder, f"no CT: {', '.join(self.kinds)}", expected=True)
        folder = next(iter(self.files.values())).parent
        if self.frames:
            return Rejected(folder, "a multi-frame CT; export it with one file a slice")
        if len(self.files) < MIN_SLICES:
            return Rejected(folder, f"{len(self.files)} slices are no chest or bag (at least {MIN_SLICES})")
        if len(self.patients) > 1:
            return Rejected(folder, f"one series of several patients: {', '.join(sorted(self.patients))}")
        patient = next(iter(self.patients)) or uid
        return ScanSource(patient, uid, len(self.files), "dicom", folder, tuple(self.files.values()), read)


@dataclass(frozen=True)
class _Stack:
    """Files of a series from one end to the other, and their geometry."""

    files: list[Path]
    affine: np.ndarray  # (4, 4) voxel (column, row, slice) → RAS millimetres
    padding_hu: float | None  # value outside the field of view where it is not below air


def read(source: ScanSource) -> Scan:
    """The scan of a series, in HU. Raises ScanError with the reason when it cannot be used."""
    stack = _stacked(source.files)
    simpleitk = _library("SimpleITK")
    simpleitk.ProcessObject.SetGlobalWarningDisplay(False)  # uneven spacing was judged above, in millimetres
    reader = simpleitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in stack.files])
    try:
        voxels = simpleitk.GetArrayFromImage(reader.Execute())  # (slice, row, column)
    except RuntimeError as error:
        raise ScanError(f"the pixels of {_undecodable(stack.files)} cannot be decoded; copy the file again") from error
    if voxels.ndim != 3:
        raise ScanError("its pixels are colours, not HU")
    if stack.padding_hu is not None:
        voxels[voxels == stack.padding_hu] = AIR_HU
    return oriented(voxels.transpose(2, 1, 0), stack.affine)


def _undecodable(files: Iterable[Path]) -> str:
    """The name of the first file whose pixels cannot be decoded."""
    simpleitk = _library("SimpleITK")
    for path in files:
        try:
            simpleitk.ReadImage(str(path))
        except RuntimeError:
            return path.name
    return "a slice"


def _stacked(files: Iterable[Path]) -> _Stack:
    """Order the slices along their normal by ImagePositionPatient and check that none is missing."""
    headers = []
    for path in files:
        try:
            headers.append((path, _header(path, GEOMETRY_TAGS)))
        except _unreadable() as error:
            raise ScanError(f"the header of {path.name} cannot be read ({error}); copy it again") from error
    for path, header in headers:
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"):
            if header.get(tag) is None:
                raise ScanError(f"{path.name} has no {tag}")

    first = headers[0][1]
    for path, header in headers:
        for tag, tolerance in (("Rows", 0), ("Columns", 0), ("PixelSpacing", 1e-4), ("ImageOrientationPatient", 1e-3)):
            if not np.allclose(_numbers(header[tag]), _numbers(first[tag]), rtol=0, atol=tolerance):
                raise ScanError(f"{tag} changes within the series, at {path.name}")

    rows, columns = _numbers(first["ImageOrientationPatient"]).reshape(2, 3)
    positions = np.array([_numbers(header["ImagePositionPatient"]) for _, header in headers])
    order = np.argsort(positions @ np.cross(rows, columns), kind="stable")
    positions = positions[order]
    steps = np.diff(positions @ np.cross(rows, columns))
    median = float(np.median(steps))
    if median < 1e-3 or steps.min() < 1e-3:
        raise ScanError("two slices lie at the same position; keep one acquisition a series")
    worst = int(np.abs(steps - median).argmax())
    if abs(steps[worst] - median) >= UNEVEN * median:
        where = f"{steps[worst]:g} mm between slices {worst + 1} and {worst + 2} of {len(order)}, median {median:g} mm"
        raise ScanError(f"slices are missing or uneven: {where}")

    down, across = _numbers(first["PixelSpacing"])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows * across, columns * down
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(order) - 1)  # not the normal: a gantry may be tilted
    affine[:3, 3] = positions[0]
    return _Stack([headers[i][0] for i in order], np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, _padding(first))


def _padding(header: dict) -> float | None:
    """PixelPaddingValue in HU; None when there is none or clipping turns it into air anyway."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    bits = int(header.get("BitsAllocated") or 16)
    if header.get("PixelRepresentation") and value >= 2 ** (bits - 1):
        value -= 2**bits  # a signed value under the unsigned VR
    hounsfield = float(value) * float(header.get("RescaleSlope") or 1) + float(header.get("RescaleIntercept") or 0)
    return hounsfield if hounsfield > -1024 else None


def _numbers(value: object) -> np.ndarray:
    return np.array(value, dtype=float)


def _header(path: Path, tags: list[str]) -> dict:
    """Those of the named elements that a file holds."""
    pydicom = _library("pydicom")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # real scanners bend the rules of value representations
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        return {tag: dataset[tag].value for tag in tags if tag in dataset}


def _has_marker(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _unreadable() -> tuple[type[Exception], ...]:
    return (OSError, EOFError, ValueError, TypeError, AttributeError, _library("pydicom").errors.InvalidDicomError)


def _library(name: str) -> ModuleType:
    """Import SimpleITK or pydicom. Raises BenchError when it is not installed."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BenchError(f"reading DICOM needs {name}; run: pip install 'ct-from-views-bench[data]'") from error
