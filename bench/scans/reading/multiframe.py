"""CTs whose geometry stands in functional groups: DICOS CT of baggage scanners (NEMA IIC 1), and enhanced CT.

A file holds many frames or one, and a series many files; what belongs together is told by where the frames lie.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .pixels import NATIVE, UNPACKED, check_syntax, decode_pixels, decoding_errors, read_dataset, syntax_of, words_of
from .scan import AIR_HU, Rejected, ScanError, ScanSource, Stored, check_size, first_line, library
from .side_file import OFFSETS, Unit
from .slices import LOWEST_HU
from .stacking import affine_of, order_slices, split_acquisitions

DICOS = "1.2.840.10008.5.1.4.1.1.501"
ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")  # enhanced, and converted to it
UNITS: dict[str, Unit] = {"HU": "hu", "MHU": "mhu"}  # RescaleType; others are units of a vendor
UPRIGHT = (1, 0, 0, 0, 1, 0)


@dataclass(frozen=True)
class FrameFile:
    """One file with frames, before its pixels are read."""

    path: Path
    kind: str  # dicos or dicom
    number: int  # InstanceNumber
    orientation: np.ndarray  # (6,) of the first frame
    positions: np.ndarray  # (n, 3) of the frames
    labels: tuple[tuple[str, ...], ...]  # of the frames: what tells acquisitions apart
    whole: str  # ConcatenationUID, of files that are parts of one
    parts: int  # how many of them there are, 0 when that is not stated


def is_one(dataset: Any) -> bool:
    """Return whether a file keeps its geometry in functional groups, by its class and number of frames."""
    kind = str(dataset.get("SOPClassUID", ""))
    return kind in ENHANCED or kind.startswith(DICOS) or int(dataset.get("NumberOfFrames") or 1) > 1


def inspect(path: Path) -> FrameFile:
    """Return what a file says of its frames; the pixels stay unread. Raises ScanError where it contradicts itself."""
    dataset = library("pydicom").dcmread(path, stop_before_pixels=True, force=True)
    kind = "dicos" if str(dataset.get("SOPClassUID", "")).startswith(DICOS) else "dicom"
    count = _count(dataset)
    whole = str(dataset.get("ConcatenationUID") or (dataset.get("SOPInstanceUID", path.name) if count > 1 else ""))
    numbers = _per_frame(dataset, "FrameAcquisitionNumber", dataset.get("AcquisitionNumber"))
    times = _per_frame(dataset, "TemporalPositionIndex", None)
    return FrameFile(
        path,
        kind,
        int(dataset.get("InConcatenationNumber") or dataset.get("InstanceNumber") or 0),
        np.array(_read_shared(dataset, "ImageOrientationPatient", UPRIGHT), float),
        _positions(dataset, count),
        tuple((whole, str(number), str(time)) for number, time in zip(numbers, times, strict=True)),
        str(dataset.get("ConcatenationUID") or ""),
        int(dataset.get("InConcatenationTotalNumber") or 0),
    )


def sources_of(files: Sequence[FrameFile], patient: str, series: str, study: str) -> Iterator[ScanSource | Rejected]:
    """Yield a source for each volume that the files of one series hold, or what of it is missing."""
    files = sorted(files, key=lambda file: (file.number, file.path))
    there = Counter(file.whole for file in files)
    for file in files:
        if file.whole and (count := there[file.whole]) < file.parts:
            text = f"{count} of the {file.parts} files that its frames lie in are there; copy the series again"
            yield Rejected(file.path.parent, text)
            return
    frames = [(file, index) for file in files for index in range(len(file.positions))]
    positions = np.concatenate([file.positions for file in files])
    volumes = [np.arange(len(frames))]
    if len(np.unique(positions, axis=0)) > 1 and files[0].orientation.size == 6:
        labels = [file.labels[index] for file, index in frames]
        volumes = split_acquisitions(positions, files[0].orientation, labels, range(len(frames)))
    for number, volume in enumerate(volumes, start=1):
        chosen: dict[Path, list[int]] = {}
        for place in volume:
            chosen.setdefault(frames[place][0].path, []).append(frames[place][1])
        paths = tuple(chosen)
        name = series if len(volumes) == 1 else f"{series}/{number}"
        path = paths[0] if len(paths) == 1 else paths[0].parent
        yield ScanSource(patient, name, len(volume), files[0].kind, path, paths, partial(_read, chosen), study=study)


@dataclass(frozen=True)
class _Frames:
    """Frames of one file, rescaled."""

    values: np.ndarray  # (frame, row, column)
    positions: np.ndarray  # (frame, 3)
    orientation: np.ndarray  # (6,)
    spacing: np.ndarray  # (2,) of rows and columns
    step: float  # millimetres from one frame to the next, for those without positions
    unit: Unit | None


def _read(chosen: dict[Path, list[int]], source: ScanSource) -> Stored:
    """Return the frames in order, rescaled. Raises ScanError with the reason when they cannot be used."""
    parts = []
    for path, indices in chosen.items():
        try:
            with warnings.catch_warnings(action="ignore"):
                parts.append(_read_frames(path, read_dataset(path), indices))
        except decoding_errors() as error:
            raise ScanError(f"{path.name} is damaged or no DICOM ({first_line(error)}); copy it again") from error
    first = parts[0]
    for path, part in zip(chosen, parts, strict=True):
        alike = part.values.shape[1:] == first.values.shape[1:] and part.unit == first.unit
        alike &= np.allclose(part.spacing, first.spacing, rtol=0, atol=1e-4)
        if not alike or not np.allclose(part.orientation, first.orientation, rtol=0, atol=1e-3):
            raise ScanError(
                f"{path.name} has other rows, columns, spacing, orientation or unit; keep one volume a series"
            )
    positions = np.concatenate([part.positions for part in parts])
    down_across = (float(first.spacing[0]), float(first.spacing[1]))
    if len(np.unique(positions, axis=0)) < 2:  # as some scanners write: the frames follow one another
        if first.step <= 0:
            raise ScanError("it states no position of its frames and no SliceThickness; correct the header")
        rows, columns = first.orientation.reshape(2, 3)
        order = np.arange(len(positions))
        affine = affine_of(positions[0], rows, columns, down_across, np.cross(rows, columns) * first.step)
    else:
        order, affine = order_slices(positions, first.orientation, down_across)
    values = np.concatenate([part.values for part in parts])[order]
    return Stored(values.transpose(2, 1, 0), affine, first.unit)


def _read_frames(path: Path, dataset: Any, indices: list[int]) -> _Frames:
    syntax, count = syntax_of(dataset), _count(dataset)
    check_syntax(path, syntax, str(dataset.get("LossyImageCompression", "")))
    shape = (count, int(dataset.Rows), int(dataset.Columns))
    check_size(shape, int(dataset.BitsAllocated) // 8, path.stat().st_size, compressed=syntax not in NATIVE)
    orientations = np.array(_per_frame(dataset, "ImageOrientationPatient", UPRIGHT), float)[indices]
    spacings = _per_frame(dataset, "PixelSpacing", None)
    if any(one is None or len(one) != 2 for one in spacings) or orientations.shape[1:] != (6,):
        raise ScanError("it states no PixelSpacing or a wrong orientation; correct the header")
    spacing = np.array(spacings, float)[indices]
    if np.ptp(spacing, axis=0).max() > 1e-4 or np.ptp(orientations, axis=0).max() > 1e-3:
        raise ScanError("PixelSpacing or orientation changes from frame to frame; keep one volume a file")
    step = _read_shared(dataset, "SpacingBetweenSlices", 0) or _read_shared(dataset, "SliceThickness", 0) or 0

    words = decode_pixels(dataset)
    if words.reshape(-1, *words.shape[-2:]).shape != shape:
        raise ScanError(f"its pixels are {words.shape}, not {shape} as its header says; copy it again")
    frames, outside = words_of(dataset).read(words.reshape(shape)[indices], shifted=syntax in UNPACKED)
    slopes = np.array(_per_frame(dataset, "RescaleSlope", 1), float)[indices]
    intercepts = np.array(_per_frame(dataset, "RescaleIntercept", 0), float)[indices]
    values, unit = _rescale(frames, slopes, intercepts), _unit(dataset)
    if outside is not None and unit is not None:
        offset = OFFSETS[unit]
        values[outside & (values + offset > LOWEST_HU)] = AIR_HU - offset
    return _Frames(values, _positions(dataset, count)[indices], orientations[0], spacing[0], float(step), unit)


def _unit(dataset: Any) -> Unit | None:
    kind = str(_read_shared(dataset, "RescaleType", "") or "").strip().upper()
    is_dicos = str(dataset.get("SOPClassUID", "")).startswith(DICOS)
    return UNITS.get(kind) if is_dicos or kind else "hu"


def _rescale(frames: np.ndarray, slopes: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
    """Return frames (frame, row, column) as int32 where slopes and intercepts are whole numbers, else as float32."""
    whole = (slopes % 1 == 0).all() and (intercepts % 1 == 0).all() and frames.dtype.itemsize <= 2
    kind = np.int32 if whole else np.float32
    return frames.astype(kind) * slopes.astype(kind)[:, None, None] + intercepts.astype(kind)[:, None, None]


def _count(dataset: Any) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _positions(dataset: Any, frames: int) -> np.ndarray:
    positions = np.array([value or (0, 0, 0) for value in _per_frame(dataset, "ImagePositionPatient", None)], float)
    if positions.shape != (frames, 3):
        raise ScanError(f"it states {len(positions)} positions for {frames} frames; correct the header")
    return positions


def _find_value(dataset: Any, keyword: str) -> Any:
    """Return a value of one functional group: of the data set itself, or of an item of the sequences in it."""
    sequences = (e for e in dataset if e.VR == "SQ" and e.keyword != "PerFrameFunctionalGroupsSequence")
    items = (item for sequence in sequences for item in sequence.value[:1])
    return next((item[keyword].value for item in chain([dataset], items) if keyword in item), None)


def _read_shared(dataset: Any, keyword: str, default: Any) -> Any:
    """Return the value that holds for all frames: of the shared functional groups, the first frame, or the file."""
    sequences = (dataset.get("SharedFunctionalGroupsSequence"), dataset.get("PerFrameFunctionalGroupsSequence"))
    for place in (*(sequence[0] for sequence in sequences if sequence), dataset):
        value = _find_value(place, keyword)
        if value is not None:
            return value
    return default


def _per_frame(dataset: Any, keyword: str, default: Any) -> list[Any]:
    """Return the value of each frame; the shared one where frames have none of their own."""
    shared = _read_shared(dataset, keyword, default)
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or [None] * _count(dataset)
    values = [None if frame is None else _find_value(frame, keyword) for frame in frames]
    if len(values) != _count(dataset):
        raise ScanError(f"it describes {len(values)} of {_count(dataset)} frames; copy it again")
    return [shared if value is None else value for value in values]
