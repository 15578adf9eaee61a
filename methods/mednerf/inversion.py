"""Reconstruction of one case: tune the field until it draws the given views, then ask it for density or other views.

Training knows no poses, so the frame of the learned field is arbitrary: before tuning, turns about the long axis,
mirrored or not, and several latents are tried, and the best is taken.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cases import Views
from bench.method import full_precision

from .camera import Camera, turn, voxel_centres
from .card import InversionConfig
from .field import COLOURS, RadianceField
from .losses import Distance, latent_nll, psnr
from .render import POINTS_KEPT, Sampling, limit_points, pixel_grid, render

LEAST_SEEN = 0.5  # share of the cameras that must see a voxel's column


@dataclass(frozen=True)
class Tuned:
    """A field tuned to one case."""

    field: RadianceField
    latent: Tensor  # (1, Z)
    gauge: Tensor  # (1, 3, 3) from the patient's frame to the field's
    psnr: float  # dB, mean of the views tuned on
    steps: int


@dataclass(frozen=True)
class Inversion:
    """What is needed to tune a trained field to a case; the field itself is never changed."""

    field: RadianceField
    camera: Camera
    sampling: Sampling
    config: InversionConfig
    image_size: int
    distance: Distance

    def tune(self, images: Tensor, angles: Tensor, seed: int) -> Tuned:
        """Tune a copy of the field to unmirrored views (V, h, w) in [0, 1] at gantry angles (V,) in degrees.

        All chance comes from `seed`; needs gradients.
        """
        config, chance = self.config, torch.Generator().manual_seed(seed)
        images, angles = images[: config.views], angles[: config.views]
        poses = self.camera.poses_at(-angles.cpu()).float().to(images.device)
        latents = torch.randn(config.latents, self.field.config.latent_width, generator=chance).to(images.device)
        latent, gauge = self.scan(images, poses, latents)

        field = copy.deepcopy(self.field).requires_grad_(True)
        latent = latent.clone().requires_grad_(config.optimise == "field+latent")
        optimizers: list[torch.optim.Optimizer] = [torch.optim.RMSprop(field.parameters(), config.learning_rate)]
        if latent.requires_grad:
            optimizers.append(torch.optim.Adam([latent], config.learning_rate, betas=(0.0, 0.999)))
        targets = self.targets(images, config.side or self.image_size)
        going, taken = torch.ones((), device=images.device), torch.zeros((), device=images.device)
        for step in range(config.steps + 1):
            drawn = self.draw(field, latent.expand(len(poses), -1), poses, gauge, targets.shape[-1])
            reached = psnr(drawn.detach(), targets).mean()
            going = going * ~(reached >= config.stop_psnr)
            if step == config.steps or (step % steps_unasked(images.device) == 0 and not going):
                break
            taken += going
            loss = self.image_loss(drawn, targets).sum()
            if latent.requires_grad:
                loss = loss + config.latent_weight * latent_nll(latent)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            (going * loss).backward()  # once the stop is reached no gradient is left, and both optimisers keep still
            for optimizer in optimizers:
                optimizer.step()
        return Tuned(field.requires_grad_(False), latent.detach(), gauge, reached.item(), int(taken))

    @torch.no_grad()
    def scan(self, images: Tensor, poses: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The latent (1, Z) and gauge (1, 3, 3) whose images are nearest the views (V, h, w) seen from `poses`."""
        turns = max(self.config.azimuths, 1)
        degrees = torch.arange(turns) * (360 / turns)
        mirrored = torch.tensor([False, True] if self.config.azimuths else [False])
        gauges = turn(degrees.repeat(len(mirrored)), mirrored.repeat_interleave(turns)).float().to(images.device)
        side, views = min(self.config.scan_side, self.image_size), len(poses)
        targets = self.targets(images, side)
        candidates = torch.cartesian_prod(torch.arange(len(latents)), torch.arange(len(gauges)))
        at_once = max(1, POINTS_KEPT // (views * side**2 * self.sampling.samples))
        errors = []
        for part in candidates.to(images.device).split(at_once):
            chosen = part.repeat_interleave(views, dim=0)
            drawn = self.draw(
                self.field, latents[chosen[:, 0]], poses.repeat(len(part), 1, 1), gauges[chosen[:, 1]], side
            )
            error = self.image_loss(drawn, targets.repeat(len(part), 1, 1, 1))
            errors.append(error.view(len(part), views).sum(1))
        latent, gauge = candidates[torch.cat(errors).argmin().cpu()].tolist()
        return latents[latent, None], gauges[gauge, None]

    def draw(self, field: RadianceField, latents: Tensor, poses: Tensor, gauge: Tensor, side: int) -> Tensor:
        """Images (B, 3, side, side) in [−1, 1] for latents (B, Z) from poses (B, 3, 4)."""
        positions = pixel_grid(side, poses.device).expand(len(poses), -1, -1)
        rays = self.camera.rays(poses, positions, side)
        colours = render(field, latents, self.camera, rays, self.sampling, gauge)
        return colours.mT.reshape(len(poses), COLOURS, side, side)

    def image_loss(self, drawn: Tensor, targets: Tensor) -> Tensor:
        """Weighed perceptual and squared difference (B,) of images (B, 3, h, w)."""
        squared = (drawn - targets).square().flatten(1).mean(1)
        return self.config.perceptual_weight * self.distance(drawn, targets) + self.config.squared_weight * squared

    def targets(self, images: Tensor, side: int) -> Tensor:
        """Views (V, h, w) in [0, 1] as images (V, 3, side, side) in [−1, 1], averaged over what a pixel covers."""
        smaller = F.adaptive_avg_pool2d(images[:, None], side)
        return (2 * smaller - 1).expand(-1, COLOURS, -1, -1)

    @torch.no_grad()
    def density(self, tuned: Tuned, points: Tensor) -> Tensor:
        """Density (D, H, W) of a tuned field at points (D, H, W, 3) of the patient's frame."""
        with full_precision(tuned.gauge.device):
            flat = points.view(1, -1, 3).to(tuned.latent) @ tuned.gauge.mT
        parts = [tuned.field.density(part, tuned.latent) for part in flat.split(limit_points(flat.device)[0], dim=1)]
        return torch.cat(parts, dim=1).float().view(points.shape[:-1])

    def grid(self, size: int, voxel_mm: float, device: torch.device) -> tuple[Tensor, Tensor]:
        """Points (D, H, W, 3) of the patient's frame in a cube, and whether most cameras of the training look there."""
        points = voxel_centres(size, voxel_mm, self.camera.unit_mm).to(device)
        return points, self.camera.seen_share(points) >= LEAST_SEEN

    def read_out(self, tuned: Tuned, grid: tuple[Tensor, Tensor]) -> Tensor:
        """Density (D, H, W) where most cameras of the training look, and none in the corners that few of them see.

        Few views cannot keep the corners empty: what stands there is drawn black, before a black background.
        """
        points, seen = grid
        return self.density(tuned, points) * seen.to(tuned.latent)

    @torch.no_grad()
    def views(self, tuned: Tuned, angles: Sequence[float]) -> Tensor:
        """Unmirrored views (A, image_size, image_size) in [0, 1] of a tuned field at gantry angles in degrees."""
        poses = self.camera.poses_at(-torch.tensor(angles)).float().to(tuned.latent.device)
        at_once = max(1, POINTS_KEPT // (self.image_size**2 * self.sampling.samples))
        drawn = [
            self.draw(tuned.field, tuned.latent.expand(len(part), -1), part, tuned.gauge, self.image_size).mean(1)
            for part in poses.split(at_once)
        ]
        return ((torch.cat(drawn) + 1) / 2).clamp(0, 1)


def steps_unasked(device: torch.device) -> int:
    """Return after how many steps of tuning a device is asked whether to stop: a GPU would wait each time."""
    return 1 if device.type == "cpu" else 16


def unmirror(views: Views) -> Tensor:
    """Images (B, V, h, w) as seen from the source: what was mirrored to follow the volume is turned back."""
    flipped = [
        image.flip(-1) if mirrored else image
        for image, mirrored in zip(views.images.unbind(1), views.mirrored, strict=True)
    ]
    return torch.stack(flipped, dim=1)
