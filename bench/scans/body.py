"""The body in a CT, and the removal of the table it lies on."""

from collections import defaultdict

import numpy as np
from scipy import ndimage

from .reading.scan import AIR_HU

BODY_HU = -400
REMOVED = "removed"  # begins the verdict where the table is gone
EMPTY_HU = -960  # emphysema is denser on average, air is not
SHEET_MM = 10.0  # what is thinner, as the shells of a table are, is no body
SKIN_MM = 4.0  # kept around the body, for skin blurred by the voxel size
MATTER_HU = -800  # what is denser attenuates X-rays; its mass is counted, so that thin walls count however blurred
MAX_LOSS = 0.1  # of the mass of all matter but the table
STRAIGHT = 0.5  # of the scanned slices that a table runs through in one place
COARSE_MM = 2.5


def opening(mask: np.ndarray, spacing_mm: np.ndarray, diameter_mm: float) -> np.ndarray:
    """Return the morphological opening of a mask (D, H, W) by a ball; beyond the edges the mask goes on as it is."""
    eroded = ~_dilate(~mask, spacing_mm, diameter_mm / 2)
    return _dilate(eroded, spacing_mm, diameter_mm / 2)


def _dilate(mask: np.ndarray, spacing_mm: np.ndarray, radius_mm: float) -> np.ndarray:
    """Return all voxels (D, H, W) within `radius_mm` of one in a mask, in a fraction of a distance map's time."""
    reach = np.floor(radius_mm / spacing_mm + 1e-9).astype(int)
    padded = np.pad(mask, [(int(size), int(size)) for size in reach])
    runs: dict[int, list[tuple[int, int]]] = defaultdict(list)  # half length along W of the ball's runs → their places
    for offset in np.ndindex(*(2 * reach[:2] + 1)):
        left = radius_mm**2 - (((offset - reach[:2]) * spacing_mm[:2]) ** 2).sum()
        if left > -1e-9:
            runs[int(max(left, 0) ** 0.5 / spacing_mm[2] + 1e-9)].append((offset[0], offset[1]))
    depth, height, width = mask.shape
    result = np.zeros_like(mask)
    for half, places in runs.items():
        wide = np.zeros((*padded.shape[:2], width), bool)
        for start in range(reach[2] - half, reach[2] + half + 1):
            wide |= padded[:, :, start : start + width]
        for row, column in places:
            result |= wide[row : row + depth, column : column + height]
    return result


def _tissue_and_lungs(hounsfield: np.ndarray) -> np.ndarray:
    """Return a mask (D, H, W) of tissue and the lungs in it: without them a chest wall is as thin as a table.

    Lungs are air that reaches no side of the volume; a sealed gap between back and table is too empty for lung.
    """
    tissue = hounsfield > BODY_HU
    scanned = tissue.any(axis=(1, 2))  # not padding, through which the windpipe would open to the air around
    labels = np.zeros(tissue.shape, np.int32)
    labels[scanned], count = ndimage.label(~tissue[scanned])
    outside = np.unique(np.concatenate([labels[:, [0, -1]].ravel(), labels[:, :, [0, -1]].ravel(), [0]]))
    flat = labels.ravel()
    sums, sizes = np.bincount(flat, hounsfield.ravel(), count + 1), np.bincount(flat, minlength=count + 1)
    lung = sums > EMPTY_HU * sizes
    lung[outside] = False
    return tissue | lung[labels]


def remove_table(hounsfield: np.ndarray, voxel_mm: float) -> tuple[np.ndarray, str]:
    """Return a cube (D, H, W) in HU with air around its largest body, and the verdict: removed, or why it was kept.

    The body is the largest component that survives the opening, and all that lies between its front and its back
    (lungs, also where the field of view cuts them). When more than 10 % of the matter that is no table would go, e.g.
    arms beside the body or the walls of a hollow phantom, the volume is returned as it is.
    """
    stride = max(1, round(COARSE_MM / voxel_mm))
    coarse = hounsfield[::stride, ::stride, ::stride]
    spacing = np.full(3, voxel_mm * stride)
    thick = opening(_tissue_and_lungs(coarse), spacing, SHEET_MM)
    labels, _ = ndimage.label(thick)
    sizes = np.bincount(labels.ravel())[1:]
    if not sizes.size:
        return hounsfield, "kept: no body found"
    core = labels == 1 + sizes.argmax()
    body = _dilate(core, spacing, SKIN_MM)
    from_front = np.maximum.accumulate(body, axis=1)
    from_back = np.maximum.accumulate(body[:, ::-1], axis=1)[:, ::-1]
    keep = from_front & from_back
    mass = np.where(coarse > MATTER_HU, coarse - np.float32(AIR_HU), np.float32(0))
    total, removed = mass.sum(dtype=float), np.where(keep, np.float32(0), mass)
    table = _table_mass(np.where(thick, np.float32(0), removed), core)
    loss = (removed.sum(dtype=float) - table) / (total - table)
    if loss > MAX_LOSS:
        return hounsfield, f"kept: removing it would take {loss:.0%} of the matter that is no table"
    if stride > 1:
        for axis in range(3):
            keep = keep.repeat(stride, axis=axis)
        keep = keep[tuple(slice(size) for size in hounsfield.shape)]
    share = removed.sum(dtype=float) / total
    return np.where(keep, hounsfield, hounsfield.dtype.type(AIR_HU)), f"{REMOVED} with {share:.1%} of all matter"


def _table_mass(thin: np.ndarray, core: np.ndarray) -> float:
    """Return the mass of a table among thin things (D, H, W): what runs straight along D, behind or before the body.

    The walls of a phantom bend along D, or surround it.
    """
    sheets = _dilate(thin > 0, np.array([2.0, 1.0, 1.0]), 1.5)  # a voxel of sway in the plane
    slices = np.count_nonzero(core.any(axis=(1, 2)))
    straight = np.count_nonzero(sheets, axis=0) >= STRAIGHT * slices
    footprints, count = ndimage.label(straight)
    middle = float(np.average(np.arange(core.shape[1]), weights=core.sum(axis=(0, 2))))
    columns = ndimage.sum_labels(thin.sum(axis=0), footprints, np.arange(1, count + 1))
    sides = {"front": 0.0, "back": 0.0}
    for (rows, _), mass in zip(ndimage.find_objects(footprints), columns, strict=True):
        if rows.stop <= middle or rows.start > middle:
            sides["front" if rows.stop <= middle else "back"] += float(mass)
    return max(sides.values())
