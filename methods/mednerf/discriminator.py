"""Discriminators of patches: MedNeRF's, made after FastGAN, and GRAF's plain one for the ablation.

MedNeRF's has a head for each augmented view of a patch, which share all but their last convolution, and two decoders
that must redraw real patches from its features. Its gates are those of CodeDiff3D's (`..codediff`).
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..codediff.card import DECODED_FROM, POOLED_SIDE
from ..codediff.discriminator import Gate, Redrawn, quadrant
from .card import DiscriminatorConfig
from .field import COLOURS

RELEASED_CUT = 8  # pixel at which the released crop of an image cuts, whatever its side
HEADS = 4  # one for each of `augment`
SLOPE = 0.2


class Features(NamedTuple):
    """Maps of the discriminator at full, half (before and after its gate) and quarter resolution (likewise)."""

    full: Tensor
    half: Tensor
    gated_half: Tensor
    quarter: Tensor
    gated_quarter: Tensor


def augment(images: Tensor) -> tuple[Tensor, ...]:
    """Views of images (B, C, s, s), one a head: as they are, rows flipped, columns flipped, turned by 90°."""
    return images, images.flip(2), images.flip(3), images.transpose(2, 3).flip(2)


def convolution(inputs: int, outputs: int, side: int, stride: int = 1, padding: int = 0) -> nn.Module:
    """A spectrally normalised 2-D convolution without bias."""
    return spectral_norm(nn.Conv2d(inputs, outputs, side, stride, padding, bias=False))


def build_discriminator(config: DiscriminatorConfig) -> "MedNerfDiscriminator | GrafDiscriminator":
    """The discriminator of this shape."""
    return MedNerfDiscriminator(config) if config.kind == "mednerf" else GrafDiscriminator(config)


class DownStage(nn.Module):
    """Halves the side: the mean of a strided path and a pooled one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.strided = nn.Sequential(
            convolution(inputs, outputs, 4, stride=2, padding=1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(SLOPE),
            convolution(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(SLOPE),
        )
        self.pooled = nn.Sequential(
            nn.AvgPool2d(2), convolution(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)
        )

    def forward(self, x: Tensor) -> Tensor:
        return (self.strided(x) + self.pooled(x)) / 2


class Decoder(nn.Sequential):
    """Redraws an image (B, 3, side, side) in [−1, 1] from a map (B, inputs, h, w), 8 pixels a side at first."""

    def __init__(self, inputs: int, channels: int, side: int) -> None:
        layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(DECODED_FROM)]
        stages = (side // DECODED_FROM).bit_length() - 1
        for outputs in (2 * channels, channels, channels, channels // 2)[:stages]:
            layers.append(
                nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="nearest"),
                    convolution(inputs, 2 * outputs, 3, padding=1),
                    nn.BatchNorm2d(2 * outputs),
                    nn.GLU(dim=1),
                )
            )
            inputs = outputs
        super().__init__(*layers, convolution(inputs, COLOURS, 3, padding=1), nn.Tanh())


class MedNerfDiscriminator(nn.Module):
    """The published network is the one with the default configuration and patches of 32 pixels a side."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        quarter, half = channels // 4, channels // 2
        self.stem = nn.Sequential(convolution(COLOURS, quarter, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.down_half = DownStage(quarter, half)
        self.down_quarter = DownStage(half, channels)
        self.head_trunk = nn.Sequential(
            convolution(channels, 4 * channels, 1), nn.BatchNorm2d(4 * channels), nn.LeakyReLU(SLOPE)
        )
        self.heads = nn.ModuleList(convolution(4 * channels, 1, POOLED_SIDE) for _ in range(HEADS))
        self.gate_half = Gate(2, quarter, half)
        self.gate_quarter = Gate(2, half, channels)
        self.decode_whole = Decoder(channels, channels, config.decoded_side)
        self.decode_part = Decoder(half, channels, config.decoded_side)

    def forward(self, patches: Tensor, head: int) -> Tensor:
        """Logits (B·N,) of one head for patches (B, 3, s, s)."""
        return self.logits(self.features(patches), head)

    def features(self, patches: Tensor) -> Features:
        """All maps of patches (B, 3, s, s)."""
        full = self.stem(patches)
        half = self.down_half(full)
        gated_half = half * self.gate_half(full)
        quarter = self.down_quarter(gated_half)
        # the second gate looks at the half map before its own gate
        return Features(full, half, gated_half, quarter, quarter * self.gate_quarter(half))

    def logits(self, features: Features, head: int) -> Tensor:
        """Logits (B·N,) of one head."""
        return self.heads[head](self.head_trunk(features.gated_quarter)).flatten()

    def redraw(self, features: Features, part: int) -> Redrawn:
        """Return what the decoders draw: all of a patch, and its part 0 … 3."""
        half = features.gated_half
        return Redrawn(
            self.decode_whole(features.gated_quarter), self.decode_part(quadrant(half, part, half.shape[-1] // 2))
        )

    def redraw_targets(self, patches: Tensor, part: int) -> Redrawn:
        """Return what `redraw` should draw of patches (B, 3, s, s): enlarged by repeating pixels."""
        cut = RELEASED_CUT if self.config.crops == "released" else patches.shape[-1] // 2
        side = self.config.decoded_side
        both = (patches, quadrant(patches, part, cut))
        return Redrawn(*(F.interpolate(images, size=(side, side), mode="nearest") for images in both))


class GrafDiscriminator(nn.Module):
    """GRAF's patch discriminator: strided convolutions with instance normalisation."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        inputs = COLOURS
        for outputs in (2 * config.channels, 4 * config.channels, 8 * config.channels):
            layers += [
                convolution(inputs, outputs, 4, stride=2, padding=1),
                nn.InstanceNorm2d(outputs),
                nn.LeakyReLU(SLOPE),
            ]
            inputs = outputs
        self.layers = nn.Sequential(*layers, convolution(inputs, 1, 4))

    def forward(self, patches: Tensor) -> Tensor:
        """Logits (B, 1, n, n) of patches (B, 3, s, s)."""
        return self.layers(patches)
