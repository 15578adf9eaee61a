"""X2CT-GAN: Reconstructing CT from Biplanar X-Rays with Generative Adversarial Networks (CVPR 2019).

A feed-forward generator with 2-D encoders and 3-D decoders, trained against a conditional discriminator.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import PositiveInt
from torch import Tensor

from bench.card import MethodCard, Settings
from bench.cases import Views
from bench.dataset import DatasetCard
from bench.errors import UsageError
from bench.method import FittedStage, Method, Stage

from .alignment import network_side, orders_of, resampled_views, resampled_volumes
from .generator import build_generator
from .layers import GeneratorConfig, initialise
from .stage import GeneratorStage, TrainingConfig


class X2CTConfig(Settings):
    """All settings of X2CT-GAN."""

    side: PositiveInt | None = None  # voxels and pixels a side of the networks; None: those of the volumes
    generator: GeneratorConfig = GeneratorConfig()
    training: TrainingConfig = TrainingConfig()


class X2CTGAN(Method):
    """Reconstruction by one pass of a generator."""

    Config = X2CTConfig
    presets = Path(__file__).with_name("presets.toml")
    card = MethodCard(
        name="x2ctgan",
        title="X2CT-GAN",
        paper="Ying et al., X2CT-GAN: Reconstructing CT from Biplanar X-Rays with Generative Adversarial Networks, "
        "CVPR 2019",
        year=2019,
        bibtex="""@inproceedings{ying2019x2ctgan,
  title = {X2CT-GAN: Reconstructing CT from Biplanar X-Rays with Generative Adversarial Networks},
  author = {Ying, Xingde and Guo, Heng and Ma, Kai and Wu, Jian and Weng, Zhengxin and Zheng, Yefeng},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2019}
}""",
        licence_of_original="LGPL-3.0 (licence file), GPL-3.0 (file headers)",
        capabilities=frozenset({"volume", "mip"}),
        deviations=(
            "views are averaged down to the networks' side; the published views have it from the start",
            "with `side` below the volume's the target is averaged down and the result interpolated up for scoring: "
            "baggage `paper` runs at 128³ of 256³",
            "volumes are those of the dataset's window in [0, 1]; the published window is -1024 to 1476 HU",
            "instance norms always take the statistics of their own case, which the released test script switches on",
            "the branches' own output layers are allocated and never run: no loss uses them",
            "the discriminator is not run on true volumes in the generator's update, where the result is not used",
            "the schedule divides a training of any length into 100 epochs; a resumed one keeps its place in it",
            "the last weights are evaluated; the released instructions choose epoch 90 (two views) or 30 (one)",
        ),
    )

    def __init__(self, config: X2CTConfig, data: DatasetCard) -> None:
        self.config, self.data, name = config, data, self.card.name
        self.side = network_side(data, config.side, name)
        config.generator.check_side(self.side, name)
        self.generator = build_generator(config.generator, self.side, orders_of(data.angles, name))
        self._stages = [GeneratorStage("generator", self.generator, config.training, self.side)]
        for network in self._stages[0].networks.values():
            initialise(network)

    def stages(self) -> Sequence[Stage | FittedStage]:
        return self._stages

    @torch.inference_mode()
    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        check_views(views, self.data, self.card.name)
        inputs = resampled_views(views.images, self.side)
        # one case at a time: the full-resolution features of a published-size volume take gigabytes
        volumes = [self.generator([view[i : i + 1] for view in inputs]) for i in range(len(views.images))]
        return resampled_volumes(torch.cat(volumes)[:, 0].float().clamp(0.0, 1.0), self.data.size)[:, 0]


def check_views(views: Views, data: DatasetCard, name: str) -> None:
    """Raise UsageError, naming the method, unless the views are of the kind the generator was built for."""
    angles = tuple(views.angles.tolist())
    if views.images.shape[1] != data.views or angles != data.angles:
        raise UsageError(
            f"{name} was built for views at {', '.join(f'{angle:g}' for angle in data.angles)} and cannot take "
            f"{views.images.shape[1]} at {', '.join(f'{angle:g}' for angle in angles)}; train it with those data.angles"
        )


METHODS = (X2CTGAN,)
