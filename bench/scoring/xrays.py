"""X-ray images at angles the method was not given: does a reconstruction look right from elsewhere?

The projector that made the inputs draws truth and prediction on the same grid, unless the method renders its own
images (a radiance field does). Images at the given angles are scored apart: they only show consistency with the input.
"""

from collections.abc import Sequence

import numpy as np
import torch

from bench.dataset import DatasetCard, to_hounsfield
from bench.projector import project
from bench.scoring.cases import score_pair
from bench.scoring.protocol import CaseScore, Turn

OWN = "images rendered by the method itself"


def turn_angles(turn: Turn, given: Sequence[float]) -> tuple[float, ...]:
    """Return the gantry angles of all images of a case in degrees: equal steps of a whole turn, then given ones beside
    them.
    """
    steps = [360.0 * index / turn.images for index in range(turn.images)]
    return (*steps, *(angle for angle in given if angle % 360.0 not in steps))


def score_xrays(
    truth: np.ndarray,
    prediction: np.ndarray,
    card: DatasetCard,
    turn: Turn,
    own: np.ndarray | None = None,
    device: torch.device | None = None,
) -> list[CaseScore]:
    """Return MSE, MAE, PSNR and SSIM of images in [0, 1], as means over the angles not given and over the given ones.

    `truth` and `prediction` are volumes (D, H, W) in [0, 1]; `own` are the method's images (A, h, w) at `turn_angles`.
    """
    angles = turn_angles(turn, card.angles)
    true_images, images = _draw_images(np.stack([truth, prediction]), card, angles, device or torch.device("cpu"))
    if own is not None:
        images = own.astype(np.float64)
    given = {angle % 360.0 for angle in card.angles}
    scores: list[CaseScore] = []
    for axis, wanted in (("heldout", False), ("input", True)):
        chosen = [index for index, angle in enumerate(angles) if (angle % 360.0 in given) == wanted]
        per_image = [score_pair("drr", axis, true_images[i], images[i], turn.scores) for i in chosen]
        scores += [_average(same_metric, own is not None) for same_metric in zip(*per_image, strict=True)]
    return scores


def _draw_images(volumes: np.ndarray, card: DatasetCard, angles: Sequence[float], device: torch.device) -> np.ndarray:
    """Volumes (B, D, H, W) in [0, 1] → X-ray images (B, A, h, w) in [0, 1], float64."""
    hounsfield = torch.from_numpy(to_hounsfield(volumes, card.window)).float().to(device)
    with torch.inference_mode():
        integrals = project(hounsfield, card.voxel_mm, card.geometry, angles, card.image_size)
    return (integrals / card.geometry.grey_scale).clamp(0.0, 1.0).cpu().double().numpy()


def _average(scores: Sequence[CaseScore], own: bool) -> CaseScore:
    """Return the mean over images of one metric; undefined where it is undefined at any angle."""
    known = [score.value for score in scores if score.value is not None]
    reason = "" if len(known) == len(scores) else f"undefined at {len(scores) - len(known)} of {len(scores)} angles"
    note = "; ".join(part for part in (reason, OWN if own else "") if part)
    value = None if reason else float(np.mean(known))
    return CaseScore("drr", scores[0].axis, scores[0].metric, value, note)
