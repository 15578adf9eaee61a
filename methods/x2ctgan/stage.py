"""Training of a generator against a conditional discriminator (X2CT-GAN, sections 3.3 and 4; released code).

Losses are unweighted, of volumes (B, 1, D, H, W) and of logits of any shape. In a step the generator is updated
first; the discriminator then sees the volume made before that update.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.cases import Cases, cache_rows
from bench.dataset import Split, to_hounsfield, to_unit
from bench.method import Items, Stage, Update

from .alignment import resample_views, resample_volumes, stack_condition
from .card import TrainingConfig
from .generator import BiplanarGenerator, SingleViewGenerator
from .parts import PatchDiscriminator

EPOCHS = 100  # of the published schedule; a training of any length is divided into as many
BETAS = (0.5, 0.99)
VOLUME_LAYERS = (nn.Conv3d, nn.ConvTranspose3d)

Batch = tuple[Tensor, Tensor]
"""Images (B, V, h, w) and volumes (B, D, H, W), in [0, 1]."""


def rate_in_epoch(epoch: int, constant: int = 49, end: int = 100) -> float:
    """Factor on the learning rates in epoch 1 … 100: 1 until `constant`, then linear to 0 at `end`."""
    return 1.0 - max(0, epoch - constant) / (end - constant)


def adversarial_loss(logits: Tensor, target: float) -> Tensor:
    """Least squares: how far logits are from 1 (true) or 0 (made)."""
    return (logits - target).square().mean()


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Both terms of the discriminator, from its logits of true and of made volumes."""
    return adversarial_loss(real, 1.0) + adversarial_loss(made, 0.0)


def voxel_loss(volume: Tensor, target: Tensor) -> Tensor:
    """Mean squared error."""
    return (volume - target).square().mean()


def projection_losses(volume: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L1 distances of the parallel mean projections along D, H and W."""
    volume, target = volume.abs(), target.abs()
    along_d, along_h, along_w = ((volume.mean(axis) - target.mean(axis)).abs().mean() for axis in (2, 3, 4))
    return along_d, along_h, along_w


def projection_loss(volume: Tensor, target: Tensor) -> Tensor:
    """Mean of the three projection losses."""
    return sum(projection_losses(volume, target), volume.new_zeros(())) / 3


def average_volumes(cases: Cases, side: int, path: Path, device: torch.device) -> np.ndarray:
    """Return the volumes (N, side, side, side) of cases averaged down, int16 HU; made once and memory-mapped."""

    def average() -> Iterator[np.ndarray]:
        for index in range(len(cases)):
            unit = resample_volumes(cases.volumes([index]).to(device), side)[0, 0].cpu().numpy()
            yield to_hounsfield(unit, cases.card.window).round()

    return cache_rows(path, (len(cases), side, side, side), np.int16, average())


class GeneratorStage(Stage):
    """Trains one generator, with a discriminator unless its weight is 0."""

    fused: bool | None = True  # the optimisers' kernels; None: as PyTorch chooses
    rate_in_epoch = staticmethod(rate_in_epoch)

    def __init__(
        self,
        name: str,
        generator: SingleViewGenerator | BiplanarGenerator,
        config: TrainingConfig,
        side: int,
        inputs: Callable[[list[Tensor]], list[Tensor]] = list,
    ) -> None:
        """`inputs` makes the generator's inputs of the resampled views (B, 1, side, side), which it gets by default."""
        self.name, self.generator, self.config, self.side, self.inputs = name, generator, config, side, inputs
        self.loop = config.loop
        self.networks: dict[str, nn.Module] = {"generator": generator}
        if config.adversarial_weight > 0:
            channels = len(generator.orders) + 1
            self.discriminator = PatchDiscriminator(channels, config.discriminator, generator.config.statistics)
            self.networks["discriminator"] = self.discriminator
        self.cases: Mapping[Split, Cases] = {}
        self.smaller: dict[str, np.ndarray] = {}  # volumes (N, side, side, side) in HU, where the cases are larger

    def prepare(self, cases: Mapping[Split, Cases], cache: Path, device: torch.device) -> None:
        self.cases = cases
        if cases["train"].card.size > self.side:  # once, and not in every step
            for split in ("train", "validation"):
                self.smaller[split] = average_volumes(cases[split], self.side, cache / f"volumes-{split}.npy", device)

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        cases, smaller = self.cases[split], self.smaller.get(split)

        def take(index: int) -> Batch:
            if smaller is None:
                return cases.images([index])[0], cases.volumes([index])[0]
            unit = to_unit(np.asarray(smaller[index], np.float32), cases.card.window)
            return cases.images([index])[0], torch.from_numpy(unit)

        return Items(len(cases), take, ahead=True)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rates = {"generator": self.config.learning_rate, "discriminator": self.config.discriminator_rate}
        return {
            name: torch.optim.Adam(network.parameters(), rates[name], betas=BETAS, fused=self.fused)
            for name, network in self.networks.items()
        }

    def rate(self, step: int) -> float:
        return self.rate_in_epoch(1 + step * EPOCHS // self.loop.steps)

    def step(self, batch: Batch, update: Update, step: int) -> dict[str, Tensor | float]:
        views, target = self._resample(batch)
        made = self.generator(self.inputs(views)).float()
        voxel, projection = self._reconstruction_losses(made, target)
        values = {"voxel_loss": voxel.detach(), "projection_loss": projection.detach()}
        if self.config.adversarial_weight == 0:
            update("generator", voxel + projection)
            return {"loss": (voxel + projection).detach(), **values}
        condition = stack_condition(views, self.generator.orders)
        self.discriminator.requires_grad_(False)
        weight = self.config.adversarial_weight
        adversarial = weight * adversarial_loss(self._logits(condition, made), 1.0)
        loss = voxel + projection + adversarial
        update("generator", loss)
        self.discriminator.requires_grad_(True)
        true_logits, made_logits = self._logits(condition, target), self._logits(condition, made.detach())
        discriminator = weight * discriminator_loss(true_logits, made_logits)
        update("discriminator", discriminator)
        return {
            "loss": loss.detach(),
            **values,
            "generator_loss": adversarial.detach(),
            "discriminator_loss": discriminator.detach(),
        }

    def recomputable(self) -> Iterable[nn.Module]:
        """The convolutions of the 3-D part, which hold nearly all of the memory."""
        inner = (
            m for m in self.generator.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], VOLUME_LAYERS)
        )
        return [block for block in inner if len(block) > 2]

    def validation_loss(self, batch: Batch) -> Tensor:
        views, target = self._resample(batch)
        voxel, projection = self._reconstruction_losses(self.generator(self.inputs(views)).float(), target)
        return voxel + projection

    def _resample(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        images, volumes = batch
        return resample_views(images, self.side), resample_volumes(volumes, self.side)

    def _reconstruction_losses(self, made: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        voxel = self.config.voxel_weight * voxel_loss(made, target)
        return voxel, self.config.projection_weight * projection_loss(made, target)

    def _logits(self, condition: Tensor, volume: Tensor) -> Tensor:
        inputs = torch.cat([condition, volume], dim=1).contiguous(memory_format=torch.channels_last_3d)
        return self.discriminator(inputs).float()
