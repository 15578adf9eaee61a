"""Floor: the mean volume of the training cases, whatever the views show."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.cases import Cases, Views
from bench.dataset import DatasetCard, Split
from bench.method import FittedStage, Method

from .card import MEAN, PRESETS, NoSettings

CASES_AT_ONCE = 16


class MeanStage(FittedStage):
    """Averages the training volumes."""

    name = "mean"

    def __init__(self, size: int) -> None:
        self.volume = nn.Module()
        self.volume.register_buffer("mean", torch.zeros(size, size, size))
        self.networks: dict[str, nn.Module] = {"volume": self.volume}

    def fit(self, cases: Mapping[Split, Cases], cache: Path) -> None:
        train = cases["train"]
        total = torch.zeros(train.hounsfield.shape[1:], dtype=torch.float64)
        for group in train.groups(CASES_AT_ONCE):
            total += train.volumes(group).double().sum(0)
        self.volume.get_buffer("mean").copy_(total / len(train))


class MeanVolume(Method):
    """The same volume for every case: what a method knows that ignores its views."""

    card = MEAN
    Config = NoSettings
    presets = PRESETS

    def __init__(self, config: NoSettings, data: DatasetCard) -> None:
        self._stage = MeanStage(data.size)

    def stages(self) -> Sequence[FittedStage]:
        return [self._stage]

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        mean = self._stage.volume.get_buffer("mean")
        return mean.expand(len(seeds), *mean.shape).clone()
