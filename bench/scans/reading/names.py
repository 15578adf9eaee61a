"""Which patient or bag a file is of, by its name and those of its folders."""

import re
from pathlib import Path

LIDC_PATIENT = re.compile(r"LIDC-IDRI-\d{4}")
CHEST_FOLDER = re.compile(r"(\d{4})_chest")  # CodeDiff3D names a folder by the number of the LIDC-IDRI patient
RESOLUTION = re.compile(r"[_-]\d+(?:[.p]\d+)?mm(?:[_-]?iso)?$", re.IGNORECASE)
SUFFIX = re.compile(r"\.(nii\.gz|[^.]*)$", re.IGNORECASE)
WITHOUT_NAME = {"ct", "image", "img", "scan", "volume"}  # such a file is named by its folder


def name_of(path: Path) -> str:
    """The file name without its ending; a file that is just called ct or image has its folder's name before it."""
    stem = SUFFIX.sub("", path.name) or path.name
    return f"{path.resolve().parent.name}_{stem}" if stem.lower() in WITHOUT_NAME else stem


def patient_of(stem: str) -> str:
    """The patient a name speaks of: LIDC-IDRI-nnnn where it holds one or is nnnn_chest, else all but a resolution."""
    if lidc := LIDC_PATIENT.search(stem):
        return lidc.group()
    if chest := CHEST_FOLDER.fullmatch(stem):
        return f"LIDC-IDRI-{chest.group(1)}"
    return RESOLUTION.sub("", stem) or stem
