"""Training of the network: mean absolute error of volumes, AdamW, a rate that falls as a cosine."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.cases import Cases
from bench.dataset import Split
from bench.method import Items, Stage, Update

from .card import TrainingConfig
from .network import LiftingUNet

Batch = tuple[Tensor, Tensor]
"""Views (B, V, h, w) and volumes (B, D, H, W), in [0, 1]."""


class RegressionStage(Stage):
    """Trains the network on pairs of views and volume."""

    name = "network"

    def __init__(self, network: LiftingUNet, places: Tensor, config: TrainingConfig) -> None:
        self.network, self.places, self.config = network, places, config
        self.loop = config.loop
        self.networks: dict[str, nn.Module] = {"network": network}
        self.cases: Mapping[Split, Cases] = {}

    def prepare(self, cases: Mapping[Split, Cases], cache: Path, device: torch.device) -> None:
        self.cases, self.places = cases, self.places.to(device)

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        cases = self.cases[split]
        return Items(len(cases), lambda i: (cases.images([i])[0], cases.volumes([i])[0]), ahead=True)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate, decay = self.config.learning_rate, self.config.weight_decay
        return {"network": torch.optim.AdamW(self.network.parameters(), rate, weight_decay=decay, fused=True)}

    def rate(self, step: int) -> float:
        warm_up = self.config.warm_up
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / max(1, self.loop.steps - warm_up))

    def step(self, batch: Batch, update: Update, step: int) -> dict[str, Tensor | float]:
        error = self._mean_absolute_error(batch)
        loss = error / self.network.config.value_scale
        update("network", loss)
        return {"loss": loss.detach(), "mae": error.detach()}

    def validation_loss(self, batch: Batch) -> Tensor:
        """Mean absolute error of values in [0, 1]."""
        return self._mean_absolute_error(batch)

    def recomputable(self) -> Iterable[nn.Module]:
        return self.network.blocks()

    def _mean_absolute_error(self, batch: Batch) -> Tensor:
        images, volumes = batch
        return (self.network(images, self.places).float() - volumes).abs().mean()
