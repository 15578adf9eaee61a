"""MedNeRF: Medical Neural Radiance Fields for Reconstructing 3D-aware CT-Projections from a Single X-ray (EMBC 2022).

A radiance field is trained as a GAN on single X-rays of many patients. A case is reconstructed by tuning that field
until it draws the case's views; views at other angles are then rendered. Volumes are a read-out of its density through
one monotone map fitted on training cases, which the published method does not have.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cases import Views
from bench.dataset import DatasetCard, is_mirrored
from bench.errors import UsageError
from bench.method import FittedStage, Method, Stage

from .calibration import CalibrationStage, MonotoneMap
from .camera import match_camera, official_camera
from .card import CARD, PRESETS, MedNerfConfig
from .field import RadianceField
from .inversion import Inversion, Tuned, unmirror
from .losses import perceptual_distance
from .render import Sampling
from .stage_field import FieldStage


class MedNerf(Method):
    """Reconstruction by inversion of a generative radiance field."""

    card = CARD
    Config = MedNerfConfig
    presets = PRESETS

    def __init__(self, config: MedNerfConfig, data: DatasetCard) -> None:
        self.config, self.data = config, data
        self.views_used = config.inversion.views or data.views
        if data.image_size < config.image_size:
            raise UsageError(
                f"mednerf works on images of {config.image_size} pixels a side and cannot take views of "
                f"{data.image_size}; lower image_size or raise data.image_size"
            )
        if data.views < self.views_used:
            raise UsageError(
                f"mednerf, inversion: {self.views_used} views are to be tuned on and a case has {data.views}; lower "
                "inversion.views"
            )
        self.camera = match_camera(data.geometry, data.size * data.voxel_mm)
        if config.camera == "official":
            self.camera = official_camera(data.geometry)
        sampling = Sampling(config.samples, config.renderer)
        redrawn, redrawn_by = perceptual_distance(config.perceptual, "vgg")
        compared, self.compared_by = perceptual_distance(config.perceptual, "alex")
        self.remark = f"perceptual networks: {redrawn_by} in training, {self.compared_by} in tuning"
        self.field = RadianceField(config.field.network)
        self.inversion = Inversion(self.field, self.camera, sampling, config.inversion, config.image_size, compared)
        self.map = MonotoneMap()
        self._stages: list[Stage | FittedStage] = [
            FieldStage(self.field, self.camera, sampling, config.field, config.image_size, redrawn),
            CalibrationStage(self.map, self.inversion, config.calibration),
        ]
        self._tuned: tuple[tuple[int, ...], Tensor, list[Tuned]] | None = None
        self._grid: tuple[Tensor, Tensor] | None = None

    def stages(self) -> Sequence[Stage | FittedStage]:
        return self._stages

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        with _gradients():
            tuned = self._tune(views, seeds)
            device = views.images.device
            if self._grid is None or self._grid[0].device != device:
                self._grid = self.inversion.grid(self.data.size, self.data.voxel_mm, device)
            read = partial(self.inversion.read_out, grid=self._grid)
            return torch.stack([self.time_part("read-out", 1, lambda one=one: self.map(read(one))) for one in tuned])

    def renders(self, views: Views, angles: Sequence[float], *, seeds: Sequence[int]) -> Tensor:
        with _gradients():
            side = views.images.shape[-1]
            result = []
            for one in self._tune(views, seeds):
                drawn = self.time_part("renders", 1, partial(self.inversion.views, one, angles))
                drawn = F.interpolate(drawn[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]
                flipped = [v.flip(-1) if is_mirrored(a) else v for v, a in zip(drawn, angles, strict=True)]
                result.append(torch.stack(flipped))
            return torch.stack(result)

    def _tune(self, views: Views, seeds: Sequence[int]) -> list[Tuned]:
        """A tuned field a case; those of the last call are kept, since renders of the same cases follow volumes."""
        images = unmirror(views).clone()
        if images.shape[1] < self.views_used or min(images.shape[2:]) < self.config.image_size:
            raise UsageError(
                f"mednerf needs {self.views_used} views of {self.config.image_size} pixels a side or more, and was "
                f"given {images.shape[1]} of {images.shape[3]}"
            )
        if self._tuned is not None:
            known_seeds, known_images, tuned = self._tuned
            if known_seeds == tuple(seeds) and torch.equal(known_images, images):
                return tuned
        tuned = [
            self.time_part(f"tuning, {self.compared_by}", 1, partial(self.inversion.tune, image, views.angles, seed))
            for image, seed in zip(images, seeds, strict=True)
        ]
        self._tuned = (tuple(seeds), images, tuned)
        return tuned


@contextmanager
def _gradients() -> Iterator[None]:
    """Tuning needs gradients, also where the caller has switched them off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
