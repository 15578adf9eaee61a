"""Organs as masks by threshold and connected components, how two masks agree, and errors by class of voxel."""

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects, label

from bench.metrics.settings import Band, BoneSettings, LungSettings, SubjectSettings

IN_SLICE = np.array([np.zeros((3, 3)), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3))])  # not across D


def find_masks(hounsfield: np.ndarray, voxel_mm: float, settings: SubjectSettings) -> dict[str, np.ndarray]:
    """Return the masks (D, H, W) of a volume in HU that are looked for in its kind of subject, `body` first.

    A mask is empty where nothing was found.
    """
    body = find_body(hounsfield, settings.body_above)
    masks = {"body": body}
    if settings.lung:
        masks["lung"] = find_lungs(hounsfield, body, settings.lung)
    if settings.bone:
        masks["bone"] = find_bone(hounsfield, body, voxel_mm, settings.bone)
    return masks


def find_body(hounsfield: np.ndarray, above: float) -> np.ndarray:
    """The largest connected part of what is denser than `above` HU, with all that it encloses in a slice across D.

    Lungs and airways are enclosed, air outside is not.
    """
    part = _largest_parts(hounsfield > above, 1)
    gaps, _ = label(~part, IN_SLICE)
    enclosed = np.ones(gaps.max() + 1, bool)  # 0 is the part itself
    for edge in (gaps[:, 0], gaps[:, -1], gaps[:, :, 0], gaps[:, :, -1]):
        enclosed[edge[edge > 0]] = False
    return enclosed[gaps]


def find_lungs(hounsfield: np.ndarray, body: np.ndarray, settings: LungSettings) -> np.ndarray:
    """The two largest connected parts of what is thinner than `below` HU (−400) inside the body.

    Gas of the bowel is left out by its size; lungs that meet at the airway are one part, which the airway belongs to.
    Hu, Hoffman and Reinhardt, Automatic Lung Segmentation for Accurate Quantitation of Volumetric X-Ray CT Images,
    2001: the threshold lies half way between the means of lung and body.
    """
    return _largest_parts(body & (hounsfield < settings.below), 2, settings.least_share)


def find_bone(hounsfield: np.ndarray, body: np.ndarray, voxel_mm: float, settings: BoneSettings) -> np.ndarray:
    """The connected parts, of at least `least_ml` (1 ml), of what is denser than `above` HU (200) inside the body."""
    parts, sizes = _label_parts(body & (hounsfield > settings.above))
    return ((sizes > 0) & (sizes * (voxel_mm / 10) ** 3 >= settings.least_ml))[parts]


def class_errors(
    truth: np.ndarray, prediction: np.ndarray, bands: tuple[Band, ...]
) -> dict[str, tuple[float, float | None, float | None]]:
    """Return by class of voxel its share of the volume in [0, 1], and over it MAE ≥ 0 and bias in HU.

    The truth's HU decide the class, so that all methods are scored on the same voxels. The bias is the mean of
    prediction − truth. MAE and bias are None where the truth has no such voxel.
    """
    difference = prediction - truth
    errors: dict[str, tuple[float, float | None, float | None]] = {}
    for band in bands:
        own = difference[(truth >= band.low) & (truth < band.high)]
        share = own.size / truth.size
        errors[band.name] = (share, float(np.abs(own).mean()), float(own.mean())) if own.size else (share, None, None)
    return errors


def dice(truth: np.ndarray, prediction: np.ndarray) -> float | None:
    """2 |A ∩ B| / (|A| + |B|) in [0, 1] of two masks of one shape; None where both are empty."""
    total = int(truth.sum()) + int(prediction.sum())
    return 2.0 * int((truth & prediction).sum()) / total if total else None


def average_surface_distance(truth: np.ndarray, prediction: np.ndarray, voxel_mm: float) -> float | None:
    """Average symmetric surface distance, ≥ 0, in mm of two masks of one shape; None where one is empty.

    Each voxel at the surface of one mask to the nearest at the surface of the other, both ways, in one mean. A voxel is
    at the surface where one of its six neighbours is not in the mask; beyond the edge of the volume there is no mask.
    """
    if not (truth.any() and prediction.any()):
        return None
    box = find_objects((truth | prediction).astype(np.uint8))[0]
    one, other = (mask[box] & ~binary_erosion(mask[box]) for mask in (truth, prediction))
    distances = [distance_transform_edt(~to)[of] for of, to in ((one, other), (other, one))]
    return float(np.mean(np.concatenate(distances)) * voxel_mm)


def volume_error(truth: np.ndarray, prediction: np.ndarray) -> float | None:
    """100 (|B| − |A|) / |A| in %, ≥ −100, of a mask against the true one; None where the true one is empty."""
    size = int(truth.sum())
    return 100.0 * (int(prediction.sum()) - size) / size if size else None


def _label_parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of its part by voxel, and the voxels of each part by number; 0 is outside and has none."""
    parts, _ = label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return parts, sizes


def _largest_parts(mask: np.ndarray, count: int, least_share: float = 0.0) -> np.ndarray:
    parts, sizes = _label_parts(mask)
    order = np.argsort(-sizes, kind="stable")[:count]
    chosen = np.zeros(len(sizes), bool)
    chosen[order] = sizes[order] >= max(1, least_share * sizes.max())
    return chosen[parts]
