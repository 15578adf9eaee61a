"""Are predictions made elsewhere what they say? A wrong affine or unit scores badly and looks like a method."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import permutations, product
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.cases import Cases
from bench.runs.prediction_card import FAR, UNITS, PredictionCard, Unit, card_of, errors_by_unit, name_unit
from bench.runs.predictions import read_prediction, read_values

AXES = ("D", "H", "W")
LOOKED_AT = 8  # cases
CLEARLY = 0.8  # share of the error that another orientation may leave before it is worth a word


Turn = tuple[tuple[int, ...], tuple[bool, ...]]
"""Order of the axes, and which of them are flipped after that."""
AS_IT_IS: Turn = ((0, 1, 2), (False, False, False))
TURNS: list[Turn] = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]
Way = TypeVar("Way", Turn, PredictionCard)


def find_better_turn(files: Mapping[str, Path], cases: Cases, unit: Unit | PredictionCard) -> str:
    """Return what other orientation fits the truth clearly better, by mean squared error; empty when none does.

    Looks at the first cases in all 48 orientations of a cube. Raises BenchError as `read_prediction`.
    """

    def errors_by_turn(case: str, path: Path, truth: np.ndarray) -> dict[Turn, float]:
        volume, _ = read_prediction(path, cases, case, unit)
        return {turn: float(np.mean((turned(volume, turn) - truth) ** 2)) for turn in TURNS}

    best, told = _find_best(files, cases, errors_by_turn, AS_IT_IS, CLEARLY)
    if best is None:
        return ""
    return f"the volumes fit the truth better {_describe(best)}: {told}. Do the files say how they lie?"


def find_better_unit(files: Mapping[str, Path], cases: Cases, unit: Unit | PredictionCard) -> str:
    """Return what other known unit fits the truth far better, by mean squared error; empty when none does.

    Looks at the first cases. Raises BenchError as `read_values`.
    """
    own = card_of(unit)

    def errors_of(case: str, path: Path, truth: np.ndarray) -> dict[PredictionCard, float]:
        values = read_values(path, cases, case, unit).astype(np.float64)
        return errors_by_unit(values, truth, own, cases.card.window)

    best, told = _find_best(files, cases, errors_of, own, FAR)
    if best is None:
        return ""
    what = UNITS[best.unit or "hu"] if best.range is None else "another range"
    return f"the values fit the truth far better as {what} ({name_unit(best)}): {told}. Is the unit right?"


def _find_best(
    files: Mapping[str, Path],
    cases: Cases,
    errors_of: Callable[[str, Path, np.ndarray], dict[Way, float]],
    stated: Way,
    share: float,
) -> tuple[Way | None, str]:
    """Return the way to read the first cases that has less than a share of the stated one's error, and both errors."""
    errors: dict[Way, float] = defaultdict(float)
    chosen = list(files.items())[:LOOKED_AT]
    for case, path in chosen:
        for way, error in errors_of(case, path, cases.truth(case)).items():
            errors[way] += error
    best = min(errors, key=errors.__getitem__, default=stated)
    if errors[best] >= share * errors[stated]:
        return None, ""
    before, after = (errors[way] / len(chosen) for way in (stated, best))
    return best, f"mean squared error {after:.4f} in place of {before:.4f} on {len(chosen)} cases"


def turned(volume: np.ndarray, turn: Turn) -> np.ndarray:
    """A volume with its axes permuted, then flipped."""
    order, flips = turn
    return np.flip(volume.transpose(order), tuple(axis for axis, flip in enumerate(flips) if flip))


def _describe(turn: Turn) -> str:
    order, flips = turn
    moved = f"with axes {', '.join(AXES[axis] for axis in order)}" if order != AS_IT_IS[0] else ""
    flipped = " and ".join(axis for axis, flip in zip(AXES, flips, strict=True) if flip)
    return " and ".join(part for part in (moved, f"flipped along {flipped}" if flipped else "") if part)
