"""What predictions made elsewhere are, where files cannot say it: their unit, and a card of it beside their folder.

`<folder>.toml` beside `<folder>` speaks of all files in it:

    unit = "unit"                       # one of UNITS
    range = [-1000, 1500]               # HU of the ends of unit, signed and byte; without it the dataset's window
    axes = ["W", "H", "D"]              # what the axes of the stored arrays are; "-D" runs against D
    flips = ["D"]                       # axes that run the other way, the same as "-D"
    crop = [[0, 128], [0, 128], [0, 128]]    # voxels of D, H, W that are the case's grid, where there are more
"""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from bench.dataset import to_unit
from bench.errors import BenchError, UsageError, describe_invalid

Unit = Literal["hu", "unit", "hu+1024", "mhu", "signed", "byte"]
UNITS: dict[str, str] = {
    "hu": "HU",
    "unit": "[0, 1] over the window",
    "hu+1024": "HU + 1024",
    "mhu": "HU + 1000",
    "signed": "[-1, 1] over the window",
    "byte": "0 … 255 over the window",
}
OFFSETS = {"hu": 0.0, "hu+1024": 1024.0, "mhu": 1000.0}
ENDS = {"unit": (0.0, 1.0), "signed": (-1.0, 1.0), "byte": (0.0, 255.0)}
RANGES = ((-1000.0, 1500.0), (-1024.0, 1476.0))  # HU of 0 and 1 as X2CT-GAN has them
FAR = 0.5  # of the error that the right unit may leave of that of a wrong one
AXES = ("D", "H", "W")
CLIPPED = re.compile(r"(?:; )?(\S+) % of voxels clipped to (\S+)$")  # ends a note
Axis = Literal["D", "H", "W"]
Span = tuple[NonNegativeInt, PositiveInt]


def _check_axes(axes: tuple[str, str, str]) -> tuple[str, str, str]:
    if sorted(axis.removeprefix("-") for axis in axes) != list(AXES):
        raise ValueError('axes must name D, H and W once each, such as ["W", "H", "-D"]')
    return axes


def _check_range(ends: tuple[float, float]) -> tuple[float, float]:
    if not ends[0] < ends[1]:
        raise ValueError("range must rise, such as [-1000, 1500]")
    return ends


class PredictionCard(BaseModel):
    """What is stated of predictions; all of it optional."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    unit: Unit | None = None
    range: Annotated[tuple[float, float], AfterValidator(_check_range)] | None = None
    axes: Annotated[tuple[str, str, str], AfterValidator(_check_axes)] | None = None
    flips: tuple[Axis, ...] = ()
    crop: tuple[Span, Span, Span] | None = None

    @property
    def places(self) -> bool:
        """Whether it says how arrays lie; what a file says of that then does not count."""
        return bool(self.axes or self.flips or self.crop)

    def turn(self, array: np.ndarray) -> np.ndarray:
        """Return a stored array (its own axes) as (D, H, W), cropped; without `axes` it is (D, H, W) already."""
        axes = self.axes or AXES
        volume = array.transpose([[axis[-1] for axis in axes].index(name) for name in AXES])
        against = [f"-{name}" in axes for name in AXES]
        flipped = [one != (name in self.flips) for name, one in zip(AXES, against, strict=True)]
        volume = np.flip(volume, tuple(axis for axis, flip in enumerate(flipped) if flip))
        return volume[tuple(slice(*span) for span in self.crop)] if self.crop else volume

    def of_air(self, window: tuple[float, float]) -> float:
        """Return the stored value of the lower end of the dataset's window."""
        unit = self.unit or "hu"
        if unit not in ENDS:
            return window[0] + OFFSETS[unit]
        (start, end), (low, high) = ENDS[unit], self.range or window
        return start + (window[0] - low) * ((end - start) / (high - low))

    def to_unit(self, values: np.ndarray, window: tuple[float, float]) -> tuple[np.ndarray, str]:
        """Return values in [0, 1] over the dataset's window in HU, and a note where some had to be clipped to it."""
        unit = self.unit or "hu"
        if unit in ENDS and self.range is None:
            low, high = ENDS[unit]
            ends, made = (low, high), to_unit(values, (low, high))
        else:
            hounsfield = values - OFFSETS.get(unit, 0.0)
            if unit in ENDS and self.range is not None:
                (start, end), (low, high) = ENDS[unit], self.range
                hounsfield = low + (values - start) * ((high - low) / (end - start))
            ends, made, values = window, to_unit(hounsfield, window), hounsfield
        outside = float(np.mean((values < ends[0]) | (values > ends[1])))
        return made, f"{100 * outside:.3g} % of voxels clipped to {ends[0]:g}..{ends[1]:g}" if outside else ""


def errors_by_unit(
    values: np.ndarray, truth: np.ndarray, card: PredictionCard, window: tuple[float, float]
) -> dict[PredictionCard, float]:
    """Return the mean squared error in [0, 1] of stored values in the unit of a card, and in all that are known."""
    others = [card.model_copy(update={"unit": name, "range": None}) for name in UNITS]
    others += [card.model_copy(update={"unit": name, "range": ends}) for name in ENDS for ends in RANGES]
    cards = dict.fromkeys((card, *others))
    return {one: float(np.mean((one.to_unit(values, window)[0] - truth) ** 2)) for one in cards}


def name_unit(card: PredictionCard) -> str:
    """Return how to ask for the unit of a card."""
    if card.range is None:
        return f"--unit {card.unit or 'hu'}"
    return f'unit = "{card.unit}", range = [{card.range[0]:g}, {card.range[1]:g}] in a card'


def join_clipping(notes: Sequence[str]) -> tuple[list[str], str]:
    """Return the notes of cases without what they say of clipping, and one sentence of that, empty where none does."""
    matches = [match for match in map(CLIPPED.search, notes) if match]
    plain = [CLIPPED.sub("", note) for note in notes]
    if not matches:
        return plain, ""
    most = max((match.group(1) for match in matches), key=float)
    where = f"{len(matches)} of {len(notes)} cases"
    return plain, f"up to {most} % of voxels clipped to {matches[0].group(2)} in {where}"


def card_of(unit: Unit | PredictionCard) -> PredictionCard:
    """Return the card that states a unit and no more, or the card it is."""
    return unit if isinstance(unit, PredictionCard) else PredictionCard(unit=unit)


def describe(folder: Path, unit: Unit | None) -> Unit | PredictionCard:
    """Return what is stated of a folder of predictions: the card beside it, or the unit asked for, or HU.

    Raises BenchError for a wrong card, UsageError for one of another unit than asked for.
    """
    path = folder.resolve().parent / f"{folder.resolve().name}.toml"
    if not path.is_file():
        return unit or "hu"
    try:
        card = PredictionCard(**tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except ValidationError as error:
        raise BenchError(f"{path}: {describe_invalid(error)}; correct it") from error
    except (ValueError, OSError, TypeError) as error:
        raise BenchError(f"{path} cannot be read ({error}); correct it") from error
    if unit and card.unit and unit != card.unit:
        raise UsageError(f'--unit {unit} contradicts the card of {folder}, which states unit = "{card.unit}"')
    return card.model_copy(update={"unit": unit}) if unit else card
