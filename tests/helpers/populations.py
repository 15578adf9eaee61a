"""Chests and bags of many seeds in numbers, beside what is published of real ones; datasets/README.md shows them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from bench.datasets.baggage.bag import Bag
from bench.datasets.baggage.phantom import CLOTHES, CUBE_MM
from bench.datasets.baggage.things import Placed, fillings
from bench.datasets.lidc import phantom as chest
from bench.datasets.lidc.anatomy import draw_anatomy
from bench.datasets.shapes import Canvas
from bench.scans.body import remove_table

FIELD_MM = 480.0  # width of a phantom's whole field; it is as long as its cube, like the real scans
LUNG_BELOW, BODY_ABOVE, BONE_ABOVE = -500, -300, 250  # HU
FAT = (-150, -30)  # HU
LEAST_LUNG_LITRES = 0.2
RIM_MM = 6.0  # a body nearer to the edge of the scanned circle is cut by it

# 19 adult chest CTs of public collections at 2 mm: mean, sd, least, most; None where it was not recorded.
Published = tuple[float, float | None, float | None, float | None]
PUBLISHED: dict[str, Published] = {
    "lateral, mm": (326, 36, 280, 416),
    "front to back, mm": (239, 30, 192, 298),
    "lung volume, l": (4.7, 1.0, 3.3, 7.1),
    "lung height, mm": (293, 27, None, None),
    "lung mode, HU": (-868, 36, -945, -785),
    "lung median, HU": (-849, None, None, None),
    "lung 5 %, HU": (-911, None, None, None),
    "lung 95 %, HU": (-583, None, None, None),
    "fat mode, HU": (-102, 12, None, None),
    "muscle mode, HU": (55, 15, None, None),
    "lung of body": (0.24, None, 0.14, 0.33),
    "fat of body": (0.28, None, 0.07, 0.42),
    "above 250 HU of body": (0.042, None, 0.024, 0.068),
}


def measure_chest(volume: np.ndarray, voxel_mm: float) -> dict[str, float]:
    """Return the statistics of PUBLISHED of one CT (D, H, W) in HU with cubic voxels; a table is left out.

    The trunk's sides are NaN where the field of view cuts it, and all is where no lungs are found.
    """
    volume, _ = remove_table(volume, voxel_mm)
    lungs = find_lungs(volume, voxel_mm)
    if not lungs.any():
        return dict.fromkeys(PUBLISHED, float("nan"))
    body = _largest((volume > BODY_ABOVE) | lungs)
    inside, air = volume[body], volume[lungs]
    levels = lungs.sum((1, 2))
    section = body[levels.argmax()]
    lateral, deep = (float(section.any(axis).sum() * voxel_mm) for axis in (0, 1))
    if _is_cut(section, voxel_mm):
        lateral = deep = float("nan")
    low, median, high = np.percentile(air, (5, 50, 95))
    return {
        "lateral, mm": lateral,
        "front to back, mm": deep,
        "lung volume, l": float(lungs.sum() * voxel_mm**3 / 1e6),
        "lung height, mm": float(np.count_nonzero(levels) * voxel_mm),
        "lung mode, HU": _mode(air, -1000, -600),
        "lung median, HU": float(median),
        "lung 5 %, HU": float(low),
        "lung 95 %, HU": float(high),
        "fat mode, HU": _mode(inside, *FAT),
        "muscle mode, HU": _mode(inside, 0, 150),
        "lung of body": float(lungs.sum() / body.sum()),
        "fat of body": float(((inside > FAT[0]) & (inside < FAT[1])).mean()),
        "above 250 HU of body": float((inside > BONE_ABOVE).mean()),
    }


def find_lungs(volume: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Return the mask of both lungs of a CT (D, H, W) in HU: the largest air that no side of its slices opens."""
    air = volume < LUNG_BELOW
    in_plane = np.zeros((3, 3, 3), int)  # the windpipe leads to the air above the body
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(air, in_plane)
    closed = np.ones(count + 1, bool)
    closed[np.concatenate([side.ravel() for side in (labels[:, [0, -1]], labels[:, :, [0, -1]])])] = False
    closed[0] = False
    labels, _ = ndimage.label(closed[labels])
    litres = np.bincount(labels.ravel()) * voxel_mm**3 / 1e6
    litres[0] = 0
    return np.isin(labels, [label for label in litres.argsort()[-2:] if litres[label] > LEAST_LUNG_LITRES])


