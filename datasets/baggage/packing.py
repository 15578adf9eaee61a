"""Packing: things fall to where they rest, one after the other, and clothes drape over what lies there.

Everything happens on a lattice of columns across the room: each keeps how high it is filled. A thing is known by the
top and the bottom of its columns, taken a little too large, so that no two things ever overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter

from .solids import Sizes
from .things import Part, Placed, Strand, Thing, own_axes

CELL = 5.0  # mm between columns
POSES = 2  # ways to lie that are tried, of those that fit the empty room
STRIDE = 4  # columns between places that are tried


@dataclass(frozen=True, eq=False)
class Room:
    """The space in a bag: a box with rounded edges."""

    half: Sizes
    corner: float
    centre: np.ndarray  # in the bag's frame


@dataclass(frozen=True, eq=False)
class Garment:
    """A folded garment between two surfaces: maps over the room's columns, mm downwards from the room's centre."""

    top: np.ndarray
    bottom: np.ndarray
    hounsfield: float
    fold: float  # mm between its layers


@dataclass(frozen=True, eq=False)
class Packed:
    """What a room holds; places are in the room's frame."""

    things: tuple[Placed, ...]
    garments: tuple[Garment, ...]
    surface: np.ndarray  # map of where the filled part begins


def columns(room: Room) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the lattice's columns along axes 1 and 2."""
    across, along = (np.arange(int(2 * half // CELL)) for half in room.half[1:])
    return (across - (len(across) - 1) / 2) * CELL, (along - (len(along) - 1) / 2) * CELL


def pack(rng: np.random.Generator, room: Room, things: Sequence[Thing], fullness: float) -> Packed:
    """Drop things in their order, with garments between, until clothes fill the part `fullness` of the room.

    A thing for which no place is found is left out.
    """
    floor = _floor(room)
    surface, placed, garments = floor.copy(), [], []
    if rng.random() < 0.6:
        garments.append(_drape(rng, surface, floor))
    for thing in things:
        item = _drop(rng, thing, surface, floor)
        if item is None:
            continue
        placed.append(item)
        if rng.random() < 0.1:
            garments.append(_drape(rng, surface, floor))
    for _ in range(24):
        if (surface + floor).sum() <= (1 - fullness) * (2 * floor).sum():
            break
        garments.append(_drape(rng, surface, floor))
    return Packed(tuple(placed), tuple(garments), surface)


def silhouette(thing: Thing, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the top and bottom (mm downwards from its origin) of each column of a turned thing; NaN where it has none.

    The maps are odd in size with the origin in the middle.
    """
    solid = [item for item in thing.parts if item.within is None and item.material]
    extents = [_extent(item, turn) for item in solid]
    half = np.max([np.maximum(-low, high) for low, high in extents], axis=0)
    count = np.ceil(half[1:] / CELL).astype(int) + 1
    top, bottom = np.full(2 * count + 1, np.inf), np.full(2 * count + 1, -np.inf)
    for item, (low, high) in zip(solid, extents, strict=True):
        first = np.floor(low / CELL).astype(int) - 1
        last = np.ceil(high / CELL).astype(int) + 1
        a, b, c = (np.arange(start, stop + 1) * CELL for start, stop in zip(first, last, strict=True))
        window = tuple(slice(low + n, up + n + 1) for low, up, n in zip(first[1:], last[1:], count, strict=True))
        inside = _inside(item, turn, a, b, c)
        filled = inside.any(0)
        high_edge = a[inside.argmax(0)] - CELL / 2
        low_edge = a[len(a) - 1 - inside[::-1].argmax(0)] + CELL / 2
        top[window] = np.where(filled, np.minimum(top[window], high_edge), top[window])
        bottom[window] = np.where(filled, np.maximum(bottom[window], low_edge), bottom[window])
    empty = bottom < top
    return np.where(empty, np.nan, top), np.where(empty, np.nan, bottom)


def _fits(thing: Thing, turn: np.ndarray, shape: tuple[int, ...], height: float) -> bool:
    """Return True where an empty room of `shape` columns could hold a turned thing."""
    extents = [_extent(item, turn) for item in thing.parts]
    size = np.max([high for _, high in extents], axis=0) - np.min([low for low, _ in extents], axis=0)
    return bool(size[0] < height and (size[1:] < (np.array(shape) - 2 * STRIDE) * CELL).all())


def _extent(item: Part, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reach = np.abs(turn @ item.turn) @ np.array(item.shape.reach)
    centre = turn @ item.centre
    return centre - reach, centre + reach


def _inside(item: Part, turn: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return which points of a lattice lie in a part or within the diagonal of half a cell of it."""
    centre, own = turn @ item.centre, turn @ item.turn
    if isinstance(item.shape, Strand):
        path = item.shape.path @ own.T + centre
        steps = np.linspace(0, len(path) - 1, 8 * len(path))
        fine = np.stack([np.interp(steps, np.arange(len(path)), column) for column in path.T], axis=1)
        inside = np.zeros((len(a), len(b), len(c)), bool)
        reach = int(np.ceil(item.shape.radius / CELL))
        index = np.rint((fine - [a[0], b[0], c[0]]) / CELL).astype(int)
        for offset in np.ndindex((2 * reach + 1,) * 3):
            shifted = index + np.array(offset) - reach
            inside[tuple(np.clip(shifted, 0, np.array(inside.shape) - 1).T)] = True
        return inside
    axes = (a[:, None, None], b[None, :, None], c[None, None, :])
    x, y, z = own_axes([axis.astype(np.float32) for axis in axes], own, centre)
    return np.broadcast_to(item.shape.fill(x, y, z, CELL * np.sqrt(3)) > 0, (len(a), len(b), len(c)))


def _floor(room: Room) -> np.ndarray:
    """Return the depth of the room's floor below its centre over the columns, 0 outside; its lid is as high above."""
    over = [
        np.maximum(np.abs(places) + CELL / 2 - (half - room.corner), 0)
        for places, half in zip(columns(room), room.half[1:], strict=True)
    ]
    corner = min(room.corner, room.half[0])
    beyond = np.hypot(over[0][:, None], over[1][None, :])
    floor = room.half[0] - corner + np.sqrt(np.maximum(corner**2 - beyond**2, 0))
    return np.where(beyond < corner, floor, 0.0)


def _drop(rng: np.random.Generator, thing: Thing, surface: np.ndarray, floor: np.ndarray) -> Placed | None:
    """Let a thing fall where it comes to lie low, with little below it, and raise the surface; None if none fits."""
    best: tuple[float, Placed, tuple[slice, ...], np.ndarray] | None = None
    fitting = 0
    for _ in range(3 * POSES):
        turn = _draw_turn(rng) @ thing.stances[rng.integers(len(thing.stances))]
        if fitting == POSES or not _fits(thing, turn, surface.shape, 2 * floor.max()):
            continue
        fitting += 1
        top, bottom = silhouette(thing, turn)
        rows, cols = np.nonzero(~np.isnan(top).all(1))[0], np.nonzero(~np.isnan(top).all(0))[0]
        window = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        origin = (np.array(top.shape) - np.array(surface.shape)) / 2 - [rows[0], cols[0]]
        top, bottom = top[window], bottom[window]
        filled = ~np.isnan(top)
        start = rng.integers(0, STRIDE, 2)
        gaps, lids = (
            sliding_window_view(chart, top.shape)[start[0] :: STRIDE, start[1] :: STRIDE][:, :, filled] - edge[filled]
            for chart, edge in ((surface, bottom), (-floor, top))
        )
        rest = gaps.min(-1)
        score = rest + np.nanmin(top) - 0.5 * (gaps.mean(-1) - rest) + rng.normal(0, 3, rest.shape)
        score[rest < lids.max(-1)] = -np.inf  # the lid would not close
        row, col = np.unravel_index(score.argmax(), score.shape)
        if score[row, col] > (best[0] if best else -np.inf):
            corner = start + STRIDE * np.array([row, col])
            place = np.array([rest[row, col], *((corner + origin) * CELL)])
            under = tuple(slice(int(c), int(c) + size) for c, size in zip(corner, top.shape, strict=True))
            tops = np.where(filled, rest[row, col] + top, np.inf)
            best = float(score[row, col]), Placed(thing, turn, place), under, tops
    if best is None:
        return None
    _, placed, under, tops = best
    surface[under] = np.minimum(surface[under], tops)
    return placed


def _draw_turn(rng: np.random.Generator) -> np.ndarray:
    """Draw a turn about axis 0: mostly along the walls, as people pack."""
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.25 else rng.integers(4) * np.pi / 2 + rng.normal(0, 0.12)
    return turn_about_vertical(float(angle))


def turn_about_vertical(angle: float) -> np.ndarray:
    """Return the rotation about axis 0 by an angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])


def _drape(rng: np.random.Generator, surface: np.ndarray, floor: np.ndarray) -> Garment:
    """Lay a garment on the surface, which it raises: where the bag is emptiest of a few places."""
    shape = np.array(surface.shape)
    size = np.minimum((rng.uniform([130, 180], [300, 400]) / CELL).astype(int), shape)
    free = surface + floor
    corners = [np.array([rng.integers(0, left + 1) for left in shape - size]) for _ in range(4)]
    corner = max(corners, key=lambda c: float(free[c[0] : c[0] + size[0], c[1] : c[1] + size[1]].mean()))
    rim = [np.minimum(np.arange(n) + 1, n - np.arange(n)) * CELL / 30 for n in size]
    profile = np.clip(np.minimum(rim[0][:, None], rim[1][None, :]), 0, 1)
    thickness = np.zeros(surface.shape)
    thickness[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]] = profile * rng.uniform(15, 60)
    room = (floor > 0).astype(float)
    smooth = gaussian_filter(surface * room, 2.5) / np.maximum(gaussian_filter(room, 2.5), 1e-3)
    bottom = np.minimum(surface, smooth)  # stiff: it spans what is narrow
    top = np.maximum(bottom - thickness, -floor)
    bottom = np.maximum(bottom, top)
    laid = thickness > 0
    top, bottom = np.where(laid, top, surface), np.where(laid, bottom, surface)
    surface[laid] = np.minimum(surface, top)[laid]
    hounsfield = float(np.clip(rng.normal(-740, 60), -860, -620))
    return Garment(top.astype(np.float32), bottom.astype(np.float32), hounsfield, float(rng.uniform(9, 20)))
