"""The bags of many seeds in numbers, beside what is known of packed cabin bags."""

from collections import Counter
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

import numpy as np

from ..shapes import Canvas
from .bag import Bag, draw_bag, placed_things
from .materials import BRIGHTEST, MATERIALS
from .phantom import CLOTHES, CUBE_MM, labels_of, render
from .things import Placed, fillings

OnProgress = Callable[[int, int], object]
GRID = 128
EXPECTED = {  # of cabin bags, and of what fills them in simulations of security scans
    "length, mm": "300 … 600",
    "width, mm": "200 … 400",
    "thickness, mm": "120 … 280",
    "things packed": "10 … 25",
    "inside: -900 to -600 HU (clothes)": "about 0.6",
}


def material_table() -> str:
    """Markdown: each material's density, HU, and what the phantom shows of it."""
    rows = ["| material | composition by mass | g/cm³ | HU at 70 keV | shown |", "|---|---|---|---|---|"]
    for name, material in MATERIALS.items():
        parts = material.composition
        made = parts[0][0] if len(parts) == 1 else ", ".join(f"{share:.0%} {formula}" for formula, share in parts)
        clipped = f"{min(material.hounsfield, BRIGHTEST):.0f}"
        rows.append(f"| {name} | {made} | {material.density:g} | {material.hounsfield:.0f} | {clipped} |")
    return "\n".join(rows)


def measures(bag: Bag) -> dict[str, float]:
    """What is measured of one bag, at a grid of 128³: mm, HU, and parts of its inside or of its voxels."""
    canvas = Canvas(GRID, CUBE_MM, 0.0)
    _, box, filled, _ = next(fillings(Placed(bag.luggage.inside, bag.turn @ bag.luggage.turn, bag.place), canvas))
    inside = filled > 0.99
    volume = render(bag, GRID)
    values, things = volume[box][inside], labels_of(bag, GRID).things[box][inside]
    down, *floor = sorted(2 * half for half in bag.luggage.half)
    return {
        "length, mm": floor[1],
        "width, mm": floor[0],
        "thickness, mm": down,
        "things packed": len(bag.packed.things),
        "inside: -900 to -600 HU (clothes)": float(((values >= -900) & (values <= -600)).mean()),
        "inside: below -900 HU": float((values < -900).mean()),
        "inside: -600 to 400 HU": float(((values > -600) & (values <= 400)).mean()),
        "inside: above 400 HU": float((values > 400).mean()),
        "inside: within things": float(((things > 0) & (things < CLOTHES)).mean()),
        "inside: mean, HU": float(values.mean()),
        "cube: above -500 HU": float((volume > -500).mean()),
    }


def population(count: int, real: Sequence[Any] = (), on_progress: OnProgress | None = None) -> str:
    """Markdown: the bags of the first seeds in numbers, and how many hold a kind of thing.

    `on_progress(done, total)` is called after each. No real bags can be measured beside them: `real` is unused.
    """
    bags, found = [draw_bag(seed) for seed in range(count)], []
    for bag in bags:
        found.append(measures(bag))
        if on_progress:
            on_progress(len(found), count)
    rows = [f"| | expected | {count} phantoms: mean ± sd (least … most) |", "|---|---|---|"]
    for name in found[0]:
        column = np.array([one[name] for one in found])
        style = "{:.0f}" if abs(column).max() > 1.5 else "{:.3f}"
        mean, sd, least, most = (style.format(v) for v in (column.mean(), column.std(), column.min(), column.max()))
        rows.append(f"| {name} | {EXPECTED.get(name, '–')} | {mean} ± {sd} ({least} … {most}) |")
    kinds = Counter(kind for bag in bags for kind in {placed.thing.kind for placed in placed_things(bag)})
    threats = sum(any(placed.thing.threat for placed in bag.packed.things) for bag in bags)
    shares = ", ".join(f"{kind} {number / count:.0%}" for kind, number in kinds.most_common())
    return "\n".join([*rows, "", fill(f"Of the bags hold: {shares}. A threat-like thing: {threats / count:.0%}.", 118)])
