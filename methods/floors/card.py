"""Cards and settings of the floors, which need no networks."""

from pathlib import Path

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bench.card import MethodCard, MethodPlugin, Settings


class BackProjectionConfig(Settings):
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


class XzConfig(Settings):
    """There is nothing to set."""


PRESETS = Path(__file__).with_name("presets.toml")
MEAN_PRESETS = Path(__file__).with_name("mean.toml")
BACKPROJECTION = MethodCard(
    name="backprojection",
    title="back-projection of the views",
    paper="none: unfiltered back-projection, without any training",
    year=2026,
    bibtex="",
    licence_of_original="",
    capabilities=frozenset({"volume", "mip"}),
    kind="floor",
    deterministic=True,
)
MEAN = MethodCard(
    name="mean",
    title="mean training volume",
    paper="none: the regression that knows the training set and ignores the views",
    year=2026,
    bibtex="",
    licence_of_original="",
    capabilities=frozenset({"volume", "mip"}),
    kind="floor",
    deterministic=True,
)
NEAREST = MethodCard(
    name="nearest",
    title="nearest training case by its views",
    paper="none: retrieval by the mean squared difference of the views",
    year=2026,
    bibtex="",
    licence_of_original="",
    capabilities=frozenset({"volume", "mip"}),
    kind="floor",
    deterministic=True,
)
VOXEL_LAPLACE = MethodCard(
    name="voxel_laplace",
    title="Laplace a voxel",
    paper="none: median of the training cases and mean distance from it, voxel by voxel",
    year=2026,
    bibtex="",
    licence_of_original="",
    capabilities=frozenset({"volume", "mip", "likelihood"}),
    kind="floor",
    deterministic=True,
)
VOXEL_HISTOGRAM = MethodCard(
    name="voxel_histogram",
    title="histogram a voxel",
    paper="none: what the training cases held, voxel by voxel",
    year=2026,
    bibtex="",
    licence_of_original="",
    capabilities=frozenset({"volume", "mip", "likelihood"}),
    kind="floor",
    deterministic=True,
)
XZ = MethodCard(
    name="xz",
    title="xz, a lossless coder",
    paper="none: LZMA2 of the true volume, without any training",
    year=2026,
    bibtex="",
    licence_of_original="",
    capabilities=frozenset({"volume", "mip", "likelihood", "oracle"}),
    kind="reference",
    deterministic=True,
)
METHODS = (
    MethodPlugin(BACKPROJECTION, BackProjectionConfig, f"{__package__}.backprojection:BackProjection", PRESETS),
    MethodPlugin(MEAN, MeanConfig, f"{__package__}.mean:MeanVolume", MEAN_PRESETS),
    MethodPlugin(NEAREST, NearestConfig, f"{__package__}.nearest:NearestCase", PRESETS),
    MethodPlugin(VOXEL_HISTOGRAM, VoxelHistogramConfig, f"{__package__}.voxelwise:VoxelHistogram", PRESETS),
    MethodPlugin(VOXEL_LAPLACE, VoxelLaplaceConfig, f"{__package__}.voxelwise:VoxelLaplace", PRESETS),
    MethodPlugin(XZ, XzConfig, f"{__package__}.coder:Xz", PRESETS),
)
