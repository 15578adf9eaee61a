"""Floor: the training case whose views look most alike, shown as it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.cases import Cases, Views
from bench.dataset import DatasetCard, Split
from bench.errors import UsageError
from bench.method import FittedStage, Method

from .card import NEAREST, PRESETS, NearestConfig

CASES_AT_ONCE = 64


class NearestStage(FittedStage):
    """Remembers the views of the training cases; the volumes stay where they are, memory-mapped."""

    name = "views"

    def __init__(self, data: DatasetCard, compared_side: int) -> None:
        self.side = min(compared_side, data.image_size)
        self.index = nn.Module()
        shape = (data.counts.get("train", 0), data.views, self.side, self.side)
        self.index.register_buffer("views", torch.zeros(shape))
        self.networks: dict[str, nn.Module] = {"index": self.index}
        self.train: Cases | None = None

    def fit(self, cases: Mapping[Split, Cases], cache: Path) -> None:
        train, views = cases["train"], self.index.get_buffer("views")
        for group in train.groups(CASES_AT_ONCE):
            views[group.start : group.stop] = self.reduce(train.images(group)).to(views)

    def recall(self, cases: Mapping[Split, Cases]) -> None:
        self.train = cases["train"]

    def reduce(self, images: Tensor) -> Tensor:
        """(B, V, side, side) of views (B, V, h, w), averaged over the pixels each covers."""
        return F.adaptive_avg_pool2d(images, self.side)

    def nearest(self, images: Tensor) -> list[int]:
        """The training case with the least mean squared difference over all views, for views (B, V, h, w)."""
        known = self.index.get_buffer("views").flatten(1)
        # differences, not the expanded square: equal views must be exactly 0 apart
        distances = [(known - one).square().mean(1) for one in self.reduce(images).flatten(1)]
        return [int(distance.argmin()) for distance in distances]


class NearestCase(Method):
    """Retrieval: a real volume of the wrong patient."""

    card = NEAREST
    Config = NearestConfig
    presets = PRESETS

    def __init__(self, config: NearestConfig, data: DatasetCard) -> None:
        self.data = data
        self._stage = NearestStage(data, config.compared_side)

    def stages(self) -> Sequence[FittedStage]:
        return [self._stage]

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        self.require_views(views, self.data)
        if self._stage.train is None:
            raise UsageError("nearest has no training cases; fit it first")
        return self._stage.train.volumes(self._stage.nearest(views.images)).to(views.images.device)
