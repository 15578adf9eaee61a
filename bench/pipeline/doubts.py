"""Are predictions made elsewhere what they say? A wrong affine or unit scores badly and looks like a method."""

from collections.abc import Mapping
from itertools import permutations, product
from pathlib import Path

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


def find_better_turn(files: Mapping[str, Path], cases: Cases, unit: Unit | PredictionCard) -> str:
    """Return what other orientation fits the truth clearly better, by mean squared error; empty when none does.

    Looks at the first cases in all 48 orientations of a cube. Raises BenchError as `read_prediction`.
    """
    errors: dict[Turn, float] = {}
    chosen = list(files.items())[:LOOKED_AT]
    for case, path in chosen:
        volume, _ = read_prediction(path, cases, case, unit)
        truth = cases.volumes([cases.index(case)])[0].double().numpy()
        for turn in _list_turns():
            errors[turn] = errors.get(turn, 0.0) + float(np.mean((turned(volume, turn) - truth) ** 2))
    if not errors:
        return ""
    best = min(errors, key=errors.__getitem__)
    if errors[best] >= CLEARLY * errors[AS_IT_IS]:
        return ""
    before, after = (errors[turn] / len(chosen) for turn in (AS_IT_IS, best))
    return (
        f"the volumes fit the truth better {_describe(best)}: mean squared error {after:.4f} in place of {before:.4f} "
        f"on {len(chosen)} cases. Do the files say how they lie?"
    )


def find_better_unit(files: Mapping[str, Path], cases: Cases, unit: Unit | PredictionCard) -> str:
    """Return what other known unit fits the truth far better, by mean squared error; empty when none does.

    Looks at the first cases. Raises BenchError as `read_values`.
    """
    own = card_of(unit)
    errors: dict[PredictionCard, float] = {}
    chosen = list(files.items())[:LOOKED_AT]
    for case, path in chosen:
        values = read_values(path, cases, case, unit).astype(np.float64)
        truth = cases.volumes([cases.index(case)])[0].double().numpy()
        for card, error in errors_by_unit(values, truth, own, cases.card.window).items():
            errors[card] = errors.get(card, 0.0) + error
    if not errors:
        return ""
    best = min(errors, key=errors.__getitem__)
    if errors[best] >= FAR * errors[own]:
        return ""
    before, after = (errors[card] / len(chosen) for card in (own, best))
    what = UNITS[best.unit or "hu"] if best.range is None else "another range"
    return (
        f"the values fit the truth far better as {what} ({name_unit(best)}): mean squared error {after:.4f} in place "
        f"of {before:.4f} on {len(chosen)} cases. Is the unit right?"
    )


def turned(volume: np.ndarray, turn: Turn) -> np.ndarray:
    """A volume with its axes permuted, then flipped."""
    order, flips = turn
    return np.flip(volume.transpose(order), tuple(axis for axis, flip in enumerate(flips) if flip))


def _list_turns() -> list[Turn]:
    return [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]


def _describe(turn: Turn) -> str:
    order, flips = turn
    moved = f"with axes {', '.join(AXES[axis] for axis in order)}" if order != AS_IT_IS[0] else ""
    flipped = " and ".join(axis for axis, flip in zip(AXES, flips, strict=True) if flip)
    return " and ".join(part for part in (moved, f"flipped along {flipped}" if flipped else "") if part)
