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


@dataclass(frozen=True)
class Band:
    """Voxels of one class: low ≤ HU < high."""

    name: str  # of bench.metrics.CLASSES
    low: float
    high: float


@dataclass(frozen=True)
class LungSettings:
    """How lungs are found: the two largest parts of what is thin inside the body."""

    below: float = -400.0  # HU; half way between aerated lung and soft tissue
    least_share: float = 0.1  # of the larger part, under which the other is no lung but gas


@dataclass(frozen=True)
class BoneSettings:
    """How bone is found: what is dense inside the body."""

    above: float = 200.0  # HU; most spongy bone lies above, most vessels with contrast agent below
    least_ml: float = 1.0  # of a connected part


@dataclass(frozen=True)
class SubjectSettings:
    """What HU mean in one kind of subject: classes of voxels, and the masks that are looked for."""

    bands: tuple[Band, ...]  # with gaps where a voxel may be either of two
    body_above: float  # HU
    lung: LungSettings | None = None
    bone: BoneSettings | None = None


WANG_2004 = GaussianSsim()  # Wang et al., Image Quality Assessment, 2004
SCIKIT_IMAGE = SliceSsim()  # the default of scikit-image for images
NAEEM_2020 = EncoderSettings()  # Naeem et al., Reliable Fidelity and Diversity Metrics, 2020, as CodeDiff3D built it
PATIENT = SubjectSettings(  # bands of Fredy-Zhang/TF-PRDiT, utils/metrics.py, 2026
    bands=(
        Band("air", -1024.0, -900.0),
        Band("lung", -900.0, -500.0),
        Band("fat", -150.0, -50.0),
        Band("soft", -50.0, 100.0),
        Band("bone", 200.0, 3072.0),  # from 300 there; coarse grids have little of that, and the mask begins here too
    ),
    body_above=-500.0,  # half way between air and water
    lung=LungSettings(),
    bone=BoneSettings(),
)
BAG = SubjectSettings(  # bands between the groups of materials in datasets/baggage/materials.py
    bands=(
        Band("air", -1024.0, -950.0),
        Band("cloth", -950.0, -400.0),
        Band("organic", -400.0, 300.0),
        Band("mineral", 300.0, 2500.0),
        Band("metal", 2500.0, 3096.0),
    ),
    body_above=-900.0,  # thin shells and loosely packed cloth
)
