"""X-ray images at angles the method was not given: does a reconstruction look right from elsewhere?

The projector that made the inputs draws truth and prediction on the same grid, unless the method renders its own
images (a radiance field does). Images at the given angles are scored apart: they only show consistency with the input.
So does the prediction's projection against the views themselves, which were drawn from a finer grid.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.cases import Cases
from bench.dataset import DatasetCard, to_hounsfield
from bench.metrics import OTHER_SUFFIX, TRUTH_SUFFIX
from bench.metrics.distortion import psnr
from bench.projector import project
from bench.runs.predictions import read_renders
from bench.scoring.cases import EXACT, score_pair
from bench.scoring.protocol import CaseScore, CaseVolumes, Protocol, Reprojection, Turn
from bench.scoring.protocols import RENDERED

OWN = "images rendered by the method itself"
ALONE = "the split has no other case"


def turn_angles(turn: Turn, given: Sequence[float]) -> tuple[float, ...]:
    """Return the gantry angles of all images of a case in degrees: equal steps of a whole turn, then given ones beside
    them.
    """
    steps = [360.0 * index / turn.images for index in range(turn.images)]
    return (*steps, *(angle for angle in given if angle % 360.0 not in steps))


def score_images(
    volumes: CaseVolumes, cases: Cases, case: str, protocol: Protocol, folder: Path, device: torch.device | None = None
) -> list[CaseScore]:
    """Return the numbers of all X-ray images of a case that the protocol has; they are drawn together.

    `folder` is that of the predictions, which may hold images that the method rendered. Raises BenchError where these
    are not what the manifest describes.
    """
    card, index = cases.card, cases.index(case)
    angles = turn_angles(protocol.turn, card.angles) if protocol.turn else card.angles
    drawn = draw_images(volumes, card, angles, device)
    scores = []
    if protocol.turn:
        scores += score_turn(drawn, card, protocol.turn, _read_own_images(folder, card, case, protocol.turn))
    if protocol.reprojection:
        places = [[angle % 360.0 for angle in angles].index(given % 360.0) for given in card.angles]
        views, other = (cases.images([i])[0].double().numpy() for i in (index, (index + 1) % len(cases)))
        alone = len(cases) == 1
        scores += score_given_views(drawn[:, places], views, None if alone else other, protocol.reprojection)
    return scores


def draw_images(
    volumes: CaseVolumes, card: DatasetCard, angles: Sequence[float], device: torch.device | None = None
) -> np.ndarray:
    """Return the X-ray images (2, A, h, w) in [0, 1], float64, of CT and prediction."""
    unit = np.stack([volumes.ct, volumes.prediction])
    hounsfield = torch.from_numpy(to_hounsfield(unit, card.window)).float().to(device or torch.device("cpu"))
    with torch.inference_mode():
        integrals = project(hounsfield, card.voxel_mm, card.geometry, angles, card.image_size)
    return (integrals / card.geometry.grey_scale).clamp(0.0, 1.0).cpu().double().numpy()


def score_turn(drawn: np.ndarray, card: DatasetCard, turn: Turn, own: np.ndarray | None = None) -> list[CaseScore]:
    """Return MSE, MAE, PSNR and SSIM of images in [0, 1], as means over the angles not given and over the given ones.

    `drawn` (2, A, h, w) are those of truth and prediction at `turn_angles`; `own` (A, h, w) the method's own.
    """
    angles = turn_angles(turn, card.angles)
    true_images, images = drawn[0], drawn[1] if own is None else own.astype(np.float64)
    given = {angle % 360.0 for angle in card.angles}
    scores: list[CaseScore] = []
    for axis, wanted in (("heldout", False), ("input", True)):
        chosen = [index for index, angle in enumerate(angles) if (angle % 360.0 in given) == wanted]
        per_image = [score_pair("drr", axis, true_images[i], images[i], turn.scores) for i in chosen]
        scores += [_average(same_metric, own is not None) for same_metric in zip(*per_image, strict=True)]
    return scores


def score_given_views(
    drawn: np.ndarray, views: np.ndarray, other: np.ndarray | None, settings: Reprojection
) -> list[CaseScore]:
    """Return the PSNR in dB of a case's projections against its views (V, h, w) as the method saw them, in [0, 1].

    `drawn` (2, V, h, w) are the projections of truth and prediction: that of the truth is a ceiling, below infinity
    because the views are drawn from a finer grid. `other` are the views of another case, the control: what a method
    that ignores its views may score; None where there is none.
    """
    truth, prediction = drawn
    images = {"": prediction, TRUTH_SUFFIX: truth, OTHER_SUFFIX: other}
    scores = []
    for suffix, made in images.items():
        value = None if made is None else psnr(views, made, data_range=settings.peak)
        reason = ALONE if made is None else EXACT if value is None else ""
        scores.append(CaseScore("anatomy", "all", f"psnr_views{suffix}", value, reason))
    return scores


def _read_own_images(folder: Path, card: DatasetCard, case: str, turn: Turn) -> np.ndarray | None:
    """The images (A, h, w) at the angles of a turn that the method itself rendered; None where it made none."""
    rendered = turn_angles(RENDERED, card.angles)
    images = read_renders(folder, case, (len(rendered), card.image_size, card.image_size))
    return None if images is None else images[[rendered.index(angle) for angle in turn_angles(turn, card.angles)]]


def _average(scores: Sequence[CaseScore], own: bool) -> CaseScore:
    """Return the mean over images of one metric; undefined where it is undefined at any angle."""
    known = [score.value for score in scores if score.value is not None]
    reason = "" if len(known) == len(scores) else f"undefined at {len(scores) - len(known)} of {len(scores)} angles"
    note = "; ".join(part for part in (reason, OWN if own else "") if part)
    value = None if reason else float(np.mean(known))
    return CaseScore("drr", scores[0].axis, scores[0].metric, value, note)
