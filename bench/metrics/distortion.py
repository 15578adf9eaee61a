"""Voxel-wise distances between a truth and a prediction of one shape, in any number of dimensions."""

import math

import numpy as np


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
