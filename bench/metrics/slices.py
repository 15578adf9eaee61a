"""PSNR and SSIM as means over the slices of a volume, as the code of X2CT-GAN, CCX-rayNet and CodeDiff3D takes them.

Kept for comparison with printed numbers: a mean over slices is not the value of the volume, and slices of air that
agree exactly lift it without bound but for a cap.
"""

import math

import numpy as np
from scipy.ndimage import uniform_filter1d

from bench.metrics.distortion import require_comparable

EXACT = 100.0  # dB that the released codes enter for a slice, or a volume, without any error
SLICE_WINDOW = 7  # pixels a side of the uniform SSIM window; a border of 3 is left out of the mean
TOO_THIN = f"a side is under the {SLICE_WINDOW} pixels of the SSIM window"

PerAxis = tuple[float, float, float]
"""Values of the slices across D, H and W."""


def psnr_or_cap(error: float, peak: float) -> float:
    """10 log10(peak² / error) in dB of a mean squared error; 100 dB where it is 0."""
    return 20.0 * math.log10(peak) - 10.0 * math.log10(error) if error > 0 else EXACT


def psnr_of_slices(truth: np.ndarray, prediction: np.ndarray, *, peak: float) -> PerAxis:
    """Mean PSNR in dB over the slices across D, H and W of two volumes (D, H, W); a slice without error is 100 dB.

    Raises ValueError for different shapes, NaN or infinity.
    """
    require_comparable(truth, prediction)
    squares = np.square(truth.astype(np.float64) - prediction.astype(np.float64))
    of_slices = (squares.mean(axis=others) for others in ((1, 2), (0, 2), (0, 1)))
    d, h, w = (float(np.mean([psnr_or_cap(error, peak) for error in errors])) for errors in of_slices)
    return d, h, w


def ssim_of_slices(truth: np.ndarray, prediction: np.ndarray, *, data_range: float) -> PerAxis | None:
    """Mean SSIM over the slices across D, H and W of two volumes (D, H, W); None where a side is under 7.

    scikit-image's default for images: 7×7 uniform window, sample covariance, K1 0.01, K2 0.03; all slices at once.
    Raises ValueError for different shapes, NaN or infinity.
    """
    require_comparable(truth, prediction)
    if min(truth.shape) < SLICE_WINDOW:
        return None
    x, y = truth.astype(np.float64), prediction.astype(np.float64)
    products = np.stack([x, y, x * x, y * y, x * y])
    d, h, w = (_ssim_across(products, axis, data_range) for axis in (1, 2, 3))
    return d, h, w


def _ssim_across(products: np.ndarray, axis: int, data_range: float) -> float:
    """`products` are x, y, x², y², xy (5, D, H, W); the window spans the two axes beside `axis`."""
    means, border = products, SLICE_WINDOW // 2
    inner: list[slice] = [slice(None)] * 4
    for other in {1, 2, 3} - {axis}:
        means = uniform_filter1d(means, SLICE_WINDOW, axis=other)
        inner[other] = slice(border, -border)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means[tuple(inner)]
    sample = SLICE_WINDOW**2 / (SLICE_WINDOW**2 - 1)
    variances = sample * (mean_xx - mean_x * mean_x + mean_yy - mean_y * mean_y)
    covariance = sample * (mean_xy - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(similarity / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))))
