"""Floors of the likelihood: what the training cases say of each voxel by itself, whatever the views show.

Both are distributions over the 1-HU bins in which likelihoods are counted. How smooth they are is chosen on the
validation cases. As volumes they give the median of the training cases.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.cases import Cases, Views
from bench.dataset import DatasetCard, Split, to_unit
from bench.errors import BenchError, UsageError
from bench.likelihood import discretised_laplace_nll
from bench.method import FittedStage, Likelihood, Method

from .card import PRESETS, VOXEL_HISTOGRAM, VOXEL_LAPLACE, VoxelHistogramConfig, VoxelLaplaceConfig

CHOOSING_CASES = 24  # validation cases at most


class LaplaceStage(FittedStage):
    """Median and mean distance from it of every voxel, and how far the latter is drawn to its mean over voxels."""

    name = "laplace"

    def __init__(self, config: VoxelLaplaceConfig, size: int, window: tuple[float, float]) -> None:
        self.config, self.window = config, window
        self.voxels = nn.Module()
        for name in ("median", "scale"):  # HU
            self.voxels.register_buffer(name, torch.zeros(size, size, size))
        self.networks: dict[str, nn.Module] = {"voxels": self.voxels}

    def fit(self, cases: Mapping[Split, Cases], cache: Path) -> None:
        median, distance = (torch.from_numpy(part) for part in _median_and_distance(cases["train"], self.window))
        self.voxels.get_buffer("median").copy_(median)
        count, pooled = len(cases["train"]), distance.mean()
        tried = [
            ((count * distance + weight * pooled) / (count + weight)).clamp_min(least)
            for weight in self.config.weights
            for least in self.config.least_scales_hu
        ]
        chosen = list(_chosen_volumes(cases))
        costs = [sum(float(self._nats(volume, scale).mean()) for volume in chosen) for scale in tried]
        self.voxels.get_buffer("scale").copy_(tried[int(np.argmin(costs))])

    def nats(self, hounsfield: Tensor) -> Tensor:
        """−log p (B, D, H, W) of volumes in HU."""
        return self._nats(hounsfield, self.voxels.get_buffer("scale"))

    def _nats(self, hounsfield: Tensor, scale: Tensor) -> Tensor:
        return discretised_laplace_nll(hounsfield, self.voxels.get_buffer("median"), scale, self.window)


class HistogramStage(FittedStage):
    """Remembers how often each HU is met anywhere; what each voxel held stays memory-mapped.

    p(v) at a voxel: with n training cases, c of which lie in the bin of v, and P how often values are met anywhere,
    (c + a P(bin)) / (n + a) · P(v) / P(bin).
    """

    name = "histogram"

    def __init__(self, config: VoxelHistogramConfig, size: int, window: tuple[float, float]) -> None:
        self.config, self.window = config, window
        self.voxels = nn.Module()
        self.voxels.register_buffer("median", torch.zeros(size, size, size))  # HU
        self.voxels.register_buffer("anywhere", torch.zeros(round(window[1] - window[0]) + 1, dtype=torch.float64))
        self.voxels.register_buffer("width", torch.ones((), dtype=torch.int64))  # HU of a bin
        self.voxels.register_buffer("weight", torch.ones((), dtype=torch.float64))  # a, in cases
        self.networks: dict[str, nn.Module] = {"voxels": self.voxels}
        self.train: Cases | None = None

    def fit(self, cases: Mapping[Split, Cases], cache: Path) -> None:
        self.recall(cases)
        train = cases["train"]
        self.voxels.get_buffer("median").copy_(torch.from_numpy(_median_and_distance(train, self.window)[0]))
        met = torch.ones_like(self.voxels.get_buffer("anywhere"))  # once more each: none is impossible
        for volume in train.hounsfield:
            met += torch.bincount(self._steps(_tensor(volume)).flatten(), minlength=len(met))
        self.voxels.get_buffer("anywhere").copy_(met / met.sum())
        costs = {(width, weight): 0.0 for width in self.config.widths_hu for weight in self.config.weights}
        for volume in _chosen_volumes(cases):
            for width in self.config.widths_hu:
                counts = self._count(volume, width)
                for weight in self.config.weights:
                    costs[width, weight] += float(self._nats(volume, counts, width, weight).mean())
        width, weight = min(costs, key=lambda pair: costs[pair])
        self.voxels.get_buffer("width").fill_(width)
        self.voxels.get_buffer("weight").fill_(weight)

    def recall(self, cases: Mapping[Split, Cases]) -> None:
        self.train = cases["train"]

    def nats(self, hounsfield: Tensor) -> Tensor:
        """−log p (B, D, H, W) of volumes in HU."""
        width, weight = int(self.voxels.get_buffer("width")), float(self.voxels.get_buffer("weight"))
        return torch.stack([self._nats(one, self._count(one, width), width, weight) for one in hounsfield])

    def _steps(self, hounsfield: Tensor) -> Tensor:
        """Whole HU above the window's lower end."""
        low, high = self.window
        return hounsfield.double().round().clamp(low, high).long() - round(low)

    def _count(self, hounsfield: Tensor, width: int) -> Tensor:
        """How many training cases lie in the bin of a volume (D, H, W), voxel by voxel."""
        if self.train is None:
            raise UsageError("voxel_histogram has no training cases; fit it first")
        mine = self._steps(hounsfield) // width
        counts = torch.zeros_like(mine)
        for volume in self.train.hounsfield:
            counts += (self._steps(_tensor(volume)) // width).to(mine.device) == mine
        return counts

    def _nats(self, hounsfield: Tensor, counts: Tensor, width: int, weight: float) -> Tensor:
        assert self.train is not None
        anywhere, steps = self.voxels.get_buffer("anywhere"), self._steps(hounsfield)
        bins = torch.arange(len(anywhere), device=anywhere.device) // width
        of_bin = torch.zeros_like(anywhere).index_add(0, bins, anywhere)[bins]  # by value
        within = of_bin[steps]
        return -((counts + weight * within) / (len(self.train) + weight) * anywhere[steps] / within).log()


class Voxelwise(Method):
    """A distribution a voxel, which its stage fits; as a volume the median, whatever the views show."""

    presets = PRESETS
    stage: type[LaplaceStage] | type[HistogramStage]

    def __init__(self, config: Any, data: DatasetCard) -> None:
        self.data, self._stage = data, self.stage(config, data.size, data.window)

    def stages(self) -> Sequence[FittedStage]:
        return [self._stage]

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        median = self._stage.voxels.get_buffer("median")
        unit = torch.as_tensor(to_unit(median.cpu().numpy(), self.data.window)).to(median)
        return unit.expand(len(seeds), *unit.shape).clone()

    def log_likelihood(self, volume: Tensor, views: Views, *, seeds: Sequence[int]) -> Likelihood:
        """All of it is the volume's: there are no codes."""
        low, high = self.data.window
        nats = self._stage.nats(volume.double() * (high - low) + low).double().flatten(1).sum(1)
        return Likelihood(nats, torch.zeros_like(nats), voxels=volume[0].numel(), codes=0)


class VoxelLaplace(Voxelwise):
    """A Laplace distribution a voxel."""

    card, Config, stage = VOXEL_LAPLACE, VoxelLaplaceConfig, LaplaceStage


class VoxelHistogram(Voxelwise):
    """A histogram a voxel."""

    card, Config, stage = VOXEL_HISTOGRAM, VoxelHistogramConfig, HistogramStage


def _median_and_distance(train: Cases, window: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Median (D, H, W) of the windowed training volumes in HU, and the mean distance from it; float32."""
    medians, distances = [], []
    for index in range(train.hounsfield.shape[1]):
        values = np.clip(np.asarray(train.hounsfield[:, index], dtype=np.float32), *window)
        medians.append(np.median(values, axis=0))
        distances.append(np.abs(values - medians[-1]).mean(axis=0))
    return np.stack(medians), np.stack(distances)


def _chosen_volumes(cases: Mapping[Split, Cases]) -> Iterator[Tensor]:
    """Volumes (D, H, W) in HU by which is chosen how smooth a floor is.

    Raises BenchError without validation cases.
    """
    if not len(cases["validation"]):
        raise BenchError("a likelihood voxel by voxel is chosen on validation cases, and there are none")
    for volume in cases["validation"].hounsfield[:CHOOSING_CASES]:
        yield _tensor(volume)


def _tensor(hounsfield: np.ndarray) -> Tensor:
    """A copy of a memory-mapped volume."""
    return torch.from_numpy(np.array(hounsfield, dtype=np.float32))
