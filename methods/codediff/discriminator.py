"""Discriminators of CodeDiff3D's autoencoders: the released progressive one and the earlier patch one, 2-D and 3-D.

The progressive one has spectrally normalised convolutions, two down-sampling stages whose output is gated by the
stage's input, and in 2-D two small decoders that must redraw real inputs from its features (as in FastGAN).
"""

from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from bench.errors import UsageError

from .autoencoder import convolution
from .card import DECODED_FROM, POOLED_SIDE, DiscriminatorConfig


class Redrawn(NamedTuple):
    """What the decoders draw from the features of an input, (B, colours, side, side) each."""

    whole: Tensor
    part: Tensor


def build_discriminator(config: DiscriminatorConfig) -> "ProgressiveDiscriminator | PatchDiscriminator":
    """The discriminator of this shape; it maps (B, 1, *input) to logits (B, N)."""
    return (ProgressiveDiscriminator if config.kind == "progressive" else PatchDiscriminator)(config)


def quadrant(images: Tensor, part: int, cut: int) -> Tensor:
    """Part 0 … 3 (row-major) of maps (B, C, h, w) cut at row and column `cut`."""
    rows = slice(None, cut) if part < 2 else slice(cut, None)
    columns = slice(None, cut) if part % 2 == 0 else slice(cut, None)
    return images[..., rows, columns]


class DownStage(nn.Module):
    """Halves the side: the mean of a strided path and a pooled one."""

    def __init__(self, dimensions: int, inputs: int, outputs: int) -> None:
        super().__init__()
        conv = convolution(dimensions)
        pool = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[dimensions](2)
        self.strided = nn.Sequential(
            spectral_norm(conv(inputs, outputs, 4, stride=2, padding=1, bias=False)),
            nn.LeakyReLU(0.2),
            spectral_norm(conv(outputs, outputs, 3, padding=1, bias=False)),
            nn.LeakyReLU(0.2),
        )
        self.pooled = nn.Sequential(pool, spectral_norm(conv(inputs, outputs, 1, bias=False)), nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> Tensor:
        return (self.strided(x) + self.pooled(x)) / 2


class Gate(nn.Sequential):
    """A factor in (0, 1) for each channel, from a map of higher resolution."""

    def __init__(self, dimensions: int, inputs: int, outputs: int) -> None:
        conv = convolution(dimensions)
        pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dimensions](POOLED_SIDE)
        super().__init__(
            pool,
            spectral_norm(conv(inputs, outputs, POOLED_SIDE, bias=False)),
            nn.SiLU(),
            spectral_norm(conv(outputs, outputs, 1, bias=False)),
            nn.Sigmoid(),
        )


class SelfSupervisionDecoder(nn.Sequential):
    """Redraws an image (B, 1, side, side) from a map (B, inputs, h, w), 8 pixels a side at first."""

    def __init__(self, inputs: int, channels: int, side: int) -> None:
        layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(DECODED_FROM)]
        stages = (side // DECODED_FROM).bit_length() - 1
        for outputs in (8 * channels, 4 * channels, 4 * channels, 2 * channels)[:stages]:
            layers += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                spectral_norm(nn.Conv2d(inputs, 2 * outputs, 3, padding=1, bias=False)),
                nn.BatchNorm2d(2 * outputs),
                nn.GLU(dim=1),
            ]
            inputs = outputs
        super().__init__(*layers, spectral_norm(nn.Conv2d(inputs, 1, 3, padding=1, bias=False)))


class ProgressiveDiscriminator(nn.Module):
    """The released discriminator; with a third stage it is also the published feature extractor."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        conv, base = convolution(config.dimensions), config.channels
        widths = [base * 2**stage for stage in range(config.stages + 1)]
        self.stem = nn.Sequential(
            spectral_norm(conv(1, base, 3, padding=1, bias=config.dimensions == 2)), nn.LeakyReLU(0.2)
        )
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(DownStage(config.dimensions, *pair) for pair in pairs)
        self.gates = nn.ModuleList(Gate(config.dimensions, *pair) for pair in pairs)
        self.head = nn.Sequential(
            spectral_norm(conv(widths[-1], 16 * base, 1, bias=False)),
            nn.LeakyReLU(0.2),
            spectral_norm(conv(16 * base, 1, POOLED_SIDE, bias=False)),
        )
        self.decode_whole: nn.Module | None = None
        self.decode_part: nn.Module | None = None
        if config.decoders:
            self.decode_whole = SelfSupervisionDecoder(widths[-1], base, config.decoded_side)
            self.decode_part = SelfSupervisionDecoder(widths[-2], base, config.decoded_side)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, N) of images (B, 1, *input). Raises UsageError when the input is too small."""
        return self.head(self._maps(images)[-1]).flatten(1)

    def redraw(self, images: Tensor, part: int) -> tuple[Tensor, Redrawn]:
        """Logits (B, N) of images, and what the decoders draw from their features: all, and part 0 … 3."""
        *_, finer, last = self._maps(images)
        cut = DECODED_FROM if self.config.crops == "released" else finer.shape[-1] // 2
        drawn = Redrawn(self.decode_whole(last), self.decode_part(quadrant(finer, part, cut)))
        return self.head(last).flatten(1), drawn

    def redraw_targets(self, images: Tensor, part: int) -> Redrawn:
        """Return what `redraw` should draw of images (B, 1, h, w): all, averaged down; a part, by nearest pixels."""
        side = self.config.decoded_side
        parts = quadrant(images, part, images.shape[-1] // 2)
        return Redrawn(F.adaptive_avg_pool2d(images, side), F.interpolate(parts, size=side, mode="nearest"))

    def _maps(self, images: Tensor) -> list[Tensor]:
        _check_side(images, self.config)
        lower = self.stem(images)
        gated = [lower]
        for down, gate in zip(self.down, self.gates, strict=True):
            upper = down(gated[-1])
            gated.append(gate(lower) * upper)
            lower = upper
        return gated


class PatchDiscriminator(nn.Module):
    """The earlier default: strided convolutions with batch normalisation, one logit a patch."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        conv = convolution(config.dimensions)
        norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[config.dimensions]
        width = config.channels
        layers: list[nn.Module] = [conv(1, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for stage in range(1, config.stages + 1):
            wider = config.channels * min(2**stage, 8)
            stride = 2 if stage < config.stages else 1
            layers += [conv(width, wider, 4, stride=stride, padding=1, bias=False), norm(wider), nn.LeakyReLU(0.2)]
            width = wider
        self.layers = nn.Sequential(*layers, conv(width, 1, 4, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, N) of images (B, 1, *input). Raises UsageError when the input is too small."""
        _check_side(images, self.config)
        return self.layers(images).flatten(1)


def _check_side(images: Tensor, config: DiscriminatorConfig) -> None:
    side = min(images.shape[2:])
    if side < config.smallest_side:
        raise UsageError(
            f"the {config.kind} discriminator with {config.stages} stages needs inputs of at least "
            f"{config.smallest_side} a side, not {side}; lower its stages"
        )
