"""Structural similarity as scikit-image defines it, with every setting that changes the number written down."""

import numpy as np
from skimage.metrics import structural_similarity

from bench.metrics.distortion import require_comparable

SIGMA = 1.5
WINDOW = 11  # voxels a side that σ = 1.5 truncated at 3.5 σ spans; a border of 5 is left out of the mean


def ssim(truth: np.ndarray, prediction: np.ndarray, *, data_range: float) -> float | None:
    """Mean SSIM in [-1, 1] of two images (H, W) or volumes (D, H, W); None where a side is under 11.

    Gaussian weights of σ 1.5, population covariance (Wang et al. 2004), one window in as many dimensions as the
    arrays have, float64. Raises ValueError for different shapes, NaN or infinity.
    """
    require_comparable(truth, prediction)
    if min(truth.shape) < WINDOW:
        return None
    value = structural_similarity(
        truth.astype(np.float64),
        prediction.astype(np.float64),
        data_range=data_range,
        gaussian_weights=True,
        sigma=SIGMA,
        use_sample_covariance=False,
    )
    return float(value)
