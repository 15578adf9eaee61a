"""Structural similarity as scikit-image computes it, with every setting that changes the number written down."""

import numpy as np
from skimage.metrics import structural_similarity

from bench.metrics.distortion import require_comparable
from bench.metrics.settings import WANG_2004, GaussianSsim


def ssim(
    truth: np.ndarray, prediction: np.ndarray, *, data_range: float, settings: GaussianSsim = WANG_2004
) -> float | None:
    """Mean SSIM in [-1, 1] of two images (H, W) or volumes (D, H, W); None where a side is under the window's 11.

    Gaussian weights of σ 1.5, population covariance (Wang et al. 2004), one window in as many dimensions as the
    arrays have, float64. Raises ValueError for different shapes, NaN or infinity.
    """
    require_comparable(truth, prediction)
    if min(truth.shape) < settings.window:
        return None
    value = structural_similarity(
        truth.astype(np.float64),
        prediction.astype(np.float64),
        data_range=data_range,
        gaussian_weights=True,
        sigma=settings.sigma,
        use_sample_covariance=False,
        K1=settings.k1,
        K2=settings.k2,
    )
    return float(value)
