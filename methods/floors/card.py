"""Cards and settings of the floors, which need no networks."""

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bench.card import Capability, MethodCard, MethodPlugin, Settings


class NoSettings(Settings):
    """There is nothing to set."""


class MeanConfig(Settings):
    """Of which cases the mean is; left out of the hashes of configurations that do not say it."""

    leave_one_out: bool = Field(default=False, exclude_if=lambda leave: not leave)  # of the tested cases but the one


class NearestConfig(Settings):
    """How views are compared."""

    compared_side: PositiveInt = 64  # views are averaged down to at most this many pixels a side


class VoxelLaplaceConfig(Settings):
    """What is tried; the validation cases choose."""

    least_scales_hu: tuple[PositiveFloat, ...] = Field(default=(0.25, 1.0, 4.0, 16.0), min_length=1)
    weights: tuple[NonNegativeFloat, ...] = Field(default=(0.0, 0.25, 1.0, 4.0), min_length=1)
    """Training cases as many as which the mean over all voxels counts in the scale of each."""


class VoxelHistogramConfig(Settings):
    """What is tried; the validation cases choose."""

    widths_hu: tuple[PositiveInt, ...] = Field(default=(1, 4, 16, 64), min_length=1)  # of a bin
    weights: tuple[PositiveFloat, ...] = Field(default=(1.0, 4.0, 16.0, 64.0), min_length=1)
    """Training cases as many as which the values met anywhere count in each histogram."""


PRESETS = Path(__file__).with_name("presets.toml")
MEAN_PRESETS = Path(__file__).with_name("mean.toml")


def _make_card(
    name: str, title: str, paper: str, *more: Capability, kind: Literal["floor", "reference"] = "floor"
) -> MethodCard:
    capabilities: frozenset[Capability] = frozenset({"volume", "mip", *more})
    return MethodCard(name, title, paper, 2026, "", "", capabilities, kind=kind, deterministic=True)


BACKPROJECTION = _make_card(
    "backprojection", "back-projection of the views", "none: unfiltered back-projection, without any training"
)
MEAN = _make_card(
    "mean", "mean training volume", "none: the regression that knows the training set and ignores the views"
)
NEAREST = _make_card(
    "nearest", "nearest training case by its views", "none: retrieval by the mean squared difference of the views"
)
VOXEL_HISTOGRAM = _make_card(
    "voxel_histogram",
    "histogram a voxel",
    "none: what the training cases held, voxel by voxel",
    "likelihood",
)
VOXEL_LAPLACE = _make_card(
    "voxel_laplace",
    "Laplace a voxel",
    "none: median of the training cases and mean distance from it, voxel by voxel",
    "likelihood",
)
XZ = _make_card(
    "xz",
    "xz, a lossless coder",
    "none: LZMA2 of the true volume, without any training",
    "likelihood",
    "oracle",
    kind="reference",
)
METHODS = tuple(
    MethodPlugin(card, config, f"{__package__}.{implementation}", presets)
    for card, config, implementation, presets in (
        (BACKPROJECTION, NoSettings, "backprojection:BackProjection", PRESETS),
        (MEAN, MeanConfig, "training_cases:MeanVolume", MEAN_PRESETS),
        (NEAREST, NearestConfig, "training_cases:NearestCase", PRESETS),
        (VOXEL_HISTOGRAM, VoxelHistogramConfig, "voxelwise:VoxelHistogram", PRESETS),
        (VOXEL_LAPLACE, VoxelLaplaceConfig, "voxelwise:VoxelLaplace", PRESETS),
        (XZ, NoSettings, "coder:Xz", PRESETS),
    )
)