def draw_fields(count: int, voxel_mm: float) -> Iterator[np.ndarray]:
    """Yield CTs (D, H, W) in HU of the first subjects' whole field, the scanner's circle wide enough to hold them."""
    spare = round((FIELD_MM - chest.CUBE_MM) / 2 / voxel_mm)
    for seed in range(count):
        subject = replace(draw_anatomy(seed), field_of_view=2 * FIELD_MM)
        yield chest.render(subject, round(FIELD_MM / voxel_mm), FIELD_MM)[spare:-spare]


def measure_bag(bag: Bag, volume: np.ndarray, things: np.ndarray) -> dict[str, float]:
    """Return mm, HU, and parts of the inside of a bag or of the voxels of its CT (N, N, N) in HU.

    `things` (N, N, N) numbers the thing that each voxel shows.
    """
    canvas = Canvas(len(volume), CUBE_MM, 0.0)
    _, box, filled, _ = next(fillings(Placed(bag.luggage.inside, bag.turn @ bag.luggage.turn, bag.place), canvas))
    inside = filled > 0.99
    values, packed = volume[box][inside], things[box][inside]
    down, *floor = sorted(2 * half for half in bag.luggage.half)
    return {
        "length, mm": floor[1],
        "width, mm": floor[0],
        "thickness, mm": down,
        "things packed": len(bag.packed.things),
        "inside: -900 to -600 HU (clothes)": float(((values >= -900) & (values <= -600)).mean()),
        "inside: below -900 HU": float((values < -900).mean()),
        "inside: -600 to 400 HU": float(((values > -600) & (values <= 400)).mean()),
        "inside: above 400 HU": float((values > 400).mean()),
        "inside: within things": float(((packed > 0) & (packed < CLOTHES)).mean()),
        "inside: mean, HU": float(values.mean()),
        "cube: above -500 HU": float((volume > -500).mean()),
    }


def summarise(values: Sequence[float]) -> str:
    """Return "mean ± sd (least … most)" of those values that are finite; a dash where none is."""
    finite = np.array(values, float)[np.isfinite(values)]
    if not len(finite):
        return "–"
    largest = abs(finite).max()
    digits = 3 if largest < 1 else 1 if largest < 10 else 0
    mean, sd, least, most = (f"{v:.{digits}f}" for v in (finite.mean(), finite.std(), finite.min(), finite.max()))
    return f"{mean} ± {sd} ({least} … {most})"


def agrees(published: Published, values: Sequence[float], deviations: float = 1.0) -> bool | None:
    """Whether the mean of values lies within so many published sd of the published mean; without sd, in the range.

    None where neither was published.
    """
    mean, sd, least, most = published
    ours = float(np.nanmean(values))
    if sd is not None:
        return abs(ours - mean) <= deviations * sd
    return None if least is None or most is None else least <= ours <= most


def _mode(values: np.ndarray, low: float, high: float) -> float:
    """Most frequent value between `low` and `high`, in bins of 10 HU smoothed over three."""
    counts, edges = np.histogram(values, np.arange(low, high + 10, 10))
    return float(edges[np.convolve(counts, [1, 1, 1], "same").argmax()] + 5)


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def _is_cut(section: np.ndarray, voxel_mm: float) -> bool:
    """Whether a body's section (H, W) reaches the edge of the circle that a scanner sees."""
    rows, columns = np.nonzero(section)
    middle = (np.array(section.shape) - 1) / 2
    reach = np.hypot(rows - middle[0], columns - middle[1]).max() * voxel_mm
    return bool(reach > min(section.shape) * voxel_mm / 2 - RIM_MM)
