"""Training of CCX-rayNet's generator: X2CT-GAN's, with the learning rate that the fork corrected."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from bench.cases import Cases
from bench.dataset import Split

from ..x2ctgan.alignment import resample_views
from ..x2ctgan.card import TrainingConfig
from ..x2ctgan.generator import BiplanarGenerator, SingleViewGenerator
from ..x2ctgan.stage import EPOCHS, GeneratorStage
from .mask import ClassMasks

FULL_EPOCHS = 50  # with the full learning rate


def rate_in_epoch(epoch: int) -> float:
    """Factor on the learning rates in epoch 1 … 100: constant, then linear to 1/51."""
    return 1.0 - max(0, epoch - FULL_EPOCHS) / (EPOCHS - FULL_EPOCHS + 1)


class CcxStage(GeneratorStage):
    """Trains the generator on views and the class masks that `inputs` gives them."""

    def __init__(
        self,
        generator: SingleViewGenerator | BiplanarGenerator,
        config: TrainingConfig,
        side: int,
        masks: ClassMasks,
        inputs: Callable[[list[Tensor]], list[Tensor]],
    ) -> None:
        super().__init__("generator", generator, config, side, inputs)
        self.masks = masks

    def prepare(self, cases: Mapping[Split, Cases], cache: Path, device: torch.device) -> None:
        super().prepare(cases, cache, device)
        self.masks.to(device)
        self.inputs(resample_views(cases["train"].images([0]).to(device), self.side))  # refuses masks that do not fit

    def rate(self, step: int) -> float:
        return rate_in_epoch(1 + step * EPOCHS // self.loop.steps)
