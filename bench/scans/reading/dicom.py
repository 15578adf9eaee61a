"""CT series in DICOM files with one slice each, found by their tags wherever they lie, with pydicom."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import multiframe
from .pixels import NATIVE, check_syntax, decode_pixels, decoding_errors
from .scan import AIR_HU, EMPTY, Rejected, ScanError, ScanSource, Stored, check_size, first_line, library
from .stacking import order_slices

SUFFIXES = (".dcm", ".dicom", ".ima", ".dcs")
MIN_SLICES = 40
PIXEL_DATA = 0x7FE00010
HEADER_TAGS = (  # of what _Header holds, but for the transfer syntax
    0x00280010, 0x00280011, 0x00280030, 0x00200037, 0x00281053, 0x00281052,
    0x00280120, 0x00280103, 0x00280100, 0x00280101, 0x00280002, 0x00282110,
)  # fmt: skip
FINDING_TAGS = [  # all that is asked of a header before a scan is read
    *HEADER_TAGS, 0x00080008, 0x00080016, 0x00080018, 0x00080060, 0x00100020,
    0x0020000D, 0x0020000E, 0x00200032, 0x00280008,
]  # fmt: skip


def find(paths: Iterable[Path]) -> Iterator[ScanSource | Rejected]:
    """Yield every CT series among the files, grouped by SeriesInstanceUID whatever the folders are called.

    Raises BenchError when there are DICOM files and the packages to read them are missing.
    """
    series: dict[str, _Series] = {}
    for path in paths:
        try:
            if not _has_marker(path):
                if path.suffix.lower() in SUFFIXES:
                    yield Rejected(path, "it is no DICOM file" if path.stat().st_size else EMPTY)
                continue
            with warnings.catch_warnings(action="ignore"):  # real scanners bend the rules of value representations
                dataset, start, length = _read_tags(path)
                if uid := str(dataset.get("SeriesInstanceUID") or ""):
                    series.setdefault(uid, _Series(path.parent)).add(path, dataset, start, length)
                    continue
        except decoding_errors() as error:
            yield Rejected(path, f"its DICOM header cannot be read ({error}); copy it again")
            continue
        if path.name.upper() != "DICOMDIR":
            yield Rejected(path, "its DICOM header names no series; copy it again")
    for uid, found in series.items():
        yield from found.sources(uid)


@dataclass(frozen=True)
class _Header:
    """All that the slices of a series have in common, as a rule."""

    rows: int | None
    columns: int | None
    spacing: tuple[float, ...]
    orientation: tuple[float, ...]
    slope: float
    intercept: float
    padding: float | None
    signed: bool
    bits: tuple[int, int]  # allocated, stored
    samples: int
    syntax: str
    lossy: str  # LossyImageCompression


@dataclass(frozen=True)
class _Slice:
    path: Path
    header: _Header
    position: tuple[float, ...]
    pixels_at: int  # where in the file they begin; 0 when unknown
    pixel_bytes: int


class _Series:
    """The files of one series as they come in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # of the first file
        self.slices: dict[str, _Slice] = {}  # by SOPInstanceUID: a file copied twice counts once
        self.headers: dict[tuple, _Header] = {}  # by their undecoded values, as they are the same in most slices
        self.frames: dict[str, ScanSource | Rejected] = {}
        self.patients: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()  # of what is no axial CT image

    def add(self, path: Path, dataset: Any, pixels_at: int, pixel_bytes: int) -> None:
        modality = str(dataset.get("Modality", "none"))
        if modality != "CT":
            self.kinds[f"Modality {modality}"] += 1
        elif "LOCALIZER" in str(dataset.get("ImageType", "")).upper():
            self.kinds["a localiser"] += 1
        else:
            patient = str(dataset.get("PatientID", "") or "").strip(" \0")
            patient = patient or str(dataset.get("StudyInstanceUID", ""))
            instance = str(dataset.get("SOPInstanceUID", path))
            self.patients[patient] += 1
            if int(dataset.get("NumberOfFrames") or 1) > 1:
                self.frames.setdefault(instance, multiframe.source_of(path, dataset, patient))
            else:
                syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
                raw = (syntax, *(_raw_value(dataset, tag) for tag in HEADER_TAGS))
                if raw not in self.headers:
                    self.headers[raw] = _read_header(dataset, syntax)
                self.slices.setdefault(
                    instance,
                    _Slice(
                        path,
                        self.headers[raw],
                        _numbers(dataset.get("ImagePositionPatient")),
                        pixels_at,
                        pixel_bytes,
                    ),
                )

    def sources(self, uid: str) -> Iterator[ScanSource | Rejected]:
        """Yield what the files are: one source of all slices and one of each file with frames, or why there is none."""
        if not self.slices and not self.frames:
            yield Rejected(self.folder, f"no CT: {', '.join(self.kinds)}", expected=True)
        yield from self.frames.values()
        if not self.slices:
            return
        files = [piece.path for piece in self.slices.values()]
        if len(self.patients) > 1:
            yield Rejected(files[0].parent, f"one series of several patients: {', '.join(sorted(self.patients))}")
        elif len(files) < MIN_SLICES:
            yield Rejected(files[0].parent, f"{len(files)} slices are no chest or bag (at least {MIN_SLICES})")
        else:
            patient = next(iter(self.patients)) or uid
            reader = partial(_read, tuple(self.slices.values()))
            yield ScanSource(patient, uid, len(files), "dicom", files[0].parent, tuple(files), reader)


