"""The published training step, for `bench performance`: the same numbers, computed as released.

Latents and codes of directions are repeated for every point and multiplied with it; ours multiplies them once a ray
or image.
"""

import copy

import torch
from torch import Tensor

from bench.method import Method, Stage

from .field import RadianceField
from .stage_field import FieldStage


def make_published_stages(method: Method) -> dict[str, Stage]:
    """Return twins of the trained field by stage name, with copies of its networks."""
    return {stage.name: _publish(stage) for stage in method.stages() if isinstance(stage, FieldStage)}


def _publish(ours: FieldStage) -> FieldStage:
    """The same stage with a field that multiplies joined inputs."""
    field = copy.deepcopy(ours.field)
    field.__class__ = JoinedField
    twin = FieldStage(field, ours.camera, ours.sampling, ours.config, ours.image_size, ours.distance)
    twin.discriminator = copy.deepcopy(ours.discriminator)
    twin.networks = {"field": field, "discriminator": twin.discriminator}
    return twin


class JoinedField(RadianceField):
    """One matrix product a layer, of everything a point has to do with."""

    def raw(self, codes: Tensor, shape: Tensor, views: Tensor, appearance: Tensor) -> Tensor:
        h = self._trunk(codes, shape)
        parts = (self.feature(h), _repeat(views, h), _repeat(appearance, h))
        colour = self.colour_trunk[0](torch.cat(parts, dim=-1)).relu()
        return torch.cat([self.colour_head(colour), self.density_head(h)], dim=-1)

    def _trunk(self, codes: Tensor, shape: Tensor) -> Tensor:
        inputs = torch.cat([codes, _repeat(shape, codes)], dim=-1)
        h = self.trunk[0](inputs).relu()
        for index, layer in enumerate(self.trunk[1:], start=1):
            h = layer(torch.cat([inputs, h], dim=-1) if index == self.config.skip + 1 else h).relu()
        return h


def _repeat(part: Tensor, points: Tensor) -> Tensor:
    return part.expand(*points.shape[:-1], -1)
