"""Numbers of one case as CodeDiff3D's released evaluation defines them (samb-t/x2ct-vqvae, eval_sampler.py,
calculate_PRDC.py, utils/metrics.py), with its quirks kept; protocols.py lists them.
"""

import numpy as np

from bench.metrics import AXES
from bench.metrics.distortion import mae, mse, require_comparable
from bench.metrics.settings import SliceSsim
from bench.metrics.slices import PerAxis, psnr_of_slices, psnr_or_cap, ssim_of_slices
from bench.scoring.protocol import TRUTH_CT, TRUTH_ENCODED, CaseScore, CaseVolumes, ReleasedCodediff, Stretch


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
