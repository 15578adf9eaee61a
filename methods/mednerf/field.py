"""The conditional radiance field of GRAF, which MedNeRF keeps: a point, a direction and two latents → colour, density.

Raw outputs: the compositor in render.py applies the activations. Density depends on neither the direction nor the
appearance latent.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .card import FieldConfig

COLOURS = 3


def positional_code(values: Tensor, frequencies: int) -> Tensor:
    """Codes (…, 3 + 6·L) of vectors (…, 3): x, sin(x), cos(x), sin(2x), cos(2x), … sin and cos of 2^(L−1)·x."""
    scales = 2.0 ** torch.arange(frequencies, dtype=values.dtype, device=values.device)
    angles = values[..., None, :] * scales[:, None]
    waves = torch.stack([angles.sin(), angles.cos()], dim=-2)
    return torch.cat([values, waves.flatten(-3)], dim=-1)


def code_width(frequencies: int) -> int:
    """Length of a positional code."""
    return 3 + 6 * frequencies


def linear_of_parts(layer: nn.Module, *parts: Tensor) -> Tensor:
    """`layer` of the parts joined along their last axis; parts that are equal for many points are multiplied once."""
    assert isinstance(layer, nn.Linear)
    weights = layer.weight.split([part.shape[-1] for part in parts], dim=1)
    total = F.linear(parts[0], weights[0], layer.bias)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total = total + F.linear(part, weight)
    return total


class RadianceField(nn.Module):
    """The published field is the one with the default configuration."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.config = config
        point = code_width(config.position_frequencies) + config.shape_width
        view = code_width(config.direction_frequencies) + config.appearance_width
        inputs = [point] + [config.width] * (config.depth - 1)
        inputs[config.skip + 1] += point
        self.trunk = nn.ModuleList(nn.Linear(width, config.width) for width in inputs)
        self.colour_trunk = nn.ModuleList([nn.Linear(config.width + view, config.width // 2)])
        self.feature = nn.Linear(config.width, config.width)
        self.density_head = nn.Linear(config.width, 1)
        self.colour_head = nn.Linear(config.width // 2, COLOURS)

    def forward(self, points: Tensor, directions: Tensor, latents: Tensor) -> Tensor:
        """Raw colour and density (B, R, S, 4) of points (B, R, S, 3) seen along unit vectors (B, R, 3)."""
        shape, appearance = self.split(latents)
        codes = positional_code(points, self.config.position_frequencies)
        views = positional_code(directions, self.config.direction_frequencies)
        return self.raw(codes, shape[:, None, None], views[:, :, None], appearance[:, None, None])

    def density(self, points: Tensor, latents: Tensor) -> Tensor:
        """Density (B, N), at least 0, at points (B, N, 3)."""
        codes = positional_code(points, self.config.position_frequencies)
        return self.density_head(self._trunk(codes, self.split(latents)[0][:, None]))[..., 0].relu()

    def split(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The shape and the appearance part of latents (B, latent_width)."""
        return latents[:, : self.config.shape_width], latents[:, self.config.shape_width :]

    def raw(self, codes: Tensor, shape: Tensor, views: Tensor, appearance: Tensor) -> Tensor:
        """Raw colour and density (…, 4) of codes and latents whose leading axes broadcast to those of `codes`."""
        h = self._trunk(codes, shape)
        colour = linear_of_parts(self.colour_trunk[0], self.feature(h), views, appearance).relu()
        return torch.cat([self.colour_head(colour), self.density_head(h)], dim=-1)

    def _trunk(self, codes: Tensor, shape: Tensor) -> Tensor:
        h = linear_of_parts(self.trunk[0], codes, shape).relu()
        for index, layer in enumerate(self.trunk[1:], start=1):
            parts = (codes, shape, h) if index == self.config.skip + 1 else (h,)
            h = linear_of_parts(layer, *parts).relu()
        return h
