"""The 2-D densely connected encoder of one view (X2CT-GAN, CVPR 2019, section 3.2; released code)."""

import torch
from torch import Tensor, nn

from .card import GeneratorConfig
from .layers import instance_norm


class DenseLayer(nn.Module):
    """Adds `growth` channels to the ones it reads."""

    def __init__(self, inputs: int, config: GeneratorConfig) -> None:
        super().__init__()
        inner = config.bottleneck * config.growth
        self.bottleneck = nn.Sequential(
            instance_norm(2, inputs, config.statistics),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, inner, 1),
            instance_norm(2, inner, config.statistics),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, config.growth, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C + growth, h, w)."""
        return torch.cat([features, self.bottleneck(features)], dim=1)


class EncoderStage(nn.Module):
    """Half the sides, a dense block, and then half the channels; the last stage ends in the mean over the map."""

    def __init__(self, inputs: int, count: int, last: bool, config: GeneratorConfig) -> None:
        super().__init__()
        self.down = nn.Sequential(
            instance_norm(2, inputs, config.statistics),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, inputs, 3, stride=2, padding=1),
        )
        self.layers = nn.ModuleList(DenseLayer(inputs + i * config.growth, config) for i in range(count))
        width = inputs + count * config.growth
        self.transition: nn.Module = nn.AdaptiveAvgPool2d(1)
        if not last:
            self.transition = nn.Sequential(
                instance_norm(2, width, config.statistics),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width // 2, 1),
            )

    def forward(self, features: Tensor) -> Tensor:
        features = self.down(features)
        for layer in self.layers:
            features = layer(features)
        return self.transition(features)


class DenseEncoder(nn.Module):
    """Maps of one view at every resolution."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        widths, last = config.encoder_widths, len(config.layers) - 1
        self.stem = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(1, config.stem, 7),
            instance_norm(2, config.stem, config.statistics),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList(
            EncoderStage(widths[i], count, i == last, config) for i, count in enumerate(config.layers)
        )

    def forward(self, view: Tensor) -> list[Tensor]:
        """View (B, 1, s, s) → a map of each resolution s, s/2, … for the links, and last the features (B, C)."""
        maps = [self.stem(view)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return [*maps[:-1], maps[-1].flatten(1)]
