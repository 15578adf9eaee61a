"""Shapes that a security scanner looks for; a bag may hold none."""

import numpy as np

from .solids import Box, Loft, rod
from .things import ACROSS, FLAT, ON_EDGE, UPRIGHT, Thing, part


def block(rng: np.random.Generator) -> Thing:
    """A block as dense as an organic explosive, 400 to 700 HU."""
    half = (rng.uniform(12, 28), rng.uniform(20, 40), rng.uniform(30, 75))
    scale = float(rng.uniform(0.85, 1.02))
    body = part(Box(half, 3), "energetic", scale=scale)
    return Thing("block", (body,), (FLAT, ON_EDGE), threat=True, facts=(("hounsfield", round(body.value)),))


def sheet(rng: np.random.Generator) -> Thing:
    """The same as a thin sheet."""
    half = (rng.uniform(1.5, 5), rng.uniform(70, 110), rng.uniform(90, 150))
    scale = float(rng.uniform(0.85, 1.02))
    body = part(Box(half, 2), "energetic", scale=scale)
    return Thing("sheet", (body,), (FLAT, FLAT, ON_EDGE), threat=True, facts=(("hounsfield", round(body.value)),))


def angle_iron(rng: np.random.Generator) -> Thing:
    """Two bars of steel at a right angle, one of them bored."""
    long, short = rng.uniform(75, 100), rng.uniform(42, 60)
    barrel = part(rod(9, 2 * long), "steel", (0, -short, 0))
    bore = part(rod(4.5, 2 * long), "", (0, -short, 0), within=barrel)
    grip = part(Box((11, short, 17), 4), "polycarbonate", (0, 9, 0.6 * long), scale=1.1)
    core = part(Box((5, short - 5, 9)), "steel", (0, 9, 0.6 * long), within=grip, scale=0.5)
    return Thing("angle iron", (barrel, bore, grip, core), (FLAT, FLAT, ON_EDGE), threat=True)


def blade(rng: np.random.Generator) -> Thing:
    """A pointed blade with a handle."""
    length, width = rng.uniform(90, 160), rng.uniform(10, 17)
    thick = rng.uniform(0.9, 1.8)
    steel = Loft((-length / 2, -0.1 * length, length / 2), (1.0, width, width), (-thick,) * 3, (thick,) * 3)
    handle = part(Box((8, 13, 55), 5), "abs", (0, 0, length / 2 + 50))
    tang = part(Box((thick, 6, 45)), "steel", (0, 0, length / 2 + 50), within=handle)
    return Thing("blade", (part(steel, "steel"), handle, tang), (FLAT, FLAT, ON_EDGE), threat=True)


def pipe(rng: np.random.Generator) -> Thing:
    """A pipe of steel with caps, filled."""
    radius, length = rng.uniform(14, 22), rng.uniform(120, 220)
    wall = part(rod(radius, length), "steel")
    filling = part(rod(radius - 2.5, length - 8), "energetic", within=wall, scale=0.7)
    return Thing("pipe", (wall, filling), (FLAT, ACROSS, UPRIGHT), threat=True)
