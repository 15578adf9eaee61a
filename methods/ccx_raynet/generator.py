"""The generators of CCX-rayNet: those of X2CT-GAN (`..x2ctgan`, of whose code the original is a fork) with other parts.

class conditioning (Deep Feature Transform): `ConditionNetwork`, `FeatureTransform`, `ConditionedEncoder`
Depth-Aware Connection:                      `SpatialGate`, `GatedLink`
Adaptive Feature Fusion:                     `AdaptiveFusion`

Class conditioning follows the last version of the author's code in which all shapes agree (August 2020): the condition
goes through the same weights as the image, so nothing has to be invented and the encoder's own weights do not grow. The
later version, whose forward pass raises, expects the same condition everywhere; pooled to each stage's size it runs.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..x2ctgan.alignment import Order
from ..x2ctgan.card import GeneratorConfig, Statistics
from ..x2ctgan.generator import Average, BiplanarGenerator, Parts, SingleViewGenerator, build_generator
from ..x2ctgan.parts import DenseEncoder, Link
from .card import CcxGeneratorConfig

SLOPE = 0.1  # of all leaky activations of the condition
EVERY = 5  # dense layers of a block from one that is conditioned to the next


class ConditionNetwork(nn.Sequential):
    """Class masks (B, 1, h, w) → condition features (B, channels, h, w); no norm, no last activation."""

    def __init__(self, channels: int, width: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
        for _ in range(3):
            layers += [nn.Conv2d(width, width, 1), nn.LeakyReLU(SLOPE)]
        super().__init__(*layers, nn.Conv2d(width, channels, 1))


class ScaleShift(nn.Module):
    """Features (B, channels, h, w) times 1 + γ plus β, both seen in the condition (B, condition, h, w)."""

    def __init__(self, condition: int, channels: int) -> None:
        super().__init__()
        self.scale = _pointwise(condition, channels)
        self.shift = _pointwise(condition, channels)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        return features * (1 + self.scale(condition)) + self.shift(condition)


class FeatureTransform(nn.Module):
    """New features (B, channels, h, w) of a dense layer, plus what the condition (B, condition, h, w) makes of them."""

    def __init__(self, condition: int, channels: int) -> None:
        super().__init__()
        self.first = ScaleShift(condition, channels)
        self.between = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())
        self.second = ScaleShift(condition, channels)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        modulated = self.between(self.first(features, condition))
        return features + self.last(self.second(modulated, condition))


class SpatialGate(nn.Module):
    """Features (B, channels, ·, h, w) times 1 + a gate in (0, 1) that all channels share.

    In a link the features are one map repeated along the first spatial axis and all convolutions are pointwise, so
    the gate does not vary along that axis: as published it is a gate over the image, in spite of its name.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.layers = nn.Sequential(nn.Conv3d(channels, hidden, 1), nn.ReLU(), nn.Conv3d(hidden, 1, 1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        return features * (1 + self.layers(features))


class AdaptiveFusion(nn.Module):
    """Two volumes of features (B, C, D, H, W) weighed by their similarity; ½ each where its weights are zero.

    The similarity is the sum over channels of the product. One instance serves all levels of the decoder.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ModuleList(nn.Conv3d(1, 1, 1) for _ in range(2))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        similarity = (first * second).sum(1, keepdim=True)
        one, two = (torch.sigmoid(weight(similarity)) for weight in self.weights)
        return one * first + two * second


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


def _pointwise(condition: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(condition, channels, 1), nn.LeakyReLU(SLOPE), nn.Conv2d(channels, channels, 1))
