"""Density → intensity: one monotone map for all cases, fitted on training cases tuned to their own views.

The published method gives no volume and its density has no unit. The map makes the read-out's histogram that of the
training volumes; `affine` is the least-squares line, for a sense of how much hangs on the map.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.cases import Cases
from bench.dataset import Split
from bench.method import FittedStage

from .card import CalibrationConfig
from .inversion import Inversion, unmirror

KNOTS = 1024


class MonotoneMap(nn.Module):
    """Piecewise linear through its knots and constant beyond them."""

    densities: Tensor
    intensities: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("densities", torch.linspace(0, 1, KNOTS))
        self.register_buffer("intensities", torch.linspace(0, 1, KNOTS))

    def forward(self, density: Tensor) -> Tensor:
        """Intensities in [0, 1] of densities of any shape."""
        values = density.clamp(self.densities[0], self.densities[-1])
        upper = torch.searchsorted(self.densities, values, right=True).clamp(1, KNOTS - 1)
        low, high = self.densities[upper - 1], self.densities[upper]
        share = (values - low) / (high - low).clamp(min=1e-12)
        return torch.lerp(self.intensities[upper - 1], self.intensities[upper], share.clamp(0, 1)).clamp(0, 1)


def quantile_knots(densities: np.ndarray, intensities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots (1024,) that bring the distribution of densities to that of intensities.

    Equal densities get the mean of the intensities they stand for.
    """
    levels = np.linspace(0, 1, KNOTS)
    knots, values = np.quantile(densities, levels), np.quantile(intensities, levels)
    _, group = np.unique(knots, return_inverse=True)
    means = np.bincount(group, weights=values) / np.bincount(group)
    return knots, means[group]


def affine_knots(densities: np.ndarray, intensities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots (1024,) on the least-squares line, which must not fall."""
    knots = np.linspace(densities.min(), densities.max(), KNOTS)
    spread = densities.var()
    slope = max(0.0, np.cov(densities, intensities, bias=True)[0, 1] / spread) if spread > 0 else 0.0
    return knots, intensities.mean() + slope * (knots - densities.mean())


class CalibrationStage(FittedStage):
    """Fits the map."""

    name = "calibration"

    def __init__(self, map_: MonotoneMap, inversion: Inversion, config: CalibrationConfig) -> None:
        self.map, self.inversion, self.config = map_, inversion, config
        self.networks: dict[str, nn.Module] = {"map": map_}

    def fit(self, cases: Mapping[Split, Cases], cache: Path) -> None:
        train = cases["train"]
        device = self.map.densities.device
        self.inversion.field.to(device).eval()
        count = min(self.config.cases, len(train))
        grid = self.inversion.grid(train.card.size, train.card.voxel_mm, device)
        densities, intensities = [], []
        for index in np.linspace(0, len(train) - 1, count).round().astype(int).tolist():
            views = train.views([index])
            tuned = self.inversion.tune(unmirror(views)[0].to(device), views.angles, seed=index)
            densities.append(self.inversion.read_out(tuned, grid).flatten().cpu().numpy())
            intensities.append(train.volumes([index]).flatten().numpy())
        make = quantile_knots if self.config.map == "quantile" else affine_knots
        knots = make(np.concatenate(densities).astype(np.float64), np.concatenate(intensities).astype(np.float64))
        for buffer, values in zip((self.map.densities, self.map.intensities), knots, strict=True):
            buffer.copy_(torch.from_numpy(values))
