"""Things that people carry: shoes, books, keys, food and the like."""

import numpy as np

from .solids import Box, Ellipsoid, Loft, Round, floats, rod
from .things import ACROSS, FLAT, ON_EDGE, UPRIGHT, Part, Strand, Thing, part

FOOT = np.array([-1.0, -0.8, -0.45, -0.1, 0.35, 0.7, 0.92, 1.0])  # along a shoe, heel to tip
WIDTH = np.array([0.45, 0.72, 0.68, 0.66, 0.98, 0.95, 0.6, 0.25])
HEIGHT = np.array([0.8, 1.0, 0.95, 0.78, 0.5, 0.42, 0.36, 0.2])


def shoe(rng: np.random.Generator) -> Thing:
    """A shoe: sole of rubber or foam, upper of leather or cloth, sometimes a shank of steel and something inside."""
    length, width, height = rng.uniform(122, 152), rng.uniform(42, 54), rng.uniform(72, 115)
    sole = rng.uniform(9, 24)
    trainer = rng.random() < 0.5
    bottom = height / 2
    z, wide = FOOT * length, WIDTH * width
    top = bottom - sole - HEIGHT * (height - sole)
    soft, thick = ("padding" if trainer else "leather"), rng.uniform(2.5, 4.5)
    level = np.full_like(z, bottom - sole)
    upper = part(_loft(z, wide, top, level), soft, scale=3.0 if trainer else 1.0)
    inner = _loft(z * 0.965, wide - thick, np.minimum(top + 0.9 * thick, level - 3), level - 2)
    filling = part(inner, "padding", within=upper, scale=0.6 if rng.random() < 0.5 else 1.6)
    tread = _loft(z, wide + 1, level, np.full_like(z, bottom))
    parts = [upper, filling, part(tread, "foam" if trainer else "rubber", scale=1.6 if trainer else 1.0)]
    if not trainer and rng.random() < 0.6:
        shank = Box((0.6, 8, 0.36 * length))
        parts.append(part(shank, "steel", (bottom - 0.5 * sole, 0, -0.2 * length), within=parts[2]))
    return Thing("shoe", tuple(parts), (FLAT, ON_EDGE, ON_EDGE.T))


def book(rng: np.random.Generator) -> Thing:
    """A book, with covers denser than the pages."""
    half = (rng.uniform(7, 26), rng.uniform(55, 85), rng.uniform(85, 125))
    cover = part(Box(half, 1.0), "paper", scale=1.35)
    pages = part(Box((half[0] - 1.8, half[1] - 1.5, half[2] - 1.5)), "paper", (0, 1.5, 0), within=cover,
                 scale=rng.uniform(0.8, 1.15))  # fmt: skip
    return Thing("book", (cover, pages), (FLAT, FLAT, ON_EDGE))


def umbrella(rng: np.random.Generator) -> Thing:
    """A folded umbrella: shaft, eight ribs, rolled cloth and a handle."""
    length, radius = rng.uniform(200, 330), rng.uniform(19, 27)
    cloth = part(rod(radius, length), "padding", scale=rng.uniform(2.0, 3.0))
    shaft = part(rod(5, length), "steel", within=cloth)
    hollow = part(rod(4, length - 2), "padding", within=shaft, scale=0.1)
    parts = [cloth, shaft, hollow]
    for angle in np.arange(8) * np.pi / 4:
        place = 0.55 * radius * np.array([np.cos(angle), np.sin(angle), 0])
        parts.append(part(rod(1.2, 0.92 * length), "steel", place, within=cloth))
    parts.append(part(rod(16, 75), "abs", (0, 0, length / 2 + 37.5)))
    return Thing("umbrella", tuple(parts))


def keys(rng: np.random.Generator) -> Thing:
    """A ring with a few keys."""
    parts: list[Part] = []
    metal = "brass" if rng.random() < 0.6 else "steel"
    count = int(rng.integers(3, 7))
    for index in range(count):
        angle = (index - (count - 1) / 2) * 0.45
        turn = np.array([[1, 0, 0], [0, np.cos(angle), np.sin(angle)], [0, -np.sin(angle), np.cos(angle)]])
        depth = (index - (count - 1) / 2) * 2.6
        parts.append(part(Box((1.1, 11, 11), 10), metal, turn @ [0, 0, 20] + [depth, 0, -18], turn=turn))
        parts.append(part(Box((1.1, 3.5, 14)), metal, turn @ [0, 0, 44] + [depth, 0, -18], turn=turn))
    around = np.linspace(0, 2 * np.pi, 25)
    ring = np.stack([np.zeros(25), 13 * np.cos(around), 13 * np.sin(around) - 22], axis=1)
    return Thing("keys", (*parts, part(Strand(ring, 1.2), "steel")), facts=(("count", count),))


