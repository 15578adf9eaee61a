"""Things that hold a liquid, which stands level whichever way they lie."""

from collections.abc import Sequence

import numpy as np

from .solids import Round, floats, rod
from .things import FLAT, UPRIGHT, Thing, part

Profile = Sequence[tuple[float, float]]  # (place, radius) from the bottom to the neck, mm

DRINKS = ("water", "water", "water", "juice", "juice", "ethanol")


def bottle(rng: np.random.Generator) -> Thing:
    """A bottle of plastic or glass, with a cap."""
    glass = rng.random() < 0.3
    radius, length = rng.uniform(29, 42), rng.uniform(190, 285)
    neck = 13.0
    profile = [(0, radius - 4), (6, radius), (0.62 * length, radius), (0.84 * length, neck), (length, neck)]
    wall = rng.uniform(2.4, 4.0) if glass else rng.uniform(0.5, 0.9)
    return _vessel(rng, "bottle", profile, wall, "glass" if glass else "polyester", DRINKS, "polypropylene")


def can(rng: np.random.Generator) -> Thing:
    """A tin: of aluminium with a drink, or of steel with food."""
    food = rng.random() < 0.35
    radius = rng.uniform(34, 50) if food else 33.0
    length = rng.uniform(60, 115) if food else 116.0
    profile = [(0, radius - 5), (5, radius), (length - 6, radius), (length, radius - 6)]
    liquids = ("juice",) if food else ("water", "juice")
    return _vessel(rng, "can", profile, 0.2 if food else 0.12, "steel" if food else "aluminium", liquids, full=True)


def flask(rng: np.random.Generator) -> Thing:
    """A drinking bottle of metal."""
    radius, length = rng.uniform(32, 38), rng.uniform(200, 260)
    profile = [(0, radius - 3), (4, radius), (0.78 * length, radius), (0.9 * length, 20.0), (length, 20.0)]
    metal = "steel" if rng.random() < 0.5 else "aluminium"
    return _vessel(rng, "flask", profile, 0.5 if metal == "steel" else 1.2, metal, DRINKS, "polypropylene")


def spray(rng: np.random.Generator) -> Thing:
    """A spray can of metal."""
    radius, length = rng.uniform(17, 27), rng.uniform(120, 190)
    profile = [(0, radius - 3), (3, radius), (length - 14, radius), (length, 0.6 * radius)]
    return _vessel(rng, "spray", profile, rng.uniform(0.3, 0.5), "aluminium", ("ethanol", "water"), "polypropylene")


def toiletry(rng: np.random.Generator) -> Thing:
    """A small bottle or tube: shampoo, lotion, perfume or a disinfectant."""
    kind = rng.random()
    radius, length = rng.uniform(16, 27), rng.uniform(80, 170)
    if kind < 0.25:  # perfume
        profile = [(0, radius), (0.55 * length, radius), (0.62 * length, 8.0), (0.7 * length, 8.0)]
        return _vessel(rng, "perfume", profile, 3.0, "glass", ("ethanol",), "aluminium")
    profile = [(0, radius - 2), (4, radius), (0.8 * length, radius), (0.9 * length, 0.5 * radius), (length, 9.0)]
    liquids = ("soap", "water", "ethanol", "peroxide")
    return _vessel(rng, "toiletry", profile, rng.uniform(0.8, 1.4), "polyethylene", liquids, "polypropylene")


def jar(rng: np.random.Generator) -> Thing:
    """A jar of glass with a lid of steel."""
    radius, length = rng.uniform(28, 42), rng.uniform(70, 130)
    profile = [(0, radius - 3), (4, radius), (0.86 * length, radius), (length, 0.85 * radius)]
    return _vessel(rng, "jar", profile, rng.uniform(2.2, 3.2), "glass", ("juice", "sugar", "soap"), "steel", lid=0.4)


def _vessel(
    rng: np.random.Generator,
    kind: str,
    profile: Profile,
    wall: float,
    material: str,
    liquids: Sequence[str],
    cap: str = "",
    *,
    full: bool = False,
    lid: float = 16.0,
) -> Thing:
    """A vessel of revolution with `wall` mm of a material, 30 to 100 % full, closed by a cap of `lid` mm."""
    places, radii = (np.array(column, float) for column in zip(*profile, strict=True))
    middle = (places[0] + places[-1] + (lid if cap else 0)) / 2
    places = places - middle
    inner_places = places.copy()
    inner_places[0] += wall
    inner_places[-1] -= 0 if cap else wall
    inner_radii = np.interp(inner_places, places, radii) - wall
    liquid = str(rng.choice(liquids))
    level = float(rng.uniform(0.9, 0.98) if full else rng.uniform(0.3, 1.0))
    outer = part(Round(floats(places), floats(radii)), material)
    room = part(Round(floats(inner_places), floats(inner_radii)), liquid, within=outer, level=level)
    parts = [outer, room]
    if cap:
        parts.append(part(rod(float(radii[-1]) + 1.5, lid), cap, (0, 0, float(places[-1]) + lid / 2)))
    facts = (("wall", material), ("liquid", liquid), ("level", round(level, 3)))
    return Thing(kind, tuple(parts), (FLAT, FLAT, UPRIGHT), facts=facts)
