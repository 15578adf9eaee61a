"""The lifting U-Net: views back-projected into the volume as features, and a 3-D U-Net that makes values of them.

Deterministic regression with one network and one loss: what it reaches, any method with a prior has to beat.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.cases import Cases, Views
from bench.dataset import DatasetCard, Split
from bench.errors import UsageError
from bench.method import FittedStage, Items, Method, Stage, Update

from .card import CARD, PRESETS, LiftUNetConfig, TrainingConfig
from .network import LiftingUNet, places_of_voxels

Batch = tuple[Tensor, Tensor]
"""Views (B, V, h, w) and volumes (B, D, H, W), in [0, 1]."""


class RegressionStage(Stage):
    """Trains the network on pairs of views and volume: mean absolute error, AdamW, a rate that falls as a cosine."""

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


class LiftUNet(Method):
    """Reconstruction by one pass of the network."""

    card = CARD
    Config = LiftUNetConfig
    presets = PRESETS

    def __init__(self, config: LiftUNetConfig, data: DatasetCard) -> None:
        self.config, self.data = config, data
        smallest = 2 ** len(config.network.widths)
        if data.size < smallest:
            raise UsageError(
                f"lift_unet: {len(config.network.widths)} levels need volumes of {smallest} voxels a side, not "
                f"{data.size}; set fewer network.widths"
            )
        self.network = LiftingUNet(config.network, data.views, data.size)
        places = self._places(Views(torch.empty(0), torch.tensor(data.angles), data.mirrored, data.geometry))
        self._stages = [RegressionStage(self.network, places, config.training)]

    def stages(self) -> Sequence[Stage | FittedStage]:
        return self._stages

    @torch.inference_mode()
    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        self.require_views(views, self.data)
        places = self._places(views).to(views.images.device)
        # one case at a time: the full-resolution features of a published-size volume take gigabytes
        volumes = [self.network(image[None], places) for image in views.images]
        return torch.cat(volumes).float().clamp(0.0, 1.0)

    def _places(self, views: Views) -> Tensor:
        data, lifting = self.data, self.config.network.lifting
        angles = views.angles.tolist()
        return places_of_voxels(views.geometry, angles, views.mirrored, data.size, data.voxel_mm, lifting)
