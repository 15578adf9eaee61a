"""Settings of metrics that decide a number: plain data, so that a protocol that states them needs no PyTorch.

A metric takes them as one argument; its default is the setting of the source that is named here.
"""

from dataclasses import dataclass
from typing import Literal

from bench.metrics import AXES, Axis

TRUNCATE = 3.5  # standard deviations at which scikit-image cuts Gaussian weights off

SpectralNorm = Literal["exact", "random-vectors"]
"""random-vectors: W / uᵀWv of random unit vectors u and v in place of W / σ_max(W)."""


@dataclass(frozen=True)
class GaussianSsim:
    """SSIM of a whole image or volume: Gaussian weights, population covariance."""

    sigma: float = 1.5  # of the weights, in voxels
    k1: float = 0.01  # (k1 · range)² and (k2 · range)² keep the quotients finite
    k2: float = 0.03

    @property
    def window(self) -> int:
        """Voxels a side that the weights span, 11 for σ 1.5; a border of half as many, rounded down, is left out."""
        return 2 * int(TRUNCATE * self.sigma + 0.5) + 1


@dataclass(frozen=True)
class SliceSsim:
    """SSIM as a mean over the slices of a volume: uniform window, sample covariance."""

    window: int = 7  # pixels a side; a border of half as many, rounded down, is left out
    k1: float = 0.01
    k2: float = 0.03
    axes: tuple[Axis, Axis, Axis] = AXES  # across which the slices lie whose means stand for d, h and w


@dataclass(frozen=True)
class EncoderSettings:
    """The random encoder whose features density and coverage compare."""

    widths: tuple[int, ...] = (16, 32, 64, 128)  # channels of the stem and after each halving of the side
    head_width: int = 256
    head_side: int = 4  # voxels a side of the valid convolution that makes the features
    gate_side: int = 4  # voxels a side that a map is pooled to for its gate
    slope: float = 0.2  # of the leaky rectifiers below zero
    spectral_norm: SpectralNorm = "exact"

    @property
    def halvings(self) -> int:
        """How often the side is halved before the head."""
        return len(self.widths) - 1

    @property
    def side_step(self) -> int:
        """The number that a side must be a multiple of: the last gate pools whole blocks."""
        return self.gate_side * 2 ** (self.halvings - 1)

    @property
    def smallest_side(self) -> int:
        """The side at which the last map is as large as the head."""
        return self.head_side * 2**self.halvings


WANG_2004 = GaussianSsim()  # Wang et al., Image Quality Assessment, 2004
SCIKIT_IMAGE = SliceSsim()  # the default of scikit-image for images
NAEEM_2020 = EncoderSettings()  # Naeem et al., Reliable Fidelity and Diversity Metrics, 2020, as CodeDiff3D built it
