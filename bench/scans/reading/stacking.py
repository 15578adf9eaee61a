"""Slices of a volume told apart and put in order by where they lie, with the check that none is missing or aside."""

from collections.abc import Hashable, Sequence

import numpy as np

from .scan import ScanError

UNEVEN = 0.05  # of the slice distance: how far a slice may lie along the normal from where even steps put it, …
ROUNDED_MM = 0.06  # … or this, as positions are often written with one decimal
ASIDE = 0.5  # of a pixel: the same across the normal
SHARED = 0.5  # of the shorter of two acquisitions' extent: what both cover when they are volumes of their own
LEAST_PASS, HALF = 20, 0.5  # slices of each pass through a series, and the part of its extent that they cover


def split_acquisitions(
    positions: np.ndarray,
    orientation: np.ndarray,
    labels: Sequence[Hashable],
    numbers: Sequence[int],
    times: Sequence[Sequence[Hashable]] = (),
) -> list[np.ndarray]:
    """Return the indices of the slices of each volume among those of one series, which may hold several.

    `positions` (n, 3) and `orientation` (6,) are as DICOM states them, `labels` tell acquisitions apart and `numbers`
    are those of the slices. Acquisitions that follow one another along the normal, as turns of a scanner do, are one
    volume; when any two overlap, each is one. Without different labels, numbers that run through the same range twice
    tell them, or `times`: labels of other kinds, which may also be those of single slices.
    """
    rows, columns = orientation.reshape(2, 3)
    along = positions @ np.cross(rows, columns)
    groups = _group(list(labels))
    if len(groups) == 1:
        others = [_passes(along, np.array(numbers)), *(_group(list(kind)) for kind in times)]
        groups = next((other for other in others if _run_through(along, other)), groups)
    return groups if _overlap(along, groups) else [np.arange(len(positions))]


def _overlap(along: np.ndarray, groups: list[np.ndarray]) -> bool:
    """Return whether any two groups of slices share more than half of the shorter one's extent along the normal."""
    low, high = (np.array([end(along[group]) for group in groups]) for end in (np.min, np.max))
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    shorter = np.minimum((high - low)[:, None], high - low)
    np.fill_diagonal(shared, -np.inf)
    return bool(((shared > SHARED * shorter) | ((shorter == 0) & (shared == 0))).any())


def _group(labels: list[Hashable]) -> list[np.ndarray]:
    places: dict[Hashable, list[int]] = {}
    for index, label in enumerate(labels):
        places.setdefault(label, []).append(index)
    return [np.array(indices) for indices in places.values()]


def _passes(along: np.ndarray, numbers: np.ndarray) -> list[np.ndarray]:
    """Return the runs in which positions only rise, or only fall, with the numbers of the slices, if these differ."""
    if len(np.unique(numbers)) < len(numbers):
        return []
    order = np.argsort(numbers)
    starts, direction = [0], 0.0
    for index, step in enumerate(np.diff(along[order]), start=1):
        if direction and np.sign(step) != direction:
            starts.append(index)
            direction = 0.0
        else:
            direction = float(np.sign(step))
    return np.split(order, starts[1:])


def _run_through(along: np.ndarray, groups: list[np.ndarray]) -> bool:
    """Return whether each of several groups runs through half of all there is, slice by slice."""
    extent = HALF * np.ptp(along)
    return len(groups) > 1 and all(len(group) >= LEAST_PASS and np.ptp(along[group]) > extent for group in groups)


def order_slices(
    positions: np.ndarray, orientation: np.ndarray, spacing: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of slices along their normal and the affine (4, 4) from (column, row, slice) to RAS millimetres.

    `positions` (n, 3) of the first voxels and `orientation` (6,) of rows and columns are LPS, `spacing` is that of rows
    and columns in millimetres, all as DICOM states them. Raises ScanError when a slice is missing, doubled, or lies
    aside of the straight line through all of them.
    """
    rows, columns = orientation.reshape(2, 3)
    normal = np.cross(rows, columns)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    positions, along = positions[order], along[order]
    steps = np.diff(along)
    median = float(np.median(steps))
    if not np.isfinite(median) or median < 1e-3 or steps.min() < 1e-3:
        raise ScanError("two slices lie at the same position; keep one acquisition a series")
    places = np.stack([np.ones(len(order)), np.arange(len(order))], axis=1)
    (first, step), *_ = np.linalg.lstsq(places, positions, rcond=None)
    first, step = first.round(9), step.round(9)  # so that the same places in two files are the same to the last bit
    off = positions - places @ np.stack([first, step])
    off_along = off @ normal
    if np.abs(off_along).max() > max(UNEVEN * median, ROUNDED_MM):
        worst = int(np.abs(steps - median).argmax())
        where = f"{steps[worst]:g} mm between slices {worst + 1} and {worst + 2} of {len(order)}, median {median:g} mm"
        raise ScanError(f"slices are missing or uneven: {where}; copy the series again")
    aside = np.linalg.norm(off - off_along[:, None] * normal, axis=1)
    if aside.max() > ASIDE * min(spacing):
        worst = int(aside.argmax())
        raise ScanError(
            f"slices are not above one another: slice {worst + 1} of {len(order)} lies {aside[worst]:.1f} mm aside of "
            "the line through all; keep one reconstruction a series"
        )
    return order, affine_of(first, rows, columns, spacing, step)  # not the normal: a gantry may be tilted


def affine_of(
    first: np.ndarray, rows: np.ndarray, columns: np.ndarray, spacing: tuple[float, float], slice_step: np.ndarray
) -> np.ndarray:
    """Return the affine (4, 4) from (column, row, slice) to RAS millimetres of slices from `first` on, given in LPS."""
    down, across = spacing
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows * across, columns * down
    affine[:3, 2], affine[:3, 3] = slice_step, first
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
