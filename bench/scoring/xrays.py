"""X-ray images at angles the method was not given: does a reconstruction look right from elsewhere?

The projector that made the inputs draws truth and prediction on the same grid, unless the method renders its own
images (a radiance field does). Images at the given angles are scored apart: they only show consistency with the input.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.dataset import DatasetCard, to_hounsfield
from bench.metrics.distortion import mae, mse, psnr
from bench.metrics.ssim import ssim
from bench.projector import project
from bench.scoring.cases import CaseScore

if TYPE_CHECKING:
    from bench.scoring.protocols import Turn

OWN = "images rendered by the method itself"


def turn_angles(turn: "Turn", given: Sequence[float]) -> tuple[float, ...]:
    """Gantry angles in degrees of all images of a case: equal steps of a whole turn, then given ones beside them."""
    steps = [360.0 * index / turn.images for index in range(turn.images)]
    return (*steps, *(angle for angle in given if angle % 360.0 not in steps))


def drr_scores(
    truth: np.ndarray,
    prediction: np.ndarray,
    card: DatasetCard,
    turn: "Turn",
    own: np.ndarray | None = None,
    device: torch.device | None = None,
) -> list[CaseScore]:
    """MSE, MAE, PSNR and SSIM of images in [0, 1], as means over the angles not given and over the given ones.

    `truth` and `prediction` are volumes (D, H, W) in [0, 1]; `own` are the method's images (A, h, w) at `turn_angles`.
    """
    angles = turn_angles(turn, card.angles)
    pair = torch.from_numpy(to_hounsfield(np.stack([truth, prediction]), card.window)).float()
    true_images, images = _drawn(pair.to(device or "cpu"), card, angles)
    if own is not None:
        images = own.astype(np.float64)
    given = {angle % 360.0 for angle in card.angles}
    scores: list[CaseScore] = []
    for axis, wanted in (("heldout", False), ("input", True)):
        chosen = [index for index, angle in enumerate(angles) if (angle % 360.0 in given) == wanted]
        scores += _means(axis, true_images[chosen], images[chosen], OWN if own is not None else "")
    return scores


def _drawn(hounsfield: Tensor, card: DatasetCard, angles: Sequence[float]) -> np.ndarray:
    with torch.inference_mode():
        integrals = project(hounsfield, card.voxel_mm, card.geometry, angles, card.image_size)
    return (integrals / card.geometry.grey_scale).clamp(0.0, 1.0).double().cpu().numpy()


def _means(axis: str, truth: np.ndarray, made: np.ndarray, note: str) -> list[CaseScore]:
    scores = []
    for name, function in {"mse": mse, "mae": mae, "psnr": _psnr, "ssim": _ssim}.items():
        values = [function(one, other) for one, other in zip(truth, made, strict=True)]
        known = [value for value in values if value is not None]
        reason = "" if len(known) == len(values) else f"undefined at {len(values) - len(known)} of {len(values)} angles"
        value = None if reason else float(np.mean(known))
        scores.append(CaseScore("drr", axis, name, value, "; ".join(part for part in (reason, note) if part)))
    return scores


def _psnr(truth: np.ndarray, made: np.ndarray) -> float | None:
    return psnr(truth, made, data_range=1.0)


def _ssim(truth: np.ndarray, made: np.ndarray) -> float | None:
    return ssim(truth, made, data_range=1.0)
