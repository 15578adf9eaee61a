"""Numbers of one case as CodeDiff3D's released evaluation defines them (samb-t/x2ct-vqvae, eval_sampler.py,
calculate_PRDC.py, utils/metrics.py), with its quirks kept.
"""

from typing import TYPE_CHECKING

import numpy as np

from bench.metrics.distortion import mae, mse, require_comparable
from bench.metrics.slices import TOO_THIN, PerAxis, psnr_of_slices, psnr_or_cap, ssim_of_slices
from bench.scoring.cases import CaseScore, CaseVolumes, projection_scores

if TYPE_CHECKING:
    from bench.scoring.protocols import Protocol

NARROWEST = 1e-4  # HU added to the width of a volume's range before dividing by it
WIDTH = 2000.0  # HU, of the window in which that width is counted
TRUTH_CT, TRUTH_ENCODED = "truth: the CT", "truth: the method's own encoding of the CT"
QUIRKS = (
    "truth is the autoencoder's reconstruction of the CT where the method stores one, so its own error is invisible "
    "and copied codes score perfectly (eval_sampler.py:58,63); l1_sample, density, coverage and projections see the CT",
    "values are stretched by each CT's own minimum and maximum instead of a window, so absolute HU are lost; what is "
    "predicted in HU is brought to its CT's scale and clipped to [0, 1] (dataloader.py:78, transforms.py:63-77)",
    "PSNR is a mean over the slices of three axes in which a slice without error counts 100 dB, so that padding and "
    "air decide it (utils/metrics.py:138-164)",
    "SSIM names the wrong channel axis: its d and h values both slice across W, its w value across H, and no value "
    "across D (utils/metrics.py:63,72,81); 7×7 uniform window, range 1",
    "the printed NLL is the mean absolute difference between the CT and one sample; it is called l1_sample here "
    "(calculate_PRDC.py:58-60,76,82)",
    "MSE × 4 and MAE × 2 are the same errors on [-1, 1], the range that most of the printed pairs of MSE and PSNR fit",
    "density and coverage are taken in batches of 8 in split order, the rest dropped, with k = 3, and averaged, so "
    "that density ends at 8/3 (calculate_PRDC.py:63-80,134)",
    "the encoder's weights are divided by uᵀWv of random u and v instead of their spectral norm, and it has no seed; "
    "seed 0 stands for one such encoder (calculate_PRDC.py:89-98)",
    "no code for projections was released; they are scored as in ct3d-1",
)


def released_codediff_scores(case: CaseVolumes, protocol: "Protocol") -> list[CaseScore]:
    """Scores of a case as released; `all` is the mean over the three axes where values are per axis.

    Raises ValueError for different shapes, NaN or infinity.
    """
    require_comparable(case.ct, case.prediction)
    ct, prediction = stretched(case.ct, case.ct), stretched(case.prediction, case.ct)
    truth, note = ct, TRUTH_CT
    if case.encoded is not None:
        truth, note = stretched(case.encoded, case.ct), TRUTH_ENCODED
    squared, absolute = mse(truth, prediction), mae(truth, prediction)
    values: dict[str, float] = {
        "mse": squared,
        "mae": absolute,
        "mse_x4": 4 * squared,
        "mae_x2": 2 * absolute,
        "psnr_volume": psnr_or_cap(squared, protocol.peak),
    }
    scores = [CaseScore("3d", "all", name, value, note) for name, value in values.items()]
    scores += per_axis("psnr", psnr_of_slices(truth, prediction, peak=protocol.peak), note)
    scores += per_axis("ssim", released_ssim(truth, prediction), note)
    scores.append(CaseScore("3d", "all", "l1_sample", mae(ct, prediction), TRUTH_CT))
    return [*scores, *projection_scores(case, protocol)]


def stretched(volume: np.ndarray, ct: np.ndarray) -> np.ndarray:
    """A volume of the window's [0, 1] on the scale that the released loader gives its CT, clipped to [0, 1]."""
    return np.clip(min_max(volume, ct, NARROWEST / WIDTH), 0.0, 1.0)


def min_max(volume: np.ndarray, ct: np.ndarray, narrowest: float) -> np.ndarray:
    """(v − min) / (max − min + `narrowest`) with the extremes of the CT, which itself comes to lie in [0, 1)."""
    low, high = ct.min(), ct.max()
    return (volume - low) / (high - low + narrowest)


def released_ssim(truth: np.ndarray, prediction: np.ndarray) -> PerAxis | None:
    """What the released code calls the SSIM of d, h and w: across W, W and H; None where a side is under 7."""
    values = ssim_of_slices(truth, prediction, data_range=1.0)
    return (values[2], values[2], values[1]) if values else None


def per_axis(metric: str, values: PerAxis | None, note: str = "") -> list[CaseScore]:
    """One score an axis and their mean under `all`; undefined where `values` is None."""
    if values is None:
        return [CaseScore("3d", "all", metric, None, TOO_THIN)]
    mean = CaseScore("3d", "all", metric, float(np.mean(values)), note)
    return [mean, *(CaseScore("3d", axis, metric, value, note) for axis, value in zip("dhw", values, strict=True))]
