"""The generators of CCX-rayNet: those of X2CT-GAN (`..x2ctgan`, of whose code the original is a fork) with other parts.

Class conditioning follows the last version of the author's code in which all shapes agree (August 2020): the condition
goes through the same weights as the image, so nothing has to be invented and the encoder's own weights do not grow. The
later version, whose forward pass raises, expects the same condition everywhere; pooled to each stage's size it runs.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError

from ..x2ctgan.alignment import Order
from ..x2ctgan.card import GeneratorConfig, Statistics
from ..x2ctgan.decoder import Link
from ..x2ctgan.encoder import DenseEncoder
from ..x2ctgan.generator import Average, BiplanarGenerator, Parts, SingleViewGenerator, build_generator
from .blocks import AdaptiveFusion, ConditionNetwork, FeatureTransform, SpatialGate
from .card import CcxGeneratorConfig

EVERY = 5  # dense layers of a block from one that is conditioned to the next


class GatedLink(Link):
    """Connection B with the gate of the Depth-Aware Connection."""

    def __init__(self, inputs: int, outputs: int, statistics: Statistics) -> None:
        super().__init__(inputs, outputs, statistics)
        self.gate = SpatialGate(outputs)

    def attend(self, flat: Tensor) -> Tensor:
        return self.gate(flat.unsqueeze(2)).squeeze(2)


class ConditionedEncoder(DenseEncoder):
    """X2CT-GAN's encoder, through which a class mask goes beside the image."""

    def __init__(self, config: GeneratorConfig, condition: int | None = None) -> None:
        """`condition`: channels of what a dense layer is conditioned by; None: as many as it adds."""
        super().__init__(config)
        self.condition = ConditionNetwork(config.stem, 2 * config.stem)
        channels = condition or config.growth
        self.transforms = nn.ModuleList(
            nn.ModuleList(FeatureTransform(channels, config.growth) for _ in range(0, count, EVERY))
            for count in config.layers
        )

    def forward(self, view: Tensor) -> list[Tensor]:
        """View and mask (B, 2, s, s) → a map of each resolution for the links, and last the features (B, C)."""
        image, mask = view.split(1, dim=1)
        maps = [self.stem(image)]
        both = torch.cat([maps[0], self.condition(mask)])  # along the batch, which norms do not mix
        for stage, transforms in zip(self.stages, self.transforms, strict=True):
            both, transform = stage.down(both), iter(transforms.children())
            for index, layer in enumerate(stage.layers):
                new = layer.bottleneck(both)
                if index % EVERY == 0:
                    features, condition = new.chunk(2)
                    new = torch.cat([next(transform)(features, condition), condition])
                both = torch.cat([both, new], dim=1)
            both = stage.transition(both)
            maps.append(both.chunk(2)[0])
        return [*maps[:-1], maps[-1].mean((2, 3))]


class PooledEncoder(ConditionedEncoder):
    """The same encoder with one condition for all stages, averaged down to their sizes."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config, condition=config.stem)

    def forward(self, view: Tensor) -> list[Tensor]:
        """View and mask (B, 2, s, s) → a map of each resolution for the links, and last the features (B, C)."""
        image, mask = view.split(1, dim=1)
        maps, condition = [self.stem(image)], self.condition(mask)
        for stage, transforms in zip(self.stages, self.transforms, strict=True):
            features, transform = stage.down(maps[-1]), iter(transforms.children())
            pooled = F.adaptive_avg_pool2d(condition, features.shape[-2:])
            for index, layer in enumerate(stage.layers):
                new = layer.bottleneck(features)
                features = torch.cat([features, new if index % EVERY else next(transform)(new, pooled)], dim=1)
            maps.append(stage.transition(features))
        return [*maps[:-1], maps[-1].mean((2, 3))]


def build(config: CcxGeneratorConfig, side: int, orders: Sequence[Order]) -> SingleViewGenerator | BiplanarGenerator:
    """The generator of views (B, 1, side, side), or with `dft` of views and masks (B, 2, side, side)."""
    conditioned_encoder = ConditionedEncoder if config.condition == "shared" else PooledEncoder
    parts = Parts(
        encoder=conditioned_encoder if config.dft else DenseEncoder,
        link=GatedLink if config.dac else Link,
        fusion=AdaptiveFusion if config.aff else Average,
    )
    return build_generator(config, side, orders, parts)


def condition_views(views: Sequence[Tensor], masks: Tensor, name: str) -> list[Tensor]:
    """Views (B, 1, s, s) with their class masks, from (B, V, s, s): (B, 2, s, s) each.

    Raises UsageError, naming the method, for masks of another shape.
    """
    wanted = (len(views[0]), len(views), *views[0].shape[2:])
    if masks.shape != wanted:
        raise UsageError(f"{name}: class masks must be of shape {wanted}, one a view, not {tuple(masks.shape)}")
    return [torch.cat([view, mask], dim=1) for view, mask in zip(views, masks.split(1, dim=1), strict=True)]
