"""The cube that a scan becomes: where it lies, the one resampling step to it, and all that decides it."""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from scipy import ndimage, sparse

from bench.dataset import DatasetSpec
from bench.system.files import digest_of

from .body import BODY_HU, opening, remove_table
from .reading.scan import AIR_HU, Scan

VERSION = 2  # raised whenever the same scan and recipe give another volume
STORED_HU = (-1024, 3071)  # padding outside the field of view (-2048, -3024) and metal are clipped to it

LATTICE_MM = 5.0
BLUR = 0.5  # sigma of the low-pass, in voxels of the coarser of the two grids
COARSE_MM = 4.0  # spacing at which the body is located
THICK_MM = 16.0  # what is thinner does not count in locating it: neither table nor blanket, nor some chest walls


@dataclass(frozen=True)
class Recipe:
    """All that decides what a scan becomes."""

    cube_mm: float
    grid: int
    keep_table: bool = False
    subject: Literal["patient", "bag"] = "patient"
    stored_hu: tuple[int, int] = STORED_HU

    @property
    def sha256(self) -> str:
        """SHA-256 of the recipe and the version of this code."""
        return digest_of({**asdict(self), "version": VERSION})


def stored_range(spec: DatasetSpec) -> tuple[int, int]:
    """Return the HU that volumes of a dataset are clipped to: all its window shows."""
    return STORED_HU[0], max(STORED_HU[1], int(spec.window[1]))


def prepare_volume(scan: Scan, recipe: Recipe) -> tuple[np.ndarray, tuple[float, float, float], str]:
    """Return the cube (D, H, W) int16 HU of a scan, its centre in RAS millimetres, and what became of the table."""
    is_bag = recipe.subject == "bag"
    centre = scan.centre_ras_mm if is_bag else cube_centre(scan, recipe.cube_mm)
    right, anterior, superior = np.subtract(scan.centre_ras_mm, centre).tolist()  # D, H, W run against S, A, R
    cube = resample(scan, (superior, anterior, right), recipe)
    volume = np.rint(np.clip(cube, *recipe.stored_hu)).astype(np.int16)
    if recipe.keep_table or is_bag:
        return volume, centre, "kept: as asked" if recipe.keep_table else "kept: a bag"
    volume, table = remove_table(volume, recipe.cube_mm / recipe.grid)
    return volume, centre, table


def cube_centre(scan: Scan, cube_mm: float) -> tuple[float, float, float]:
    """Return the RAS millimetres of the centre of the cube that is kept of a scan.

    Along the body the cranial end is kept, as X2CT-GAN does (its last 320 slices of 1 mm); a shorter scan is padded
    evenly. In the plane the cube is centred on the body, which scanners do not centre in their field of view. Centres
    are multiples of 5 mm, so that the same scan read from two files lands on the same grid.
    """
    extent = scan.hounsfield.shape[0] * scan.spacing_mm[0]
    top = scan.centre_ras_mm[2] + extent / 2
    superior = _snap(top - min(extent, cube_mm + LATTICE_MM) / 2)

    below_top = (top - superior + np.array([-cube_mm, cube_mm]) / 2) / scan.spacing_mm[0]
    first, last = np.clip(np.rint(below_top), 0, scan.hounsfield.shape[0]).astype(int)
    thick, strides = find_thick(scan.hounsfield[first:last], np.array(scan.spacing_mm))
    if not thick.any():
        return scan.centre_ras_mm[0], scan.centre_ras_mm[1], superior
    _, row, column = np.array(ndimage.center_of_mass(thick)) * strides
    height, width = scan.hounsfield.shape[1:]
    anterior = scan.centre_ras_mm[1] - (row - (height - 1) / 2) * scan.spacing_mm[1]
    right = scan.centre_ras_mm[0] - (column - (width - 1) / 2) * scan.spacing_mm[2]
    return _snap(right), _snap(anterior), superior


def find_thick(hounsfield: np.ndarray, spacing_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask of matter (D, H, W) too thick for a table, on a coarser grid, and the strides to that grid."""
    strides = np.maximum(1, np.rint(COARSE_MM / spacing_mm)).astype(int)
    coarse = hounsfield[tuple(slice(None, None, stride) for stride in strides)]
    return opening(coarse > BODY_HU, spacing_mm * strides, THICK_MM), strides


def _snap(position: float) -> float:
    return LATTICE_MM * round(float(position) / LATTICE_MM)


def resample(scan: Scan, offset_mm: tuple[float, float, float], recipe: Recipe) -> np.ndarray:
    """Return the cube (D, H, W) float32 HU whose centre lies `offset_mm`, in the order D, H, W, from that of a scan.

    One separable step: a Gaussian that is both the interpolation and the low-pass against aliasing. Values are clipped
    to what is stored before they are averaged. Voxels whose centre lies outside the scan are air.
    """
    grid, voxel_mm = recipe.grid, recipe.cube_mm / recipe.grid
    weights = [
        _axis_weights(size, spacing, offset, grid, voxel_mm)
        for size, spacing, offset in zip(scan.hounsfield.shape, scan.spacing_mm, offset_mm, strict=True)
    ]
    needed = np.unique(weights[0].indices)
    rows, columns = (_span(weight) for weight in weights[1:])
    along_rows, along_columns = weights[1][:, rows], weights[2][:, columns]
    planes = np.empty((len(needed), grid, grid), np.float32)
    for plane, index in zip(planes, needed, strict=True):
        above_air = np.clip(scan.hounsfield[index, rows, columns], *recipe.stored_hu).astype(np.float32)
        above_air -= AIR_HU
        plane[:] = along_columns.dot(along_rows.dot(above_air).T).T
    cube = weights[0][:, needed].dot(planes.reshape(len(needed), -1)).reshape(grid, grid, grid)
    return cube + np.float32(AIR_HU)


def _span(weights: sparse.csr_matrix) -> slice:
    """Return the samples from the first to the last that any weight falls on."""
    used = weights.indices
    return slice(int(used.min()), int(used.max()) + 1) if used.size else slice(0, 0)


def _axis_weights(size: int, spacing: float, offset: float, grid: int, voxel: float) -> sparse.csr_matrix:
    """Return weights (grid, size) float32 along one axis; a row sums to 1, or to 0 where it lies outside the scan."""
    centres = ((np.arange(grid) - (grid - 1) / 2) * voxel + offset) / spacing + (size - 1) / 2
    sigma = BLUR * max(1.0, voxel / spacing)
    distance = np.arange(size) - centres[:, None]
    weights = np.where(np.abs(distance) <= 4 * sigma, np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
    inside = (centres >= -0.5) & (centres <= size - 0.5)
    weights = inside[:, None] * weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return sparse.csr_matrix(weights.astype(np.float32))
