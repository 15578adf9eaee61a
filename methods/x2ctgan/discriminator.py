"""The conditional 3-D PatchGAN of X2CT-GAN (section 3.3; released code): one logit a patch of 70 voxels a side."""

from torch import Tensor, nn

from .card import DiscriminatorConfig, Statistics
from .layers import channels_last, instance_norm


class PatchDiscriminator(nn.Module):
    """Strided convolutions; a convolution before a norm has no bias, as released."""

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
