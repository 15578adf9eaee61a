"""The pixels of one file of DICOM or DICOS, decoded by pydicom and its plug-ins, and what is refused."""

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .scan import ScanError, library

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")  # implicit and explicit little endian
UNPACKED = (*NATIVE, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")  # deflated as a whole, and big endian
ALWAYS_LOSSY = (
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81",  # JPEG, JPEG, near-lossless JPEG-LS
)  # fmt: skip
PERHAPS_LOSSY = (
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.112", "1.2.840.10008.1.2.4.203",  # JPEG 2000, JPEG XL, HTJ2K
)  # fmt: skip


@dataclass(frozen=True)
class Words:
    """How pixels are stored: what the words of a file mean."""

    signed: bool
    allocated: int  # bits of a word
    used: int  # bits of a value
    high: int  # the highest of them
    padding: tuple[float, float] | None  # PixelPaddingValue and PixelPaddingRangeLimit, as they are written

    def read(self, words: np.ndarray, *, shifted: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the values of words, and where they are padding, None for nowhere.

        What lies above the used bits may be an overlay, or the rest of a padding that the used bits cannot hold: it is
        compared with the whole word, then with the value. `shifted` says that values stand where `high` puts them, as
        they do in uncompressed files.
        """
        values = words
        if self.used < self.allocated == 16:
            below = 15 - self.high if shifted else self.allocated - self.used
            values = (words << below) >> (self.allocated - self.used)
        if self.padding is None:
            return values, None
        span = 2**self.allocated
        low, high = sorted(self._wrapped(bound, span) for bound in self.padding)
        outside = (words >= low) & (words <= high)
        least, most = (-(2 ** (self.used - 1)), 2 ** (self.used - 1)) if self.signed else (0, 2**self.used)
        if values is not words and least <= low and high < most:
            outside |= (values >= low) & (values <= high)
        return values, outside if outside.any() else None

    def _wrapped(self, bound: float, span: int) -> float:
        """Return a bound as words hold it: it may be written under the other sign."""
        if self.signed and bound >= span // 2:
            return bound - span
        return bound + span if not self.signed and bound < 0 else bound


def words_of(dataset: Any) -> Words:
    """Return how a data set with the tags of the image pixel module stores its pixels."""
    allocated, used = int(dataset.get("BitsAllocated") or 16), int(dataset.get("BitsStored") or 16)
    bounds = [dataset.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    numbers = [float(bound) for bound in bounds if isinstance(bound, int | float)]
    padding = (numbers[0], numbers[-1]) if isinstance(bounds[0], int | float) else None
    high = dataset.get("HighBit")
    high = int(high) if isinstance(high, int) and used - 1 <= high < allocated else used - 1
    return Words(bool(dataset.get("PixelRepresentation")), allocated, used, high, padding)


def read_dataset(path: Path) -> Any:
    """Return the whole data set of a file, whether a preamble and file meta information open it or not."""
    dataset = library("pydicom").dcmread(path, force=True)
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = library("pydicom").dataset.FileMetaDataset()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = syntax_of(dataset)
    return dataset


def syntax_of(dataset: Any) -> str:
    """Return the transfer syntax of a data set: the stated one, or that of how it was parsed where none is."""
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and meta.get("TransferSyntaxUID"):
        return str(meta.TransferSyntaxUID)
    implicit, little = dataset.original_encoding
    if not little:
        return "1.2.840.10008.1.2.2"
    return NATIVE[0] if implicit else NATIVE[1]


def decode_pixels(dataset: Any) -> np.ndarray:
    """Return the words of a whole data set: (row, column), or (frame, row, column). Raises `decoding_errors()`.

    Uncompressed ones are whole; a decoder cuts off what lies above the used bits.
    """
    if syntax_of(dataset) in UNPACKED and dataset.BitsAllocated == 16:
        order = "<" if dataset.original_encoding[1] else ">"
        frames, rows, columns = (int(dataset.get(name) or 1) for name in ("NumberOfFrames", "Rows", "Columns"))
        shape = (rows, columns) if frames == 1 else (frames, rows, columns)
        kind = f"{order}{'i' if dataset.PixelRepresentation else 'u'}2"
        words = np.frombuffer(dataset.PixelData, kind, int(np.prod(shape))).reshape(shape)
        return words.astype(words.dtype.newbyteorder("="), copy=False)
    with warnings.catch_warnings(action="ignore"):
        return library("pydicom").pixels.pixel_array(dataset)


def check_syntax(path: Path, syntax: str, lossy: str) -> None:
    """Raise ScanError when the compression of a file changed its pixels (`lossy` as DICOM says it), or is unknown."""
    if syntax in ALWAYS_LOSSY or lossy == "01" or (syntax in PERHAPS_LOSSY and lossy != "00"):
        raise ScanError(f"{path.name} is stored with lossy compression; take the original, lossless series")
    try:
        with warnings.catch_warnings(action="ignore"):
            known = library("pydicom").pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        raise ScanError(f"{path.name} has the transfer syntax {syntax or 'none'}, which nothing decodes; convert it")


def decoding_errors() -> tuple[type[Exception], ...]:
    """Return what pydicom raises for damaged files."""
    errors = library("pydicom").errors
    own = (errors.InvalidDicomError, errors.BytesLengthException, struct.error)
    return (OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, *own)
