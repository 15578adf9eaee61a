"""The published training step, for `bench performance`: the same numbers, computed as released.

The branches' own heads are computed though no loss uses them, the discriminator sees the true volume once more than
needed, maps are repeated to volumes before they are convolved, and memory is laid out as PyTorch does by default.
"""

import copy
from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from bench.method import Method, Stage, Update

from . import losses
from .alignment import stack_condition
from .decoder import Link
from .generator import BiplanarGenerator
from .stage import BETAS, Batch, GeneratorStage

TARGETS = {"step/x2ctgan/generator": 1.5}


def make_published_stages(method: Method) -> dict[str, Stage]:
    """Return twins of the trained generators by stage name, with copies of their networks."""
    return {stage.name: PublishedStage(stage) for stage in method.stages() if isinstance(stage, GeneratorStage)}


class PublishedStage(GeneratorStage):
    """The released step of generator and discriminator."""

    def __init__(self, ours: GeneratorStage) -> None:
        super().__init__(ours.name, make_published(copy.deepcopy(ours.generator)), ours.config, ours.side, ours.inputs)
        self.networks = {"generator": self.generator}
        if ours.config.adversarial_weight > 0:
            self.discriminator = make_published(copy.deepcopy(ours.discriminator))
            self.networks["discriminator"] = self.discriminator

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rates = {"generator": self.config.learning_rate, "discriminator": self.config.discriminator_rate}
        return {
            name: torch.optim.Adam(network.parameters(), rates[name], betas=BETAS)
            for name, network in self.networks.items()
        }

    def step(self, batch: Batch, update: Update, step: int) -> dict[str, Tensor | float]:
        views, target = self._resample(batch)
        made = self.generator(self.inputs(views))
        voxel, projection = self._reconstruction_losses(made, target)
        values = {"voxel_loss": voxel.detach(), "projection_loss": projection.detach()}
        if self.config.adversarial_weight == 0:
            update("generator", voxel + projection)
            return {"loss": (voxel + projection).detach(), **values}
        condition = stack_condition(views, self.generator.orders)
        self.discriminator.requires_grad_(False)
        adversarial = self._weigh(losses.adversarial_loss(self._logits(condition, made), 1.0))
        self._logits(condition, target)  # for a loss of features whose weight is 0
        loss = voxel + projection + adversarial
        update("generator", loss)
        self.discriminator.requires_grad_(True)
        true_logits, made_logits = self._logits(condition, target), self._logits(condition, made.detach())
        discriminator = self._weigh(losses.discriminator_loss(true_logits, made_logits))
        update("discriminator", discriminator)
        return {
            "loss": loss.detach(),
            **values,
            "generator_loss": adversarial.detach(),
            "discriminator_loss": discriminator.detach(),
        }

    def _logits(self, condition: Tensor, volume: Tensor) -> Tensor:
        return self.discriminator(torch.cat([condition, volume], dim=1))


class BranchedGenerator(BiplanarGenerator):
    """All three volumes, of which one is used."""

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        return self.forward_with_branches(views).volume


class RepeatedLink(Link):
    """Convolves the whole repeated volume."""

    def forward(self, features: Tensor) -> Tensor:
        side = features.shape[-2]
        return self.deep(self.attend(self.flat(features)).unsqueeze(2).repeat(1, 1, side, 1, 1))


def make_published(network: Any) -> Any:
    """Return the network itself, its parts replaced by the published ones and its memory laid out as by default."""
    for module in network.modules():
        if type(module) is BiplanarGenerator:
            module.__class__ = BranchedGenerator
        elif isinstance(module, Link):
            vars(module)["forward"] = MethodType(RepeatedLink.forward, module)
    return network.to(memory_format=torch.contiguous_format)
