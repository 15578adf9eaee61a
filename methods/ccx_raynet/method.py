"""CCX-rayNet (ISBI 2021) and CCX-rayGAN: class-conditioned chest X-rays to CT volumes.

The original is a fork of X2CT-GAN's code, and so is this: generator, discriminator, losses and training come from
`..x2ctgan`; what the paper adds is in `generator` and `mask`.
"""

from functools import partial

import torch
from torch import Tensor

from bench.dataset import DatasetCard

from ..x2ctgan.alignment import network_side, orders_of
from ..x2ctgan.method import X2CTGAN
from ..x2ctgan.parts import initialise
from ..x2ctgan.stage import GeneratorStage, rate_in_epoch
from .card import CARD, GAN_CARD, PRESETS, CcxRayGanConfig, CcxRayNetConfig
from .generator import build
from .mask import ClassMasks, MaskStage


class CcxStage(GeneratorStage):
    """X2CT-GAN's training, with the learning rate that the fork corrected: it ends at 1/51."""

    rate_in_epoch = staticmethod(partial(rate_in_epoch, constant=50, end=101))


class CcxRayNet(X2CTGAN):
    """Reconstruction by one pass of the generator."""

    card = CARD
    Config = CcxRayNetConfig
    presets = PRESETS

    def __init__(self, config: CcxRayNetConfig, data: DatasetCard) -> None:
        name = self.card.name
        self.config, self.data = config, data
        orders = orders_of(data.angles, name)
        self.side = network_side(data, config.side, name)
        config.generator.check_side(self.side, name)
        self.masks = ClassMasks(config.mask, len(orders), self.side, name)
        self.generator = build(config.generator, self.side, orders)
        stage = CcxStage("generator", self.generator, config.training, self.side, self.inputs)
        for network in stage.networks.values():
            initialise(network)
        learned = config.generator.dft and config.mask.kind == "lungs"
        self._stages = [MaskStage(self.masks, self.side), stage] if learned else [stage]

    def inputs(self, views: list[Tensor]) -> list[Tensor]:
        """Return what the generator reads of views (B, 1, s, s): themselves, or with `dft` also their class masks."""
        if not self.config.generator.dft:
            return views
        masks = self.masks.to(views[0].device)(torch.cat(views, 1))
        return [torch.cat(pair, 1) for pair in zip(views, masks.split(1, dim=1), strict=True)]


class CcxRayGan(CcxRayNet):
    """CCX-rayNet's generator, trained against X2CT-GAN's conditional discriminator."""

    card = GAN_CARD
    Config = CcxRayGanConfig
