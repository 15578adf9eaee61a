"""Where the prepared cube lies in a scan, and the one resampling step from native voxels to it."""

import numpy as np
from scipy import ndimage, sparse

from .body import BODY_HU, opened
from .reading.scan import AIR_HU, Scan

LATTICE_MM = 5.0
BLUR = 0.5  # sigma of the low-pass, in voxels of the coarser of the two grids
COARSE_MM = 4.0  # spacing at which the body is located
THICK_MM = 16.0  # what is thinner does not count in locating it: neither table nor blanket, nor some chest walls


def cube_centre(scan: Scan, cube_mm: float) -> tuple[float, float, float]:
    """RAS millimetres of the centre of the cube that is kept of a scan.

    Along the body the cranial end is kept, as X2CT-GAN does (its last 320 slices of 1 mm); a shorter scan is padded
    evenly. In the plane the cube is centred on the body, which scanners do not centre in their field of view. Centres
    are multiples of 5 mm, so that the same scan read from two files lands on the same grid.
    """
    extent = scan.hounsfield.shape[0] * scan.spacing_mm[0]
    top = scan.centre_ras_mm[2] + extent / 2
    superior = _snapped(top - min(extent, cube_mm + LATTICE_MM) / 2)

    below_top = (top - superior + np.array([-cube_mm, cube_mm]) / 2) / scan.spacing_mm[0]
    first, last = np.clip(np.rint(below_top), 0, scan.hounsfield.shape[0]).astype(int)
    strides = np.maximum(1, np.rint(COARSE_MM / np.array(scan.spacing_mm))).astype(int)
    coarse = scan.hounsfield[first : last : strides[0], :: strides[1], :: strides[2]]
    thick = opened(coarse > BODY_HU, np.array(scan.spacing_mm) * strides, THICK_MM)
    if not thick.any():
        return scan.centre_ras_mm[0], scan.centre_ras_mm[1], superior
    _, row, column = np.array(ndimage.center_of_mass(thick)) * strides
    height, width = scan.hounsfield.shape[1:]
    anterior = scan.centre_ras_mm[1] - (row - (height - 1) / 2) * scan.spacing_mm[1]
    right = scan.centre_ras_mm[0] - (column - (width - 1) / 2) * scan.spacing_mm[2]
    return _snapped(right), _snapped(anterior), superior


def _snapped(position: float) -> float:
    return LATTICE_MM * round(float(position) / LATTICE_MM)


def resampled(
    hounsfield: np.ndarray,
    spacing_mm: tuple[float, float, float],
    offset_mm: tuple[float, float, float],
    grid: int,
    voxel_mm: float,
    limits: tuple[int, int] | None = None,
) -> np.ndarray:
    """A cube (grid, grid, grid) float32 HU, `offset_mm` (along D, H, W) from the centre of a scan (D, H, W) in HU.

    One separable step: a Gaussian that is both the interpolation and the low-pass against aliasing. Values are clipped
    to `limits` before they are averaged. Voxels whose centre lies outside the scan are air.
    """
    weights = [
        axis_weights(size, spacing, offset, grid, voxel_mm)
        for size, spacing, offset in zip(hounsfield.shape, spacing_mm, offset_mm, strict=True)
    ]
    needed = np.unique(weights[0].indices)
    rows, columns = (_span(weight) for weight in weights[1:])
    along_rows, along_columns = weights[1][:, rows], weights[2][:, columns]
    planes = np.empty((len(needed), grid, grid), np.float32)
    for plane, index in zip(planes, needed, strict=True):
        part = hounsfield[index, rows, columns]
        above_air = (part if limits is None else np.clip(part, *limits)).astype(np.float32)
        above_air -= AIR_HU
        plane[:] = along_columns.dot(along_rows.dot(above_air).T).T
    cube = weights[0][:, needed].dot(planes.reshape(len(needed), -1)).reshape(grid, grid, grid)
    return cube + np.float32(AIR_HU)


def _span(weights: sparse.csr_matrix) -> slice:
    """From the first to the last sample that any weight falls on."""
    used = weights.indices
    return slice(int(used.min()), int(used.max()) + 1) if used.size else slice(0, 0)


def axis_weights(size: int, spacing: float, offset: float, grid: int, voxel: float) -> sparse.csr_matrix:
    """Weights (grid, size) float32 along one axis; a row sums to 1, or to 0 where it lies outside the scan."""
    centres = ((np.arange(grid) - (grid - 1) / 2) * voxel + offset) / spacing + (size - 1) / 2
    sigma = BLUR * max(1.0, voxel / spacing)
    distance = np.arange(size) - centres[:, None]
    weights = np.where(np.abs(distance) <= 4 * sigma, np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
    inside = (centres >= -0.5) & (centres <= size - 0.5)
    weights = inside[:, None] * weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return sparse.csr_matrix(weights.astype(np.float32))
