"""NIfTI-1 and NIfTI-2 files (.nii, .nii.gz) in HU, with nibabel."""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from .scan import Rejected, Scan, ScanError, ScanSource, oriented

SUFFIXES = (".nii", ".nii.gz")
DAMAGE = (OSError, EOFError, ValueError, KeyError, OverflowError, zlib.error, ImageFileError, HeaderDataError)
MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
LIDC_PATIENT = re.compile(r"LIDC-IDRI-\d{4}")
RESOLUTION = re.compile(r"[_-]\d+(?:[.p]\d+)?mm(?:[_-]?iso)?$", re.IGNORECASE)
WITHOUT_NAME = {"ct", "image", "img", "scan", "volume"}  # such a file is named by its folder


def find(paths: Iterable[Path]) -> Iterator[ScanSource | Rejected]:
    """Every NIfTI file among `paths`; of each only the header is looked at."""
    for path in paths:
        if not path.name.lower().endswith(SUFFIXES):
            continue
        try:
            header = nibabel.load(path)
            vertical = int(np.abs(header.affine[2, :3]).argmax())
            slices = header.shape[vertical] if len(header.shape) > vertical else 0
        except DAMAGE as error:
            yield Rejected(path, _damaged(path, error))
            continue
        stem = name_of(path)
        yield ScanSource(patient_of(stem), stem, int(slices), "nifti", path, (path,), read)


def name_of(path: Path) -> str:
    """The file name without .nii or .nii.gz; a file that is just called ct or image has its folder's name before it."""
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    return f"{path.resolve().parent.name}_{stem}" if stem.lower() in WITHOUT_NAME else stem


def patient_of(stem: str) -> str:
    """The patient a file name speaks of: LIDC-IDRI-nnnn where it holds one, else all but a trailing resolution."""
    lidc = LIDC_PATIENT.search(stem)
    return lidc.group() if lidc else RESOLUTION.sub("", stem) or stem


def read(source: ScanSource) -> Scan:
    """The scan of a NIfTI file, in HU. Raises ScanError with the reason when the file cannot be used."""
    try:
        content = source.path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)  # to the end, so that its checksum is verified
        nifti2 = 540 in (int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big"))
        image = (nibabel.Nifti2Image if nifti2 else nibabel.Nifti1Image).from_bytes(content)
        if image.get_data_dtype().kind not in "iuf":
            raise ScanError(f"its voxels are {image.get_data_dtype()}, not numbers")
        shape = image.shape
        if len(shape) < 3 or any(size != 1 for size in shape[3:]):
            raise ScanError(f"it is {len(shape)}-D ({' × '.join(map(str, shape))}); save one 3-D volume a file")
        voxels = np.asarray(image.dataobj).reshape(shape[:3])
        millimetres = MILLIMETRES[image.header.get_xyzt_units()[0]]
    except DAMAGE as error:
        raise ScanError(_damaged(source.path, error)) from error
    if not (image.header["sform_code"] or image.header["qform_code"]):
        raise ScanError("its header states no orientation (sform and qform codes are 0); set one")
    return oriented(voxels, np.diag([millimetres] * 3 + [1.0]) @ image.affine)


def _damaged(path: Path, error: Exception) -> str:
    if not path.stat().st_size:
        return "the file is empty; copy it again"
    return f"the file is damaged or no NIfTI ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
