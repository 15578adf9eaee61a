"""The bag itself, the tray it may lie in, and the belt under it. Axis 0 points down, axis 2 runs along the bag."""

from dataclasses import dataclass

import numpy as np

from .packing import Room
from .solids import Box, Sizes, rod, sizes
from .things import ACROSS, FLAT, ON_EDGE, Part, Strand, Thing, part

TRAY_HALF: Sizes = (37.5, 210.0, 310.0)
TRAY_WALL = 4.0


@dataclass(frozen=True, eq=False)
class Luggage:
    """An empty bag, lying or standing."""

    kind: str  # trolley or holdall
    half: Sizes  # half sides of the shell as it stands: downwards, across, along
    shell: Thing
    turn: np.ndarray  # its axes → those of the bag as it stands
    room: Room
    inside: Thing  # all of the shell's inside, in its frame


def draw_luggage(rng: np.random.Generator) -> Luggage:
    """A trolley case with a hard or a woven shell, rods and wheels, or a soft holdall; a fifth stands on its edge."""
    trolley = rng.random() < 0.65
    length, width, depth = (510, 350, 205) if trolley else (470, 290, 215)
    sides = rng.normal([depth, width, length], [32, 32, 50])
    half = np.clip(sides, [120, 200, 300], [280, 400, 530 if trolley else 600]) / 2
    corner = float(min(rng.uniform(22, 42) if trolley else rng.uniform(30, 55), 0.8 * half[0]))
    hard = trolley and rng.random() < 0.6
    wall = float(rng.uniform(2.2, 3.8) if hard else rng.uniform(1.8, 2.8))
    material = str(rng.choice(["polycarbonate", "polypropylene", "abs"])) if hard else "polyester"
    shell = part(Box(sizes(half), corner, True), material, scale=1.0 if hard else 0.75)
    opening = Box(sizes(half - wall), corner - wall, True)
    parts = [shell, part(opening, "", within=shell), *_zip(rng, half, corner, wall, shell)]
    parts += _trolley(rng, half, corner, wall) if trolley else _straps(rng, half)
    kind = "trolley" if trolley else "holdall"
    facts = (("material", material), ("wall", round(wall, 2)))
    thing = Thing(kind, tuple(parts), facts=facts)

    reserved = 26.0 if trolley else 8.0  # for the rods, or the board of the floor
    inner = half - wall
    centre, inside = np.array([-reserved / 2, 0, 0]), inner - [reserved / 2, 0, 0]
    turn = ON_EDGE if rng.random() < 0.2 else FLAT
    room = Room(sizes(np.abs(turn) @ inside), corner - wall, turn @ centre)
    return Luggage(kind, sizes(np.abs(turn) @ half), thing, turn, room, Thing("inside", (part(opening, "cotton"),)))


def tray(rng: np.random.Generator) -> Thing:
    """An open tray of plastic, its floor at the bottom of its frame."""
    outer = part(Box(TRAY_HALF, 30), "polypropylene" if rng.random() < 0.5 else "abs")
    inner = Box((TRAY_HALF[0], TRAY_HALF[1] - TRAY_WALL, TRAY_HALF[2] - TRAY_WALL), 26)
    hollow = Box((TRAY_HALF[0] - TRAY_WALL / 2, *inner.half[1:]), 26)
    return Thing("tray", (outer, part(hollow, "", (-TRAY_WALL / 2, 0, 0), within=outer)))


def conveyor(rng: np.random.Generator) -> Thing:
    """The belt under everything, as long as the volume."""
    return Thing("conveyor", (part(Box((1.0, 260, 400)), "polyester", scale=float(rng.uniform(0.5, 0.8))),))


def _trolley(rng: np.random.Generator, half: np.ndarray, corner: float, wall: float) -> list[Part]:
    """Two tubes of aluminium with their grip, wheels, and a handle."""
    down, across, along = half
    radius, apart = float(rng.uniform(6, 9)), 0.42 * across
    end = wall + 0.65 * corner - along  # clear of the rounded edge
    start, stop = end + 20, 0.6 * along
    depth = down - wall - radius - 3
    parts = []
    for side in (-1, 1):
        place = (depth, side * apart, (start + stop) / 2)
        tube = part(rod(radius, stop - start), "aluminium", place)
        parts += [tube, part(rod(radius - 1, stop - start), "", place, within=tube)]
    parts.append(part(Box((6, apart + 14, 10), 6), "abs", (depth, 0, end + 10)))
    wheel, thick = float(rng.uniform(16, 22)), float(rng.uniform(16, 22))
    for row in (1, -1) if rng.random() < 0.6 else (1,):
        for side in (-1, 1):
            hub = (row * (down - wheel - 4), side * (across - 45), along + wheel + 1)
            tyre = part(rod(wheel, thick), "rubber", hub, turn=ACROSS)
            parts += [tyre, part(rod(4, thick), "steel", hub, within=tyre, turn=ACROSS)]
    return [*parts, _handle(half, 0, 12.0), _handle(half, 1, 12.0)]


def _straps(rng: np.random.Generator, half: np.ndarray) -> list[Part]:
    """Straps lying on top with their rings, and a board as floor."""
    down, across, along = half
    parts = [part(Box((1.2, 0.8 * across, 0.82 * along)), "polypropylene", (down - 6, 0, 0))]
    for side in (-1, 1):
        angle = np.linspace(0, np.pi, 24)
        bow = side * 0.25 * across + side * 0.5 * across * np.sin(angle) + rng.normal(0, 3, 24)
        path = np.stack([np.full(24, -down - 5.5), bow, 0.45 * along * np.cos(angle)], axis=1)
        parts.append(part(Strand(path, 4.5), "nylon"))
        for end in (0, -1):
            ring = part(Box((2.5, 16, 13), 6), "steel", path[end] + [-2.5, 0, 0])
            parts += [ring, part(Box((2.5, 12, 9), 4), "", ring.centre, within=ring)]
    return [*parts, _handle(half, 1, 10.0)]


def _handle(half: np.ndarray, side: int, high: float) -> Part:
    """A handle on the end of the bag (0) or on its side (1)."""
    bow = np.linspace(-1, 1, 15)
    out = high * (1 - bow**4) + 7
    path = np.zeros((15, 3))
    if side == 0:
        path[:, 1], path[:, 2] = 75 * bow, -half[2] - out
    else:
        path[:, 1], path[:, 2] = half[1] + out, 75 * bow
    return part(Strand(path, 7), "rubber")


def _zip(rng: np.random.Generator, half: np.ndarray, corner: float, wall: float, shell: Part) -> list[Part]:
    """A zip around the bag, of metal or of plastic, with its pulls."""
    height = rng.uniform(-0.35, 0.35) * (half[0] - corner)
    across, along = half[1] - wall / 2, half[2] - wall / 2
    turns = np.linspace(0, 2 * np.pi, 97)
    corners = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    radius = corner - wall / 2
    straight = np.array([across - radius, along - radius])
    loop = np.sign(np.round(corners, 9)) * straight + radius * corners
    path = np.concatenate([np.full((97, 1), height), loop], axis=1)
    metal = str(rng.choice(["brass", "aluminium", "nylon"]))
    teeth = part(Strand(path, 0.45 * wall), metal, within=shell, scale=0.6 if metal != "brass" else 1.0)
    place = (height, half[1] + 4, rng.uniform(0.45, 0.65) * rng.choice([-1, 1]) * half[2])
    return [teeth, part(Box((9, 1.5, 14)), "steel", place)]
