"""What a folder of scans says of a dataset that is made of it: side of the cube, grid, window."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.dataset import Subject
from bench.errors import BenchError, UsageError

from .body import BODY_HU
from .cube import LATTICE_MM, STORED_HU, find_thick
from .reading.find import FORMATS, find_scans
from .reading.scan import AIR_HU, Rejected, Scan, ScanSource, UnitError

MOST_READ = 24  # patients, spread over all by name: the numbers are medians and rounded, and a scan takes seconds
GRIDS = (16, 32, 48, 64, 96, 128)  # finer ones cost disk and time with the cube, and no published method takes them
CUBE_STEP_MM, WINDOW_STEP_HU = 10, 100
MOST_HU = STORED_HU[1] // WINDOW_STEP_HU * WINDOW_STEP_HU
DARKEST, BRIGHTEST = 0.1, 99.9  # percentiles of a scan, without its few voxels of metal and of padding


@dataclass(frozen=True)
class Measured:
    """Constants of a dataset, and the scans they come from."""

    scans: int  # read and usable
    patients: int  # found
    cube_mm: float
    full_grid: int
    window: tuple[float, float]  # HU
    refused: tuple[Rejected, ...]  # of what was found or read


def measure_scans(folder: Path, subject: Subject, on_progress: Callable[[int, int], None]) -> Measured:
    """Return the constants that fit the scans in a folder, one of each patient, at most MOST_READ of them.

    Raises UsageError where there is no scan, only one patient, or a scan whose unit is not that of the others.
    """
    found = list(find_scans(folder))
    refused = [item for item in found if isinstance(item, Rejected)]
    patients: dict[str, ScanSource] = {}
    for source in sorted((item for item in found if isinstance(item, ScanSource)), key=lambda item: item.slices):
        patients[source.patient] = source  # of several series the one with most slices, as is prepared
    if not patients:
        seen = f"{refused[0].path} is no use: {refused[0].reason}" if refused else f"no file of {FORMATS}"
        raise UsageError(f"no scan found in {folder}: {seen}")
    names = sorted(patients)
    chosen = [names[index] for index in np.unique(np.linspace(0, len(names) - 1, MOST_READ).round().astype(int))]
    extents = []
    for done, name in enumerate(chosen, start=1):
        try:
            extents.append(_measure(patients[name].read(), subject))
        except UnitError as error:
            raise UsageError(f"the scans in {folder} are not all in HU: {patients[name].path}: {error}") from error
        except BenchError as error:
            refused.append(Rejected(patients[name].path, str(error)))
        on_progress(done, len(chosen))
    if len(extents) < 2:
        why = f"; {refused[0].path}: {refused[0].reason}" if refused else ""
        raise UsageError(
            f"{folder} holds usable scans of {len(extents)} patient{'' if len(extents) == 1 else 's'}, and a dataset "
            f"needs one to train and one to test; files of several patients differ in their names{why}"
        )
    return Measured(len(extents), len(patients), *_constants(extents), tuple(refused))


def _measure(scan: Scan, subject: Subject) -> tuple[float, float, float, float]:
    """Return the side of the smallest cube around a scan's matter and that of its voxels in mm, and its HU's two ends.

    The cube of a patient lies around the body; that of a bag is the whole scan.
    """
    spacing = np.array(scan.spacing_mm)
    thick, strides = find_thick(scan.hounsfield, spacing)
    sides = spacing * scan.hounsfield.shape
    if subject == "patient":  # of a longer body the cranial end is kept
        sides = sides[1:]
        if thick.any():
            sides = np.array([_width(thick.sum((0, 3 - axis))) * spacing[axis] * strides[axis] for axis in (1, 2)])
    values = scan.hounsfield[tuple(slice(None, None, stride) for stride in strides)]
    matter = values[values > BODY_HU]
    brightest = np.percentile(matter, BRIGHTEST) if matter.size else AIR_HU
    return float(sides.max()), float(spacing.prod() ** (1 / 3)), float(np.percentile(values, DARKEST)), float(brightest)


def _width(profile: np.ndarray) -> float:
    """Return the width, in samples, around the centre of mass of a profile that holds all of it."""
    places = np.flatnonzero(profile)
    centre = np.average(np.arange(profile.size), weights=profile)
    return 2 * float(max(centre - places[0], places[-1] - centre)) + 1


def _constants(extents: list[tuple[float, float, float, float]]) -> tuple[float, int, tuple[float, float]]:
    side, spacing, low, high = np.array(extents).T
    cube = CUBE_STEP_MM * math.ceil((np.percentile(side, 95) + LATTICE_MM) / CUBE_STEP_MM)
    grid = max((grid for grid in GRIDS if grid <= cube / np.median(spacing)), default=GRIDS[0])
    first = WINDOW_STEP_HU * math.floor(np.median(low) / WINDOW_STEP_HU)
    last = WINDOW_STEP_HU * math.ceil(np.median(high) / WINDOW_STEP_HU)
    return float(cube), grid, (float(max(first, AIR_HU)), float(np.clip(last, WINDOW_STEP_HU, MOST_HU)))
