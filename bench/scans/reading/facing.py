"""Which way a CT lies, told by X-rays of it: where a file does not say, its own pictures do."""

from collections.abc import Mapping
from itertools import product

import numpy as np
from scipy import ndimage

from bench.dataset import Geometry

from .scan import ScanError, TakenAt

COARSE = 48  # voxels a side to project, and pixels a side to compare
LEAST_LIKENESS = 0.9  # mean correlation of projections and X-rays that are of one chest
CLEARLY = 0.7  # of the dissimilarity of the next best that the best may have

Flips = tuple[bool, bool, bool]


def find_flips(
    hounsfield: np.ndarray, side_mm: float, geometry: Geometry, views: Mapping[str, tuple[np.ndarray, TakenAt]]
) -> Flips:
    """Return which axes of a cube in HU to flip to have it (D, H, W), so that its projections are the X-rays.

    `views` are pictures (rows, columns) of any grey scale, head up, and how they were taken. Raises ScanError where no
    way of the eight fits them clearly best.
    """
    coarse = _shrink(hounsfield.astype(np.float32, copy=False))
    either = (False, True)
    ways: list[Flips] = [(d, h, w) for d, h, w in product(either, either, either)]
    pictures = [_shrink(picture.astype(np.float32)) for picture, _ in views.values()]
    unlike = np.array([_unlikeness(flip_axes(coarse, way), side_mm, geometry, views, pictures) for way in ways])
    best, second = np.argsort(unlike)[:2]
    if not unlike[best] <= 1 - LEAST_LIKENESS or unlike[best] > CLEARLY * unlike[second]:
        raise ScanError(
            f"its X-rays do not tell which way up it lies (they correlate with its projections by "
            f"{1 - unlike[best]:.2f}, the next way round by {1 - unlike[second]:.2f}); state axes in a side file"
        )
    return ways[best]


def flip_axes(volume: np.ndarray, flips: Flips) -> np.ndarray:
    """Return a view of a volume with some axes reversed."""
    return volume[tuple(slice(None, None, -1 if flip else None) for flip in flips)]


def _unlikeness(
    cube: np.ndarray,
    side_mm: float,
    geometry: Geometry,
    views: Mapping[str, tuple[np.ndarray, TakenAt]],
    pictures: list[np.ndarray],
) -> float:
    """Return 1 minus the mean correlation of the pictures and the projections of a cube (D, H, W) in HU."""
    import torch  # here: no other reader needs it

    from bench.projector import project

    taken = [how for _, how in views.values()]
    scan = torch.from_numpy(np.ascontiguousarray(cube))[None]
    projected = project(
        scan, side_mm / cube.shape[0], geometry, [how.angle for how in taken], COARSE,
        mirrored=[how.mirrored for how in taken],
    )[0].numpy()  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):  # a picture without contrast is like none
        likeness = [np.corrcoef(ours.ravel(), own.ravel())[0, 1] for ours, own in zip(projected, pictures, strict=True)]
    return 1 - float(np.nan_to_num(np.mean(likeness), nan=-1.0))


def _shrink(values: np.ndarray) -> np.ndarray:
    """Return values of at most COARSE along each axis: means, then linear interpolation."""
    block = [max(1, size // COARSE) for size in values.shape]
    means = ndimage.uniform_filter(values, block)
    return ndimage.zoom(means, [COARSE / size for size in values.shape], order=1, grid_mode=True, mode="nearest")
