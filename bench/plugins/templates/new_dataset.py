"""A dataset of your own: constants, a phantom in place of scans, and who trains and who tests. Make it yours from here.

Scans come in with `bench data prepare new_dataset` once the dataset is installed as an entry point of the group
`bench.datasets`; until then, and without scans, runs use the phantom.
"""

from hashlib import sha256

import numpy as np

from bench.dataset import DataConfig, DatasetSpec, Geometry


def phantom(seed: int, grid: int) -> np.ndarray:
    """(D, H, W) int16 HU: water with a few denser and lighter ellipsoids; a function of the seed alone."""
    random = np.random.default_rng(seed)
    axis = (np.arange(grid) + 0.5) / grid * 2 - 1  # centres of voxels in [-1, 1]
    d, h, w = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.full((grid,) * 3, -1000.0)
    body = random.uniform(0.6, 0.9, 3)
    volume[(d / body[0]) ** 2 + (h / body[1]) ** 2 + (w / body[2]) ** 2 < 1] = 0.0
    for hounsfield in (-800.0, -800.0, 300.0, 700.0):
        centre, radii = random.uniform(-0.4, 0.4, 3), random.uniform(0.1, 0.3, 3)
        inside = sum(((a - c) / r) ** 2 for a, c, r in zip((d, h, w), centre, radii, strict=True)) < 1
        volume[inside] = hounsfield
    return volume.astype(np.int16)


def assign_splits(records):
    """Prepared scans to splits, by patient: of ten hashed patients eight train, one validates, one tests."""
    tenth = {r.case: int(sha256(r.patient.encode()).hexdigest(), 16) % 10 for r in records}
    return {case: {8: "validation", 9: "test"}.get(n, "train") for case, n in tenth.items()}


DATASET = DatasetSpec(
    name="new_dataset",
    title="NewDataset",
    window=(-1000.0, 1000.0),  # HU mapped to [0, 1]
    cube_mm=320.0,
    full_grid=128,  # voxels a side of what is prepared
    geometry=Geometry(source_axis_mm=541.0, source_panel_mm=949.0, panel_mm=500.0),
    presets={
        "smoke": DataConfig(size=16, image_size=32, phantoms=(16, 4, 8)),
        "tiny": DataConfig(size=24, image_size=48, phantoms=(240, 24, 48)),
    },
    phantom=phantom,
    phantom_version=1,  # raise it whenever `phantom` draws something else
    assign_splits=assign_splits,
    subject="patient",  # or "bag": what HU mean, and which masks are looked for
    citation="none yet",
)
