"""CCX-rayNet (ISBI 2021) and CCX-rayGAN: class-conditioned chest X-rays to CT volumes.

The original is a fork of X2CT-GAN's code, and so is this: generator, discriminator, losses and training come from
`..x2ctgan`; what the paper adds is in `blocks`, `generator` and `mask`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import PositiveInt
from torch import Tensor

from bench.card import Loop, MethodCard, Settings
from bench.cases import Views
from bench.dataset import DatasetCard
from bench.method import FittedStage, Method, Stage

from ..x2ctgan import check_views
from ..x2ctgan.alignment import network_side, orders_of, resampled_views, resampled_volumes
from ..x2ctgan.layers import initialise
from ..x2ctgan.stage import TrainingConfig
from .generator import CcxGeneratorConfig, build, conditioned
from .mask import ClassMasks, MaskConfig, MaskStage
from .stage import CcxStage

LOOP = Loop(steps=91_600, batch_size=1)  # 100 epochs of 916 cases


class CcxRayNetConfig(Settings):
    """All settings of CCX-rayNet."""

    side: PositiveInt | None = None  # of the volume and the views the networks work with; None: the data's
    mask: MaskConfig = MaskConfig()
    generator: CcxGeneratorConfig = CcxGeneratorConfig()
    training: TrainingConfig = TrainingConfig(adversarial_weight=0.0, loop=LOOP)


class CcxRayGanConfig(CcxRayNetConfig):
    """All settings of CCX-rayGAN."""

    training: TrainingConfig = TrainingConfig(loop=LOOP)


class CcxRayNet(Method):
    """Reconstruction by one pass of the generator."""

    Config = CcxRayNetConfig
    presets = Path(__file__).with_name("presets.toml")
    card = MethodCard(
        name="ccx_raynet",
        title="CCX-rayNet",
        paper="Ratul et al., CCX-rayNet: A Class Conditioned Convolutional Neural Network For Biplanar X-Rays to CT "
        "Volume, ISBI 2021",
        year=2021,
        bibtex="""@inproceedings{ratul2021ccxraynet,
  title = {{CCX-rayNet}: A Class Conditioned Convolutional Neural Network For Biplanar X-Rays to {CT} Volume},
  author = {Ratul, Md. Aminur Rab and Yuan, Kun and Lee, WonSook},
  booktitle = {IEEE International Symposium on Biomedical Imaging},
  year = {2021},
  doi = {10.1109/ISBI48211.2021.9433870}
}""",
        licence_of_original="none stated; derived from X2CT-GAN's code, which is under GPLv3 or LGPLv3",
        capabilities=frozenset({"volume", "mip"}),
        deviations=(
            "re-implementation: the named repository has no networks, and the conditioned network of its later sister "
            "raises; conditioning follows the last version whose shapes agree",
            "fusion by similarity is in both branches' decoders; the released biplanar class has the plain mean",
            "no spatial transformer: the released one starts as a collapse to the centre and is not in the paper",
            "no channel attention: only older versions of the code have it",
            "class masks are predicted from the X-rays by U-Nets trained on the training split's CTs; the originals "
            "are unpublished files of the frontal view only",
            "a mask covers rays that cross at least 3 cm of lung, so that both lungs stay apart as in the originals",
            "bags have no classes: their masks are Otsu's foreground of the X-ray",
            "norms always use the statistics of the sample, as the released evaluation does",
            "the dataset's volumes and views are resampled to the networks' side and back",
            "the last weights are evaluated; the released scripts name epoch 74 of 100",
        ),
    )

    def __init__(self, config: CcxRayNetConfig, data: DatasetCard) -> None:
        name = self.card.name
        self.config, self.data = config, data
        orders = orders_of(data.angles, name)
        self.side = network_side(data, config.side, name)
        config.generator.check_side(self.side, name)
        self.masks = ClassMasks(config.mask, len(orders), self.side, name)
        self.generator = build(config.generator, self.side, orders)
        stage = CcxStage(self.generator, config.training, self.side, self.masks, self.inputs)
        for network in stage.networks.values():
            initialise(network)
        learned = config.generator.dft and config.mask.kind == "lungs"
        self._stages: list[Stage | FittedStage] = [stage]
        if learned:
            self._stages.insert(0, MaskStage(self.masks, self.side))

    def stages(self) -> Sequence[Stage | FittedStage]:
        return self._stages

    @torch.inference_mode()
    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        check_views(views, self.data, self.card.name)
        images = resampled_views(views.images, self.side)
        # one case at a time: the full-resolution features of a published-size volume take gigabytes
        volumes = [self.generator(self.inputs([view[[i]] for view in images])) for i in range(len(views.images))]
        return resampled_volumes(torch.cat(volumes)[:, 0].float().clamp(0.0, 1.0), self.data.size)[:, 0]

    def inputs(self, views: list[Tensor]) -> list[Tensor]:
        """What the generator reads of views (B, 1, s, s): themselves, or with `dft` also their class masks."""
        if not self.config.generator.dft:
            return views
        return conditioned(views, self.masks(torch.cat(views, 1)), self.card.name)


class CcxRayGan(CcxRayNet):
    """CCX-rayNet's generator, trained against X2CT-GAN's conditional discriminator."""

    Config = CcxRayGanConfig
    card = replace(
        CcxRayNet.card,
        name="ccx_raygan",
        title="CCX-rayGAN",
        paper="Ratul, A Class-Conditioned Deep Neural Network to Reconstruct CT Volumes from X-Ray Images: Depth-Aware "
        "Connection and Adaptive Feature Fusion, thesis, University of Ottawa 2021",
        bibtex="""@mastersthesis{ratul2021class,
  title = {A Class-Conditioned Deep Neural Network to Reconstruct {CT} Volumes from X-Ray Images: Depth-Aware Connection
           and Adaptive Feature Fusion},
  author = {Ratul, Md. Aminur Rab},
  school = {University of Ottawa},
  year = {2021},
  doi = {10.20381/ruor-25893}
}""",
    )


METHODS = (CcxRayNet, CcxRayGan)
