"""A CT in one DICOM file: DICOS CT of baggage scanners (NEMA IIC 1), and enhanced CT, with pydicom."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .pixels import NATIVE, check_syntax, decode_pixels, decoding_errors
from .scan import Rejected, ScanError, ScanSource, Stored, check_size, first_line, library
from .side_file import Unit
from .stacking import affine_of, order_slices

DICOS = "1.2.840.10008.5.1.4.1.1.501"
UNITS: dict[str, Unit] = {"HU": "hu", "MHU": "mhu"}  # RescaleType; others are units of a vendor


def source_of(path: Path, dataset: Any, patient: str) -> ScanSource | Rejected:
    """Return the source of a file with several frames, of which `dataset` holds dicom.FINDING_TAGS."""
    if "LOW ENERGY" in str(dataset.get("ImageType", "")).upper():
        return Rejected(path, "the low-energy image of a dual-energy scan; the high-energy one is read", expected=True)
    kind = "dicos" if str(dataset.get("SOPClassUID", "")).startswith(DICOS) else "dicom"
    series = f"{dataset.SeriesInstanceUID}/{dataset.get('SOPInstanceUID', path.name)}"
    return ScanSource(patient or path.stem, series, int(dataset.NumberOfFrames), kind, path, (path,), _read)


def _read(source: ScanSource) -> Stored:
    """Return the frames in order, rescaled. Raises ScanError with the reason when the file cannot be used."""
    try:
        with warnings.catch_warnings(action="ignore"):
            dataset = library("pydicom").dcmread(source.path)
            return _read_frames(source.path, dataset)
    except decoding_errors() as error:
        raise ScanError(f"the file is damaged or no DICOM ({first_line(error)}); copy it again") from error


def _read_frames(path: Path, dataset: Any) -> Stored:
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    check_syntax(path, syntax, str(dataset.get("LossyImageCompression", "")))
    shape = (int(dataset.NumberOfFrames), int(dataset.Rows), int(dataset.Columns))
    check_size(shape, int(dataset.BitsAllocated) // 8, path.stat().st_size, compressed=syntax not in NATIVE)
    orientation = np.array(_read_shared(dataset, "ImageOrientationPatient", (1, 0, 0, 0, 1, 0)), float)
    spacing = _read_shared(dataset, "PixelSpacing", None)
    if spacing is None or len(spacing) != 2 or orientation.size != 6:
        raise ScanError("it states no PixelSpacing or a wrong orientation; correct the header")
    down_across = (float(spacing[0]), float(spacing[1]))

    positions = _positions(dataset, shape[0])
    if len(np.unique(positions, axis=0)) < 2:  # as some scanners write: the frames follow one another
        step = float(
            _read_shared(dataset, "SpacingBetweenSlices", 0) or _read_shared(dataset, "SliceThickness", 0) or 0
        )
        if step <= 0:
            raise ScanError("it states no position of its frames and no SliceThickness; correct the header")
        rows, columns = orientation.reshape(2, 3)
        order = np.arange(shape[0])
        affine = affine_of(positions[0], rows, columns, down_across, np.cross(rows, columns) * step)
    else:
        order, affine = order_slices(positions, orientation, down_across)

    frames = decode_pixels(path)
    if frames.shape != shape:
        raise ScanError(f"its pixels are {frames.shape}, not {shape} as its header says; copy it again")
    slopes = np.array(_per_frame(dataset, "RescaleSlope", 1), float)
    intercepts = np.array(_per_frame(dataset, "RescaleIntercept", 0), float)
    values = _rescale(frames[order], slopes[order], intercepts[order])
    return Stored(values.transpose(2, 1, 0), affine, _unit(dataset, path))


def _unit(dataset: Any, path: Path) -> Unit | None:
    kind = str(_read_shared(dataset, "RescaleType", "") or "").strip().upper()
    is_dicos = str(dataset.get("SOPClassUID", "")).startswith(DICOS)
    return UNITS.get(kind) if is_dicos or kind else "hu"


def _rescale(frames: np.ndarray, slopes: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
    """Return frames (frame, row, column) as int32 where slopes and intercepts are whole numbers, else as float32."""
    whole = (slopes % 1 == 0).all() and (intercepts % 1 == 0).all() and frames.dtype.itemsize <= 2
    kind = np.int32 if whole else np.float32
    return frames.astype(kind) * slopes.astype(kind)[:, None, None] + intercepts.astype(kind)[:, None, None]


def _positions(dataset: Any, frames: int) -> np.ndarray:
    positions = np.array([value or (0, 0, 0) for value in _per_frame(dataset, "ImagePositionPatient", None)], float)
    if positions.shape != (frames, 3):
        raise ScanError(f"it states {len(positions)} positions for {frames} frames; correct the header")
    return positions


def _groups(dataset: Any) -> Iterator[Any]:
    """Yield the items of one functional group: the data set itself, and the items of the sequences in it."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ" and element.keyword != "PerFrameFunctionalGroupsSequence":
            yield from element.value[:1]


def _find_value(dataset: Any, keyword: str) -> Any:
    return next((item[keyword].value for item in _groups(dataset) if keyword in item), None)


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
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or [None] * int(dataset.NumberOfFrames)
    values = [None if frame is None else _find_value(frame, keyword) for frame in frames]
    if len(values) != int(dataset.NumberOfFrames):
        raise ScanError(f"it describes {len(values)} of {dataset.NumberOfFrames} frames; copy it again")
    return [shared if value is None else value for value in values]
