"""The likelihood of a volume under a Gaussian or a Laplace distribution a voxel, discretised to whole Hounsfield units.

A continuous density has no unit that two methods could share; the probability of a 1-HU bin has. The events are the
same for both: values are rounded to whole HU and clipped to the window, whose outer bins take the tails.
"""

import math

import torch
from torch import Tensor

NARROW = 0.02  # bin width in standard deviations under which the density hardly bends across the bin
ROOT_HALF = math.sqrt(0.5)
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
LEAST_SCALE = 0.05  # HU; a Laplace distribution this narrow at a bin's centre gives the bin all but 5e-5


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


def discretised_laplace_nll(hounsfield: Tensor, location: Tensor, scale: Tensor, window: tuple[float, float]) -> Tensor:
    """−log p of each voxel in nats, ≥ 0, of the broadcast shape of the inputs; differentiable in location and scale.

    `hounsfield` in HU is rounded and clipped to `window`, whole numbers; `location` and `scale` are those of a Laplace
    distribution in HU, whose density is exp(−|x − location| / scale) / (2 scale). Bins are as in
    `discretised_gaussian_nll`. A scale below LEAST_SCALE, zero too, is taken as that.
    """
    low, high = window
    precision = torch.promote_types(location.dtype, torch.float32)
    value = hounsfield.to(precision).round().clamp(low, high)
    inverse = 1 / scale.to(precision).clamp_min(LEAST_SCALE)
    distance = value - location.to(precision)
    # a bin beside the location holds ½ (1 − exp(−1/s)) exp(−(|d| − ½)/s), the bin around it what both tails leave
    beside = (distance.abs() - 0.5) * inverse - torch.log(-torch.expm1(-inverse) / 2)
    within = distance.clamp(-0.5, 0.5)
    tails = torch.expm1(-(0.5 + within) * inverse) + torch.expm1(-(0.5 - within) * inverse)
    inner = torch.where(distance.abs() < 0.5, -torch.log(-tails / 2), beside)
    lowest, highest = _laplace_tail((distance + 0.5) * inverse), _laplace_tail((0.5 - distance) * inverse)
    return torch.where(value <= low, lowest, torch.where(value >= high, highest, inner))


def _laplace_tail(z: Tensor) -> Tensor:
    """−log of the probability below z scales from the location."""
    return torch.where(z < 0, math.log(2) - z, -torch.log1p(-torch.exp(-z.clamp_min(0)) / 2))


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
