"""Baggage: CTs of bags in an aviation scanner, and a procedural bag in their place, as no such collection is public."""

from bench.dataset import DataConfig, DatasetSpec, Geometry

from ..splitting import assign_splits
from .materials import NAMES
from .phantom import CLOTHES, CUBE_MM, bag_factors, bag_labels, bag_phantom

DATASET = DatasetSpec(
    name="baggage",
    title="Baggage CT",
    window=(-1000.0, 3095.0),
    cube_mm=CUBE_MM,
    full_grid=256,
    geometry=Geometry(source_axis_mm=1500.0, source_panel_mm=2250.0, panel_mm=1300.0),
    presets={
        "smoke": DataConfig(size=16, image_size=32, phantoms=(16, 4, 8)),
        "tiny": DataConfig(size=24, image_size=48, phantoms=(240, 24, 48)),
        "small": DataConfig(size=64, image_size=128, phantoms=(800, 32, 32)),
        # the published 1,913 training bags, of which a tenth validates, and 213 test bags
        "paper": DataConfig(size=256, image_size=256, phantoms=(1722, 191, 213)),
    },
    phantom=bag_phantom,
    phantom_version=2,
    factors=bag_factors,
    labels=bag_labels,
    label_names={"things": {CLOTHES: "clothes"}, "materials": NAMES},  # things are numbered anew in each bag
    assign_splits=assign_splits,
    subject="bag",
    citation=(
        "The bags of the published experiments (Durham University) are not released. The phantom follows Manerikar A, "
        "Li F, Kak AC (2021) DEBISim: A simulation pipeline for dual energy CT-based baggage inspection systems. "
        "J X-Ray Sci Technol 29(2). https://doi.org/10.3233/XST-200808"
    ),
)
