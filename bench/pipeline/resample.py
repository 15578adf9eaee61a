"""Predictions on other grids, brought to that of their case when the user asks for it.

Linear interpolation by the affines. A finer grid is smoothed first, by a Gaussian of (step − 1) / 2 of its voxels, so
that nothing folds over. What the prediction does not reach is air.
"""

import shutil
from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

from bench.cases import Cases
from bench.errors import BenchError, UsageError
from bench.runs.prediction_card import PredictionCard, Unit, card_of
from bench.runs.predictions import check_values, find_predictions, write_prediction
from bench.runs.volume_files import open_volume

LEAST_COVERED = 0.5  # share of a case's voxels; with less the file belongs somewhere else
EDGE = 0.51  # voxels beyond the last centre that still belong to the volume


def resample_predictions(
    source: Path, target: Path, cases: Cases, unit: Unit | PredictionCard, *, allow_missing: bool = False
) -> list[str]:
    """Write each prediction of `source` on its case's grid to `target`, as HU; return the cases that were moved.

    `target` is emptied before. Raises BenchError as bench.runs.predictions does, and for a volume that covers less
    than half of its case.
    """
    card = card_of(unit)
    if card.places:
        raise UsageError("--resample goes by the affines; take axes, flips and crop out of the card, or leave it away")
    shutil.rmtree(target, ignore_errors=True)  # what an earlier call made of other files
    moved = []
    for case, path in find_predictions(source, cases.names, allow_missing=allow_missing).items():
        affine = cases.affines[cases.index(case)]
        image = open_volume(path, affine)
        volume = check_values(path, image, unit)
        shape = cases.hounsfield.shape[:0:-1]
        if image.shape != shape or not np.allclose(image.affine, affine, atol=1e-3 * cases.card.voxel_mm):
            volume, covered = onto_grid(
                volume, np.linalg.inv(image.affine) @ affine, shape, card.of_air(cases.card.window)
            )
            if covered < LEAST_COVERED:
                raise BenchError(f"{path} covers {100 * covered:.0f} % of {case}; check its origin and directions")
            moved.append(case)
        exact, _ = card.to_unit(volume.T.astype(np.float64), cases.card.window)
        write_prediction(target, case, exact, cases, seconds=0.0, seed=None)
    return moved


def onto_grid(
    volume: np.ndarray, index_map: np.ndarray, shape: tuple[int, ...], outside: float
) -> tuple[np.ndarray, float]:
    """`volume` at the indices that `index_map` (4, 4) gives for each voxel of a grid; and the share that it reaches."""
    steps = np.abs(index_map[:3, :3]).max(axis=1)  # voxels of the volume between two of the grid, along each axis
    smooth = gaussian_filter(volume.astype(np.float64), np.maximum(0.0, (steps - 1) / 2), mode="nearest")
    made = affine_transform(smooth, index_map[:3, :3], index_map[:3, 3], shape, order=1, mode="nearest")
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ index_map[:3, :3].T + index_map[:3, 3]
    inside = ((places >= -EDGE) & (places <= np.array(volume.shape) - 1 + EDGE)).all(-1)
    return np.where(inside, made, outside), float(inside.mean())
