"""X2CT-GAN: Reconstructing CT from Biplanar X-Rays with Generative Adversarial Networks (CVPR 2019).

A feed-forward generator with 2-D encoders and 3-D decoders, trained against a conditional discriminator.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.cases import Views
from bench.dataset import DatasetCard
from bench.errors import UsageError
from bench.method import FittedStage, Method, Stage

from .alignment import network_side, orders_of, resample_views, resample_volumes
from .card import CARD, PRESETS, X2CTConfig
from .generator import build_generator
from .parts import initialise
from .stage import GeneratorStage


class X2CTGAN(Method):
    """Reconstruction by one pass of a generator."""

    card = CARD
    Config = X2CTConfig
    presets = PRESETS

    def __init__(self, config: X2CTConfig, data: DatasetCard) -> None:
        self.data, name = data, self.card.name
        self.side = network_side(data, config.side, name)
        config.generator.check_side(self.side, name)
        self.generator = build_generator(config.generator, self.side, orders_of(data.angles, name))
        stage = GeneratorStage("generator", self.generator, config.training, self.side)
        for network in stage.networks.values():
            initialise(network)
        self._stages: list[Stage | FittedStage] = [stage]

    def stages(self) -> Sequence[Stage | FittedStage]:
        return self._stages

    @torch.inference_mode()
    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        angles = tuple(views.angles.tolist())
        if views.images.shape[1] != self.data.views or angles != self.data.angles:
            raise UsageError(
                f"{self.card.name} was built for views at {', '.join(f'{angle:g}' for angle in self.data.angles)} and "
                f"cannot take {views.images.shape[1]} at {', '.join(f'{angle:g}' for angle in angles)}; train it with "
                "those data.angles"
            )
        images = resample_views(views.images, self.side)
        # one case at a time: the full-resolution features of a published-size volume take gigabytes
        volumes = [self.generator(self.inputs([view[i : i + 1] for view in images])) for i in range(len(views.images))]
        return resample_volumes(torch.cat(volumes)[:, 0].float().clamp(0.0, 1.0), self.data.size)[:, 0]

    def inputs(self, views: list[Tensor]) -> list[Tensor]:
        """Return what the generator reads of views (B, 1, s, s)."""
        return views
