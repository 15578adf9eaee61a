"""The bags of many seeds in numbers: `python -m bench.datasets.baggage.population [BAGS]` prints README's tables."""

import sys
from collections import Counter

import numpy as np

from ..shapes import Canvas
from .bag import Bag, draw_bag, placed_things
from .materials import BRIGHTEST, MATERIALS
from .phantom import CLOTHES, CUBE_MM, labels_of, render
from .things import Placed, fillings

GRID = 128
BAGS = 30


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


def main() -> None:
    """Print the tables of the first bags, by default thirty."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else BAGS
    bags = [draw_bag(seed) for seed in range(count)]
    found = [measures(bag) for bag in bags]
    print(material_table())
    print(f"\n| of {count} bags | mean | sd | least | most |\n|---|---|---|---|---|")
    for name in found[0]:
        column = np.array([one[name] for one in found])
        style = "{:.0f}" if abs(column).max() > 1.5 else "{:.3f}"
        print(f"| {name} |", *(f"{style.format(value)} |" for value in (
            column.mean(), column.std(), column.min(), column.max())))  # fmt: skip
    kinds = Counter(kind for bag in bags for kind in {placed.thing.kind for placed in placed_things(bag)})
    threats = sum(any(placed.thing.threat for placed in bag.packed.things) for bag in bags)
    shares = ", ".join(f"{kind} {number / count:.0%}" for kind, number in kinds.most_common())
    print(f"\nBags that hold a kind of thing: {shares}. With a threat-like thing: {threats / count:.0%}.")


if __name__ == "__main__":
    main()
