"""Small synthetic data sets that need no files, for tests of what is measured rather than of any data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from bench.cases import Cases
from bench.dataset import DatasetCard, Geometry, centred_affine
from bench.runs.predictions import write_prediction

GEOMETRY = Geometry(source_axis_mm=541.0, source_panel_mm=949.0, panel_mm=500.0, grey_scale=4.0)


def make_data(
    train: int = 12,
    test: int = 8,
    *,
    size: int = 16,
    source: str = "phantom",
    window: tuple[float, float] = (-1000.0, 1000.0),
    seed: int = 0,
) -> dict[str, Cases]:
    """Split → Cases of smooth random volumes."""
    counts = {"train": train, "validation": 2, "test": test}
    card = DatasetCard(
        name="toy",
        source=source,
        size=size,
        voxel_mm=320.0 / size,
        window=window,
        image_size=size,
        angles=(270.0, 0.0),
        mirrored=(True, False),
        geometry=GEOMETRY,
        counts=counts,
        fingerprint=f"toy-{source}-{size}-{seed}-{counts}",
    )
    random = np.random.default_rng(seed)
    affine = centred_affine(size, card.voxel_mm, (3.0, -7.0, 20.0))
    return {
        split: Cases(
            card=card,
            split=split,
            names=tuple(f"{split}-{index:03d}" for index in range(count)),
            hounsfield=np.stack([_volume(random, size) for _ in range(count)]),
            line_integrals=random.uniform(0.0, 4.0, (count, 2, size, size)).astype(np.float32),
            affines=np.stack([affine] * count),
        )
        for split, count in counts.items()
    }


def _volume(random: np.random.Generator, size: int) -> np.ndarray:
    """(D, H, W) int16: smooth noise of random strength around a random level, some of it outside the window."""
    noise = gaussian_filter(random.normal(size=(size,) * 3), sigma=size / 10)
    strength, level = random.uniform(300, 900), random.uniform(-700, 300)
    return np.rint(level + strength * noise / noise.std()).astype(np.int16)


def predict(folder: Path, cases: Cases, change: Callable[[np.ndarray, int], np.ndarray]) -> Path:
    """Write what becomes of each truth (D, H, W) in [0, 1], and its place in the split, as its prediction."""
    for index, case in enumerate(cases.names):
        write_prediction(folder, case, change(cases.truth(case), index), cases, seconds=0.5, seed=index)
    return folder


def towards_grey(volume: np.ndarray, index: int) -> np.ndarray:
    """A worse prediction from case to case."""
    return volume + (0.5 - volume) * 0.1 * (index + 1)
