"""What CCX-rayNet adds to X2CT-GAN (ISBI 2021; the original is a fork of X2CT-GAN's code).

class conditioning (Deep Feature Transform): `ConditionNetwork`, `ScaleShift`, `FeatureTransform`
Depth-Aware Connection:                      `SpatialGate`
Adaptive Feature Fusion:                     `AdaptiveFusion`
"""

import torch
from torch import Tensor, nn

SLOPE = 0.1  # of all leaky activations of the condition


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


def _pointwise(condition: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(condition, channels, 1), nn.LeakyReLU(SLOPE), nn.Conv2d(channels, channels, 1))
