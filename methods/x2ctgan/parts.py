"""The parts of X2CT-GAN's networks (CVPR 2019, sections 3.2 and 3.3; released code).

The encoder of a view is 2-D and densely connected. Connections A and B make volumes of its maps, which the decoders
take up level by level; levels are counted by their link, and level 0 has the full resolution. Volumes are in the
branch's own axis order. Another kind of connection B can be given to the generator in place of `Link`.
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from .card import DiscriminatorConfig, GeneratorConfig, Statistics


def instance_norm(dimensions: Literal[2, 3], channels: int, statistics: Statistics) -> nn.Module:
    """Instance norm without scale and shift, eps 1e-5; `running` keeps the statistics the released networks keep."""
    return {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dimensions](
        channels, track_running_stats=statistics == "running"
    )


def block(inputs: int, outputs: int, statistics: Statistics, *, up: bool = False) -> nn.Sequential:
    """Convolution 3³, norm, ReLU on (B, C, D, H, W); `up` doubles the sides by a transposed convolution."""
    convolution: nn.Module
    if up:
        convolution = nn.ConvTranspose3d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    else:
        convolution = nn.Conv3d(inputs, outputs, 3, padding=1)
    return nn.Sequential(convolution, instance_norm(3, outputs, statistics), nn.ReLU(inplace=True))


def channels_last(network: nn.Module) -> None:
    """Lay out the weights of 3-D convolutions as CPUs and tensor cores compute them fastest; values stay."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def initialise(network: nn.Module) -> None:
    """Weights of convolutions and linear layers from N(0, 0.02²), biases 0, as released."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            nn.init.normal_(module.weight, std=0.02)
            if isinstance(module.bias, Tensor):
                nn.init.zeros_(module.bias)


def preactivated(inputs: int, outputs: int, side: int, config: GeneratorConfig, stride: int = 1) -> list[nn.Module]:
    """Return norm, ReLU and a convolution of `side` on (B, C, h, w), whose sides it divides by `stride`."""
    convolution = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2)
    return [instance_norm(2, inputs, config.statistics), nn.ReLU(inplace=True), convolution]


class DenseLayer(nn.Module):
    """Adds `growth` channels to the ones it reads."""

    def __init__(self, inputs: int, config: GeneratorConfig) -> None:
        super().__init__()
        inner = config.bottleneck * config.growth
        steps = preactivated(inputs, inner, 1, config), preactivated(inner, config.growth, 3, config)
        self.bottleneck = nn.Sequential(*steps[0], *steps[1])

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C + growth, h, w)."""
        return torch.cat([features, self.bottleneck(features)], dim=1)


class EncoderStage(nn.Module):
    """Half the sides, a dense block, and then half the channels; the last stage ends in the mean over the map."""

    def __init__(self, inputs: int, count: int, last: bool, config: GeneratorConfig) -> None:
        super().__init__()
        self.down = nn.Sequential(*preactivated(inputs, inputs, 3, config, stride=2))
        self.layers = nn.ModuleList(DenseLayer(inputs + i * config.growth, config) for i in range(count))
        width = inputs + count * config.growth
        self.transition: nn.Module = nn.AdaptiveAvgPool2d(1)
        if not last:
            self.transition = nn.Sequential(*preactivated(width, width // 2, 1, config))

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


class PatchDiscriminator(nn.Module):
    """The conditional 3-D PatchGAN: one logit a patch of 70 voxels a side; no bias before a norm, as released."""

    def __init__(self, inputs: int, config: DiscriminatorConfig, statistics: Statistics = "sample") -> None:
        super().__init__()
        width = config.channels
        layers: list[nn.Module] = [nn.Conv3d(inputs, width, 4, stride=2, padding=2), nn.LeakyReLU(0.2, inplace=True)]
        for stage in range(1, config.stages + 1):
            wider = config.channels * min(2**stage, 8)
            layers += [
                nn.Conv3d(width, wider, 4, stride=2 if stage < config.stages else 1, padding=2, bias=False),
                instance_norm(3, wider, statistics),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            width = wider
        self.layers = nn.Sequential(*layers, nn.Conv3d(width, 1, 4, padding=2))
        channels_last(self)

    def forward(self, volumes: Tensor) -> Tensor:
        """Views repeated to volumes and a volume (B, V + 1, D, H, W) → logits (B, 1, d, h, w)."""
        return self.layers(volumes)