def _raw_value(dataset: Any, tag: int) -> bytes | str:
    value = dataset.get_item(tag).value if tag in dataset else b""
    return value if isinstance(value, bytes) else repr(value)


def _read_header(dataset: Any, syntax: str) -> _Header:
    padding = dataset.get("PixelPaddingValue")
    return _Header(
        rows=dataset.get("Rows"),
        columns=dataset.get("Columns"),
        spacing=_numbers(dataset.get("PixelSpacing")),
        orientation=_numbers(dataset.get("ImageOrientationPatient")),
        slope=float(dataset.get("RescaleSlope") or 1),
        intercept=float(dataset.get("RescaleIntercept") or 0),
        padding=float(padding) if isinstance(padding, int | float) else None,
        signed=bool(dataset.get("PixelRepresentation")),
        bits=(int(dataset.get("BitsAllocated") or 16), int(dataset.get("BitsStored") or 16)),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        syntax=syntax,
        lossy=str(dataset.get("LossyImageCompression", "")),
    )


def _read(slices: tuple[_Slice, ...], source: ScanSource) -> Stored:
    """Return the slices of a series in order, in HU. Raises ScanError with the reason when it cannot be used."""
    _check_alike(slices)
    first = slices[0].header
    rows, columns = int(first.rows or 0), int(first.columns or 0)
    check_syntax(slices[0].path, first.syntax, first.lossy)
    stored_bytes = sum(piece.path.stat().st_size for piece in slices)
    check_size((len(slices), rows, columns), first.bits[0] // 8, stored_bytes, compressed=first.syntax not in NATIVE)
    positions = np.array([piece.position for piece in slices])
    order, affine = order_slices(positions, np.array(first.orientation), (first.spacing[0], first.spacing[1]))
    whole = all(_is_whole(piece.header) for piece in slices)
    volume = np.empty((len(slices), rows, columns), np.int16 if whole else np.float32)
    for plane, index in zip(volume, order, strict=True):
        _put_hounsfield(plane, slices[index])
    return Stored(volume.transpose(2, 1, 0), affine, "hu")


def _check_alike(slices: tuple[_Slice, ...]) -> None:
    first = slices[0].header
    for piece in slices:
        header = piece.header
        for tag, value, size in (
            ("ImagePositionPatient", piece.position, 3),
            ("ImageOrientationPatient", header.orientation, 6),
            ("PixelSpacing", header.spacing, 2),
        ):
            if len(value) != size or not np.isfinite(value).all():
                raise ScanError(f"{piece.path.name} has no {tag}; copy the series again or leave it out")
        if not header.rows or not header.columns or header.samples != 1:
            raise ScanError(f"{piece.path.name} holds no grey picture; leave it out of the series")
        for tag, own, other, tolerance in (
            ("Rows", header.rows, first.rows, 0),
            ("Columns", header.columns, first.columns, 0),
            ("PixelSpacing", header.spacing, first.spacing, 1e-4),
            ("ImageOrientationPatient", header.orientation, first.orientation, 1e-3),
            ("PixelRepresentation", header.signed, first.signed, 0),
        ):
            if header is not first and not np.allclose(own, other, rtol=0, atol=tolerance):  # type: ignore[arg-type]
                raise ScanError(f"{tag} changes within the series, at {piece.path.name}; keep one acquisition a series")
        if header is not first:
            check_syntax(piece.path, header.syntax, header.lossy)


def _put_hounsfield(plane: np.ndarray, piece: _Slice) -> None:
    """Fill a `plane` (row, column), int16 or float32, with a slice in HU."""
    header, limits = piece.header, np.iinfo(np.int16)
    stored = _read_pixels(piece)
    if plane.dtype != np.int16:
        plane[:] = stored * np.float32(header.slope) + np.float32(header.intercept)
    elif limits.min <= stored.min() + header.intercept and stored.max() + header.intercept <= limits.max:
        np.add(stored, int(header.intercept), out=plane, dtype=np.int16, casting="unsafe")
    else:
        plane[:] = np.clip(stored.astype(np.int64) + int(header.intercept), limits.min, limits.max)
    padding = _padding(header)
    if padding is not None:
        plane[stored == padding] = AIR_HU


def _is_whole(header: _Header) -> bool:
    return header.slope == 1 and header.intercept % 1 == 0


def _padding(header: _Header) -> float | None:
    """Return PixelPaddingValue as stored; None when there is none or clipping turns it into air anyway."""
    if header.padding is None:
        return None
    wraps = header.signed and header.padding >= 2 ** (header.bits[0] - 1)  # a signed value under the unsigned VR
    value = header.padding - 2 ** header.bits[0] if wraps else header.padding
    return value if value * header.slope + header.intercept > -1024 else None


def _read_pixels(piece: _Slice) -> np.ndarray:
    """Return the stored values (row, column) of a slice. Uncompressed ones are read in place, without the decoder."""
    header = piece.header
    rows, columns = int(header.rows or 0), int(header.columns or 0)
    allocated, used = header.bits
    try:
        if header.syntax in NATIVE and allocated == 16 and piece.pixels_at and piece.pixel_bytes >= 2 * rows * columns:
            kind = "<i2" if header.signed else "<u2"
            stored = np.fromfile(piece.path, kind, rows * columns, offset=piece.pixels_at).reshape(rows, columns)
        else:
            stored = decode_pixels(piece.path)
            if stored.shape != (rows, columns):
                raise ValueError(f"they are {stored.shape}")
    except decoding_errors() as error:
        reason = f"the pixels of {piece.path.name} cannot be decoded ({first_line(error)}); copy the file again"
        raise ScanError(reason) from error
    if used < allocated and allocated == 16:  # what lies above the used bits may be an overlay
        stored = (stored << (16 - used)) >> (16 - used)
    return stored


def _numbers(value: Any) -> tuple[float, ...]:
    return () if value is None or isinstance(value, str | bytes) else tuple(float(number) for number in value)


def _read_tags(path: Path) -> tuple[Any, int, int]:
    """Return FINDING_TAGS of a file, the byte where its pixels begin, and the number of their bytes, 0 for none."""
    reading = library("pydicom").filereader
    with path.open("rb") as file:
        dataset = reading.dcmread(file, stop_before_pixels=True, specific_tags=FINDING_TAGS)
        implicit, little = dataset.original_encoding
        pixels = next(reading.data_element_generator(file, implicit, little, defer_size=1), None)
    if pixels is None or pixels.tag != PIXEL_DATA:
        return dataset, 0, 0
    return dataset, pixels.value_tell, pixels.length


def _has_marker(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
