"""How much fine detail a volume has."""

import numpy as np
from scipy.fft import dctn

from bench.metrics.distortion import require_comparable

SILENT = 1e-20  # of the power of a volume: what rounding leaves where there are no high frequencies
ROUNDING = 1e-9  # of a frequency


def high_frequency_power(truth: np.ndarray, prediction: np.ndarray, above: float) -> float | None:
    """Power of a prediction (D, H, W) at high frequencies over that of the truth, ≥ 0; None where the truth has none.

    The sum of squared DCT-II coefficients at spatial frequencies of at least `above` times the Nyquist frequency, half
    a cycle a voxel. A cosine transform continues a volume by its mirror image, so that its edges make no frequencies of
    their own. 1 is neither too smooth nor too noisy; a Gaussian blur of σ voxels leaves exp(−(2πfσ)²) of the power at f
    cycles a voxel. Raises ValueError for different shapes, NaN or infinity.
    """
    require_comparable(truth, prediction)
    squares = [np.square(np.arange(side) / side) for side in truth.shape]  # of frequencies over Nyquist's, by axis
    radius = np.sqrt(sum(np.ix_(*squares), start=np.zeros(())))
    high = radius >= above - ROUNDING
    true_power, power = (float(np.square(dctn(v, norm="ortho")[high]).sum()) for v in (truth, prediction))
    return power / true_power if true_power > SILENT * float(np.square(truth).sum()) else None
