"""MedNeRF: Medical Neural Radiance Fields for Reconstructing 3D-aware CT-Projections from a Single X-ray (EMBC 2022).

A radiance field is trained as a GAN on single X-rays of many patients. A case is reconstructed by tuning that field
until it draws the case's views; views at other angles are then rendered. Volumes are a read-out of its density through
one monotone map fitted on training cases, which the published method does not have.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cases import Views
from bench.dataset import DatasetCard, is_mirrored
from bench.errors import UsageError
from bench.method import FittedStage, Method, Stage

from .calibration import CalibrationStage, MonotoneMap
from .camera import camera_for
from .card import CARD, PRESETS, MedNerfConfig
from .field import RadianceField
from .inversion import Grid, Inversion, Tuned, unmirror
from .perceptual import perceptual_distance
from .render import Sampling
from .stage_field import FieldStage, check_views


class MedNerf(Method):
    """Reconstruction by inversion of a generative radiance field."""

    card = CARD
    Config = MedNerfConfig
    presets = PRESETS

    def __init__(self, config: MedNerfConfig, data: DatasetCard) -> None:
        self.config, self.data = config, data
        self.views_used = check_views(data, config.image_size, config.inversion.views)
        self.camera = camera_for(config.camera, data.geometry, data.size * data.voxel_mm)
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
        self._grid: Grid | None = None
        self._seconds: dict[str, list[float]] = {}

    def stages(self) -> Sequence[Stage | FittedStage]:
        return self._stages

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        with _gradients():
            tuned = self._tune(views, seeds)
            device = views.images.device
            if self._grid is None or self._grid.points.device != device:
                self._grid = self.inversion.grid(self.data.size, self.data.voxel_mm, device)
            grid = self._grid

            def read(one: Tuned) -> Tensor:
                return self.map(self.inversion.read_out(one, grid))

            return torch.stack([self._time("read-out", read, one) for one in tuned])

    def renders(self, views: Views, angles: Sequence[float], *, seeds: Sequence[int]) -> Tensor:
        with _gradients():
            side = views.images.shape[-1]
            result = []
            for one in self._tune(views, seeds):
                drawn = self._time("renders", self.inversion.views, one, angles)
                drawn = F.interpolate(drawn[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]
                flipped = [v.flip(-1) if is_mirrored(a) else v for v, a in zip(drawn, angles, strict=True)]
                result.append(torch.stack(flipped))
            return torch.stack(result)

    def seconds_by_part(self) -> dict[str, float]:
        return {part: sum(times) / len(times) for part, times in self._seconds.items()}

    def _tune(self, views: Views, seeds: Sequence[int]) -> list[Tuned]:
        """A tuned field a case; those of the last call are kept, since renders of the same cases follow volumes."""
        images = unmirror(views).clone()
        self._check(images)
        if self._tuned is not None:
            known_seeds, known_images, tuned = self._tuned
            if known_seeds == tuple(seeds) and torch.equal(known_images, images):
                return tuned
        tuned = [
            self._time(f"tuning, {self.compared_by}", self.inversion.tune, image, views.angles, seed)
            for image, seed in zip(images, seeds, strict=True)
        ]
        self._tuned = (tuple(seeds), images, tuned)
        return tuned

    def _check(self, images: Tensor) -> None:
        if images.shape[1] < self.views_used or min(images.shape[2:]) < self.config.image_size:
            raise UsageError(
                f"mednerf needs {self.views_used} views of {self.config.image_size} pixels a side or more, and was "
                f"given {images.shape[1]} of {images.shape[3]}"
            )

    def _time(self, part: str, work: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        result = work(*arguments)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._seconds.setdefault(part, []).append(time.perf_counter() - began)
        return result


@contextmanager
def _gradients() -> Iterator[None]:
    """Tuning needs gradients, also where the caller has switched them off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
