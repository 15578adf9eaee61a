"""All numbers of one case under any protocol: a truth and a prediction, in 3-D and as three projections."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.metrics import AXES, Axis, Space
from bench.metrics.distortion import mae, mse, psnr
from bench.metrics.ssim import ssim
from bench.scoring.protocol import CaseScore, CaseVolumes, Protocol, ReleasedCodediff, ReleasedX2ct, WholeArrays
from bench.scoring.released import score_released_codediff, score_released_x2ct

EXACT = "exact match, so PSNR is infinite"


def score_case(volumes: CaseVolumes, protocol: Protocol) -> list[CaseScore]:
    """Return the numbers of a case under a protocol: those of the volume, then those of its projections.

    Raises ValueError for different shapes, NaN or infinity.
    """
    if protocol.truth == "ct":
        volumes = replace(volumes, encoded=None)
    match protocol.distortion:
        case WholeArrays():
            scores = score_pair("3d", "all", volumes.ct, volumes.prediction, protocol.distortion)
            scores.append(CaseScore("3d", "all", "l1_sample", mae(volumes.ct, volumes.prediction)))
        case ReleasedCodediff():
            scores = score_released_codediff(volumes, protocol.distortion)
        case ReleasedX2ct():
            scores = score_released_x2ct(volumes, protocol.distortion)
    return scores + (score_projections(volumes, protocol.projections) if protocol.projections else [])


def score_projections(volumes: CaseVolumes, settings: WholeArrays) -> list[CaseScore]:
    """Return MSE, MAE, PSNR and SSIM of the maximum-intensity projections, each by axis and as the mean over axes."""
    truth, prediction = project_maximum(volumes.ct), project_maximum(volumes.prediction)
    per_axis = [score_pair("mip", axis, truth[axis], prediction[axis], settings) for axis in AXES]
    scores: list[CaseScore] = []
    for same_metric in zip(*per_axis, strict=True):
        scores += [*same_metric, _average_axes(same_metric)]
    return scores


def project_maximum(volume: np.ndarray) -> dict[Axis, np.ndarray]:
    """Return the maximum-intensity projections of a volume (D, H, W): d (H, W), h (D, W), w (D, H)."""
    return {axis: volume.max(axis=index) for index, axis in enumerate(AXES)}


def score_pair(
    space: Space, axis: str, truth: np.ndarray, prediction: np.ndarray, settings: WholeArrays
) -> list[CaseScore]:
    """Return MSE, MAE, PSNR and SSIM of two volumes or images of one shape in [0, 1], undefined ones with the reason.

    Raises ValueError for different shapes, NaN or infinity.
    """
    values = {
        "mse": mse(truth, prediction),
        "mae": mae(truth, prediction),
        "psnr": psnr(truth, prediction, data_range=settings.peak),
        "ssim": ssim(truth, prediction, data_range=settings.peak, settings=settings.ssim),
    }
    reasons = {"psnr": EXACT, "ssim": f"a side is under the {settings.ssim.window} voxels of the SSIM window"}
    return [
        CaseScore(space, axis, metric, value, reasons[metric] if value is None else "")
        for metric, value in values.items()
    ]


def _average_axes(scores: Sequence[CaseScore]) -> CaseScore:
    values = [score.value for score in scores if score.value is not None]
    if len(values) < len(scores):
        note = next(f"axis {score.axis}: {score.note}" for score in scores if score.value is None)
        return CaseScore("mip", "mean", scores[0].metric, None, note)
    return CaseScore("mip", "mean", scores[0].metric, float(np.mean(values)))
