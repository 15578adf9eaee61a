"""From a view's maps to volumes: connections A and B, and the decoders (X2CT-GAN, section 3.2; released code).

Levels are counted by their link: level 0 has the full resolution. Volumes are in the branch's own axis order.
Another kind of connection B can be given to the generator in place of `Link`.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from .card import GeneratorConfig, Statistics
from .layers import block, instance_norm


def head(width: int) -> nn.Sequential:
    """The last layer: (B, width, s, s, s) → (B, 1, s, s, s), not negative."""
    return nn.Sequential(nn.Conv3d(width, 1, 7, padding=3), nn.ReLU())


class Bridge(nn.Module):
    """Connection A: a fully connected layer from pooled features to a small volume."""

    def __init__(self, inputs: int, side: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.shape = (config.bridge, side, side, side)
        self.layers = nn.Sequential(
            nn.Linear(inputs, config.bridge * side**3), nn.Dropout(config.dropout), nn.ReLU(inplace=True)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) → (B, bridge, s, s, s)."""
        return self.layers(features).unflatten(1, self.shape)


class Link(nn.Module):
    """Connection B: a map becomes a volume by repeating it along the axis its view cannot see."""

    def __init__(self, inputs: int, outputs: int, statistics: Statistics) -> None:
        super().__init__()
        self.flat = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1), instance_norm(2, outputs, statistics), nn.ReLU(inplace=True)
        )
        self.deep = block(outputs, outputs, statistics)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, s, s) → (B, K, s, s, s), s ≥ 3; the first side is the new one."""
        convolution, *rest = self.deep
        side = features.shape[-2]
        # of a repeated map only the first and the last slice differ from the inner ones: three are computed
        three = convolution(self.attend(self.flat(features)).unsqueeze(2).expand(-1, -1, 3, -1, -1))
        first, inner, last = three.split(1, dim=2)
        volume = torch.cat([first, inner.expand(-1, -1, side - 2, -1, -1), last], dim=2)
        for layer in rest:
            volume = layer(volume)
        return volume

    def attend(self, flat: Tensor) -> Tensor:
        """(B, K, s, s) before it is repeated; a place for a gate."""
        return flat


class BranchDecoder(nn.Module):
    """The decoder of one view, in two halves a level, so that views can be fused in between."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        widths, norm = config.links, config.statistics
        self.top = block(config.bridge, widths[-1], norm, up=True)
        self.compress = nn.ModuleList(block((1 + config.skips) * width, width, norm) for width in widths)
        self.expand = nn.ModuleList([block(widths[0], widths[0], norm)])
        for below, width in pairwise(widths):
            steps = (block(width, width, norm), block(width, width, norm), block(width, below, norm, up=True))
            self.expand.append(nn.Sequential(*steps))
        self.head = head(widths[0])


class MainDecoder(nn.Module):
    """The decoder of the fused volumes, whose output is the reconstruction."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        widths, norm = config.links, config.statistics
        self.top = block(config.bridge, widths[-1], norm, up=True)
        levels = []
        for level, width in enumerate(widths):
            steps = [block((1 + config.main_skips) * width, width, norm), block(width, width, norm)]
            if level > 0:
                steps.append(block(width, widths[level - 1], norm, up=True))
            levels.append(nn.Sequential(*steps))
        self.levels = nn.ModuleList(levels)
        self.head = head(widths[0])
