"""Solids in their own frame, and the part of a voxel that each fills, which keeps the mass of the thinnest.

A solid is centred on its frame's origin; axis 0 of the frame points down when a thing lies as it was made. `fill` takes
positions x, y, z in mm, arrays that broadcast, and the width of a voxel's edge. Where a solid is thinner than that
edge, its fill is its share of the edge, so that sums over voxels give its volume on any grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..shapes import Array, ramp

Sizes = tuple[float, float, float]


def share_between(position: Array, low: float | Array, high: float | Array, edge: float) -> Array:
    """Return the part of an edge's width around positions that lies between `low` and `high`."""
    upper = np.clip((high - position) / np.float32(edge) + np.float32(0.5), 0, 1)
    lower = np.clip((low - position) / np.float32(edge) + np.float32(0.5), 0, 1)
    return np.maximum(upper - lower, 0).astype(np.float32, copy=False)


def floats(values: Iterable[float]) -> tuple[float, ...]:
    """Return numbers as plain floats, by which frozen solids can be compared and hashed."""
    return tuple(float(value) for value in values)


def sizes(values: Iterable[float]) -> Sizes:
    """Return half sides along axes 0, 1 and 2 as plain floats."""
    first, second, third = floats(values)
    return first, second, third


class Solid(ABC):
    """A shape that knows how far it reaches and what it fills."""

    @property
    @abstractmethod
    def reach(self) -> Sizes:
        """Half sides of the box around it, mm."""

    @abstractmethod
    def fill(self, x: Array, y: Array, z: Array, edge: float) -> Array:
        """Filled part, 0 to 1, at positions of its own frame."""


@dataclass(frozen=True)
class Box(Solid):
    """A box with half sides, its edges along axis 0 rounded, or all of them."""

    half: Sizes
    corner: float = 0.0  # radius
    round_all: bool = False

    @property
    def reach(self) -> Sizes:
        return self.half

    def fill(self, x: Array, y: Array, z: Array, edge: float) -> Array:
        a, b, c = (share_between(p, -h, h, edge) for p, h in zip((x, y, z), self.half, strict=True))
        if self.corner <= 0.3 * edge:
            return a * (b * c)
        if not self.round_all:
            return a * np.minimum(b * c, ramp(self._beyond(y, z), edge))
        return np.minimum(a * (b * c), ramp(self._beyond(x, y, z), edge))

    def _beyond(self, *axes: Array) -> Array:
        halves = self.half[3 - len(axes) :]
        over = [np.abs(axis) - np.float32(h - self.corner) for axis, h in zip(axes, halves, strict=True)]
        outer = np.sqrt(sum(np.maximum(o, 0) ** 2 for o in over))
        inner = over[0]
        for o in over[1:]:
            inner = np.maximum(inner, o)
        return outer + np.minimum(inner, 0) - np.float32(self.corner)


@dataclass(frozen=True)
class Round(Solid):
    """A solid of revolution about axis 2: radii at places along it, straight lines between."""

    places: tuple[float, ...]  # rising
    radii: tuple[float, ...]

    @property
    def reach(self) -> Sizes:
        widest = max(self.radii)
        return widest, widest, max(abs(self.places[0]), abs(self.places[-1]))

    def fill(self, x: Array, y: Array, z: Array, edge: float) -> Array:
        along = share_between(z, self.places[0], self.places[-1], edge)
        radius = np.interp(z, self.places, self.radii).astype(np.float32)
        if max(self.radii) < edge / 2:  # too thin to be seen as round: a square of the same area
            half = radius * np.float32(np.sqrt(np.pi) / 2)
            return along * share_between(x, -half, half, edge) * share_between(y, -half, half, edge)
        square = np.float32(edge * edge)  # a disc with a soft rim has the area of one with this smaller radius
        inner = np.sqrt(np.maximum(radius**2 - square / 12, square / 4))
        return np.minimum(3 * radius**2 / square, 1) * along * ramp(np.hypot(x, y) - inner, edge)


def rod(radius: float, length: float) -> Round:
    """Return a round rod along axis 2."""
    return Round((-length / 2, length / 2), (radius, radius))


@dataclass(frozen=True)
class Ellipsoid(Solid):
    """An ellipsoid with half axes."""

    half: Sizes

    @property
    def reach(self) -> Sizes:
        return self.half

    def fill(self, x: Array, y: Array, z: Array, edge: float) -> Array:
        squared, slope = np.float32(0), np.float32(0)
        for axis, half in zip((x, y, z), self.half, strict=True):
            part = (axis / np.float32(half)) ** 2
            squared, slope = squared + part, slope + part / np.float32(half * half)
        norm = np.sqrt(squared)
        least = min(self.half)
        distance = norm * (norm - 1) / np.sqrt(slope + np.float32(1e-12)) + np.float32(edge * edge / (12 * least))
        return ramp(distance, edge)


@dataclass(frozen=True)
class Loft(Solid):
    """Rectangular sections along axis 2: half widths (axis 1), and from where to where they reach along axis 0."""

    places: tuple[float, ...]  # rising
    half_widths: tuple[float, ...]
    tops: tuple[float, ...]  # the smaller x, as axis 0 points down
    bottoms: tuple[float, ...]

    @property
    def reach(self) -> Sizes:
        return (
            max(abs(value) for value in (*self.tops, *self.bottoms)),
            max(self.half_widths),
            max(abs(self.places[0]), abs(self.places[-1])),
        )

    def fill(self, x: Array, y: Array, z: Array, edge: float) -> Array:
        wide, top, bottom = (
            np.interp(z, self.places, values).astype(np.float32)
            for values in (self.half_widths, self.tops, self.bottoms)
        )
        along = share_between(z, self.places[0], self.places[-1], edge)
        return share_between(y, -wide, wide, edge) * along * share_between(x, top, bottom, edge)
