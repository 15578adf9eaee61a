"""Second part of stage 1's likelihood: a standard deviation per voxel, fitted with everything else frozen.

The released head has 256 channels, is never trained and never called (its own numbers cannot be computed); here it
has one channel and is fitted on the discretised likelihood that is reported, until that of the validation cases stops
falling. All of it is single precision, whatever the run's is: bf16 rounds a mean near 1 to 8 HU of a 2000 HU window.
"""

import math
from collections.abc import Mapping, Sequence
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

from .autoencoder import VOXELS_AT_ONCE, VectorQuantisedAutoencoder
from .card import LogSigmaConfig

KEPT_BYTES = 2**30  # of decoded features that are kept for the next time: all of the tiny preset, and some of others
STARTED_CASES = 32  # from whose errors the head starts


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
        self.decoded: dict[tuple[Split, int], tuple[Tensor, Tensor]] = {}
        self.device = torch.device("cpu")

    def prepare(self, cases: Mapping[Split, Cases], cache: Path, device: torch.device) -> None:
        self.cases, self.device, self.decoded = cases, device, {}
        self.autoencoder.to(device)
        start = [self._decode("train", index) for index in range(min(STARTED_CASES, len(cases["train"])))]
        errors = [(mean - self._unit("train", index)).square().mean() for index, (_, mean) in enumerate(start)]
        # from σ = the whole window, where random weights begin, Adam takes hundreds of steps to one HU
        last = self.autoencoder.log_sigma_head[-1]
        with torch.no_grad():
            last.bias.fill_(math.log(max(float(torch.stack(errors).mean()), 1e-12)) / 2)

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        return Items(len(self.cases[split]), torch.tensor)  # whose codes are decoded in the step

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        parameters = self.networks["log_sigma_head"].parameters()
        return {"log_sigma_head": torch.optim.Adam(parameters, self.config.learning_rate)}

    def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
        loss = self._nats_per_voxel("train", batch.tolist())
        update("log_sigma_head", loss)
        return {"loss": loss.detach()}

    def validation_loss(self, batch: Tensor) -> Tensor:
        return self._nats_per_voxel("validation", batch.tolist())

    def _nats_per_voxel(self, split: Split, indices: Sequence[int]) -> Tensor:
        features, mean = (torch.stack(part) for part in zip(*(self._decode(split, i) for i in indices), strict=True))
        hounsfield = torch.stack([self._hounsfield(split, index) for index in indices])
        with full_precision(self.device):
            log_sigma = self.autoencoder.log_sigma(features)[:, 0]
        return discretised_gaussian_nll(hounsfield, mean, log_sigma, self.window).mean()

    def _decode(self, split: Split, index: int) -> tuple[Tensor, Tensor]:
        """Decoder features (C, D, H, W) and mean (D, H, W) of a case's own codes."""
        known = self.decoded.get((split, index))
        if known is not None:
            return known
        features, mean = (part[0] for part in decode_own_codes(self.autoencoder, self._unit(split, index)[None]))
        if (len(self.decoded) + 1) * (features.nbytes + mean.nbytes) <= KEPT_BYTES:
            self.decoded[split, index] = features, mean
        return features, mean

    def _hounsfield(self, split: Split, index: int) -> Tensor:
        return torch.from_numpy(np.array(self.cases[split].hounsfield[index], dtype=np.float32)).to(self.device)

    def _unit(self, split: Split, index: int) -> Tensor:
        return to_whole_unit(self._hounsfield(split, index), self.window)


def volume_nll(autoencoder: VectorQuantisedAutoencoder, hounsfield: Tensor, window: tuple[float, float]) -> Tensor:
    """−log p(volume | its codes) in nats per voxel (B, D, H, W), discretised to 1 HU; only the head gets gradients.

    `hounsfield` is (B, D, H, W), rounded and clipped to the window here.
    """
    features, mean = decode_own_codes(autoencoder, to_whole_unit(hounsfield, window))
    parts, depth, planes = [], hounsfield.shape[1], max(1, VOXELS_AT_ONCE // hounsfield[0, 0].numel())
    for first in range(0, depth, planes):  # of a large volume the head and the likelihood take many times its size
        last, halo = min(first + planes, depth), int(first > 0)  # the head sees one plane on either side
        with full_precision(features.device):
            log_sigma = autoencoder.log_sigma(features[:, :, first - halo : last + 1])[:, 0, halo : halo + last - first]
        parts.append(discretised_gaussian_nll(hounsfield[:, first:last], mean[:, first:last], log_sigma, window))
    return torch.cat(parts, dim=1)


def to_whole_unit(hounsfield: Tensor, window: tuple[float, float]) -> Tensor:
    """Volumes in [0, 1] of HU that are rounded and clipped to the window first."""
    low, high = window
    return (hounsfield.round().clamp(low, high) - low) / (high - low)


@torch.no_grad()
def decode_own_codes(autoencoder: VectorQuantisedAutoencoder, volume: Tensor) -> tuple[Tensor, Tensor]:
    """Decoder features (B, C, D, H, W) and mean (B, D, H, W) of the codes of volumes (B, D, H, W) in [0, 1]."""
    with full_precision(volume.device):
        features = autoencoder.features(autoencoder.encode(volume[:, None]).vectors)
        return features, autoencoder.image_of(features)[:, 0]
