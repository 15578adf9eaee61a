"""The likelihood of a volume under a Gaussian decoder, discretised to whole Hounsfield units.

A continuous density has no unit that two methods could share; the probability of a 1-HU bin has.
"""

import math

import torch
from torch import Tensor

NARROW = 0.02  # bin width in standard deviations under which the density hardly bends across the bin
ROOT_HALF = math.sqrt(0.5)
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def discretised_gaussian_nll(
    hounsfield: Tensor, mean_unit: Tensor, log_sigma_unit: Tensor, window: tuple[float, float]
) -> Tensor:
    """−log p of each voxel in nats, ≥ 0, of the broadcast shape of the inputs; differentiable in mean and sigma.

    `hounsfield` in HU is rounded and clipped to `window`, whole numbers; `mean_unit` and `log_sigma_unit` describe a
    Gaussian on the windowed [0, 1] scale. Bins are 1 HU wide and centred on whole HU; the outer two take
    the tails, so the probabilities over the window sum to one. Finite for |log_sigma_unit| ≤ 30 in float32.
    """
    low, high = window
    precision = torch.promote_types(mean_unit.dtype, torch.float32)  # under autocast the mean is half precision
    value = hounsfield.to(precision).round().clamp(low, high)
    inverse_sigma = torch.exp(-log_sigma_unit.to(precision))
    z = ((value - low) / (high - low) - mean_unit.to(precision)) * inverse_sigma
    delta = inverse_sigma / (high - low)  # 1 HU in standard deviations
    inner = log_probability_of_interval(z, delta)
    lowest, highest = log_normal_cdf(delta / 2 + z), log_normal_cdf(delta / 2 - z)
    return -torch.where(value <= low, lowest, torch.where(value >= high, highest, inner))


def log_normal_cdf(x: Tensor) -> Tensor:
    """log Φ(x), finite with a finite gradient wherever x² is.

    `torch.special.log_ndtr` has the value but loses its gradient to rounding beyond about 100 σ in float32.
    """
    negative = x < 0
    below, above = torch.where(negative, x, -1.0), torch.where(negative, 1.0, x)
    return torch.where(negative, _log_lower_tail(below), torch.log1p(-torch.erfc(above * ROOT_HALF) / 2))


def log_probability_of_interval(z: Tensor, delta: Tensor) -> Tensor:
    """log(Φ(z + δ/2) − Φ(z − δ/2)) for δ > 0, without cancellation near the mean, far from it, or for tiny δ.

    Wide bins that hold the mean: erf on both sides adds up. Wide bins beside it: log Φ of the near edge plus
    log(1 − ratio). Narrow bins: δ φ(z) sinh(u)/u with u = zδ/2, times exp(−δ²/24); error below 2e-7.
    The branch that is not taken is fed harmless numbers, so that its gradient is never NaN.
    """
    z, delta = torch.broadcast_tensors(-z.abs(), delta)
    narrow = delta < NARROW
    return torch.where(
        narrow,
        _narrow(z, torch.where(narrow, delta, NARROW)),
        _wide(z, torch.where(narrow, NARROW, delta)),
    )


def _narrow(z: Tensor, delta: Tensor) -> Tensor:
    u = (z * delta / 2).abs().clamp_min(1e-3)  # below that log(sinh(u)/u) < 2e-7
    log_sinh_ratio = u + torch.log(-torch.expm1(-2 * u) / (2 * u))
    return torch.log(delta) - z.square() / 2 - HALF_LOG_TWO_PI + log_sinh_ratio - delta.square() / 24


def _log_lower_tail(x: Tensor) -> Tensor:
    return torch.log(torch.special.erfcx(-x * ROOT_HALF) / 2) - x.square() / 2


def _wide(z: Tensor, delta: Tensor) -> Tensor:
    upper, lower = z + delta / 2, z - delta / 2
    around = upper > 0
    mass = torch.erf(torch.where(around, upper, 1.0) * ROOT_HALF) + torch.erf(-lower * ROOT_HALF)
    near, far = _log_lower_tail(torch.where(around, -1.0, upper)), _log_lower_tail(lower)
    # the true difference is never above zδ; rounding of two large logarithms can be
    ratio = torch.minimum(far - near, torch.where(around, -delta, z * delta))
    return torch.where(around, torch.log(mass / 2), near + torch.log(-torch.expm1(ratio)))
