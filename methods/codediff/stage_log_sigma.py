"""Second part of stage 1's likelihood: a standard deviation per voxel, fitted with everything else frozen.

The released head has 256 channels, is never trained and never called (its own numbers cannot be computed); here it
has one channel and is fitted on the discretised likelihood that is reported, chosen on validation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bench.cases import Cases
from bench.dataset import Split
from bench.likelihood import discretised_gaussian_nll
from bench.method import Items, Stage, Update, full_precision

from .autoencoder import VectorQuantisedAutoencoder
from .card import LogSigmaConfig


class LogSigmaStage(Stage):
    """Trains the head on the volumes' own codes; the autoencoder itself is not touched."""

    name = "log_sigma"

    def __init__(
        self, autoencoder: VectorQuantisedAutoencoder, config: LogSigmaConfig, window: tuple[float, float]
    ) -> None:
        assert autoencoder.log_sigma_head is not None
        self.autoencoder, self.config, self.window = autoencoder, config, window
        self.loop = config.loop
        self.networks = {"log_sigma_head": autoencoder.log_sigma_head}
        self.cases: Mapping[Split, Cases] = {}

    def prepare(self, cases: Mapping[Split, Cases], cache: Path, device: torch.device) -> None:
        self.cases = cases
        self.autoencoder.to(device)

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        cases = self.cases[split]
        return Items(len(cases), lambda i: torch.from_numpy(np.asarray(cases.hounsfield[i], dtype=np.float32)))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        parameters = self.networks["log_sigma_head"].parameters()
        return {"log_sigma_head": torch.optim.Adam(parameters, self.config.learning_rate)}

    def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
        loss = self._nats_per_voxel(batch)
        update("log_sigma_head", loss)
        return {"loss": loss.detach()}

    def validation_loss(self, batch: Tensor) -> Tensor:
        return self._nats_per_voxel(batch)

    def _nats_per_voxel(self, hounsfield: Tensor) -> Tensor:
        return volume_nll(self.autoencoder, hounsfield, self.window).mean()


def volume_nll(autoencoder: VectorQuantisedAutoencoder, hounsfield: Tensor, window: tuple[float, float]) -> Tensor:
    """−log p(volume | its codes) in nats per voxel (B, D, H, W), discretised to 1 HU; only the head gets gradients.

    `hounsfield` is (B, D, H, W), rounded and clipped to the window here.
    """
    low, high = window
    whole = hounsfield.round().clamp(low, high)
    with torch.no_grad():
        vectors = autoencoder.encode(((whole - low) / (high - low))[:, None]).vectors
        features = autoencoder.features(vectors).float()
    with full_precision(hounsfield.device):  # bfloat16 has means 4 HU off and sigmas 1 % off
        with torch.no_grad():
            mean = autoencoder.image_of(features)[:, 0]
        log_sigma = autoencoder.log_sigma(features)[:, 0]
    return discretised_gaussian_nll(whole, mean, log_sigma, window)
