"""A CT series in DICOM files with one slice each, read with pydicom once it is known which slices belong together."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .pixels import NATIVE, UNPACKED, Words, check_syntax, decode_pixels, decoding_errors, read_dataset, words_of
from .scan import AIR_HU, ScanError, ScanSource, Stored, check_size, first_line
from .stacking import order_slices

LOWEST_HU = -1024  # lower padding is clipped to it, which is air too


@dataclass(frozen=True)
class Header:
    """All that the slices of a series have in common, as a rule."""

    rows: int | None
    columns: int | None
    spacing: tuple[float, ...]
    orientation: tuple[float, ...]
    slope: float
    intercept: float
    words: Words
    syntax: str
    lossy: str  # LossyImageCompression


@dataclass(frozen=True)
class Slice:
    """One file of a series."""

    path: Path
    header: Header
    position: tuple[float, ...]
    acquisition: str  # AcquisitionNumber, as it is written
    number: int  # InstanceNumber
    times: tuple[str, ...]  # what may tell acquisitions apart where no AcquisitionNumber does
    pixels_at: int  # where in the file they begin; 0 when unknown
    pixel_bytes: int


def read_header(dataset: Any, syntax: str) -> Header:
    """Return the header of a slice, of which `dataset` holds the tags."""
    return Header(
        rows=dataset.get("Rows"),
        columns=dataset.get("Columns"),
        spacing=numbers(dataset.get("PixelSpacing")),
        orientation=numbers(dataset.get("ImageOrientationPatient")),
        slope=float(dataset.get("RescaleSlope") or 1),
        intercept=float(dataset.get("RescaleIntercept") or 0),
        words=words_of(dataset),
        syntax=syntax,
        lossy=str(dataset.get("LossyImageCompression", "")),
    )


def read(slices: tuple[Slice, ...], source: ScanSource) -> Stored:
    """Return the slices of a series in order, in HU. Raises ScanError with the reason when it cannot be used."""
    _check_alike(slices)
    first = slices[0].header
    rows, columns = int(first.rows or 0), int(first.columns or 0)
    check_syntax(slices[0].path, first.syntax, first.lossy)
    stored_bytes = sum(piece.path.stat().st_size for piece in slices)
    shape = (len(slices), rows, columns)
    check_size(shape, first.words.allocated // 8, stored_bytes, compressed=first.syntax not in NATIVE)
    positions = np.array([piece.position for piece in slices])
    order, affine = order_slices(positions, np.array(first.orientation), (first.spacing[0], first.spacing[1]))
    whole = all(piece.header.slope == 1 and piece.header.intercept % 1 == 0 for piece in slices)
    volume = np.empty(shape, np.int16 if whole else np.float32)
    for plane, index in zip(volume, order, strict=True):
        _put_hounsfield(plane, slices[index])
    return Stored(volume.transpose(2, 1, 0), affine, "hu")


def _check_alike(slices: tuple[Slice, ...]) -> None:
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
        if not header.rows or not header.columns:
            raise ScanError(f"{piece.path.name} holds no picture; leave it out of the series")
        for tag, own, other, tolerance in (
            ("Rows", header.rows, first.rows, 0),
            ("Columns", header.columns, first.columns, 0),
            ("PixelSpacing", header.spacing, first.spacing, 1e-4),
            ("ImageOrientationPatient", header.orientation, first.orientation, 1e-3),
            ("PixelRepresentation", header.words.signed, first.words.signed, 0),
        ):
            if header is not first and not np.allclose(own, other, rtol=0, atol=tolerance):  # type: ignore[arg-type]
                raise ScanError(f"{tag} changes within the series, at {piece.path.name}; keep one acquisition a series")
        if header is not first:
            check_syntax(piece.path, header.syntax, header.lossy)


def _put_hounsfield(plane: np.ndarray, piece: Slice) -> None:
    """Fill a `plane` (row, column), int16 or float32, with a slice in HU."""
    header, limits = piece.header, np.iinfo(np.int16)
    stored, outside = _read_pixels(piece)
    if plane.dtype != np.int16:
        plane[:] = stored * np.float32(header.slope) + np.float32(header.intercept)
    elif limits.min <= stored.min() + header.intercept and stored.max() + header.intercept <= limits.max:
        np.add(stored, int(header.intercept), out=plane, dtype=np.int16, casting="unsafe")
    else:
        plane[:] = np.clip(stored.astype(np.int64) + int(header.intercept), limits.min, limits.max)
    if outside is not None:
        plane[outside & (plane > LOWEST_HU)] = AIR_HU


def _read_pixels(piece: Slice) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the stored values (row, column) of a slice and where they are padding.

    Uncompressed ones are read in place, without the decoder.
    """
    header, words = piece.header, piece.header.words
    rows, columns = int(header.rows or 0), int(header.columns or 0)
    in_place = header.syntax in NATIVE and words.allocated == 16
    try:
        if in_place and piece.pixels_at and piece.pixel_bytes >= 2 * rows * columns:
            kind = "<i2" if words.signed else "<u2"
            stored = np.fromfile(piece.path, kind, rows * columns, offset=piece.pixels_at).reshape(rows, columns)
        else:
            with warnings.catch_warnings(action="ignore"):
                stored = decode_pixels(read_dataset(piece.path))
            if stored.shape != (rows, columns):
                raise ValueError(f"they are {stored.shape}")
    except decoding_errors() as error:
        reason = f"the pixels of {piece.path.name} cannot be decoded ({first_line(error)}); copy the file again"
        raise ScanError(reason) from error
    return words.read(stored, shifted=header.syntax in UNPACKED)


def numbers(value: Any) -> tuple[float, ...]:
    """Return the numbers of a tag with several; none where it holds something else."""
    return () if value is None or isinstance(value, str | bytes) else tuple(float(number) for number in value)
