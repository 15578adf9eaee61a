"""Floor: the views smeared back along their rays, without any training.

Each ray gives its mean attenuation relative to a cube of water of the volume's size; a voxel is the mean of the rays
through it over the views. Geometry as in bench.projector.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.cases import Views
from bench.dataset import DatasetCard, to_unit
from bench.method import FittedStage, Method
from bench.projector import lift, pixel_of_voxel, project

from .card import BACKPROJECTION, PRESETS, NoSettings


class BackProjection(Method):
    """What the two views say by geometry alone."""

    card = BACKPROJECTION
    Config = NoSettings
    presets = PRESETS

    def __init__(self, config: NoSettings, data: DatasetCard) -> None:
        self.data = data

    def stages(self) -> Sequence[FittedStage]:
        return []

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        data, angles = self.data, views.angles.tolist()
        images = views.images
        cube_of_water = torch.zeros(1, *(data.size,) * 3, device=images.device)
        through_water = project(
            cube_of_water, data.voxel_mm, views.geometry, angles, images.shape[-1], mirrored=views.mirrored
        )
        relative = images * views.geometry.grey_scale / through_water.clamp(min=1e-3) * (through_water > 1e-3)
        seen = []
        for image, angle, mirrored in zip(relative.unbind(1), angles, views.mirrored, strict=True):
            place = pixel_of_voxel(views.geometry, angle, mirrored, data.size, data.voxel_mm).to(image)
            seen.append(lift(image[:, None], place)[:, 0])
        attenuation = sum(seen) / len(seen)
        return torch.as_tensor(to_unit((attenuation.cpu().numpy() - 1) * 1000, data.window)).to(images)
