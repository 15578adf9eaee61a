"""Numbers of one case as the released tests of X2CT-GAN (kylekma/X2CT: test.py, metrics_np.py) and
CCX-rayNet (arn1992/CCX-rayNet_and_CCX-rayGAN: test.py) define them, with their quirks kept.
"""

from typing import TYPE_CHECKING

import numpy as np

from bench.metrics.distortion import mae, mse, require_comparable
from bench.metrics.slices import psnr_of_slices, psnr_or_cap, ssim_of_slices
from bench.scoring.cases import CaseScore, CaseVolumes
from bench.scoring.released_codediff import per_axis

if TYPE_CHECKING:
    from bench.scoring.protocols import Protocol

GREYS = 2500.0  # steps between 0 and 1 of the stored scans, HU + 1024
DROPPED = "dropped as released: rounding put the cosine similarity above 1"
NO_COSINE = "a volume is zero everywhere, so it has no direction"
_SHARED = (
    "PSNR of slices is a mean over the slices of three axes in which a slice without error counts 100 dB "
    "(metrics_np.py:88-95,124-129)",
    "a case whose cosine similarity rounding puts above 1 is dropped from every mean (test.py:186-188)",
)
X2CT_QUIRKS = (
    "PSNR is of values × 2500 truncated to integers against a peak of 4095, which adds 4.29 dB to a peak of 2500 "
    "(test.py:172-178)",
    *_SHARED,
    "SSIM is a mean over slices of three axes with a 7×7 uniform window, not that of the volume (range 1)",
)
CCX_QUIRKS = (
    "PSNR of the volume is on [0, 1] with a peak of 4096/2500 = 1.6384, which adds 4.29 dB (test.py:314)",
    *_SHARED,
    "PSNR of slices is of values × 2500 truncated to integers against 4096, where X2CT-GAN takes 4095",
    "SSIM takes the range 1.6384, whose larger constants raise it (test.py:313)",
    "the first two axes are swapped first, so that its printed 1, 2, 3 are the slices across H, D and W",
)


def x2ct_scores(case: CaseVolumes, protocol: "Protocol") -> list[CaseScore]:
    """Scores of a case as both released tests print them; `all` is the mean over axes where values are per axis.

    The two differ in the protocol's peaks and in whether PSNR is taken of integers.
    Raises ValueError for different shapes, NaN or infinity.
    """
    truth, prediction = case.ct, case.prediction
    require_comparable(truth, prediction)
    whole_truth, whole = as_integers(truth), as_integers(prediction)
    if protocol.integer_peak is None:
        raise ValueError(f"{protocol.id} has no peak of integers")
    squared, squared_whole = mse(truth, prediction), mse(whole_truth, whole)
    psnr = {
        "integers": psnr_or_cap(squared_whole, protocol.integer_peak),
        "volume": psnr_or_cap(squared, protocol.peak),
    }[protocol.psnr]
    similarity = cosine(truth, prediction)
    values: dict[str, float | None] = {
        "mse": squared,
        "mae": mae(truth, prediction),
        "mse_int": squared_whole,
        "mae_int": mae(whole_truth, whole),
        "psnr": psnr,
        "cosine": similarity,
    }
    scores = [CaseScore("3d", "all", name, value, NO_COSINE if value is None else "") for name, value in values.items()]
    scores += per_axis("psnr_slices", psnr_of_slices(whole_truth, whole, peak=protocol.integer_peak))
    scores += per_axis("ssim", ssim_of_slices(truth, prediction, data_range=protocol.peak))
    if similarity is not None and similarity > 1.0:
        return [CaseScore(score.space, score.axis, score.metric, None, DROPPED) for score in scores]
    return scores


def as_integers(unit: np.ndarray) -> np.ndarray:
    """Values in [0, 1] × 2500, truncated towards zero to int32."""
    return (unit * GREYS).astype(np.int32)


def cosine(truth: np.ndarray, prediction: np.ndarray) -> float | None:
    """Cosine similarity of two arrays as vectors, not clipped, so that rounding may put it above 1; None for zeros."""
    x, y = truth.astype(np.float64).ravel(), prediction.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.dot(x, y)) / lengths if lengths > 0 else None
