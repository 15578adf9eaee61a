"""The chests of many seeds in numbers, beside those of real patients: sizes, densities, parts of the body.

Measured as the published statistics were: at 2 mm, on the whole field, which for a phantom is 480 mm wide and, like the
real scans, as long as its cube. The table a patient lies on is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from bench.scans.body import remove_table

from .anatomy import draw_anatomy
from .phantom import CUBE_MM, render

if TYPE_CHECKING:
    from bench.scans.reading.scan import Scan, ScanSource

OnProgress = Callable[[int, int], object]
VOXEL_MM = 2.0
FIELD_MM = 480.0
LUNG_BELOW, BODY_ABOVE, BONE_ABOVE = -500, -300, 250  # HU
FAT = (-150, -30)  # HU
LEAST_LUNG_LITRES = 0.2
RIM_MM = 6.0  # a body nearer to the edge of the scanned circle is cut by it

# 19 adult chest CTs of public collections: mean, sd, least, most; None where it was not recorded.
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


def population(count: int, real: Sequence["ScanSource"] = (), on_progress: OnProgress | None = None) -> str:
    """Markdown: phantoms of the first seeds beside the published statistics, and real scans measured the same way.

    `on_progress(done, total)` is called after each.
    """
    phantoms, scans = [], []
    for volume in phantom_fields(count):
        phantoms.append(measures(volume, VOXEL_MM))
        if on_progress:
            on_progress(len(phantoms), count + len(real))
    for scan in real:
        scans.append(measures(_at_voxel(scan.read()), VOXEL_MM))
        if on_progress:
            on_progress(count + len(scans), count + len(real))
    heads = ["", "19 real chests: mean ± sd (least … most)", f"{count} phantoms: mean ± sd (least … most)", "agrees"]
    if scans:
        heads.insert(2, f"{len(scans)} real scans, measured here")
    rows = [heads, ["---"] * len(heads)]
    for name, published in PUBLISHED.items():
        values = np.array([one[name] for one in phantoms])
        row = [name, _shown(*published), _summary(values), _verdict(published, values)]
        if scans:
            row.insert(2, _summary(np.array([one[name] for one in scans])))
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def measures(volume: np.ndarray, voxel_mm: float) -> dict[str, float]:
    """The statistics of PUBLISHED of one CT (D, H, W) in HU with cubic voxels.

    The trunk's sides are NaN where the field of view cuts it, and all is where no lungs are found.
    """
    volume, _ = remove_table(volume, voxel_mm)
    lungs = lungs_of(volume, voxel_mm)
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
        "lung mode, HU": mode(air, -1000, -600),
        "lung median, HU": float(median),
        "lung 5 %, HU": float(low),
        "lung 95 %, HU": float(high),
        "fat mode, HU": mode(inside, *FAT),
        "muscle mode, HU": mode(inside, 0, 150),
        "lung of body": float(lungs.sum() / body.sum()),
        "fat of body": float(((inside > FAT[0]) & (inside < FAT[1])).mean()),
        "above 250 HU of body": float((inside > BONE_ABOVE).mean()),
    }


def lungs_of(volume: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Mask of both lungs in a CT (D, H, W) in HU: the largest air that is closed off from the sides of its slices."""
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


def mode(values: np.ndarray, low: float, high: float) -> float:
    """Most frequent value between `low` and `high`, in bins of 10 HU smoothed over three."""
    counts, edges = np.histogram(values, np.arange(low, high + 10, 10))
    return float(edges[np.convolve(counts, [1, 1, 1], "same").argmax()] + 5)


def phantom_fields(count: int) -> Iterator[np.ndarray]:
    """CTs (160, 240, 240) in HU of the first subjects at 2 mm, the scanner's circle wide enough to hold them."""
    spare = round((FIELD_MM - CUBE_MM) / 2 / VOXEL_MM)
    for seed in range(count):
        subject = replace(draw_anatomy(seed), field_of_view=2 * FIELD_MM)
        yield render(subject, round(FIELD_MM / VOXEL_MM), FIELD_MM)[spare:-spare]


def _at_voxel(scan: "Scan") -> np.ndarray:
    """A scan at VOXEL_MM over its whole field, (D, H, W) HU; padding is air."""
    factors = np.array(scan.spacing_mm) / VOXEL_MM
    hounsfield = np.clip(scan.hounsfield, -1000, 3071)
    if np.allclose(factors, 1, atol=0.01):
        return hounsfield
    return ndimage.zoom(hounsfield.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest")


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


def _summary(values: np.ndarray) -> str:
    whole = values[np.isfinite(values)]
    if not len(whole):
        return "–"
    return _shown(float(whole.mean()), float(whole.std()), float(whole.min()), float(whole.max()))


def _shown(mean: float, sd: float | None, least: float | None, most: float | None) -> str:
    style = "{:.3f}" if abs(mean) < 1 else "{:.1f}" if abs(mean) < 10 else "{:.0f}"
    text = style.format(mean) + ("" if sd is None else f" ± {style.format(sd)}")
    return text if least is None or most is None else f"{text} ({style.format(least)} … {style.format(most)})"


def _verdict(published: Published, values: np.ndarray) -> str:
    """How far the phantoms' mean lies off, in published sd; where none is recorded, whether it is within the range."""
    mean, sd, least, most = published
    found = float(np.nanmean(values))
    if sd is not None:
        off = (found - mean) / sd
        return f"{'yes' if abs(off) <= 1 else '**no**'}, {off:+.1f} sd"
    if least is not None and most is not None:
        return "yes, in the range" if least <= found <= most else "**no**, out of the range"
    return "–"
