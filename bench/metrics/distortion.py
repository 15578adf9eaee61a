"""How a prediction differs from a truth of one shape, voxel by voxel and in its fine detail, in any dimensions."""

import math

import numpy as np
from scipy.fft import dctn

SILENT = 1e-20  # of the power of a volume: what rounding leaves where there are no high frequencies
ROUNDING = 1e-9  # of a frequency


def mse(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean squared error over all elements of two arrays of one shape, ≥ 0, in squared units of the input.

    Computed in float64. Raises ValueError for different shapes, no elements, NaN or infinity.
    """
    difference = _difference(truth, prediction)
    return float(np.mean(np.square(difference)))


def mae(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean absolute error over all elements of two arrays of one shape, ≥ 0, in units of the input. Raises as `mse`."""
    return float(np.mean(np.abs(_difference(truth, prediction))))


def psnr(truth: np.ndarray, prediction: np.ndarray, *, data_range: float) -> float | None:
    """10 log10(data_range² / MSE) in dB over two whole arrays of one shape; None where they are equal.

    `data_range` is the width of the range that values may take, never that of the arrays at hand. Raises as `mse`.
    """
    if not (math.isfinite(data_range) and data_range > 0):
        raise ValueError(f"data_range must be positive, not {data_range}")
    error = mse(truth, prediction)
    return 20.0 * math.log10(data_range) - 10.0 * math.log10(error) if error > 0 else None


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


def require_comparable(truth: np.ndarray, prediction: np.ndarray) -> None:
    """Raise ValueError unless both arrays have one shape, at least one element and finite values only."""
    if truth.shape != prediction.shape:
        raise ValueError(f"shapes differ: truth {truth.shape}, prediction {prediction.shape}")
    if truth.size == 0:
        raise ValueError("the arrays are empty")
    for name, array in (("truth", truth), ("prediction", prediction)):
        if not np.isfinite(array).all():
            raise ValueError(f"the {name} holds NaN or infinity")


def _difference(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    require_comparable(truth, prediction)
    return truth.astype(np.float64) - prediction.astype(np.float64)
