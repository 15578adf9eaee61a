"""Slices of a volume put in order by where they lie, with the check that none is missing."""

import numpy as np

from .scan import ScanError

UNEVEN = 0.1  # largest deviation of a slice distance from the median, as a part of it


def order_slices(
    positions: np.ndarray, orientation: np.ndarray, spacing: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of slices along their normal and the affine (4, 4) from (column, row, slice) to RAS millimetres.

    `positions` (n, 3) of the first voxels and `orientation` (6,) of rows and columns are LPS, `spacing` is that of rows
    and columns in millimetres, all as DICOM states them. Raises ScanError when a slice is missing or doubled.
    """
    rows, columns = orientation.reshape(2, 3)
    along = positions @ np.cross(rows, columns)
    order = np.argsort(along, kind="stable")
    positions = positions[order]
    steps = np.diff(along[order])
    median = float(np.median(steps))
    if not np.isfinite(median) or median < 1e-3 or steps.min() < 1e-3:
        raise ScanError("two slices lie at the same position; keep one acquisition a series")
    worst = int(np.abs(steps - median).argmax())
    if abs(steps[worst] - median) >= UNEVEN * median:
        where = f"{steps[worst]:g} mm between slices {worst + 1} and {worst + 2} of {len(order)}, median {median:g} mm"
        raise ScanError(f"slices are missing or uneven: {where}; copy the series again")
    slice_step = (positions[-1] - positions[0]) / (len(order) - 1)  # not the normal: a gantry may be tilted
    return order, affine_of(positions[0], rows, columns, spacing, slice_step)


def affine_of(
    first: np.ndarray, rows: np.ndarray, columns: np.ndarray, spacing: tuple[float, float], slice_step: np.ndarray
) -> np.ndarray:
    """Return the affine (4, 4) from (column, row, slice) to RAS millimetres of slices from `first` on, given in LPS."""
    down, across = spacing
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows * across, columns * down
    affine[:3, 2], affine[:3, 3] = slice_step, first
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
