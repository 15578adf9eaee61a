"""Which patient or bag a file is of, by its name and those of its folders."""

import re
from pathlib import Path

LIDC_PATIENT = re.compile(r"LIDC-IDRI-\d{4}")
CHEST_FOLDER = re.compile(r"(\d{4})_chest")  # CodeDiff3D names a folder by the number of the LIDC-IDRI patient
RESOLUTION = re.compile(r"[_-]\d+(?:[.p]\d+)?mm(?:[_-]?iso)?$", re.IGNORECASE)
SUFFIX = re.compile(r"\.(nii\.gz|[^.]*)$", re.IGNORECASE)
WITHOUT_NAME = {"ct", "image", "img", "scan", "volume"}  # such a file is named by its folder


def name_of(path: Path) -> str:
    """Return the file name without its ending; of a file just called ct or image, the folder's name and that."""
    stem = SUFFIX.sub("", path.name) or path.name
    return f"{path.resolve().parent.name}_{stem}" if stem.lower() in WITHOUT_NAME else stem


def patient_of(stem: str) -> str:
    """Return the patient a name speaks of: LIDC-IDRI-nnnn where it holds that or is nnnn_chest, else all but a size."""
    if lidc := LIDC_PATIENT.search(stem):
        return lidc.group()
    if chest := CHEST_FOLDER.fullmatch(stem):
        return f"LIDC-IDRI-{chest.group(1)}"
    return RESOLUTION.sub("", stem) or stem
