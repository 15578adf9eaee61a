"""What a bag holds: things made of parts, and how a part is put on the canvas.

Axis 0 of a thing's frame points down as it lies flat, axis 2 runs along it. The canvas adds up HU + 1000 in proportion
to what each part fills, in any order; a part within another takes that part's share back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..shapes import AIR, Array, Canvas, round_path
from ..shapes import Box as Voxels
from .materials import visible_hounsfield
from .solids import Sizes, Solid, share_between

FLAT = np.eye(3)
ON_EDGE = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # axis 1 stands up
UPRIGHT = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])  # axis 2 stands up
ACROSS = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # axis 2 lies along axis 1


@dataclass(frozen=True, eq=False)
class Strand:
    """A wire along a path (K, 3), thinner than it is long."""

    path: np.ndarray
    radius: float

    @property
    def reach(self) -> Sizes:
        d, h, w = np.abs(self.path).max(0) + self.radius
        return float(d), float(h), float(w)


@dataclass(frozen=True, eq=False)
class Part:
    """One solid or strand of one material in the frame of its thing."""

    shape: Solid | Strand
    material: str  # empty where it opens the part it lies in to what surrounds the thing
    value: float  # HU
    centre: np.ndarray
    turn: np.ndarray  # its axes → the thing's
    within: float | None  # HU of the part it lies in
    level: float  # of a liquid: the part of the room it takes; above it is air


@dataclass(frozen=True, eq=False)
class Thing:
    """Something that can be packed."""

    kind: str
    parts: tuple[Part, ...]
    stances: tuple[np.ndarray, ...] = (FLAT,)  # ways to lie or stand
    threat: bool = False
    facts: tuple[tuple[str, str | float], ...] = ()  # what else is known of it


@dataclass(frozen=True, eq=False)
class Placed:
    """A thing with its place and turn in a larger frame."""

    thing: Thing
    turn: np.ndarray  # the thing's axes → the frame's
    place: np.ndarray  # mm

    def move(self, turn: np.ndarray, place: np.ndarray) -> "Placed":
        """Return the same in a frame around this one."""
        return Placed(self.thing, turn @ self.turn, turn @ self.place + place)


def part(
    shape: Solid | Strand,
    material: str,
    at: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0),
    *,
    within: Part | None = None,
    turn: np.ndarray = FLAT,
    scale: float = 1.0,
    level: float = 1.0,
) -> Part:
    """Return a part of `material` at `scale` times its density; without a name it leaves room for what is around."""
    value = visible_hounsfield(material, scale) if material else AIR
    inside = within.value if within else None
    return Part(shape, material, value, np.asarray(at, float), turn, inside, level)


def fillings(placed: Placed, canvas: Canvas) -> Iterator[tuple[Part, Voxels, Array, Array | float]]:
    """Yield each part, the voxels it may touch, what it fills of them, and the share of that below its level."""
    for item in placed.thing.parts:
        turn, place = placed.turn @ item.turn, placed.turn @ item.centre + placed.place
        if isinstance(item.shape, Strand):
            filled, _, box = canvas.tubes(round_path(item.shape.path @ turn.T + place, item.shape.radius))
            yield item, box, filled, 1.0
            continue
        reach = np.abs(turn) @ np.array(item.shape.reach)
        box = canvas.box(place - reach, place + reach)
        x, y, z = own_axes(canvas.axes(box), turn, place)
        filled = item.shape.fill(x, y, z, canvas.edge)
        below: Array | float = 1.0
        if item.level < 1:
            d = canvas.axes(box)[0]
            below = share_between(d, _surface(item.shape, turn, place, item.level), np.inf, canvas.edge)
        yield item, box, filled, below


def own_axes(axes: Sequence[Array], turn: np.ndarray, place: np.ndarray) -> list[Array]:
    """Return positions in a frame, of no larger shape than its turn asks for."""
    offsets = [axis - np.float32(p) for axis, p in zip(axes, place, strict=True)]
    own = []
    for column in turn.T:
        used = [offset * np.float32(c) for offset, c in zip(offsets, column, strict=True) if abs(c) > 1e-9]
        own.append(sum(used[1:], start=used[0]))
    return own


def _surface(solid: Solid, turn: np.ndarray, place: np.ndarray, level: float) -> float:
    """Return d of the surface of a liquid that takes the part `level` of a solid."""
    axes = [(np.linspace(-half, half, 24) * 23 / 24).astype(np.float32) for half in solid.reach]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    down = turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z
    inside = solid.fill(x, y, z, 1e-3) > 0.5
    return float(np.quantile(down[inside], 1 - level) + place[0])
