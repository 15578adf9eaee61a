"""CCX-rayNet (ISBI 2021) and CCX-rayGAN: class-conditioned chest X-rays to CT volumes.

The original is a fork of X2CT-GAN's code, and so is this: generator, discriminator, losses and training come from
`..x2ctgan`; what the paper adds is in `blocks`, `generator` and `mask`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.cases import Views
from bench.dataset import DatasetCard
from bench.method import FittedStage, Method, Stage

from ..x2ctgan.alignment import network_side, orders_of, resample_views, resample_volumes
from ..x2ctgan.layers import initialise
from ..x2ctgan.method import check_views
from .card import CARD, GAN_CARD, PRESETS, CcxRayGanConfig, CcxRayNetConfig
from .generator import build, condition_views
from .mask import ClassMasks, MaskStage
from .stage import CcxStage


class CcxRayNet(Method):
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
        self._stages: list[Stage | FittedStage] = [stage]
        if learned:
            self._stages.insert(0, MaskStage(self.masks, self.side))

    def stages(self) -> Sequence[Stage | FittedStage]:
        return self._stages

    @torch.inference_mode()
    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        check_views(views, self.data, self.card.name)
        images = resample_views(views.images, self.side)
        # one case at a time: the full-resolution features of a published-size volume take gigabytes
        volumes = [self.generator(self.inputs([view[i : i + 1] for view in images])) for i in range(len(views.images))]
        return resample_volumes(torch.cat(volumes)[:, 0].float().clamp(0.0, 1.0), self.data.size)[:, 0]

    def inputs(self, views: list[Tensor]) -> list[Tensor]:
        """Return what the generator reads of views (B, 1, s, s): themselves, or with `dft` also their class masks."""
        if not self.config.generator.dft:
            return views
        return condition_views(views, self.masks(torch.cat(views, 1)), self.card.name)


class CcxRayGan(CcxRayNet):
    """CCX-rayNet's generator, trained against X2CT-GAN's conditional discriminator."""

    card = GAN_CARD
    Config = CcxRayGanConfig
