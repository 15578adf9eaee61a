"""Numbers of one case as the released tests of X2CT-GAN (kylekma/X2CT: test.py, metrics_np.py) and
CCX-rayNet (arn1992/CCX-rayNet_and_CCX-rayGAN: test.py) define them, with their quirks kept; protocols.py lists them.
"""

import numpy as np

from bench.metrics.distortion import mae, mse, require_comparable
from bench.metrics.slices import psnr_of_slices, psnr_or_cap
from bench.scoring.protocol import CaseScore, CaseVolumes, ReleasedX2ct
from bench.scoring.released_codediff import score_axes, score_ssim_of_slices

DROPPED = "dropped as released: rounding put the cosine similarity above 1"
NO_COSINE = "a volume is zero everywhere, so it has no direction"


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
