"""Card and settings of MedNeRF (EMBC 2022), which need no networks."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from bench.card import IN_STEPS, Loop, MethodCard, MethodPlugin, Settings, StepCount

from ..codediff.card import DECODED_FROM, POOLED_SIDE

Cameras = Literal["matched", "official"]
Renderer = Literal["compositing", "line_integral"]
Perceptual = Literal["auto", "lpips", "random"]
Hinge = Literal["mean", "logit"]


class FieldConfig(Settings):
    """Shape of the field; the defaults are the published one."""

    width: PositiveInt = 256
    depth: PositiveInt = 8
    skip: NonNegativeInt = 4  # the input is attached again after this layer, counted from 0
    position_frequencies: PositiveInt = 10
    direction_frequencies: PositiveInt = 4
    shape_width: PositiveInt = 128  # of the latent's first part, which density sees
    appearance_width: PositiveInt = 128  # of its second part, which only colour sees

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.skip >= self.depth - 1:
            raise ValueError(f"field.skip {self.skip} must lie before the last of the {self.depth} layers")
        if self.width % 2:
            raise ValueError(f"field.width {self.width} must be even")
        return self

    @property
    def latent_width(self) -> int:
        """Length of the latent."""
        return self.shape_width + self.appearance_width


class DiscriminatorConfig(Settings):
    """Shape of a discriminator; the defaults are the published one."""

    kind: Literal["mednerf", "graf"] = "mednerf"
    channels: PositiveInt = 64  # four times the width at full resolution; half the first width of GRAF's
    decoded_side: int = Field(default=128, ge=2 * DECODED_FROM)  # pixels a side that the decoders draw
    crops: Literal["quarter", "released"] = "quarter"  # target of the part decoder; released: cut at pixel 8

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.channels % 4:
            raise ValueError(f"discriminator.channels {self.channels} is no multiple of 4")
        if self.decoded_side not in (16, 32, 64, 128):
            raise ValueError(f"discriminator.decoded_side {self.decoded_side} is not 16, 32, 64 or 128")
        return self

    @property
    def smallest_side(self) -> int:
        """Side of the smallest patch that gives a logit."""
        return self.side_step * POOLED_SIDE

    @property
    def side_step(self) -> int:
        """What the side of a patch is a multiple of: it is halved twice (MedNeRF) or three times (GRAF)."""
        return 4 if self.kind == "mednerf" else 8


class PatchConfig(Settings):
    """How large patches are and how the least size shrinks; the defaults are the published ones."""

    side: PositiveInt = 32  # pixels
    start_scale: float = Field(default=0.9, gt=0, le=1)  # least share of the image at the beginning …
    end_scale: float = Field(default=0.25, gt=0, le=1)  # … and at the end
    annealing: NonNegativeFloat = 0.0025 * 3  # rate of the exponential, per `anneal_every` steps
    anneal_every: Annotated[PositiveInt, IN_STEPS] = 1000


class FieldStageConfig(Settings):
    """The field, its discriminator and how they are trained; the defaults are the published values."""

    network: FieldConfig = FieldConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    patches: PatchConfig = PatchConfig()
    cases: PositiveInt = 20  # training cases, spread over the split; all where it has no more
    views: PositiveInt = 72  # X-rays of each, evenly around it
    per_view_scaling: bool = False  # stretch every X-ray to the full range, as the released preprocessing does
    hinge: Hinge = "mean"
    noise_steps: StepCount = 5000  # until the density's noise has gone from 1 to 0
    learning_rate: PositiveFloat = 5e-4
    discriminator_rate: PositiveFloat = 1e-4
    halvings: Annotated[tuple[NonNegativeInt, ...], IN_STEPS] = (50_000, 100_000, 200_000)  # of both rates
    loop: Loop = Loop(steps=100_000, batch_size=8, average_decay=0.999)


class InversionConfig(Settings):
    """How a case is tuned; the defaults are the fair protocol's."""

    optimise: Literal["field+latent", "field"] = "field+latent"
    views: PositiveInt | None = None  # the first so many views of a case; None = all
    azimuths: NonNegativeInt = 72  # turns tried, each mirrored and not; 0 = none, as released
    latents: PositiveInt = 8  # tried with each; released: 1
    scan_side: PositiveInt = 32  # pixels a side of the images compared in the scan
    side: PositiveInt | None = None  # of those tuned on; None = image_size
    perceptual_weight: NonNegativeFloat = 0.3
    squared_weight: NonNegativeFloat = 0.1
    latent_weight: NonNegativeFloat = 0.3
    learning_rate: PositiveFloat = 5e-4
    steps: NonNegativeInt = 1000  # released: 5000
    stop_psnr: PositiveFloat = 25.0  # dB, mean of the views


