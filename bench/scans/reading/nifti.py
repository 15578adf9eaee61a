"""NIfTI-1 and NIfTI-2 files (.nii, .nii.gz) in HU, with nibabel."""

import gzip
import math
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from .names import name_of, patient_of
from .scan import Rejected, ScanError, ScanSource, Stored, check_size, first_line, inspect_each

SUFFIXES = (".nii", ".nii.gz")
DAMAGE = (OSError, EOFError, ValueError, KeyError, OverflowError, zlib.error, ImageFileError, HeaderDataError)
HEADER_BYTES = 544
MAX_TRAILER = 2**20  # bytes before or after the voxels
MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}


def find(paths: Iterable[Path]) -> Iterator[ScanSource | Rejected]:
    """Yield every NIfTI file among `paths`; of each only the header is looked at."""
    return inspect_each(paths, SUFFIXES, _inspect)


def _inspect(path: Path) -> ScanSource | Rejected:
    try:
        header: Any = nibabel.load(path)
        if header.get_data_dtype().itemsize == 1 and (header.dataobj.slope, header.dataobj.inter) == (1, 0):
            return Rejected(path, "no CT: labels or a picture", expected=True)
        vertical = int(np.abs(header.affine[2, :3]).argmax())
        slices = header.shape[vertical] if len(header.shape) > vertical else 0
    except DAMAGE as error:
        raise _damage(error) from error
    stem = name_of(path)
    return ScanSource(patient_of(stem), stem, int(slices), "nifti", path, (path,), _read)


def _read(source: ScanSource) -> Stored:
    """Return the voxels of a NIfTI file with their affine, in HU. Raises ScanError when the file cannot be used."""
    try:
        content = _content(source.path)
        image = _image_class(content).from_bytes(content)
        if image.get_data_dtype().kind not in "iuf":
            raise ScanError(f"its voxels are {image.get_data_dtype()}, not numbers")
        shape = image.shape
        if len(shape) < 3 or any(size != 1 for size in shape[3:]):
            raise ScanError(f"it is {len(shape)}-D ({' × '.join(map(str, shape))}); save one 3-D volume a file")
        voxels = np.asarray(image.dataobj).reshape(shape[:3])
        millimetres = MILLIMETRES[image.header.get_xyzt_units()[0]]
        mirrored = _is_mirrored(image.header)
    except DAMAGE as error:
        raise _damage(error) from error
    if not (image.header["sform_code"] or image.header["qform_code"] or source.side_file.axes):
        raise ScanError("its header states no orientation (sform and qform codes are 0); set one")
    if not source.side_file.axes and mirrored:
        raise ScanError(
            "its qform and sform are mirrored against each other, so left and right are unknown; set the code of the "
            "wrong one to 0, or state axes in a side file"
        )
    return Stored(voxels, np.diag([millimetres] * 3 + [1.0]) @ image.affine, "hu")


def _is_mirrored(header: Any) -> bool:
    """Return whether both matrices of a header count and one is the mirror image of the other."""
    if not (header["qform_code"] > 0 and header["sform_code"] > 0):
        return False
    first, second = (np.linalg.det(matrix[:3, :3]) for matrix in (header.get_qform(), header.get_sform()))
    return bool(first * second < 0)


def _content(path: Path) -> bytes:
    """Return the whole file, unpacked to the end so that its checksum is verified, once its header may be true."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        header_class = _image_class(header).header_class
        if len(header) < header_class.sizeof_hdr:
            raise EOFError("it ends within its header")
        stated = header_class(header[: header_class.sizeof_hdr], check=False)
        shape, item, start = stated.get_data_shape(), stated.get_data_dtype().itemsize, float(stated["vox_offset"])
        check_size(shape, item, path.stat().st_size, compressed=packed)
        if not 0 <= start <= MAX_TRAILER:
            raise ScanError(f"its header puts the voxels at byte {start:g}; correct the header")
        expected = int(start) + math.prod(shape) * item
        content = header + file.read(max(0, expected - len(header)))
        if len(file.read(MAX_TRAILER + 1)) > MAX_TRAILER:
            raise ScanError("it holds far more than its header declares; correct the header")
    return content


def _image_class(content: bytes) -> type[nibabel.Nifti1Image]:
    nifti2 = 540 in (int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big"))
    return nibabel.Nifti2Image if nifti2 else nibabel.Nifti1Image


def _damage(error: Exception) -> ScanError:
    return ScanError(f"the file is damaged or no NIfTI ({first_line(error)}); copy it again")
