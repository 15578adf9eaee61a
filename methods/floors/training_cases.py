"""Floors made of the training cases as they are: their mean, and the one whose views look most alike."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.cases import Cases, Views
from bench.dataset import DatasetCard, Split
from bench.errors import UsageError
from bench.method import FittedStage, Method

from .card import MEAN, MEAN_PRESETS, NEAREST, PRESETS, MeanConfig, NearestConfig

CASES_AT_ONCE = 16


class MeanStage(FittedStage):
    """Averages the volumes of a split."""

    name = "mean"

    def __init__(self, size: int, split: Split) -> None:
        self.split: Split = split
        self.cases: Cases | None = None
        self.volume = nn.Module()
        self.volume.register_buffer("mean", torch.zeros(size, size, size))
        self.networks: dict[str, nn.Module] = {"volume": self.volume}

    def fit(self, cases: Mapping[Split, Cases], cache: Path) -> None:
        own = cases[self.split]
        total = torch.zeros(own.hounsfield.shape[1:], dtype=torch.float64)
        for group in own.groups(CASES_AT_ONCE):
            total += own.volumes(group).double().sum(0)
        self.volume.get_buffer("mean").copy_(total / len(own))
        self.recall(cases)

    def recall(self, cases: Mapping[Split, Cases]) -> None:
        self.cases = cases[self.split]

    def without(self, images: Tensor) -> Tensor:
        """The mean (D, H, W) of the cases but for the one whose views (V, h, w) these are.

        Raises UsageError for the views of no such case, or of the only one.
        """
        cases, images = self.cases, images.cpu()
        known = range(len(cases)) if cases else ()
        index = next((i for i in known if cases and torch.equal(cases.images([i])[0], images)), None)
        if cases is None or index is None or len(cases) < 2:
            raise UsageError(f"mean without the case at hand takes the views of one of several {self.split} cases")
        mean = self.volume.get_buffer("mean")
        return (mean + (mean - cases.volumes([index])[0].to(mean)) / (len(cases) - 1)).clamp(0, 1)  # but for rounding


class MeanVolume(Method):
    """The mean of the training cases, or of the tested ones but the one at hand: what is known without views."""

    card = MEAN
    Config = MeanConfig
    presets = MEAN_PRESETS

    def __init__(self, config: MeanConfig, data: DatasetCard) -> None:
        self.leaves_one_out = config.leave_one_out
        self._stage = MeanStage(data.size, "test" if config.leave_one_out else "train")

    def stages(self) -> Sequence[FittedStage]:
        return [self._stage]

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        if self.leaves_one_out:
            return torch.stack([self._stage.without(images) for images in views.images])
        mean = self._stage.volume.get_buffer("mean")
        return mean.expand(len(seeds), *mean.shape).clone()


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
