"""PSNR and SSIM as means over the slices of a volume, as the code of X2CT-GAN, CCX-rayNet and CodeDiff3D takes them.

Kept for comparison with printed numbers: a mean over slices is not the value of the volume, and slices of air that
agree exactly lift it without bound but for a cap.
"""

import math

import numpy as np
from scipy.ndimage import uniform_filter1d

from bench.metrics import AXES
from bench.metrics.distortion import require_comparable
from bench.metrics.settings import SCIKIT_IMAGE, SliceSsim

PerAxis = tuple[float, float, float]
"""Values of the slices across D, H and W."""


def psnr_or_cap(error: float, *, peak: float, cap: float) -> float:
    """10 log10(peak² / error) in dB of a mean squared error; `cap`, in dB, where it is 0."""
    return 20.0 * math.log10(peak) - 10.0 * math.log10(error) if error > 0 else cap


def psnr_of_slices(truth: np.ndarray, prediction: np.ndarray, *, peak: float, cap: float) -> PerAxis:
    """Mean PSNR in dB over the slices across D, H and W of two volumes (D, H, W); a slice without error is `cap` dB.

    Raises ValueError for different shapes, NaN or infinity.
    """
    require_comparable(truth, prediction)
    squares = np.square(truth.astype(np.float64) - prediction.astype(np.float64))
    of_slices = (squares.mean(axis=others) for others in ((1, 2), (0, 2), (0, 1)))
    d, h, w = (float(np.mean([psnr_or_cap(e, peak=peak, cap=cap) for e in errors])) for errors in of_slices)
    return d, h, w


def ssim_of_slices(
    truth: np.ndarray, prediction: np.ndarray, *, data_range: float, settings: SliceSsim = SCIKIT_IMAGE
) -> PerAxis | None:
    """Mean SSIM over the slices across D, H and W of two volumes (D, H, W); None where a side is under the window's 7.

    scikit-image's default for images: 7×7 uniform window, sample covariance, K1 0.01, K2 0.03; all slices at once.
    `settings` may name other axes than D, H and W for the three values. Raises ValueError for different shapes, NaN or
    infinity.
    """
    require_comparable(truth, prediction)
    if min(truth.shape) < settings.window:
        return None
    x, y = truth.astype(np.float64), prediction.astype(np.float64)
    products = np.stack([x, y, x * x, y * y, x * y])
    values = {axis: _ssim_across(products, AXES.index(axis) + 1, data_range, settings) for axis in {*settings.axes}}
    first, second, third = (values[axis] for axis in settings.axes)
    return first, second, third


def _ssim_across(products: np.ndarray, axis: int, data_range: float, settings: SliceSsim) -> float:
    """Mean SSIM of x and y over slices, from x, y, x², y², xy (5, D, H, W); windows span the axes beside `axis`."""
    means, border = products, settings.window // 2
    inner: list[slice] = [slice(None)] * 4
    for other in {1, 2, 3} - {axis}:
        means = uniform_filter1d(means, settings.window, axis=other)
        inner[other] = slice(border, -border)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means[tuple(inner)]
    sample = settings.window**2 / (settings.window**2 - 1)
    variances = sample * (mean_xx - mean_x * mean_x + mean_yy - mean_y * mean_y)
    covariance = sample * (mean_xy - mean_x * mean_y)
    c1, c2 = (settings.k1 * data_range) ** 2, (settings.k2 * data_range) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(similarity / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))))
