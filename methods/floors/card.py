"""Cards and settings of the floors, which need no networks."""

from pathlib import Path

from pydantic import PositiveInt

from bench.card import MethodCard, MethodPlugin, Settings


class BackProjectionConfig(Settings):
    """There is nothing to set."""


class MeanConfig(Settings):
    """There is nothing to set."""


class NearestConfig(Settings):
    """How views are compared."""

    compared_side: PositiveInt = 64  # views are averaged down to at most this many pixels a side


PRESETS = Path(__file__).with_name("presets.toml")
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
METHODS = (
    MethodPlugin(BACKPROJECTION, BackProjectionConfig, f"{__package__}.backprojection:BackProjection", PRESETS),
    MethodPlugin(MEAN, MeanConfig, f"{__package__}.mean:MeanVolume", PRESETS),
    MethodPlugin(NEAREST, NearestConfig, f"{__package__}.nearest:NearestCase", PRESETS),
)
