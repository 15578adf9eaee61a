"""Card and settings of X2CT-GAN (CVPR 2019), which need no networks."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from bench.card import Loop, MethodCard, MethodPlugin, Settings
from bench.errors import UsageError

Statistics = Literal["sample", "running"]


class GeneratorConfig(Settings):
    """Shape of a generator; the defaults are the published one, the three switches its ablations."""

    stem: PositiveInt = 64  # channels at full resolution of the encoder
    layers: tuple[PositiveInt, ...] = Field(default=(6, 12, 24, 16, 6), min_length=1)  # dense layers of each stage
    growth: PositiveInt = 32  # channels a dense layer adds
    bottleneck: PositiveInt = 4  # width inside a dense layer, in multiples of the growth
    bridge: PositiveInt = 256  # channels of the volume that connection A makes
    links: tuple[PositiveInt, ...] = (16, 16, 32, 64, 128)  # channels of each 3-D level, from full resolution down
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)  # of connection A, in training only
    statistics: Statistics = "sample"  # what norms divide by; running: the released networks' plain eval()
    skips: bool = True  # connection B; off: "no link B"
    main_skips: bool = True  # the main decoder sees the fused volume at every level; off: at the coarsest only
    feedback: bool = True  # branches continue from the fused volume; off: each from its own

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.links) != len(self.layers):
            raise ValueError(f"{len(self.layers)} stages of layers need as many links, not {len(self.links)}")
        return self

    @property
    def reduction(self) -> int:
        """Voxels of the output that one voxel of the bridge spans along each axis."""
        return 2 ** len(self.layers)

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """Channels of the encoder's outputs: the stem's, each stage's, and last the pooled features'."""
        widths = [self.stem]
        for count in self.layers:
            widths.append((widths[-1] + count * self.growth) // 2)
        return (*widths[:-1], widths[-2] + self.layers[-1] * self.growth)

    def check_side(self, side: int, name: str) -> None:
        """Raise UsageError, naming the method, for a side whose halvings do not end at two pixels or more."""
        smallest = 2 * self.reduction
        if side % self.reduction or side < smallest:
            raise UsageError(
                f"{name}: {len(self.layers)} stages need a side that is a multiple of {self.reduction} and at least "
                f"{smallest}, not {side}; set another data.size or side, or fewer generator.layers and generator.links"
            )


class DiscriminatorConfig(Settings):
    """Shape of a discriminator; the defaults are the published one."""

    channels: PositiveInt = 64  # of the first layer
    stages: PositiveInt = 3  # convolutions with a norm; all but the last of them halve the sides


class TrainingConfig(Settings):
    """How a generator is trained; the defaults are the published ones."""

    adversarial_weight: NonNegativeFloat = 0.1  # of both networks' adversarial losses; 0: no discriminator (X2CT-CNN)
    voxel_weight: NonNegativeFloat = 10.0
    projection_weight: NonNegativeFloat = 10.0
    learning_rate: PositiveFloat = 2e-4
    discriminator_rate: PositiveFloat = 2e-4
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    loop: Loop = Loop(steps=22_900, batch_size=4)  # 100 epochs of 916 cases


class X2CTConfig(Settings):
    """All settings of X2CT-GAN."""

    side: PositiveInt | None = None  # voxels and pixels a side of the networks; None: those of the volumes
    generator: GeneratorConfig = GeneratorConfig()
    training: TrainingConfig = TrainingConfig()


PRESETS = Path(__file__).with_name("presets.toml")
CARD = MethodCard(
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
METHODS = (MethodPlugin(CARD, X2CTConfig, f"{__package__}.method:X2CTGAN", PRESETS),)
