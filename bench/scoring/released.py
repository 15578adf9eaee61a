"""Numbers of one case as released codes define them, with their quirks kept; protocols.py lists them.

CodeDiff3D (samb-t/x2ct-vqvae: eval_sampler.py, calculate_PRDC.py, utils/metrics.py), X2CT-GAN (kylekma/X2CT: test.py,
metrics_np.py) and CCX-rayNet (arn1992/CCX-rayNet_and_CCX-rayGAN: test.py).
"""

import numpy as np

from bench.metrics import AXES
from bench.metrics.distortion import mae, mse, require_comparable
from bench.metrics.settings import SliceSsim
from bench.metrics.slices import PerAxis, psnr_of_slices, psnr_or_cap, ssim_of_slices
from bench.scoring.protocol import (
    TRUTH_CT,
    TRUTH_ENCODED,
    CaseScore,
    CaseVolumes,
    ReleasedCodediff,
    ReleasedX2ct,
    Stretch,
)

DROPPED = "dropped as released: rounding put the cosine similarity above 1"
NO_COSINE = "a volume is zero everywhere, so it has no direction"


def score_released_codediff(volumes: CaseVolumes, settings: ReleasedCodediff) -> list[CaseScore]:
    """Return the scores of a volume as released; `all` is the mean over the three axes where values are per axis.

    Raises ValueError for different shapes, NaN or infinity.
    """
    require_comparable(volumes.ct, volumes.prediction)
    ct, prediction = (
        stretch_to_ct(volume, volumes.ct, settings.stretch) for volume in (volumes.ct, volumes.prediction)
    )
    truth, note = ct, TRUTH_CT
    if volumes.encoded is not None:
        truth, note = stretch_to_ct(volumes.encoded, volumes.ct, settings.stretch), TRUTH_ENCODED
    squared, absolute = mse(truth, prediction), mae(truth, prediction)
    peak, cap = settings.peak, settings.exact_db
    values: dict[str, float] = {
        "mse": squared,
        "mae": absolute,
        "mse_x4": 4 * squared,
        "mae_x2": 2 * absolute,
        "psnr_volume": psnr_or_cap(squared, peak=peak, cap=cap),
    }
    return [
        *(CaseScore("3d", "all", name, value, note) for name, value in values.items()),
        *score_axes("psnr", psnr_of_slices(truth, prediction, peak=peak, cap=cap), note),
        *score_ssim_of_slices(truth, prediction, peak, settings.ssim, note),
        CaseScore("3d", "all", "l1_sample", mae(ct, prediction), TRUTH_CT),
    ]


def stretch_to_ct(volume: np.ndarray, ct: np.ndarray, settings: Stretch) -> np.ndarray:
    """Return a volume of the window's [0, 1] on the scale that the released loader gives its CT, clipped to [0, 1]."""
    return np.clip(divide_by_range(volume, ct, settings.added_hu / settings.window_hu), 0.0, 1.0)


def divide_by_range(volume: np.ndarray, ct: np.ndarray, added: float) -> np.ndarray:
    """Return (v − min) / (max − min + `added`) with the extremes of the CT, which itself comes to lie in [0, 1)."""
    low, high = ct.min(), ct.max()
    return (volume - low) / (high - low + added)


def score_released_x2ct(volumes: CaseVolumes, settings: ReleasedX2ct) -> list[CaseScore]:
    """Return the scores of a volume as both released tests print them; `all` is the mean where values are per axis.

    The two differ in their peaks and in whether PSNR is taken of integers.
    Raises ValueError for different shapes, NaN or infinity.
    """
    truth, prediction, cap = volumes.ct, volumes.prediction, settings.exact_db
    require_comparable(truth, prediction)
    whole_truth, whole = truncate(truth, settings.steps), truncate(prediction, settings.steps)
    squared, squared_whole = mse(truth, prediction), mse(whole_truth, whole)
    error, peak = {
        "integers": (squared_whole, settings.integer_peak),
        "volume": (squared, settings.peak),
    }[settings.psnr]
    similarity = cosine(truth, prediction)
    values: dict[str, float | None] = {
        "mse": squared,
        "mae": mae(truth, prediction),
        "mse_int": squared_whole,
        "mae_int": mae(whole_truth, whole),
        "psnr": psnr_or_cap(error, peak=peak, cap=cap),
        "cosine": similarity,
    }
    scores = [
        *(CaseScore("3d", "all", name, value, NO_COSINE if value is None else "") for name, value in values.items()),
        *score_axes("psnr_slices", psnr_of_slices(whole_truth, whole, peak=settings.integer_peak, cap=cap)),
        *score_ssim_of_slices(truth, prediction, settings.peak, settings.ssim),
    ]
    if similarity is not None and similarity > 1.0:
        return [CaseScore(score.space, score.axis, score.metric, None, DROPPED) for score in scores]
    return scores


def truncate(unit: np.ndarray, steps: float) -> np.ndarray:
    """Return values in [0, 1] × `steps`, truncated towards zero to int32."""
    return (unit * steps).astype(np.int32)


def cosine(truth: np.ndarray, prediction: np.ndarray) -> float | None:
    """Cosine similarity of two arrays as vectors, not clipped, so that rounding may put it above 1; None for zeros."""
    x, y = truth.astype(np.float64).ravel(), prediction.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.dot(x, y)) / lengths if lengths > 0 else None


def score_ssim_of_slices(
    truth: np.ndarray, prediction: np.ndarray, peak: float, settings: SliceSsim, note: str = ""
) -> list[CaseScore]:
    """Return the SSIM of slices of two volumes, one score an axis and their mean; undefined where a side is short."""
    values = ssim_of_slices(truth, prediction, data_range=peak, settings=settings)
    if values is None:
        reason = f"a side is under the {settings.window} pixels of the SSIM window"
        return [CaseScore("3d", "all", "ssim", None, reason)]
    return score_axes("ssim", values, note)


def score_axes(metric: str, values: PerAxis, note: str = "") -> list[CaseScore]:
    """Return the mean of three values under `all`, and each under its axis."""
    mean = CaseScore("3d", "all", metric, float(np.mean(values)), note)
    return [mean, *(CaseScore("3d", axis, metric, value, note) for axis, value in zip(AXES, values, strict=True))]