def coins(rng: np.random.Generator) -> Thing:
    """A purse of leather with coins."""
    half = (13.0, rng.uniform(38, 48), rng.uniform(48, 60))
    purse = part(Box(half, 10, True), "leather")
    room = part(Box((10.5, half[1] - 2.5, half[2] - 2.5), 8, True), "paper", within=purse, scale=0.5)
    parts = [purse, room]
    count = int(rng.integers(4, 12))
    for index in range(count):
        place = (6.5 - 2.6 * (index % 4), (index // 4 - 1) * 22.0, rng.uniform(-0.6, 0.6) * half[2])
        metal = "brass" if rng.random() < 0.6 else "steel"
        disc = rod(rng.uniform(9, 12.5), rng.uniform(1.6, 2.3))
        parts.append(part(disc, metal, place, within=room, turn=UPRIGHT))
    return Thing("coins", tuple(parts), facts=(("count", count),))


def belt(rng: np.random.Generator) -> Thing:
    """A belt of leather rolled up, with its buckle of steel outside."""
    rounds = int(rng.integers(3, 5))
    parts: list[Part] = []
    for index in range(rounds, 0, -1):
        radius, half = 16 + 6.5 * index, float(rng.uniform(15, 18))
        turn_of_belt = part(rod(radius, 2 * half), "leather", turn=UPRIGHT)
        parts += [turn_of_belt, part(rod(radius - 3.6, 2 * half), "", within=turn_of_belt, turn=UPRIGHT)]
    rim = 16 + 6.5 * rounds + 3
    buckle = part(Box((22, 26, 2)), "steel", (0, 0, rim))
    return Thing("belt", (*parts, buckle, part(Box((15, 18, 2)), "", (0, 0, rim), within=buckle)), (FLAT, ON_EDGE))


def soap(rng: np.random.Generator) -> Thing:
    """A bar of soap."""
    half = (rng.uniform(11, 16), rng.uniform(24, 30), rng.uniform(36, 46))
    return Thing("soap", (part(Box(half, 9, True), "soap"),), (FLAT, ON_EDGE))


def fruit(rng: np.random.Generator) -> Thing:
    """An apple or an orange."""
    radius = rng.uniform(30, 42)
    body = part(Ellipsoid((radius * rng.uniform(0.85, 1), radius, radius)), "fruit", scale=rng.uniform(0.92, 1.1))
    return Thing("fruit", (body,))


def groceries(rng: np.random.Generator) -> Thing:
    """A packet of food: chocolate, sugar or biscuits in a wrapping."""
    inner = str(rng.choice(["chocolate", "sugar", "fruit"]))
    half = np.array([rng.uniform(6, 26), rng.uniform(30, 55), rng.uniform(60, 95)])
    scale = {"chocolate": 1.0, "sugar": 0.6, "fruit": rng.uniform(0.5, 0.8)}[inner]  # loose sugar, baked dough
    wrapping = part(Box((half[0], half[1], half[2]), 3), "paper", scale=1.2)
    content = Box((half[0] - 0.6, half[1] - 0.6, half[2] - 0.6), 3)
    food = part(content, inner, within=wrapping, scale=scale)
    return Thing("food", (wrapping, food), (FLAT, ON_EDGE), facts=(("content", inner),))


def mug(rng: np.random.Generator) -> Thing:
    """A cup of china with its handle, open at one end."""
    radius, length = rng.uniform(36, 44), rng.uniform(85, 105)
    body = part(rod(radius, length), "ceramic")
    room = part(rod(radius - 4, length - 5), "", (0, 0, 2.5), within=body)
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 12)
    loop = np.stack([np.zeros(12), radius + 2 + 24 * np.cos(angle), 28 * np.sin(angle)], axis=1)
    return Thing("mug", (body, room, part(Strand(loop, 5), "ceramic")), (FLAT, UPRIGHT))


def spectacles(rng: np.random.Generator) -> Thing:
    """Spectacles in a hard case."""
    half = (rng.uniform(18, 24), rng.uniform(28, 34), rng.uniform(75, 84))
    shell = part(Box(half, 14, True), "abs" if rng.random() < 0.6 else "aluminium")
    room = part(Box((half[0] - 1.6, half[1] - 1.6, half[2] - 1.6), 13, True), "", within=shell)
    lens = rod(23, 2.2)
    lenses = [part(lens, "polycarbonate", (4, 0, side * 34), turn=UPRIGHT) for side in (-1, 1)]
    bridge = np.array(
        [[4.0, -8.0, -58.0], [4.0, -16.0, -34.0], [4.0, -8.0, 0.0], [4.0, -16.0, 34.0], [4.0, -8.0, 58.0]]
    )
    return Thing("spectacles", (shell, room, *lenses, part(Strand(bridge, 1.4), "steel")))


def tool(rng: np.random.Generator) -> Thing:
    """A wrench or a screwdriver."""
    length = rng.uniform(110, 200)
    if rng.random() < 0.5:
        shaft = part(rod(rng.uniform(2.5, 4), 0.6 * length), "steel", (0, 0, 0.2 * length))
        grip = Round((-0.5 * length, -0.45 * length, -0.1 * length), (12, 14, 11))
        return Thing("screwdriver", (shaft, part(grip, "polycarbonate")))
    head = rng.uniform(13, 18)
    bar = part(Box((3, 8, length / 2 - 11 - head)), "steel")
    ends = [(0, 0, side * (length / 2 - 12)) for side in (-1, 1)]
    heads = [part(rod(head, 8), "steel", end, turn=UPRIGHT) for end in ends]
    bores = [part(rod(7, 8), "", ring.centre, within=ring, turn=UPRIGHT) for ring in heads]
    return Thing("wrench", (bar, *heads, *bores))


def towel(rng: np.random.Generator) -> Thing:
    """A rolled towel or jacket, denser than what is folded around it."""
    radius, length = rng.uniform(38, 62), rng.uniform(200, 300)
    return Thing("roll", (part(rod(radius, length), "cotton", scale=rng.uniform(0.8, 1.5)),), (FLAT, ACROSS))


def _loft(z: np.ndarray, wide: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> Loft:
    return Loft(*map(floats, (z, wide, top, bottom)))
