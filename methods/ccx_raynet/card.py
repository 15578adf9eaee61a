"""Cards and settings of CCX-rayNet (ISBI 2021) and CCX-rayGAN, which need no networks."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from bench.card import Loop, MethodCard, MethodPlugin, Settings

from ..x2ctgan.card import GeneratorConfig, TrainingConfig

LOOP = Loop(steps=91_600, batch_size=1)  # 100 epochs of 916 cases
GROUPS = 4  # of a mask network's norms


class MaskConfig(Settings):
    """Where class masks come from and how the U-Nets that predict them are trained."""

    kind: Literal["lungs", "otsu", "zero"] = "lungs"  # otsu: what stands out of each X-ray; zero: no class at all
    threshold: float = Field(default=0.8, gt=0, lt=1)  # of the probability; as released
    widths: tuple[PositiveInt, ...] = Field(default=(16, 32, 64, 128), min_length=1)  # channels, a level each
    learning_rate: PositiveFloat = 1e-3
    loop: Loop = Loop(steps=2000, batch_size=16, validate_every=250, keep="best")

    @model_validator(mode="after")
    def _widths_fit_groups(self) -> "MaskConfig":
        if any(width % GROUPS for width in self.widths):
            raise ValueError(f"mask widths must be multiples of {GROUPS}")
        return self


class CcxGeneratorConfig(GeneratorConfig):
    """The shape of X2CT-GAN's generator, and which of the paper's parts it has; the published code has only `dac`."""

    dft: bool = True  # Deep Feature Transform: the class mask conditions every fifth dense layer
    condition: Literal["shared", "pooled"] = (
        "shared"  # it goes through the encoder's weights, or is pooled to each stage
    )
    dac: bool = True  # Depth-Aware Connection: a gate in every link
    aff: bool = True  # Adaptive Feature Fusion of two views; off, or with one view: X2CT-GAN's


class CcxRayNetConfig(Settings):
    """All settings of CCX-rayNet."""

    side: PositiveInt | None = None  # of the volume and the views the networks work with; None: the data's
    mask: MaskConfig = MaskConfig()
    generator: CcxGeneratorConfig = CcxGeneratorConfig()
    training: TrainingConfig = TrainingConfig(adversarial_weight=0.0, loop=LOOP)


class CcxRayGanConfig(CcxRayNetConfig):
    """All settings of CCX-rayGAN."""

    training: TrainingConfig = TrainingConfig(loop=LOOP)


PRESETS = Path(__file__).with_name("presets.toml")
CARD = MethodCard(
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
GAN_CARD = replace(
    CARD,
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
METHODS = (
    MethodPlugin(CARD, CcxRayNetConfig, f"{__package__}.method:CcxRayNet", PRESETS),
    MethodPlugin(GAN_CARD, CcxRayGanConfig, f"{__package__}.method:CcxRayGan", PRESETS),
)
