"""The pixels of one file of DICOM or DICOS, decoded by pydicom and its plug-ins, and what is refused."""

import struct
import warnings
from pathlib import Path

import numpy as np

from .scan import ScanError, library

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")  # implicit and explicit little endian
ALWAYS_LOSSY = (
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81",  # JPEG, JPEG, near-lossless JPEG-LS
)  # fmt: skip
PERHAPS_LOSSY = (
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.112", "1.2.840.10008.1.2.4.203",  # JPEG 2000, JPEG XL, HTJ2K
)  # fmt: skip


def decode_pixels(path: Path) -> np.ndarray:
    """Return the stored values of a file: (row, column), or (frame, row, column). Raises one of `decoding_errors()`."""
    with warnings.catch_warnings(action="ignore"):
        return library("pydicom").pixels.pixel_array(path)


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
