"""Every CT in a folder, whatever its format. A new format is a new module with `find` and `read`, named here."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.errors import UsageError

from . import dicom, hdf5, itk, nifti, npz, tiff
from .scan import Rejected, ScanSource, printable
from .side_file import find_side_file

READERS = (nifti, dicom, itk, hdf5, npz, tiff)
FORMATS = "NIfTI, DICOM, DICOS, MetaImage, NRRD, X2CT-GAN .h5, .npz or TIFF"


def find_scans(folder: Path) -> Iterator[ScanSource | Rejected]:
    """Yield the CTs in a folder and all below it (or of one file), and what had to be rejected at first sight.

    Formats are recognised by suffix or content; side files are taken along. Raises UsageError when `folder` does not
    exist or cannot be read.
    """
    if not folder.exists():
        raise UsageError(f"{folder} does not exist; name the folder that holds the scans")
    paths = [folder] if folder.is_file() else _files_below(folder)
    for reader in READERS:
        for found in reader.find(paths):
            if isinstance(found, ScanSource):
                found = replace(found, patient=printable(found.patient), series=printable(found.series))
                yield _add_side_file(found, folder)
            else:
                yield found


def _add_side_file(source: ScanSource, root: Path) -> ScanSource | Rejected:
    try:
        return replace(source, side_file=find_side_file(source.path, source.series, root))
    except ValueError as error:
        return Rejected(source.path, str(error))


def _files_below(folder: Path) -> list[Path]:
    """Return all files below `folder` in the order of their names; links are followed, hidden files left out."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}; change its permissions") from error

    paths, visited = [], set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if real not in visited else []
        if real not in visited:
            paths += [Path(parent, name) for name in files if not name.startswith(".")]
        visited.add(real)
    return sorted(path for path in paths if path.is_file())
