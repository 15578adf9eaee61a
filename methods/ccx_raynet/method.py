"""CCX-rayNet (ISBI 2021) and CCX-rayGAN: class-conditioned chest X-rays to CT volumes.

The original is a fork of X2CT-GAN's code, and so is this: generator, discriminator, losses and training come from
`..x2ctgan`; what the paper adds is in `blocks`, `generator` and `mask`.
"""

import torch
from torch import Tensor

from bench.dataset import DatasetCard

from ..x2ctgan.alignment import network_side, orders_of
from ..x2ctgan.layers import initialise
from ..x2ctgan.method import X2CTGAN
from .card import CARD, GAN_CARD, PRESETS, CcxRayGanConfig, CcxRayNetConfig
from .generator import build, condition_views
from .mask import ClassMasks, MaskStage
from .stage import CcxStage


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
        stage = CcxStage(self.generator, config.training, self.side, self.masks, self.inputs)
        for network in stage.networks.values():
            initialise(network)
        learned = config.generator.dft and config.mask.kind == "lungs"
        self._stages = [MaskStage(self.masks, self.side), stage] if learned else [stage]

    def inputs(self, views: list[Tensor]) -> list[Tensor]:
        """Return what the generator reads of views (B, 1, s, s): themselves, or with `dft` also their class masks."""
        if not self.config.generator.dft:
            return views
        return condition_views(views, self.masks(torch.cat(views, 1)), self.card.name)


class CcxRayGan(CcxRayNet):
    """CCX-rayNet's generator, trained against X2CT-GAN's conditional discriminator."""

    card = GAN_CARD
    Config = CcxRayGanConfig
