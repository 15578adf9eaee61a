"""Views lifted into a volume through the geometry of the X-ray machine, and a 3-D U-Net over what arrives there.

Lifting: each view passes two convolutions, and every voxel reads each view's features at the pixel that its centre is
projected to (Kar et al., NIPS 2017). The U-Net (Çiçek et al., MICCAI 2016) has residual blocks and adds its skips.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.dataset import Geometry
from bench.projector import lift, pixel_of_voxel

from .card import Lifting, NetworkConfig

COORDINATES = 3  # channels: where a voxel lies along D, H and W, from -1 to 1
GROUP = 8  # channels of a group whose values are normalised together
FAR_MM = 1e9  # from here all rays are parallel


def places_of_voxels(
    geometry: Geometry, angles: Sequence[float], mirrored: Sequence[bool], size: int, voxel_mm: float, lifting: Lifting
) -> Tensor:
    """Return where each view shows each voxel: (V, D, H, W, 2), (column, row) in [-1, 1] across the panel; float32.

    `repetition` stretches a view over the cube and repeats it along the axis it cannot see: a machine infinitely far
    away whose panel has the cube's side.
    """
    if lifting == "repetition":
        geometry = Geometry(source_axis_mm=FAR_MM, source_panel_mm=FAR_MM, panel_mm=size * voxel_mm)
    places = [
        pixel_of_voxel(geometry, angle, flipped, size, voxel_mm)
        for angle, flipped in zip(angles, mirrored, strict=True)
    ]
    return torch.stack(places).float()


class Block(nn.Module):
    """Two convolutions and a residual, which passes a 1-convolution when the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.first_norm, self.second_norm = (nn.GroupNorm(max(1, outputs // GROUP), outputs) for _ in range(2))
        self.second = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.silu(self.first_norm(self.first(x)))
        return F.silu(self.second_norm(self.second(inner)) + self.shortcut(x))


class LiftingUNet(nn.Module):
    """Volumes from views: a small 2-D network a view, lifting, and a 3-D U-Net."""

    def __init__(self, config: NetworkConfig, views: int, size: int) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleList(self._encoder() for _ in range(views))
        axis = torch.linspace(-1 + 1 / size, 1 - 1 / size, size)
        grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
        self.register_buffer("coordinates", grid, persistent=False)
        first, *deeper = config.widths
        self.down = nn.ModuleList([self._level(views * config.features + COORDINATES, first)])
        self.up, self.narrow = nn.ModuleList(), nn.ModuleList()
        width = first
        for wider in deeper:
            self.down.append(self._level(width, wider))
            self.narrow.append(nn.Conv3d(wider, width, 1))
            self.up.append(self._level(width, width))
            width = wider
        self.output = nn.Conv3d(first, 1, 1)
        for part in (self.down, self.up, self.narrow, self.output):
            part.to(memory_format=torch.channels_last_3d)

    def forward(self, images: Tensor, places: Tensor) -> Tensor:
        """Values (B, D, H, W), not clamped, of views (B, V, h, w) with `places` (V, D, H, W, 2)."""
        seen = [
            lift(encoder(image[:, None]).float(), place)
            for encoder, image, place in zip(self.encoders, images.unbind(1), places, strict=True)
        ]
        coordinates = self.get_buffer("coordinates").expand(len(images), -1, -1, -1, -1)
        x = torch.cat([*seen, coordinates], 1).contiguous(memory_format=torch.channels_last_3d)
        skips = []
        for number, level in enumerate(self.down):
            x = level(x if number == 0 else F.avg_pool3d(x, 2, ceil_mode=True))
            skips.append(x)
        for narrow, level, skip in reversed(list(zip(self.narrow, self.up, skips[:-1], strict=True))):
            x = level(skip + F.interpolate(narrow(x), size=skip.shape[2:], mode="nearest"))
        return self.output(x)[:, 0] * self.config.value_scale

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of the U-Net, which hold nearly all of the memory."""
        return [block for level in (*self.down, *self.up) for block in level]

    def _encoder(self) -> nn.Sequential:
        features = self.config.features
        return nn.Sequential(
            nn.Conv2d(1, features, 5, padding=2), nn.SiLU(), nn.Conv2d(features, features, 5, padding=2), nn.SiLU()
        )

    def _level(self, inputs: int, outputs: int) -> nn.Sequential:
        widths = [inputs, *[outputs] * self.config.blocks]
        return nn.Sequential(*(Block(before, after) for before, after in pairwise(widths)))
