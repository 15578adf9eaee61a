"""Numbers of structures in one case: masks, errors by class of voxel, error in the body, and fine detail."""

from collections.abc import Iterator

import numpy as np

from bench.dataset import DatasetCard, to_hounsfield
from bench.metrics import Space
from bench.metrics.anatomy import average_surface_distance, class_errors, dice, find_masks, volume_error
from bench.metrics.distortion import high_frequency_power, psnr
from bench.scoring.cases import EXACT
from bench.scoring.protocol import Anatomy, CaseScore

DECIMALS = 6  # of HU: volumes of [0, 1] hold them rounded, and a threshold must not depend on that


def score_anatomy(truth: np.ndarray, prediction: np.ndarray, card: DatasetCard, settings: Anatomy) -> list[CaseScore]:
    """Return what the kind of subject that the card names has, of two volumes (D, H, W) in [0, 1].

    Undefined numbers have the reason. Raises ValueError for different shapes, NaN or infinity.
    """
    subject = settings.of(card.subject)
    true_hu, hu = (np.round(to_hounsfield(volume, card.window), DECIMALS) for volume in (truth, prediction))
    true_masks, masks = (find_masks(volume, card.voxel_mm, subject) for volume in (true_hu, hu))
    body = true_masks["body"]
    in_body = psnr(truth[body], prediction[body], data_range=settings.peak) if body.any() else None
    power = high_frequency_power(truth, prediction, settings.high_from)
    scores = [
        _score("anatomy", "psnr_body", in_body, EXACT if body.any() else "the truth has no body"),
        _score("anatomy", "high_frequency", power, "the truth has no high frequencies"),
    ]
    for organ, true_mask in true_masks.items():
        scores += _score_mask(organ, true_mask, masks[organ], card.voxel_mm)
    for name, (share, mae, bias) in class_errors(true_hu, hu, subject.bands).items():
        reason = f"the truth has no voxel of {name}"
        scores.append(CaseScore("tissue", "all", f"share_{name}", share))
        scores += (_score("tissue", f"{key}_hu_{name}", value, reason) for key, value in (("mae", mae), ("bias", bias)))
    return scores


def _score_mask(organ: str, truth: np.ndarray, prediction: np.ndarray, voxel_mm: float) -> Iterator[CaseScore]:
    """Yield the numbers of one mask. What was missed has Dice and detection 0, and no distance."""
    reason = f"the {'prediction' if truth.any() else 'truth'} has no {organ}"
    there = truth.any()
    values = {
        "dice": dice(truth, prediction) if there else None,
        "assd": average_surface_distance(truth, prediction, voxel_mm),
        "volume_error": volume_error(truth, prediction),
        "detection": float(prediction.any()) if there else None,
    }
    for metric, value in values.items():
        yield _score("anatomy", f"{metric}_{organ}", value, reason)


def _score(space: Space, metric: str, value: float | None, reason: str) -> CaseScore:
    return CaseScore(space, "all", metric, value, reason if value is None else "")
