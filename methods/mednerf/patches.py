"""Patches of random size and place, the same for rays and for images (GRAF, unchanged in MedNeRF)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .card import PatchConfig

LARGEST_SCALE = 1.0  # share of the image's side


def least_scale(step: int, config: PatchConfig) -> float:
    """The smallest share of an image's side that a patch covers at this step."""
    decayed = math.exp(-config.annealing * (step // config.anneal_every))
    return min(config.start_scale, max(config.end_scale, decayed))


def draw_patches(count: int, side: int, least: float, generator: torch.Generator | None = None) -> Tensor:
    """Positions (count, side, side, 2), (column, row) in [−1, 1], of patches of random scale and offset."""
    return torch.stack([_draw(side, least, generator) for _ in range(count)])


def _draw(side: int, least: float, generator: torch.Generator | None) -> Tensor:
    """One patch; the order of the random numbers is the published one."""
    scale = torch.empty(1).uniform_(least, LARGEST_SCALE, generator=generator)
    columns, rows = (_offset(LARGEST_SCALE - scale.item(), generator) for _ in range(2))
    line = torch.linspace(-1, 1, side) * scale
    y, x = torch.meshgrid(line + rows, line + columns, indexing="ij")
    return torch.stack([x, y], dim=-1)


def _offset(largest: float, generator: torch.Generator | None) -> Tensor:
    size = torch.empty(1).uniform_(0, largest, generator=generator)
    return size * (2 * torch.randint(2, (1,), generator=generator) - 1)


def read_patches(images: Tensor, positions: Tensor) -> Tensor:
    """Patches (B, C, s, s) of images (B, C, h, w), bilinear, at positions (B, s, s, 2)."""
    return F.grid_sample(images, positions, mode="bilinear", align_corners=True)