class CalibrationConfig(Settings):
    """How the map is fitted."""

    cases: PositiveInt = 20  # training cases, spread over the split
    map: Literal["quantile", "affine"] = "quantile"


class MedNerfConfig(Settings):
    """All settings of MedNeRF; the defaults are the published values where the fair protocol keeps them."""

    camera: Cameras = "matched"  # official: the released one, which the data's geometry contradicts
    renderer: Renderer = "compositing"  # line_integral: the ablation that is right for X-rays
    image_size: PositiveInt = 128  # pixels a side of training X-rays, tuned views and renders
    samples: PositiveInt = 64  # on a ray
    perceptual: Perceptual = "auto"  # lpips where its weights are present, otherwise random features
    field: FieldStageConfig = FieldStageConfig()
    inversion: InversionConfig = InversionConfig()
    calibration: CalibrationConfig = CalibrationConfig()


PRESETS = Path(__file__).with_name("presets.toml")
CARD = MethodCard(
    name="mednerf",
    title="MedNeRF",
    paper="Corona-Figueroa et al., MedNeRF: Medical Neural Radiance Fields for Reconstructing 3D-aware "
    "CT-Projections from a Single X-ray, EMBC 2022",
    year=2022,
    bibtex="""@inproceedings{coronafigueroa2022mednerf,
  title = {{MedNeRF}: Medical Neural Radiance Fields for Reconstructing {3D}-aware {CT}-Projections from a Single
           {X}-ray},
  author = {Corona-Figueroa, Abril and Frawley, Jonathan and Bond-Taylor, Sam and Bethapudi, Sarath and
            Shum, Hubert P. H. and Willcocks, Chris G.},
  booktitle = {International Conference of the IEEE Engineering in Medicine and Biology Society (EMBC)},
  year = {2022}
}""",
    licence_of_original="MIT",
    capabilities=frozenset({"volume", "mip", "samples"}),
    deviations=(
        "the method gives no volume: density is read out on the voxel grid through one monotone map fitted on "
        "training cases",
        "density is read as 0 in the cube's corners that less than half of the training cameras see",
        "cameras are those of the data's X-ray machine; camera = official for the released ones",
        "views of 128 pixels a side, averaged down from the data's",
        "tuned on all given views by summing the image loss; the released scripts take one",
        "72 turns, mirrored and not, times 8 latents are tried before tuning; the released scripts assume azimuth "
        "0.1° and one latent",
        "tuning uses a fresh optimiser, no noise and no jitter, at most 1,000 steps",
        "one grey scale for all X-rays; the released preprocessing stretches each on its own",
        "LPIPS only where its weights are installed; otherwise fixed random features and image gradients",
        "presets tiny and small do not beat the mean training volume on chest phantoms, seed 0: MIP PSNR 16.5 against "
        "19.2 dB and 15.9 against 16.4 dB, since density is left beside the body that compositing draws black",
        "the part decoder redraws true quarters; the released crop always cuts at pixel 8",
    ),
)
METHODS = (MethodPlugin(CARD, MedNerfConfig, f"{__package__}.method:MedNerf", PRESETS),)
