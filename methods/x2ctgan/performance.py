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

from bench.method import Method, Stage

from .generator import BiplanarGenerator
from .parts import Link
from .stage import Batch, GeneratorStage

TARGETS = {"step/x2ctgan/generator": 1.5}


def make_published_stages(method: Method) -> dict[str, Stage]:
    """Return twins of the trained generators by stage name, with copies of their networks."""
    return {stage.name: PublishedStage(stage) for stage in method.stages() if isinstance(stage, GeneratorStage)}


class PublishedStage(GeneratorStage):
    """The released step of generator and discriminator."""

    fused = None

    def __init__(self, ours: GeneratorStage) -> None:
        super().__init__(ours.name, make_published(copy.deepcopy(ours.generator)), ours.config, ours.side, ours.inputs)
        self.networks = {"generator": self.generator}
        if ours.config.adversarial_weight > 0:
            self.discriminator = make_published(copy.deepcopy(ours.discriminator))
            self.networks["discriminator"] = self.discriminator

    def _resample(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        views, self.target = super()._resample(batch)
        return views, self.target

    def _logits(self, condition: Tensor, volume: Tensor) -> Tensor:
        if not next(self.discriminator.parameters()).requires_grad:  # in the generator's update
            self.discriminator(torch.cat([condition, self.target], dim=1))  # for a loss of features whose weight is 0
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
