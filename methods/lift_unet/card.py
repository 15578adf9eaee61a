"""Card and settings of the lifting U-Net, which need no networks."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from bench.card import Loop, MethodCard, MethodPlugin, Settings, StepCount

Lifting = Literal["geometry", "repetition"]


class NetworkConfig(Settings):
    """Shape of the network."""

    features: PositiveInt = 16  # channels of each view that are lifted into the volume
    widths: tuple[PositiveInt, ...] = Field(default=(32, 64, 128, 256), min_length=1)  # of each level, from full down
    blocks: PositiveInt = 1  # residual blocks a level, on the way down and on the way up
    lifting: Lifting = "geometry"  # cone-beam back-projection, or repetition along the axis a view cannot see
    value_scale: PositiveFloat = 1.0  # what the network calls 1: values are its output times this

    @model_validator(mode="after")
    def _check(self) -> Self:
        for width in self.widths:
            if width > 8 and width % 8:
                raise ValueError(f"{width} channels: a level wider than 8 must be a multiple of 8")
        return self


class TrainingConfig(Settings):
    """How the network is trained."""

    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.01
    warm_up: StepCount = 50  # steps of linear increase of the rate, which then falls to 0 as a cosine
    loop: Loop = Loop(steps=20_000, batch_size=4)


class LiftUNetConfig(Settings):
    """All settings of the lifting U-Net; sides come from the data."""

    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()


PRESETS = Path(__file__).with_name("presets.toml")
CARD = MethodCard(
    name="lift_unet",
    title="Lifting U-Net",
    paper="none: a baseline of this harness, after the lifting of Kar et al., Learning a Multi-View Stereo Machine, "
    "NIPS 2017, and the 3-D U-Net of Çiçek et al., MICCAI 2016",
    year=2026,
    bibtex="""@inproceedings{cicek2016unet,
  title = {3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation},
  author = {{\\c{C}}i{\\c{c}}ek, {\\"O}zg{\\"u}n and Abdulkadir, Ahmed and Lienkamp, Soeren S. and Brox, Thomas and
            Ronneberger, Olaf},
  booktitle = {Medical Image Computing and Computer-Assisted Intervention},
  year = {2016}
}
@inproceedings{kar2017learning,
  title = {Learning a Multi-View Stereo Machine},
  author = {Kar, Abhishek and H{\\"a}ne, Christian and Malik, Jitendra},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2017}
}""",
    licence_of_original="",
    capabilities=frozenset({"volume", "mip"}),
    deviations=(
        "no published network has this form: nothing is compared with published numbers or fingerprints",
        "values of bags are divided by 0.05 inside the network, or nearly all of them would be 0",
    ),
)
METHODS = (MethodPlugin(CARD, LiftUNetConfig, f"{__package__}.method:LiftUNet", PRESETS),)
