"""What all parts of X2CT-GAN's networks share: the shape of a generator, its norm, and one convolution block."""

from typing import Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from bench.card import Settings
from bench.errors import UsageError

Statistics = Literal["sample", "running"]


class GeneratorConfig(Settings):
    """Shape of a generator; the defaults are the published one, the three switches its ablations."""

    stem: PositiveInt = 64  # channels at full resolution of the encoder
    layers: tuple[PositiveInt, ...] = Field(default=(6, 12, 24, 16, 6), min_length=1)  # dense layers of each stage
    growth: PositiveInt = 32  # channels a dense layer adds
    bottleneck: PositiveInt = 4  # width inside a dense layer, in multiples of the growth
    bridge: PositiveInt = 256  # channels of the volume that connection A makes
    links: tuple[PositiveInt, ...] = (16, 16, 32, 64, 128)  # channels of each 3-D level, from full resolution down
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)  # of connection A, in training only
    statistics: Statistics = "sample"  # what norms divide by; running: the released networks' plain eval()
    skips: bool = True  # connection B; off: "no link B"
    main_skips: bool = True  # the main decoder sees the fused volume at every level; off: at the coarsest only
    feedback: bool = True  # branches continue from the fused volume; off: each from its own

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.links) != len(self.layers):
            raise ValueError(f"{len(self.layers)} stages of layers need as many links, not {len(self.links)}")
        return self

    @property
    def reduction(self) -> int:
        """Voxels of the output that one voxel of the bridge spans along each axis."""
        return 2 ** len(self.layers)

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """Channels of the encoder's outputs: the stem's, each stage's, and last the pooled features'."""
        widths = [self.stem]
        for count in self.layers:
            widths.append((widths[-1] + count * self.growth) // 2)
        return (*widths[:-1], widths[-2] + self.layers[-1] * self.growth)

    def check_side(self, side: int, name: str) -> None:
        """Raise UsageError, naming the method, for a side whose halvings do not end at two pixels or more."""
        smallest = 2 * self.reduction
        if side % self.reduction or side < smallest:
            raise UsageError(
                f"{name}: {len(self.layers)} stages need a side that is a multiple of {self.reduction} and at least "
                f"{smallest}, not {side}; set another data.size or side, or fewer generator.layers and generator.links"
            )


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
