"""Training the radiance field against a discriminator on X-rays of many patients, without their poses or identities.

The loop is MedNeRF's: discriminator, density noise, field, moving average. Patches have random sizes and places, as in
GRAF; poses and patches of what the field draws are independent of those of the real images.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.cases import Cases, cache_rows
from bench.dataset import Split, to_hounsfield
from bench.errors import UsageError
from bench.method import Items, Stage, Update
from bench.projector import project

from . import losses
from .camera import Camera
from .card import FieldStageConfig, PatchConfig
from .discriminator import MedNerfDiscriminator, build_discriminator
from .field import COLOURS, RadianceField
from .render import Sampling, render

CASES_AT_ONCE = 8  # volumes projected at a time
RMSPROP_DECAY = 0.99
LARGEST_SCALE = 1.0  # share of the image's side that a patch covers


class FieldStage(Stage):
    """Trains the field; its moving average is what is kept."""

    name = "field"
    averaged = ("field",)

    def __init__(
        self,
        field: RadianceField,
        camera: Camera,
        sampling: Sampling,
        config: FieldStageConfig,
        image_size: int,
        distance: losses.Distance,
    ) -> None:
        side, kind = config.patches.side, config.discriminator.kind
        smallest, step = config.discriminator.smallest_side, config.discriminator.side_step
        if side < smallest or side % step:
            raise UsageError(
                f"mednerf, field: the {kind} discriminator needs patches of at least {smallest} pixels a side, a "
                f"multiple of {step}, not {side}; set field.patches.side"
            )
        if image_size < side:
            raise UsageError(
                f"mednerf, field: patches of {side} pixels a side need images of at least that, not {image_size}; "
                "set image_size or field.patches.side"
            )
        self.field, self.camera, self.sampling, self.config = field, camera, sampling, config
        self.image_size, self.distance = image_size, distance
        self.loop = config.loop
        self.discriminator = build_discriminator(config.discriminator)
        self.networks: dict[str, nn.Module] = {"field": field, "discriminator": self.discriminator}
        self.images: np.ndarray = np.empty((0, 0, 0, 0), dtype=np.float32)

    def prepare(self, cases: Mapping[Split, Cases], cache: Path, device: torch.device) -> None:
        train, config, side = cases["train"], self.config, self.image_size
        shape = (min(config.cases, len(train)), config.views, side, side)
        views = training_views(train, config, side, device)
        self.images = cache_rows(cache / "training_views.npy", shape, np.float32, views)

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        images, views = self.images, self.images.shape[1]

        def take(index: int) -> Tensor:
            return torch.from_numpy(np.array(images[index // views, index % views])[None])

        return Items(len(images) * views, take, ahead=True)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rates = {"field": self.config.learning_rate, "discriminator": self.config.discriminator_rate}
        return {
            name: torch.optim.RMSprop(network.parameters(), rates[name], alpha=RMSPROP_DECAY)
            for name, network in self.networks.items()
        }

    def rate(self, step: int) -> float:
        return 0.5 ** bisect_right(self.config.halvings, step)

    def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
        config = self.config
        count, least = len(batch), least_scale(step, config.patches)
        places = draw_patches(count, config.patches.side, least).to(batch.device)
        real = read_patches(2 * batch.expand(-1, COLOURS, -1, -1) - 1, places)

        self.discriminator.requires_grad_(True)
        with torch.no_grad():
            fake = self.draw(count, least, density_noise(max(step - 1, 0), config.noise_steps), batch.device)
        if isinstance(self.discriminator, MedNerfDiscriminator):
            loss, extra = losses.mednerf_discriminator_loss(
                self.discriminator, real, fake, self.distance, config.hinge, self.loop.batch_size
            )
        else:
            loss, extra = losses.graf_discriminator_loss(self.discriminator, real, fake)
        update("discriminator", loss)

        self.discriminator.requires_grad_(False)
        fake = self.draw(count, least, density_noise(step, config.noise_steps), batch.device)
        if isinstance(self.discriminator, MedNerfDiscriminator):
            generator = losses.mednerf_generator_loss(self.discriminator, fake)
        else:
            generator = losses.graf_generator_loss(self.discriminator, fake)
        update("field", generator)
        return {
            "loss": loss.detach(),  # the discriminator's: it also learns to redraw, which can be seen to improve
            "field_loss": generator.detach(),
            "redrawing_or_penalty": extra,
            "mean_drawn": fake.detach().mean(),
            "mean_real": real.mean(),
        }

    def draw(self, count: int, least: float, noise: float, device: torch.device) -> Tensor:
        """Patches (count, 3, s, s) in [−1, 1] of random latents, poses and places."""
        side = self.config.patches.side
        latents = torch.randn(count, self.field.config.latent_width).to(device)
        poses = self.camera.random_poses(count, device)
        places = draw_patches(count, side, least).to(device)
        rays = self.camera.rays(poses, places.flatten(1, 2), self.image_size)
        sampling = Sampling(self.sampling.samples, self.sampling.renderer, jitter=True, noise=noise)
        colours = render(self.field, latents, self.camera, rays, sampling, None)
        return colours.mT.reshape(count, COLOURS, side, side)


def density_noise(step: int, steps: int) -> float:
    """Standard deviation of the density's noise: 1 at first, falling linearly to what it is one step before `steps`.

    The field's update of a step is the first to use its value, as in the released loop.
    """
    return 0.0 if steps == 0 else max(1 - step / steps, 1 / steps)


def training_views(cases: Cases, config: FieldStageConfig, side: int, device: torch.device) -> Iterator[np.ndarray]:
    """X-rays (views, side, side) in [0, 1] of each case, none mirrored, at equal steps of the gantry without tilt."""
    chosen = np.linspace(0, len(cases) - 1, min(config.cases, len(cases))).round().astype(int).tolist()
    angles = [360 * view / config.views for view in range(config.views)]
    unmirrored = [False] * len(angles)  # a mirrored view would contradict the others in 3-D
    card = cases.card
    for first in range(0, len(chosen), CASES_AT_ONCE):
        volumes = cases.volumes(chosen[first : first + CASES_AT_ONCE])
        hounsfield = torch.from_numpy(to_hounsfield(volumes.numpy(), card.window)).to(device)
        integrals = project(hounsfield, card.voxel_mm, card.geometry, angles, side, mirrored=unmirrored).cpu()
        if config.per_view_scaling:
            low, high = integrals.amin((2, 3), keepdim=True), integrals.amax((2, 3), keepdim=True)
            yield from ((integrals - low) / (high - low).clamp(min=1e-6)).numpy()
        else:
            yield from (integrals / card.geometry.grey_scale).clamp(0, 1).numpy()


def least_scale(step: int, config: PatchConfig) -> float:
    """The smallest share of an image's side that a patch covers at this step."""
    decayed = math.exp(-config.annealing * (step // config.anneal_every))
    return min(config.start_scale, max(config.end_scale, decayed))


def draw_patches(count: int, side: int, least: float, generator: torch.Generator | None = None) -> Tensor:
    """Positions (count, side, side, 2), (column, row) in [−1, 1], of patches of random scale and offset.

    The order of the random numbers is the published one.
    """
    patches = []
    for _ in range(count):
        scale = torch.empty(1).uniform_(least, LARGEST_SCALE, generator=generator)
        columns, rows = (_offset(LARGEST_SCALE - scale.item(), generator) for _ in range(2))
        line = torch.linspace(-1, 1, side) * scale
        y, x = torch.meshgrid(line + rows, line + columns, indexing="ij")
        patches.append(torch.stack([x, y], dim=-1))
    return torch.stack(patches)


def _offset(largest: float, generator: torch.Generator | None) -> Tensor:
    size = torch.empty(1).uniform_(0, largest, generator=generator)
    return size * (2 * torch.randint(2, (1,), generator=generator) - 1)


def read_patches(images: Tensor, positions: Tensor) -> Tensor:
    """Patches (B, C, s, s) of images (B, C, h, w), bilinear, at positions (B, s, s, 2)."""
    return F.grid_sample(images, positions, mode="bilinear", align_corners=True)
