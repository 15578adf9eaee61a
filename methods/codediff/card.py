"""Cards and settings of CodeDiff3D (ICCV 2023) and of its ceiling, which need no networks."""

import math
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from bench.card import Loop, MethodCard, MethodPlugin, Settings, StepCount

Weighting = Literal["released", "paper"]
Margin = Literal["mish", "relu"]
Objective = Literal["reweighted_elbo", "elbo", "mlm"]
Reweighting = Literal["released", "paper"]
Masking = Literal["random", "fixed"]

POOLED_SIDE = 4  # side to which a gate of the discriminator pools, and side of its head's last convolution
DECODED_FROM = 8  # side of the map that a self-supervision decoder starts from


class AutoencoderConfig(Settings):
    """Shape of an autoencoder; the defaults are the published one for 128³ chest volumes."""

    dimensions: Literal[2, 3] = 3
    size: PositiveInt = 128  # side of the input; decides which levels have attention
    channels: PositiveInt = 16  # width at full resolution
    multipliers: tuple[PositiveInt, ...] = Field(default=(1, 2, 4, 8, 16), min_length=1)  # width of each level
    blocks: PositiveInt = 2  # residual blocks a level
    attention_sizes: tuple[PositiveInt, ...] = (8,)  # sides at which every block is followed by attention
    encoder_block: Literal["depthwise", "full"] = "depthwise"  # the decoder's blocks are always full
    value_scale: PositiveFloat = 1.0  # values are divided by it on the way in, multiplied on the way out; 1: released
    codes: PositiveInt = 1024  # K, size of the codebook
    code_width: PositiveInt = 256  # D, width of a code vector
    beta: PositiveFloat = 0.25  # the smaller of the two weights of the quantiser's loss
    weighting: Weighting = "released"  # which term β weighs: the codebook's (released) or the encoder's (paper, Eq. 4)
    log_sigma: Literal["none", "repaired", "released"] = "none"  # head of one channel, or of D channels as released
    unused_shortcuts: bool = False  # allocate the released net's 1-convolutions that no forward pass uses

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size % self.reduction:
            raise ValueError(f"size {self.size} cannot be halved {len(self.multipliers) - 1} times")
        for width in self.widths:
            if width > 32 and width % 32:
                raise ValueError(f"{width} channels: a level wider than 32 must be a multiple of 32")
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from full resolution down."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    @property
    def reduction(self) -> int:
        """Input voxels a code spans along each axis."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Codes along each axis for an input of the nominal size."""
        return (self.size // self.reduction,) * self.dimensions

    @property
    def tokens(self) -> int:
        """Codes of an input of the nominal size."""
        return math.prod(self.latent_shape)


class DiscriminatorConfig(Settings):
    """Shape of a discriminator; the defaults are the released one for volumes."""

    dimensions: Literal[2, 3] = 3
    kind: Literal["progressive", "patch"] = "progressive"
    channels: PositiveInt = 16  # width at full resolution; the patch one was published with 32 in 3-D and 64 in 2-D
    stages: PositiveInt = 2  # halvings; the patch one was published with 3
    decoders: bool = False  # the two self-supervision decoders, progressive and 2-D only
    decoded_side: int = Field(default=128, ge=2 * DECODED_FROM)  # side they draw, 8 times a power of two
    crops: Literal["quadrant", "released"] = "quadrant"  # map redrawn from a part; released: always cut at pixel 8

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.decoders and (self.dimensions, self.kind) != (2, "progressive"):
            raise ValueError("decoders need kind = progressive and dimensions = 2")
        if self.decoded_side & (self.decoded_side - 1) or self.decoded_side > 16 * DECODED_FROM:
            raise ValueError(f"decoded_side {self.decoded_side} is not 16, 32, 64 or 128")
        return self

    @property
    def smallest_side(self) -> int:
        """Side of the smallest input that gives a logit."""
        return 2**self.stages * (POOLED_SIDE if self.kind == "progressive" else 3)


class AutoencoderStageConfig(Settings):
    """An autoencoder and how it is trained; the defaults are the released ones for 128³ volumes."""

    autoencoder: AutoencoderConfig = AutoencoderConfig(log_sigma="repaired")
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    discriminator_start: StepCount = 1  # steps before the discriminator takes part
    codebook_start: StepCount = 0  # steps without quantiser before codes start at clusters; 0: noise, as released
    margin: Margin = "mish"
    augmentation: Literal["none", "diffaugment", "ada"] = "ada"  # of what the discriminator sees
    perceptual: Literal["none", "lpips"] = "none"  # published for views: lpips, whose weights must be installed
    reconstruction_weight: NonNegativeFloat = 1.0  # of L1 beside smooth L1 (volumes), of the perceptual term (views)
    quantiser_weight: PositiveFloat = 1.0  # of the quantiser's loss
    learning_rate: PositiveFloat = 1.8e-5  # released: 4.5e-6 times the batch size, for both networks
    loop: Loop = Loop(steps=100_000, batch_size=4, average_decay=0.995, average_every=10)


FOR_VIEWS = AutoencoderStageConfig(
    autoencoder=AutoencoderConfig(
        dimensions=2,
        size=256,
        channels=128,
        multipliers=(1, 1, 2, 2, 4),
        attention_sizes=(16,),
        encoder_block="full",
    ),
    discriminator=DiscriminatorConfig(dimensions=2, decoders=True),
    discriminator_start=0,
    learning_rate=7.2e-5,
    loop=Loop(steps=100_000, batch_size=16, average_decay=0.995, average_every=10),
)


class LogSigmaConfig(Settings):
    """Fit of the log-sigma head, `loop.steps` at most; the released code's parent uses Adam 1e-4 and clips at 0.1."""

    loop: Loop = Loop(steps=20_000, batch_size=4, gradient_clip=0.1, validate_every=200, keep="best", patience=10)
    learning_rate: PositiveFloat = 1e-4


class PriorConfig(Settings):
    """Size and training of the prior; the defaults are the published ones for chest."""

    kind: Literal["absorbing", "autoregressive"] = "absorbing"
    width: PositiveInt = 512
    heads: PositiveInt = 4
    layers: PositiveInt = 8
    dropout: float = Field(default=0.5, ge=0, lt=1)
    position_spread: NonNegativeFloat = 0.0  # standard deviation of the positions at the start; 0: published
    objective: Objective = "reweighted_elbo"
    reweighting: Reweighting = "released"  # (T − t)/T as released, or (T − t + 1)/T as in Eq. 7
    masking: Masking = "random"
    shuffle_views: bool = True  # each step gives the views in random order, as released; evaluation never does
    learning_rate: PositiveFloat = 2e-4
    weight_decay: NonNegativeFloat = 0.1
    warm_up: StepCount = 5000  # steps of linear increase of the learning rate
    loop: Loop = Loop(steps=100_000, batch_size=20, average_decay=0.995, average_every=10)


class SamplingConfig(Settings):
    """How codes are drawn and how finely their likelihood is estimated."""

    steps: PositiveInt | None = None  # of unmasking; None = one a code, as published; fewer begin with few codes
    temperature: PositiveFloat = 0.9
    bound_steps: PositiveInt | None = None  # times of the likelihood bound; None = all


class CodeDiffConfig(Settings):
    """All settings of CodeDiff3D; sides of inputs come from the data."""

    vqvae2d: AutoencoderStageConfig = FOR_VIEWS
    vqvae3d: AutoencoderStageConfig = AutoencoderStageConfig()
    log_sigma: LogSigmaConfig = LogSigmaConfig()
    transformer: PriorConfig = PriorConfig()
    sampling: SamplingConfig = SamplingConfig()


PRESETS = Path(__file__).with_name("presets.toml")
CARD = MethodCard(
    name="codediff",
    title="CodeDiff3D",
    paper="Corona-Figueroa et al., Unaligned 2D to 3D Translation with Conditional Vector-Quantized Code Diffusion "
    "using Transformers, ICCV 2023",
    year=2023,
    bibtex="""@inproceedings{coronafigueroa2023codediff3d,
  title = {Unaligned 2D to 3D Translation with Conditional Vector-Quantized Code Diffusion using Transformers},
  author = {Corona-Figueroa, Abril and Bond-Taylor, Sam and Bhowmik, Neelanjan and Gaus, Yona Falinie A. and
            Breckon, Toby P. and Shum, Hubert P. H. and Willcocks, Chris G.},
  booktitle = {IEEE/CVF International Conference on Computer Vision},
  year = {2023}
}""",
    licence_of_original="none stated in the released repository",
    capabilities=frozenset({"volume", "mip", "likelihood", "oracle", "samples"}),
    deviations=(
        "log-sigma head has one channel and is fitted; the released one has 256 and is never trained",
        "the likelihood bound sees the views, and is taken at temperature 1; the released function takes no views",
        "one forward pass of the autoencoder serves both updates of a step; the released code repeats it",
        "augmentation never writes into the caller's batch, and its probability follows real logits",
        "the views' discriminator redraws true quadrants; the released crop always cuts at pixel 8",
        "presets below paper start the codebook at clusters and weigh its loss less, or few codes would be used",
        "tiny and small train the autoencoders without discriminators, for which their steps are too few",
        "presets below paper divide bags and their views by 0.05 inside the autoencoders (value_scale; 1 in paper)",
        "presets below paper start the prior's positions at small random values, not at zeros (position_spread)",
        "tiny and small always give the views in one order, sample at temperature 1 and in fewer steps than codes",
        "no LPIPS term unless a perceptual network is given: its weights cannot be shipped",
        "the prior that is evaluated is the moving average; the released scripts evaluate the last weights",
    ),
)
ORACLE_CARD = MethodCard(
    name="oracle",
    title="CodeDiff3D's encoding of the truth",
    paper="the volume autoencoder of CodeDiff3D (ICCV 2023), shown the true CT",
    year=2023,
    bibtex=CARD.bibtex,
    licence_of_original=CARD.licence_of_original,
    capabilities=frozenset({"volume", "mip", "oracle"}),
    kind="ceiling",
)
METHODS = (
    MethodPlugin(CARD, CodeDiffConfig, f"{__package__}.method:CodeDiff", PRESETS),
    MethodPlugin(ORACLE_CARD, CodeDiffConfig, f"{__package__}.method:Oracle", PRESETS),
)
