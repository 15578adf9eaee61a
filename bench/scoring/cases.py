"""All numbers of one case: a truth and a prediction, in 3-D and as three maximum-intensity projections."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.metrics import Space
from bench.metrics.distortion import mae, mse, psnr
from bench.metrics.ssim import WINDOW, ssim

if TYPE_CHECKING:
    from bench.scoring.protocols import Protocol

AXES = ("d", "h", "w")
UNDEFINED = {
    "psnr": "exact match, so PSNR is infinite",
    "ssim": f"a side is under the {WINDOW} voxels of the SSIM window",
}


@dataclass(frozen=True)
class CaseVolumes:
    """What the numbers of a case are made of: volumes (D, H, W) in [0, 1] of one shape."""

    ct: np.ndarray
    prediction: np.ndarray
    encoded: np.ndarray | None = None  # the CT as the method itself encodes and decodes it, where that is stored


@dataclass(frozen=True)
class CaseScore:
    """One number of one case; `value` is None where it is undefined, and `note` says why."""

    space: Space
    axis: str  # all, or d, h, w, mean, or heldout, input
    metric: str
    value: float | None
    note: str = ""


def project_maximum(volume: np.ndarray) -> dict[str, np.ndarray]:
    """Maximum-intensity projections of a volume (D, H, W): d (H, W), h (D, W), w (D, H)."""
    return {axis: volume.max(axis=index) for index, axis in enumerate(AXES)}


def windowed_scores(case: CaseVolumes, protocol: "Protocol") -> list[CaseScore]:
    """Prediction against CT in [0, 1]: MSE, MAE, PSNR, SSIM in 3-D and on each projection and their mean.

    Raises ValueError for different shapes, NaN or infinity.
    """
    scores = _distances("3d", "all", case.ct, case.prediction, protocol)
    scores.append(CaseScore("3d", "all", "l1_sample", mae(case.ct, case.prediction)))
    return [*scores, *projection_scores(case, protocol)]


def projection_scores(case: CaseVolumes, protocol: "Protocol") -> list[CaseScore]:
    """MSE, MAE, PSNR and SSIM of the maximum-intensity projections of prediction and CT, per axis and their mean."""
    true_projections, projections = project_maximum(case.ct), project_maximum(case.prediction)
    per_axis = [_distances("mip", axis, true_projections[axis], projections[axis], protocol) for axis in AXES]
    scores: list[CaseScore] = []
    for same_metric in zip(*per_axis, strict=True):
        scores += [*same_metric, _mean_of_axes(same_metric)]
    return scores


def _distances(
    space: Space, axis: str, truth: np.ndarray, prediction: np.ndarray, protocol: "Protocol"
) -> list[CaseScore]:
    values = {
        "mse": mse(truth, prediction),
        "mae": mae(truth, prediction),
        "psnr": psnr(truth, prediction, data_range=protocol.peak),
        "ssim": ssim(truth, prediction, data_range=protocol.peak),
    }
    return [
        CaseScore(space, axis, metric, value, UNDEFINED[metric] if value is None else "")
        for metric, value in values.items()
    ]


def _mean_of_axes(scores: tuple[CaseScore, ...]) -> CaseScore:
    values = [score.value for score in scores if score.value is not None]
    if len(values) < len(scores):
        note = next(f"axis {score.axis}: {score.note}" for score in scores if score.value is None)
        return CaseScore("mip", "mean", scores[0].metric, None, note)
    return CaseScore("mip", "mean", scores[0].metric, float(np.mean(values)))
