"""A dataset of your own: constants, a phantom in place of scans, and who trains and who tests. Make it yours from here.

Scans come in with `bench data prepare ./new_dataset.py --from DIR`; without them runs use the phantom. Installed as an
entry point of the group `bench.datasets` it is called new_dataset, without a path.
"""

from hashlib import sha256

import numpy as np

from bench.dataset import DataConfig, DatasetSpec, Geometry, Subject

CUBE_MM = 320.0  # side of the cube that is kept of a scan
FULL_GRID = 128  # voxels a side of what is prepared
WINDOW = (-1000.0, 1000.0)  # HU mapped to [0, 1]
SUBJECT: Subject = "patient"  # patient or bag: what HU mean, and which masks are looked for


def phantom(seed: int, grid: int) -> np.ndarray:
    """(D, H, W) int16 HU: water with a few denser and lighter ellipsoids; a function of the seed alone.

    It resembles no anatomy: it stands in where there are no scans, and what is measured on it says nothing of them.
    """
    low, high = WINDOW
    random = np.random.default_rng(seed)
    axis = (np.arange(grid) + 0.5) / grid * 2 - 1  # centres of voxels in [-1, 1]
    d, h, w = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.full((grid,) * 3, low)
    body = random.uniform(0.6, 0.9, 3)
    volume[(d / body[0]) ** 2 + (h / body[1]) ** 2 + (w / body[2]) ** 2 < 1] = 0.0
    for hounsfield in (0.8 * low, 0.8 * low, 0.3 * high, 0.7 * high):
        centre, radii = random.uniform(-0.4, 0.4, 3), random.uniform(0.1, 0.3, 3)
        inside = sum(((a - c) / r) ** 2 for a, c, r in zip((d, h, w), centre, radii, strict=True)) < 1
        volume[inside] = hounsfield
    return volume.astype(np.int16)


def assign_splits(records):
    """Prepared scans to splits, by patient in the order of a hash: a fifth tests, a tenth validates, the rest trains.

    New patients shift the others: prepare all before you compare, or bring a list with `--split-file`.
    """
    patients = sorted({r.patient for r in records}, key=lambda name: sha256(name.encode()).hexdigest())
    tests = max(1, len(patients) // 5)
    held_out = tests + max(len(patients) > 2, len(patients) // 10)
    splits = {p: "test" if i < tests else "validation" if i < held_out else "train" for i, p in enumerate(patients)}
    return {r.case: splits[r.patient] for r in records}


DATASET = DatasetSpec(
    name="new_dataset",
    title="NewDataset",
    window=WINDOW,
    cube_mm=CUBE_MM,
    full_grid=FULL_GRID,
    # The panel holds the shadow of the whole cube: that of its nearest face is 4.5 / (3 - 0.5) = 1.8 times as large.
    # What is drawn as white is not set here: each preset takes the 99.9th percentile of its training views.
    geometry=Geometry(source_axis_mm=3 * CUBE_MM, source_panel_mm=4.5 * CUBE_MM, panel_mm=1.9 * CUBE_MM),
    presets={
        "smoke": DataConfig(size=16, image_size=32, phantoms=(16, 4, 8)),
        "tiny": DataConfig(size=24, image_size=48, phantoms=(240, 24, 48)),
        "small": DataConfig(size=64, image_size=128, phantoms=(800, 32, 32)),
    },
    phantom=phantom,
    phantom_version=1,  # raise it whenever `phantom` draws something else
    assign_splits=assign_splits,
    subject=SUBJECT,
    citation="none yet",
)
