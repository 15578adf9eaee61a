"""A canvas of Hounsfield units in a cube, painted with soft occupancies, so that any grid shows the same things.

Positions are (d, h, w) in mm from the cube's centre, each growing with its array index: for a patient towards the
feet, the back and the left, for a bag downwards. An occupancy is the part of a voxel that an object fills: a solid's
edge is a ramp as wide as a voxel widened by the scanner's blur, and tubes are filled with weighted points, which
keeps the mass of those that are thinner than a voxel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]
Box = tuple[slice, slice, slice]

EVERYWHERE: Box = (slice(None), slice(None), slice(None))
AIR = -1000.0
MAJORITY = 0.5  # of a voxel, which decides its label
POINTS_A_VOXEL = 6  # density of the points that fill a tube
GOLDEN = (0.7548776662, 0.5698402910)  # steps of the two-dimensional golden-ratio sequence


@dataclass(frozen=True)
class Tubes:
    """N pieces of tube with elliptical cross-sections and a wall; arrays of one row a piece, mm and HU."""

    start: np.ndarray  # (N, 3)
    end: np.ndarray  # (N, 3)
    first: np.ndarray  # (N, 2, 3) half axis of the cross-section at the start and at the end
    second: np.ndarray  # (N, 2, 3) the other one
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
        self.labels: NDArray[np.uint8] | None = None  # an array here is labelled while painting

    def box(self, low: np.ndarray, high: np.ndarray) -> Box:
        """Return the voxels that something between the corners `low` and `high` can touch."""
        margin = self.edge
        starts = np.searchsorted(self.centres, np.asarray(low) - margin)
        stops = np.searchsorted(self.centres, np.asarray(high) + margin)
        d, h, w = (slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))
        return d, h, w

    def axes(self, box: Box) -> tuple[Array, Array, Array]:
        """Return the positions d (D, 1, 1), h (1, H, 1) and w (1, 1, W) of the voxels in a box."""
        d, h, w = (self.centres[part] for part in box)
        return d[:, None, None], h[None, :, None], w[None, None, :]

    def occupancy(self, distance: Array) -> Array:
        """Return the filled part of voxels whose centres lie at a signed distance (negative inside) from a surface."""
        return ramp(distance, self.edge)

    def paint(self, occupancy: Array, value: float | Array, box: Box = EVERYWHERE, label: int | None = None) -> None:
        """Replace what is there by `value` HU to the extent of `occupancy`, and the label of what is mostly filled."""
        part = self.hounsfield[box]
        part += occupancy * (value - part)
        self.mark(occupancy, label, box)

    def swap(
        self, occupancy: Array, old: float | Array, new: float | Array, box: Box = EVERYWHERE, label: int | None = None
    ) -> None:
        """Turn `old` HU, of which each voxel holds at least `occupancy`, into `new`; what else is there stays."""
        self.hounsfield[box] += occupancy * (new - old)
        self.mark(occupancy, label, box)

    def mark(self, occupancy: Array, label: int | None, box: Box = EVERYWHERE) -> None:
        """Label the voxels that are filled by more than half, where labels are kept at all."""
        if self.labels is not None and label is not None:
            part = self.labels[box]
            part[np.broadcast_to(occupancy > MAJORITY, part.shape)] = label

    def add_noise(self, rng: np.random.Generator, spread: float) -> None:
        """Add noise of `spread` HU in voxels of 1 mm³ with the grain of a reconstruction; larger voxels average it."""
        grain = 0.9 / self.voxel  # sigma in voxels
        noise = rng.standard_normal(self.hounsfield.shape, np.float32)
        spread = spread / np.sqrt(1 + (self.voxel / 1.8) ** 3)
        if grain > 0.3:
            noise = gaussian_filter(noise, grain, truncate=2.5)
            noise /= noise.std()
        self.hounsfield += noise * np.float32(spread)

    def ellipsoid(self, centre: np.ndarray, radii: np.ndarray, turn: np.ndarray | None = None) -> tuple[Box, Array]:
        """Return the box and occupancy of an ellipsoid; the rows of `turn` are its axes."""
        axes = np.eye(3) if turn is None else turn
        reach = np.sqrt(((axes * np.asarray(radii)[:, None]) ** 2).sum(0))
        box = self.box(centre - reach, centre + reach)
        d, h, w = (axis - np.float32(c) for axis, c in zip(self.axes(box), centre, strict=True))
        squared, squared_twice = np.float32(0), np.float32(0)
        for axis, radius in zip(axes.astype(np.float32), np.asarray(radii, np.float32), strict=True):
            along = ((axis[0] * d + axis[1] * h + axis[2] * w) / radius) ** 2
            squared, squared_twice = squared + along, squared_twice + along / radius**2
        norm = np.sqrt(squared)
        return box, self.occupancy(norm * (norm - 1) / np.sqrt(squared_twice + np.float32(1e-12)))

    def bar(self, start: np.ndarray, end: np.ndarray, radii: tuple[float, float]) -> tuple[Box, Array]:
        """Return the box and distances of a round bar with a radius at each end, the ends rounded."""
        reach = max(radii)
        box = self.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        offset = [axis - np.float32(s) for axis, s in zip(self.axes(box), start, strict=True)]
        course = (end - start).astype(np.float32)
        along = np.clip(sum(o * c for o, c in zip(offset, course, strict=True)) / (course @ course), 0, 1)
        squared = sum((o - along * c) ** 2 for o, c in zip(offset, course, strict=True))
        return box, np.sqrt(squared) - (np.float32(radii[0]) + along * np.float32(radii[1] - radii[0]))

    def points(self, positions: Array, volumes: Array, values: Array) -> tuple[Array, Array, Box]:
        """Return occupancy, at most 1, mean HU and box of points (3, N) that stand for `volumes` (N,) mm³ each."""
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
            weight[corner] = (
                volumes * (upper if d else lower)[0] * (upper if h else lower)[1] * (upper if w else lower)[2]
            )
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
        """Return occupancy, mean HU and box of tubes."""
        length = np.linalg.norm(tubes.end - tubes.start, axis=1)
        radii = np.sqrt(np.linalg.norm(tubes.first, axis=2) * np.linalg.norm(tubes.second, axis=2))
        taper = radii[:, 1] / radii[:, 0]
        section = np.pi * radii[:, 0] ** 2
        volume = section * length * (1 + taper + taper**2) / 3
        gapless = 2 * length / np.maximum(radii.max(1), self.voxel)  # for tubes much thinner than a voxel
        counts = np.ceil(np.maximum(POINTS_A_VOXEL * volume / self.voxel**3, gapless)).astype(np.int64)
        rows = [*tubes.start.T, *(tubes.end - tubes.start).T]
        for axes in (tubes.first, tubes.second):
            rows += [*axes[:, 0].T, *(axes[:, 1] - axes[:, 0]).T]
        rows += [taper - 1, tubes.core, tubes.wall, tubes.inner, section * length / counts, 1 / counts]
        rows.append(np.cumsum(counts) - counts)
        spread = np.repeat(np.array(rows, np.float32), counts, axis=1)
        start, course, first, turn_first, second, turn_second = spread[:18].reshape(6, 3, -1)
        taper, core, wall, inner, share, stride, before = spread[18:]
        rank = np.arange(spread.shape[1], dtype=np.float64)  # over all tubes: the pattern runs on from piece to piece
        along = (rank - before + 0.5).astype(np.float32) * stride
        angle = (rank * GOLDEN[0] % 1 * (2 * np.pi)).astype(np.float32)
        depth = np.sqrt((rank * GOLDEN[1] % 1).astype(np.float32))
        across = depth * np.cos(angle) * (first + along * turn_first)
        across += depth * np.sin(angle) * (second + along * turn_second)
        values = np.where(depth > inner, wall, core)
        return self.points(start + along * course + across, share * (1 + taper * along) ** 2, values)


def ramp(distance: Array, edge: float) -> Array:
    """Return the filled part at a signed distance (negative inside) from a surface that is flat at the scale `edge`."""
    return np.clip(np.float32(0.5) - distance / np.float32(edge), 0, 1, dtype=np.float32)


def cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cross products (…, 3); numpy's own spends more time on its arguments than on short arrays."""
    return first[..., [1, 2, 0]] * second[..., [2, 0, 1]] - first[..., [2, 0, 1]] * second[..., [1, 2, 0]]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (…, 3) at length 1."""
    return vectors / np.maximum(np.sqrt((vectors**2).sum(-1, keepdims=True)), 1e-9)


def ribbons(path: np.ndarray, outward: np.ndarray, thick: np.ndarray | float, wide: np.ndarray | float) -> Tubes:
    """Return mitred tubes along paths (…, K, 3): half axes (…, K) `thick` along `outward` (…, K, 3), `wide` across."""
    thick, wide = (np.broadcast_to(size, path.shape[:-1])[..., None] for size in (thick, wide))
    course = np.diff(path, axis=-2)
    along = unit(
        np.concatenate([course[..., :1, :], course[..., 1:, :] + course[..., :-1, :], course[..., -1:, :]], -2)
    )
    out = unit(outward - (outward * along).sum(-1, keepdims=True) * along)
    first, second = (
        np.stack([axis[..., :-1, :], axis[..., 1:, :]], axis=-2).reshape(-1, 2, 3)
        for axis in (out * thick, cross(along, out) * wide)
    )
    start, end = path[..., :-1, :].reshape(-1, 3), path[..., 1:, :].reshape(-1, 3)
    blank = np.ones(len(start))
    return Tubes(start, end, first, second, blank, blank, blank)


def round_path(path: np.ndarray, radius: float | np.ndarray, hounsfield: float = 0) -> Tubes:
    """Return solid round tubes along paths (…, K, 3) with one radius, or one a point (K,)."""
    spread = path - path.mean(-2, keepdims=True)
    flattest = np.linalg.svd(spread)[2][..., -1:, :]  # a path nearly lies in the plane this is normal to
    tubes = ribbons(path, np.broadcast_to(flattest, path.shape), radius, radius)
    return set_densities(tubes, hounsfield, hounsfield, 1)


def set_densities(tubes: Tubes, core: float, wall: float, inner: float) -> Tubes:
    """Return the same tubes with other densities, HU, in the core and in the wall."""
    ones = np.ones(len(tubes.start))
    return replace(tubes, core=core * ones, wall=wall * ones, inner=inner * ones)


def join_tubes(parts: Sequence[Tubes]) -> Tubes:
    """Return several tubes as one."""
    return Tubes(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Tubes)))


def curve(knots: np.ndarray, pieces: int) -> np.ndarray:
    """Return smooth paths (…, pieces + 1, 3) through knots (…, K, 3): Catmull-Rom splines."""
    first, last = 2 * knots[..., :1, :] - knots[..., 1:2, :], 2 * knots[..., -1:, :] - knots[..., -2:-1, :]
    padded = np.concatenate([first, knots, last], axis=-2)
    position = np.linspace(0, knots.shape[-2] - 1, pieces + 1)
    index = np.minimum(position.astype(int), knots.shape[-2] - 2)
    t = (position - index)[:, None]
    before, here, there, after = (padded[..., index + k, :] for k in range(4))
    leave, arrive, rise = (there - before) / 2, (after - here) / 2, there - here
    return here + t * (leave + t * ((3 * rise - 2 * leave - arrive) + t * (leave + arrive - 2 * rise)))


def smooth_field(rng: np.random.Generator, cells: int, grid: int) -> Array:
    """Return a random field (grid, grid, grid) of zero mean and unit spread, smooth over a `cells`-th of the cube.

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
