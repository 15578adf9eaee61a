"""Floor: the mean volume of the training cases, or of the tested ones but the one at hand, whatever the views show."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.cases import Cases, Views
from bench.dataset import DatasetCard, Split
from bench.errors import UsageError
from bench.method import FittedStage, Method

from .card import MEAN, MEAN_PRESETS, MeanConfig

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
    """The same volume for every case: what a method knows that ignores its views."""

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
