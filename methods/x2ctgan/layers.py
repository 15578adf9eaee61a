"""What all parts of X2CT-GAN's networks share: its norm and one convolution block."""

from typing import Literal

import torch
from torch import Tensor, nn

from .card import Statistics


def instance_norm(dimensions: Literal[2, 3], channels: int, statistics: Statistics) -> nn.Module:
    """Instance norm without scale and shift, eps 1e-5; `running` keeps the statistics the released networks keep."""
    kind = nn.InstanceNorm2d if dimensions == 2 else nn.InstanceNorm3d
    return kind(channels, track_running_stats=statistics == "running")


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
