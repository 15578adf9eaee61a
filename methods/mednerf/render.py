"""Volume rendering: points along rays, and what a ray adds up to.

Published is emission and absorption, as in NeRF: nothing in it knows of X-rays. `line_integral` sums density times
length instead, which is what an X-ray image is, and serves as an ablation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bench.method import full_precision

from .camera import Camera
from .card import Renderer

Query = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Raw colour and density (B, R, S, 4) of points (B, R, S, 3), unit directions (B, R, 3) and latents (B, Z)."""

LAST_SPACING = 1e10  # the published last sample stands for all that lies behind it
TRANSPARENT = 1e-10
POINTS_KEPT = 1 << 19  # of a GPU: with gradients, what is beyond is computed again on the way back; 5 GiB at most
POINTS_CACHED = 1 << 13  # whose activations a processor's cache holds: two and a half times as fast as all at once
POINTS_KEPT_ON_CPU = 1 << 17  # 4 GiB at most: of blocks so small glibc 2.36 wastes two thirds


@dataclass(frozen=True)
class Composited:
    """What rays (B, R) add up to."""

    colour: Tensor  # (B, R, 3) in [0, 1]
    weights: Tensor  # (B, R, S)
    opacity: Tensor  # (B, R)
    depth: Tensor  # (B, R)
    disparity: Tensor  # (B, R)


@dataclass(frozen=True)
class Sampling:
    """How rays are sampled and summed."""

    samples: int
    renderer: Renderer = "compositing"
    jitter: bool = False  # training
    noise: float = 0.0  # standard deviation added to the raw density; training


def ray_depths(near: Tensor, far: Tensor, sampling: Sampling, ends: bool) -> tuple[Tensor, Tensor]:
    """Depths and spacings (B, R, S) of samples between `near` and `far` (B, R).

    `ends`, as published: equidistant with both ends among them, jittered between the midpoints, and a spacing to the
    next sample that is endless for the last. Otherwise one sample in each of S equal intervals, whose length is the
    spacing, so that nothing outside the bounds counts.
    """
    count = sampling.samples
    shape = (*near.shape, count)
    if not ends:
        within = torch.rand(shape, device=near.device) if sampling.jitter else 0.5
        steps = (torch.arange(count, device=near.device, dtype=near.dtype) + within) / count
        depths = near[..., None] + (far - near)[..., None] * steps
        return depths, ((far - near) / count)[..., None].expand(shape)
    depths = near[..., None] + (far - near)[..., None] * torch.linspace(0, 1, count, device=near.device).to(near)
    if sampling.jitter:
        middle = (depths[..., 1:] + depths[..., :-1]) / 2
        lower = torch.cat([depths[..., :1], middle], dim=-1)
        upper = torch.cat([middle, depths[..., -1:]], dim=-1)
        depths = lower + (upper - lower) * torch.rand(shape, device=near.device)
    return depths, torch.cat([depths.diff(dim=-1), torch.full_like(depths[..., :1], LAST_SPACING)], dim=-1)


def composite(
    raw: Tensor, depths: Tensor, lengths: Tensor, noise: Tensor | None = None, white: bool = False
) -> Composited:
    """Emission and absorption of raw samples (B, R, S, 4) at `depths`, standing for `lengths` (B, R, S) each.

    `noise` (B, R, S) is added to the raw density.
    """
    transmitted = torch.exp(-density(raw, noise) * lengths)
    alpha = 1 - transmitted
    before = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), transmitted + TRANSPARENT], dim=-1), dim=-1)
    weights = alpha * before[..., :-1]
    colour = (weights[..., None] * raw[..., :3].sigmoid()).sum(-2)
    opacity, depth = weights.sum(-1), (weights * depths).sum(-1)
    disparity = 1 / (depth / (opacity + TRANSPARENT)).clamp(min=TRANSPARENT)
    if white:
        colour = colour + (1 - opacity)[..., None]
    return Composited(colour, weights, opacity, depth, disparity)


def density(raw: Tensor, noise: Tensor | None = None) -> Tensor:
    """Density (…), at least 0, of raw samples (…, 4)."""
    return (raw[..., 3] if noise is None else raw[..., 3] + noise).relu()


def limit_points(device: torch.device) -> tuple[int, int]:
    """Return how many points a field is asked for together, and how many are kept for the way back."""
    return (POINTS_CACHED, POINTS_KEPT_ON_CPU) if device.type == "cpu" else (POINTS_KEPT, POINTS_KEPT)


def render(
    query: Query, latents: Tensor, camera: Camera, rays: tuple[Tensor, Tensor], sampling: Sampling, gauge: Tensor | None
) -> Tensor:
    """Colours (B, R, 3), in [−1, 1] where they composite, of rays for latents (B, Z).

    `gauge` (B, 3, 3) turns the rays into the frame the field has learned. Rays are drawn piece by piece; with
    gradients, the pieces of long sets are computed again in the backward pass instead of being kept.
    """

    def draw(origins: Tensor, directions: Tensor, depths: Tensor, spacing: Tensor, *noise: Tensor) -> Tensor:
        raw, lengths = march(query, latents, (origins, directions), (depths, spacing), gauge)
        if sampling.renderer == "compositing":
            return 2 * composite(raw, depths, lengths, *noise).colour - 1
        finite = torch.where(lengths < LAST_SPACING, lengths, 0.0)
        grey = (density(raw, *noise) * finite).sum(-1)
        return (2 * grey - 1)[..., None].expand(*grey.shape, 3)

    placed = ray_depths(*camera.bounds(*rays), sampling, ends=camera.official)
    # all that is random is drawn for all rays, so that it does not depend on the pieces
    noise = [sampling.noise * torch.randn_like(placed[0])] if sampling.noise > 0 else []
    at_once, kept = (points // (len(latents) * sampling.samples) for points in limit_points(latents.device))  # rays
    rays_at_once = max(1, at_once)
    pieces = list(zip(*(part.split(rays_at_once, dim=1) for part in (*rays, *placed, *noise)), strict=True))
    again = partial(checkpoint, draw, use_reentrant=False) if torch.is_grad_enabled() else draw
    # the last are kept: the backward pass begins with them, and lets them go before another piece is computed again
    first = max(0, len(pieces) - max(1, kept // rays_at_once))
    return torch.cat([*(again(*piece) for piece in pieces[:first]), *(draw(*piece) for piece in pieces[first:])], dim=1)


def march(
    query: Query, latents: Tensor, rays: tuple[Tensor, Tensor], placed: tuple[Tensor, Tensor], gauge: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Raw samples (B, R, S, 4) along rays and the lengths (B, R, S) they stand for; `placed` are `ray_depths`."""
    (origins, directions), (depths, spacing) = rays, placed
    if gauge is not None:
        with full_precision(origins.device):
            origins, directions = origins @ gauge.mT, directions @ gauge.mT
    norm = directions.norm(dim=-1, keepdim=True)
    points = origins[..., None, :] + directions[..., None, :] * depths[..., None]
    return query(points, directions / norm, latents).float(), spacing * norm


def pixel_grid(side: int, device: torch.device | None = None) -> Tensor:
    """Positions (side·side, 2), (column, row), of the pixels of an image, row by row; ±1 are the outer centres."""
    line = torch.linspace(-1, 1, side, device=device)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([columns, rows], dim=-1).view(-1, 2)
