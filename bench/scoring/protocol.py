"""What a protocol consists of, and the scores that come of it: plain data, read and hashed without PyTorch.

Each field is read by the function that makes the numbers, and enters the hash. What decides a number and is no field
is covered by the version of its function: a protocol's hash changes with either. The protocols stand in protocols.py.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from bench.dataset import Subject
from bench.metrics import Space
from bench.metrics.settings import (
    BAG,
    NAEEM_2020,
    PATIENT,
    SCIKIT_IMAGE,
    WANG_2004,
    Band,
    EncoderSettings,
    GaussianSsim,
    SliceSsim,
    SubjectSettings,
)
from bench.system.files import digest_of

PHANTOM_TRAINING = "phantom training cases"  # note of rows whose baseline is not of the source of the test cases
TRUTH_CT, TRUTH_ENCODED = "truth: the CT", "truth: the method's own encoding of the CT"  # notes of rows

VERSIONS = {  # raise a number as soon as its function gives other values for the same input and settings
    "prediction": 1,  # runs/predictions.py: what is read of a file
    "means": 1,  # score.py: over cases
    "whole volume": 1,  # cases.py
    "projections": 1,
    "released CodeDiff3D": 1,  # released.py
    "stretch": 1,
    "released X2CT-GAN": 1,
    "X-ray images": 1,  # xrays.py
    "given views": 1,
    "anatomy": 1,  # anatomy.py
    "bits": 1,  # bits.py
    "samples": 1,  # samples.py
    "ranks": 1,  # metrics/ensembles.py
    "sets": 1,  # sets.py
    "features": 1,  # fidelity.py: encode
    "blur": 1,
    "baseline": 1,  # draw_baseline
    "neighbours": 1,  # prdc_by_encoder
    "mse": 1,  # metrics/distortion.py
    "mae": 1,
    "psnr": 1,
    "ssim": 1,  # metrics/ssim.py
    "psnr of slices": 1,  # metrics/slices.py
    "ssim of slices": 1,
    "encoder": 1,  # metrics/encoder.py
    "masks": 1,  # metrics/anatomy.py
    "mask agreement": 1,
    "class errors": 1,
    "high frequencies": 1,  # metrics/distortion.py
    "projector": 1,  # projector.py
    "1-HU bins": 1,  # likelihood.py
    "1-HU bins, Laplace": 1,
    "Laplace fit": 1,  # laplace.py
}
_WHOLE = ("mse", "mae", "psnr", "ssim")
_SLICES = ("mse", "mae", "psnr of slices", "ssim of slices")
USED = {  # part of a protocol → the versions that its numbers depend on
    "every": ("prediction", "means"),
    "WholeArrays": ("whole volume", *_WHOLE),
    "ReleasedCodediff": ("released CodeDiff3D", "stretch", *_SLICES),
    "ReleasedX2ct": ("released X2CT-GAN", *_SLICES),
    "projections": ("projections", *_WHOLE),
    "turn": ("X-ray images", "projector", *_WHOLE),
    "reprojection": ("given views", "X-ray images", "projector", "psnr"),
    "anatomy": ("anatomy", "masks", "mask agreement", "class errors", "high frequencies", "psnr"),
    "likelihood": ("bits", "1-HU bins"),
    "samples": ("samples", "ranks", *_WHOLE),
    "laplace": ("Laplace fit", "1-HU bins, Laplace"),
    "fidelity": ("sets", "features", "encoder", "stretch", "blur", "baseline", "neighbours"),
}
PARTS = ("projections", "turn", "reprojection", "anatomy", "likelihood", "laplace", "samples", "fidelity")  # or None


@dataclass(frozen=True)
class WholeArrays:
    """MSE, MAE, PSNR and SSIM of volumes or images in [0, 1], each as a whole; an exact match has no PSNR."""

    peak: float = 1.0  # largest value that PSNR and SSIM assume
    ssim: GaussianSsim = WANG_2004


@dataclass(frozen=True)
class Stretch:
    """Values brought from the window's [0, 1] to their CT's own minimum and maximum, as CodeDiff3D's loader does."""

    added_hu: float = 1e-4  # added to the width of the CT's range before dividing by it …
    window_hu: float = 2000.0  # … which is counted in HU of a window as wide as this


@dataclass(frozen=True)
class ReleasedCodediff:
    """Volumes as CodeDiff3D's released evaluation scores them: stretched, PSNR and SSIM of slices."""

    ssim: SliceSsim
    peak: float = 1.0
    exact_db: float = 100.0  # PSNR of a slice, or a volume, without any error
    stretch: Stretch = Stretch()


@dataclass(frozen=True)
class ReleasedX2ct:
    """Volumes as the released tests of X2CT-GAN and CCX-rayNet score them: on [0, 1] and as integers."""

    psnr: Literal["integers", "volume"]  # what the PSNR of the whole volume is of
    integer_peak: float  # largest value that PSNR of integers assumes
    peak: float = 1.0  # the same of [0, 1], and of SSIM
    steps: float = 2500.0  # between 0 and 1 of the stored scans, whose integers are HU + 1024
    exact_db: float = 100.0
    ssim: SliceSsim = SCIKIT_IMAGE


@dataclass(frozen=True)
class Turn:
    """X-ray images all round a case, at the size and grey scale of its views."""

    images: int = 72  # at equal steps from gantry angle 0
    scores: WholeArrays = WholeArrays()  # of each image


