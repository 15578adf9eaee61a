"""A canvas of Hounsfield units in a cube, painted with soft occupancies, so that any grid shows the same anatomy.

Positions are (d, h, w) in mm from the cube's centre, each growing with its array index: towards the feet, the back
and the patient's left. An occupancy is the part of a voxel that an object fills: a solid's edge is a ramp as wide as
a voxel widened by the scanner's blur, and tubes are filled with weighted points, which keeps the mass of those that
are thinner than a voxel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Box = tuple[slice, slice, slice]

AIR = -1000.0
POINTS_A_VOXEL = 6  # density of the points that fill a tube
GOLDEN = (0.7548776662, 0.5698402910)  # steps of the two-dimensional golden-ratio sequence


@dataclass(frozen=True)
class Tubes:
    """N straight pieces of tube with elliptical cross-sections and a wall; arrays of one row a piece, mm and HU."""

    start: np.ndarray  # (N, 3)
    end: np.ndarray  # (N, 3)
    first: np.ndarray  # (N, 3) half axis of the cross-section
    second: np.ndarray  # (N, 3) the other one
    taper: np.ndarray  # (N,) size of the cross-section at the end over that at the start
    core: np.ndarray  # (N,) HU within the part `inner` of the radius
    wall: np.ndarray  # (N,) HU outside it
    inner: np.ndarray  # (N,)


class Canvas:
    """Hounsfield units of a cube on a grid, and the ways to paint on it."""

    def __init__(self, grid: int, cube_mm: float, blur_mm: float) -> None:
        self.grid = grid
        self.voxel = cube_mm / grid
        self.edge = float(np.hypot(self.voxel, blur_mm * np.sqrt(12)))  # a ramp of this width has the blur's variance
        self.centres = ((np.arange(grid) + 0.5) * self.voxel - cube_mm / 2).astype(np.float32)
        self.hounsfield: Array = np.full((grid, grid, grid), AIR, np.float32)

    def box(self, low: np.ndarray, high: np.ndarray) -> Box:
        """The voxels that something between the corners `low` and `high` can touch."""
        margin = self.edge
        starts = np.searchsorted(self.centres, np.asarray(low) - margin)
        stops = np.searchsorted(self.centres, np.asarray(high) + margin)
        d, h, w = (slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))
        return d, h, w

    def axes(self, box: Box) -> tuple[Array, Array, Array]:
        """The positions d (D, 1, 1), h (1, H, 1) and w (1, 1, W) of the voxels in a box."""
        d, h, w = (self.centres[part] for part in box)
        return d[:, None, None], h[None, :, None], w[None, None, :]

    def occupancy(self, distance: Array) -> Array:
        """The filled part of voxels whose centres lie at a signed distance (negative inside) from a surface."""
        return np.clip(0.5 - distance / np.float32(self.edge), 0, 1, dtype=np.float32)

    def paint(self, occupancy: Array, value: float | Array, box: Box = (slice(None),) * 3) -> None:  # type: ignore[assignment]
        """Replace what is there by `value` HU to the extent of `occupancy`."""
        part = self.hounsfield[box]
        part += occupancy * (value - part)

    def ellipsoid(
        self, centre: np.ndarray, radii: np.ndarray, value: float, turn: np.ndarray | None = None
    ) -> tuple[Box, Array]:
        """Paint an ellipsoid; the rows of `turn` are its axes. Returns its box and occupancy."""
        axes = np.eye(3) if turn is None else turn
        reach = np.sqrt(((axes * np.asarray(radii)[:, None]) ** 2).sum(0))
        box = self.box(centre - reach, centre + reach)
        d, h, w = (axis - np.float32(c) for axis, c in zip(self.axes(box), centre, strict=True))
        squared, squared_twice = np.float32(0), np.float32(0)
        for axis, radius in zip(axes.astype(np.float32), np.asarray(radii, np.float32), strict=True):
            along = ((axis[0] * d + axis[1] * h + axis[2] * w) / radius) ** 2
            squared, squared_twice = squared + along, squared_twice + along / radius**2
        norm = np.sqrt(squared)
        occupancy = self.occupancy(norm * (norm - 1) / np.sqrt(squared_twice + np.float32(1e-12)))
        self.paint(occupancy, value, box)
        return box, occupancy

    def cone(self, start: np.ndarray, end: np.ndarray, radii: tuple[float, float]) -> tuple[Box, Array]:
        """Box and occupancy of a round bar with a radius at each end, the ends rounded."""
        reach = max(radii)
        box = self.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        offset = [axis - np.float32(s) for axis, s in zip(self.axes(box), start, strict=True)]
        along = (end - start).astype(np.float32)
        part = sum(o * a for o, a in zip(offset, along, strict=True)) / (along @ along)
        part = np.clip(part, 0, 1)
        squared = sum((o - part * a) ** 2 for o, a in zip(offset, along, strict=True))
        return box, self.occupancy(np.sqrt(squared) - (np.float32(radii[0]) + part * np.float32(radii[1] - radii[0])))

    def points(self, positions: Array, volumes: Array, values: Array) -> tuple[Array, Array, Box]:
        """Occupancy, at most 1, mean HU and box of points (3, N) that stand for `volumes` (N,) mm³ each."""
        place = positions / np.float32(self.voxel) + np.float32(self.grid / 2 - 0.5)
        inside = ((place > -1) & (place < self.grid)).all(0)
        place, volumes, values = place[:, inside], volumes[inside] / np.float32(self.voxel**3), values[inside]
        base = np.floor(place).astype(np.int64)
        upper = place - base.astype(np.float32)
        lower = 1 - upper
        low = base.min(1, initial=self.grid)
        shape = np.maximum(base.max(1, initial=-1) - low + 2, 0)
        flat = ((base[0] - low[0]) * shape[1] + (base[1] - low[1])) * shape[2] + (base[2] - low[2])
        index, weight = np.empty((8, len(flat)), np.int64), np.empty((8, len(flat)), np.float32)
        for corner in range(8):
            d, h, w = corner >> 2, (corner >> 1) & 1, corner & 1
            index[corner] = flat + ((d * shape[1] + h) * shape[2] + w)
            weight[corner] = volumes * (upper if d else lower)[0] * (upper if h else lower)[1] * (upper if w else lower)[2]
        start, stop = np.clip([low, low + shape], 0, self.grid)
        box: Box = tuple(map(slice, start, np.maximum(start, stop)))  # type: ignore[assignment]
        within = tuple(map(slice, start - low, np.maximum(start, stop) - low))
        filled, valued = (
            np.bincount(index.ravel(), part.ravel(), shape.prod()).reshape(shape)[within]
            for part in (weight, weight * values)
        )
        mean = valued / np.maximum(filled, 1e-9)
        return np.minimum(filled, 1).astype(np.float32), mean.astype(np.float32), box

    def tubes(self, tubes: Tubes) -> tuple[Array, Array, Box]:
        """Occupancy, mean HU and box of tubes."""
        length = np.linalg.norm(tubes.end - tubes.start, axis=1)
        area = np.pi * np.linalg.norm(tubes.first, axis=1) * np.linalg.norm(tubes.second, axis=1)
        mean_square = (1 + tubes.taper + tubes.taper**2) / 3
        volume = area * length * mean_square
        gapless = 2 * length / np.maximum(np.sqrt(area), self.voxel)  # for tubes much thinner than a voxel
        counts = np.ceil(np.maximum(POINTS_A_VOXEL * volume / self.voxel**3, gapless)).astype(np.int64)
        share = volume / counts / mean_square
        rows = [*tubes.start.T, *(tubes.end - tubes.start).T, *tubes.first.T, *tubes.second.T, tubes.taper - 1]
        rows += [tubes.core, tubes.wall, tubes.inner, share, 1 / counts, np.cumsum(counts) - counts]
        spread = np.repeat(np.array(rows, np.float32), counts, axis=1)
        start, course, first, second = spread[:3], spread[3:6], spread[6:9], spread[9:12]
        taper, core, wall, inner, share, stride, before = spread[12:]
        rank = np.arange(spread.shape[1], dtype=np.float64)  # over all tubes: the pattern runs on from piece to piece
        along = (rank - before + 0.5).astype(np.float32) * stride
        angle = (rank * GOLDEN[0] % 1 * (2 * np.pi)).astype(np.float32)
        depth = np.sqrt((rank * GOLDEN[1] % 1).astype(np.float32))
        size = 1 + taper * along
        positions = start + along * course + depth * size * (np.cos(angle) * first + np.sin(angle) * second)
        return self.points(positions, share * size**2, np.where(depth > inner, wall, core))


def cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cross products (N, 3); numpy's own spends more time on its arguments than on short arrays."""
    return first[:, [1, 2, 0]] * second[:, [2, 0, 1]] - first[:, [2, 0, 1]] * second[:, [1, 2, 0]]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, 3) at length 1."""
    return vectors / np.maximum(np.sqrt((vectors**2).sum(1, keepdims=True)), 1e-9)


def round_tubes(
    start: np.ndarray, end: np.ndarray, radius: np.ndarray, taper: np.ndarray, hounsfield: float
) -> Tubes:
    """Solid round tubes from `start` to `end` (N, 3)."""
    along = unit(end - start)
    aside = np.where(np.abs(along[:, :1]) < 0.8, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = unit(cross(along, aside))
    value = np.full(len(start), hounsfield)
    second = cross(along, first) * radius[:, None]
    return Tubes(start, end, first * radius[:, None], second, taper, value, value, np.ones(len(start)))


def path_tubes(path: np.ndarray, radius: float | np.ndarray, hounsfield: float) -> Tubes:
    """Solid round tubes along a path (K, 3) with one radius, or one a point."""
    radii = np.broadcast_to(np.asarray(radius, dtype=float), (len(path),))
    return round_tubes(path[:-1], path[1:], radii[:-1], radii[1:] / radii[:-1], hounsfield)


def bars(start: np.ndarray, end: np.ndarray, outward: np.ndarray, thick: float, wide: float | np.ndarray) -> Tubes:
    """Flat bars from `start` to `end` (N, 3): half axes `thick` along `outward` (N, 3) and `wide` (N,) across."""
    along = unit(end - start)
    out = unit(outward - (outward * along).sum(1, keepdims=True) * along)
    ones = np.ones(len(along))
    return Tubes(start, end, out * thick, cross(along, out) * np.reshape(wide, (-1, 1)), ones, ones, ones, ones)


def walled(tubes: Tubes, core: float, wall: float, inner: float) -> Tubes:
    """The same tubes with other densities in the core and in the wall."""
    ones = np.ones(len(tubes.start))
    return replace(tubes, core=core * ones, wall=wall * ones, inner=inner * ones)


def joined(parts: Sequence[Tubes]) -> Tubes:
    """Several tubes as one."""
    return Tubes(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Tubes)))


def curve(knots: np.ndarray, pieces: int) -> np.ndarray:
    """A smooth path (pieces + 1, 3) through knots (K, 3): Catmull-Rom."""
    ends = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    position = np.linspace(0, len(knots) - 1, pieces + 1)
    index = np.minimum(position.astype(int), len(knots) - 2)
    t = (position - index)[:, None]
    before, here, there, after = (ends[index + k] for k in range(4))
    slope_here, slope_there = (there - before) / 2, (after - here) / 2
    rise = there - here
    return here + t * (slope_here + t * ((3 * rise - 2 * slope_here - slope_there) + t * (slope_here + slope_there - 2 * rise)))


def smooth_field(rng: np.random.Generator, cells: int, grid: int) -> Array:
    """A random field (grid, grid, grid) of zero mean and unit spread, smooth over a `cells`-th of the cube.

    Drawn on a lattice and blended with cubic splines: the same field at any grid.
    """
    lattice = rng.standard_normal((cells + 3,) * 3).astype(np.float32)
    position = (np.arange(grid) + 0.5) / grid * cells
    index = np.minimum(position.astype(int), cells - 1)
    t = position - index
    blend = np.zeros((grid, cells + 3), np.float32)
    spline = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, weight in enumerate(spline):
        blend[np.arange(grid), index + offset] = weight / 6
    rows = (blend @ lattice.reshape(cells + 3, -1)).reshape(grid, cells + 3, cells + 3)
    return (np.matmul(blend, rows) @ blend.T) * np.float32(3.0)  # a cubic spline keeps 0.48 of the spread an axis
