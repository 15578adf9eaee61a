"""The lifting U-Net: views back-projected into the volume as features, and a 3-D U-Net that makes values of them.

Deterministic regression with one network and one loss: what it reaches, any method with a prior has to beat.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.cases import Views
from bench.dataset import DatasetCard
from bench.errors import UsageError
from bench.method import FittedStage, Method, Stage

from .card import CARD, PRESETS, LiftUNetConfig
from .network import LiftingUNet, places_of_voxels
from .stage import RegressionStage


class LiftUNet(Method):
    """Reconstruction by one pass of the network."""

    card = CARD
    Config = LiftUNetConfig
    presets = PRESETS

    def __init__(self, config: LiftUNetConfig, data: DatasetCard) -> None:
        self.config, self.data = config, data
        smallest = 2 ** len(config.network.widths)
        if data.size < smallest:
            raise UsageError(
                f"lift_unet: {len(config.network.widths)} levels need volumes of {smallest} voxels a side, not "
                f"{data.size}; set fewer network.widths"
            )
        self.network = LiftingUNet(config.network, data.views, data.size)
        places = self._places(Views(torch.empty(0), torch.tensor(data.angles), data.mirrored, data.geometry))
        self._stages = [RegressionStage(self.network, places, config.training)]

    def stages(self) -> Sequence[Stage | FittedStage]:
        return self._stages

    @torch.inference_mode()
    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        self.require_views(views, self.data)
        places = self._places(views).to(views.images.device)
        # one case at a time: the full-resolution features of a published-size volume take gigabytes
        volumes = [self.network(image[None], places) for image in views.images]
        return torch.cat(volumes).float().clamp(0.0, 1.0)

    def _places(self, views: Views) -> Tensor:
        data, lifting = self.data, self.config.network.lifting
        angles = views.angles.tolist()
        return places_of_voxels(views.geometry, angles, views.mirrored, data.size, data.voxel_mm, lifting)
