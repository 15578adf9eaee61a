"""LIDC-IDRI: chest CTs of 1,010 patients (The Cancer Imaging Archive), and a procedural chest in its place."""

from bench.dataset import DataConfig, DatasetSpec, Geometry

from .check import doubts, remarks
from .organs import NAMES
from .phantom import CUBE_MM, chest_factors, chest_labels, chest_phantom
from .series import SAMPLE, all_series
from .splits import assign_splits

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
    label_names={"organs": NAMES},
    assign_splits=assign_splits,
    series=all_series,
    sample=SAMPLE,
    doubts=doubts,
    remarks=remarks,
    citation=(
        "Armato III SG et al. (2015) Data From LIDC-IDRI. The Cancer Imaging Archive. "
        "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX (CC BY 3.0); "
        "Clark K et al. (2013) The Cancer Imaging Archive. J Digit Imaging 26(6):1045-1057. "
        "https://doi.org/10.1007/s10278-013-9622-7"
    ),
)