@dataclass(frozen=True)
class Samples:
    """What several samples of a case say together, where its predictions hold them."""

    scores: WholeArrays = WholeArrays()  # of their mean volume, and of each of them
    patient: tuple[Band, ...] = PATIENT.bands  # classes of the CT's voxels, each counted by itself
    bag: tuple[Band, ...] = BAG.bands

    def of(self, subject: Subject) -> tuple[Band, ...]:
        """Return the classes of voxels of a subject."""
        return self.bag if subject == "bag" else self.patient


@dataclass(frozen=True)
class Reprojection:
    """Predictions projected as the given views were, against these views as the method saw them."""

    peak: float = 1.0  # largest value that PSNR assumes


@dataclass(frozen=True)
class Anatomy:
    """Masks, errors by class of voxel, and fine detail, by what the dataset's card says its subjects are."""

    patient: SubjectSettings = PATIENT
    bag: SubjectSettings = BAG
    peak: float = 1.0  # largest value that PSNR in the body assumes
    high_from: float = 1 / 3  # of the Nyquist frequency: where high frequencies begin

    def of(self, subject: Subject) -> SubjectSettings:
        """Return what is looked for in a subject."""
        return self.bag if subject == "bag" else self.patient


@dataclass(frozen=True)
class FittedLaplace:
    """A Laplace distribution around each predicted voxel, fitted on validation predictions of the same training.

    Location and scale depend on the predicted HU alone, by bins that hold equally many voxels. They are fitted on every
    second validation case; the number of bins and the least scale are those that give the other cases least bits.
    """

    bins: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)  # to choose from
    cases: int = 24  # the first of the validation split; predicting them is what it costs
    voxels: int = 2**17  # of each half, spread evenly over it
    least_scales_hu: tuple[float, ...] = (0.05, 0.25, 1.0, 4.0, 16.0)  # to choose from; no bin is narrower


@dataclass(frozen=True)
class Fidelity:
    """How density, coverage, precision and recall are computed."""

    nearest_k: int = 5
    encoder: EncoderSettings = NAEEM_2020
    encoder_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    baseline_draws: int = 5  # random sets of training cases, as many as there are test cases
    baseline_seed: int = 0
    blur_voxels: float = 1.0  # σ of the Gaussian, in voxels of the grid, that makes the over-smooth control
    blur_edge: str = "nearest"  # what SciPy continues a volume with
    encoded_side: int = 128  # voxels a side before encoding …
    small_encoded_side: int = 64  # … and for presets whose grid …
    small_below: int = 96  # … is smaller than this
    interpolation: tuple[str, str] = ("bilinear", "trilinear")  # PyTorch's mode for projections and for volumes
    stretch: Stretch | None = None  # before encoding; None: values stay on the window's [0, 1]
    batch: int | None = None  # cases compared at a time, in split order, the rest dropped; None: the whole split

    def side(self, grid: int) -> int:
        """Return the voxels a side that volumes of `grid` voxels a side are resampled to before encoding."""
        return self.small_encoded_side if grid < self.small_below else self.encoded_side


@dataclass(frozen=True)
class Protocol:
    """One way to turn predictions into numbers; a part that is None makes none."""

    id: str
    truth: Literal["ct", "encoded"]  # encoded: the method's own encoding of the CT, where its predictions hold one
    distortion: WholeArrays | ReleasedCodediff | ReleasedX2ct  # of volumes
    projections: WholeArrays | None = None  # of maximum-intensity projections along each axis
    turn: Turn | None = None
    reprojection: Reprojection | None = None
    anatomy: Anatomy | None = None
    likelihood: Literal["1-hu-bins", "1-hu-bins-and-share"] | None = None  # the latter with the share of the codes
    laplace: FittedLaplace | None = None
    samples: Samples | None = None
    fidelity: Fidelity | None = None
    quirks: tuple[str, ...] = ()  # what a reader would not expect, a sentence each; explains, and enters no hash
    title: str | None = None  # the head of its column where its id alone would puzzle; enters no hash

    def versions(self) -> dict[str, int]:
        """Return the versions of the functions that make the numbers."""
        parts = ["every", type(self.distortion).__name__]
        parts += [part for part in PARTS if getattr(self, part) is not None]
        return {name: VERSIONS[name] for part in parts for name in USED[part]}

    def sha256(self) -> str:
        """Return the hash of everything the numbers depend on: settings but for what is None, and versions."""
        settings = asdict(replace(self, quirks=(), title=None), dict_factory=_drop_none)
        return digest_of({**settings, "versions": self.versions()})


@dataclass(frozen=True)
class CaseVolumes:
    """What the numbers of a case are made of: volumes (D, H, W) in [0, 1] of one shape."""

    ct: np.ndarray
    prediction: np.ndarray
    encoded: np.ndarray | None = None  # the CT as the method itself encodes and decodes it, where that is stored


@dataclass(frozen=True)
class CaseScore:
    """One number of one case; `value` is None where it is undefined, and `note` says why."""

    space: Space
    axis: str  # all, or d, h, w, mean, or heldout, input
    metric: str
    value: float | None
    note: str = ""
    n: int = 1  # samples of the case behind it


@dataclass(frozen=True)
class SetScore:
    """One number of a set; `value` is None where it is undefined, and `note` says why."""

    space: Space
    axis: str
    metric: str
    stat: Literal["value", "mean", "sd"]
    value: float | None
    n: int
    rep: str = ""  # the encoder's index; for a baseline encoder.draw
    note: str = ""


def _drop_none(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return settings without those that are None, so that a part which old protocols lack leaves their hash alone."""
    return {name: value for name, value in settings if value is not None}
