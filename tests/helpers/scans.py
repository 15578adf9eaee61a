"""Synthetic scans: two bodies in air, NIfTI files of them, the datasets they are prepared for, and what was found."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from bench.data.store import load_volume
from bench.dataset import DatasetSpec, Geometry, PreparedCase
from bench.scans.prepare import PrepareReport, prepare
from bench.scans.reading.find import find_scans
from bench.scans.reading.scan import Rejected, Scan, ScanError, ScanSource

VOXEL_MM = 5.0
SIDE = 64  # voxels: 320 mm


CHEST = DatasetSpec(
    name="chest", title="chest", window=(-1000.0, 1000.0), cube_mm=320.0, full_grid=32,
    geometry=Geometry(541.0, 949.0, 500.0), presets={}, phantom=None, phantom_version=1,
    assign_splits=lambda records: {}, citation="",
)  # fmt: skip
BAG = replace(CHEST, name="bags", window=(-1000.0, 3095.0), subject="bag")


def phantom() -> np.ndarray:
    """(D, H, W) int16 HU, 320 mm at 5 mm: a trunk without symmetry in air, every value exact in half precision."""
    d, h, w = (axis - (SIDE - 1) / 2 for axis in np.ogrid[:SIDE, :SIDE, :SIDE])
    hounsfield = np.full((SIDE,) * 3, -1000, np.int16)
    hounsfield[(w / 26) ** 2 + (h / 20) ** 2 < 0.8 + 0 * d] = 40
    for side in (-1, 1):
        hounsfield[((w - 12 * side) / 8) ** 2 + (h / 12) ** 2 + ((d + side) / 24) ** 2 < 1] = -860
    hounsfield[w**2 + (h - 12) ** 2 + 0 * d < 9] = 400
    hounsfield[8:14, 20:26, 22:30] = 900  # towards superior, anterior, right
    return hounsfield


def noisy() -> np.ndarray:
    """The phantom with noise that no compression takes away."""
    return phantom() + np.random.default_rng(0).integers(-20, 20, (SIDE,) * 3).astype(np.int16)


def torso(
    shape: tuple[int, int, int] = (64, 80, 80), voxel: float = VOXEL_MM, width: float = 300.0, wall: float = 0.15
) -> np.ndarray:
    """(D, H, W) HU: an elliptic trunk, wider at the lower end, with two lungs above a diaphragm, spine and sternum."""
    d, h, w = np.meshgrid(*[(np.arange(size) - (size - 1) / 2) * voxel for size in shape], indexing="ij")
    lower = (d + shape[0] * voxel / 2) / (shape[0] * voxel)  # 0 at the upper end, 1 at the lower
    hounsfield = np.full(shape, -1000, np.int16)
    hounsfield[(w / (width / 2)) ** 2 + (h / 110) ** 2 < 0.75 + 0.25 * lower] = 30
    cavity = (w / (width / 2)) ** 2 + (h / 110) ** 2 < 0.75 - wall + 0.25 * lower
    for side in (-1, 1):
        lung = ((w - side * width / 4) / 55) ** 2 + (h / 85) ** 2 + ((d + 10) / 120) ** 2 < 1
        hounsfield[lung & cavity] = -860
    hounsfield[(w**2 + (h - 70) ** 2 < 22**2)] = 400
    hounsfield[(np.abs(w) < 18) & (np.abs(h + 85) < 6) & (d < 40)] = 350
    return hounsfield


def with_table(hounsfield: np.ndarray, gap: int) -> np.ndarray:
    """The same on a flat plate, one voxel thick and as wide as the field of view, `gap` voxels behind the back."""
    back = int(np.argwhere(hounsfield > -400)[:, 1].max())
    result = hounsfield.copy()
    result[:, back + 1 + gap] = 100
    return result


def affine_of(
    shape: Sequence[int], spacing: Sequence[float] = (VOXEL_MM,) * 3, centre: Sequence[float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """Affine (w, h, d) → RAS millimetres of an array (D, H, W) around a centre, all axes against R, A, S."""
    affine = np.diag([*(-step for step in spacing[::-1]), 1.0])
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def write_nifti(
    path: Path,
    hounsfield: np.ndarray,
    spacing: Sequence[float] = (VOXEL_MM,) * 3,
    centre: Sequence[float] = (0.0, 0.0, 0.0),
    codes: str = "LPI",
) -> Path:
    """Write (D, H, W) HU with the voxel axes running along `codes`, the same points in space whatever they are."""
    image = nibabel.Nifti1Image(hounsfield.transpose(2, 1, 0), affine_of(hounsfield.shape, spacing, centre))
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes)))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image.as_reoriented(turn), path)
    return path


def find_all(folder: Path) -> tuple[list[ScanSource], list[Rejected]]:
    """The scans in a folder, and what was rejected at first sight."""
    items = list(find_scans(folder))
    return [i for i in items if isinstance(i, ScanSource)], [i for i in items if isinstance(i, Rejected)]


def read_only(folder: Path) -> Scan:
    """The one scan of a folder, or of a file, in which nothing is rejected."""
    (source,), rejected = find_all(folder)
    assert not rejected
    return source.read()


def refusals(folder: Path) -> list[Rejected]:
    """Everything in a folder, none of which can be used, with the reasons at first sight and on reading."""
    sources, rejected = find_all(folder)
    for source in sources:
        with pytest.raises(ScanError) as caught:
            source.read()
        rejected.append(Rejected(source.path, str(caught.value)))
    return rejected


def refusal(folder: Path) -> str:
    """The reason why the only thing in a folder cannot be used."""
    (item,) = refusals(folder)
    return item.reason


def prepare_chests(folder: Path, spec: DatasetSpec = CHEST, **options: object) -> PrepareReport:
    return prepare(spec, folder, workers=1, **options)


def prepare_one(spec: DatasetSpec, folder: Path, **options: object) -> tuple[PreparedCase, np.ndarray]:
    """The one case that a folder becomes."""
    report = prepare_chests(folder, spec, **options)
    assert not report.refused, report.refused
    (record,) = report.prepared
    return record, load_volume(spec.name, record)


def names(report: PrepareReport) -> tuple[list[str], list[str], list[str]]:
    """Cases prepared, cases kept, files refused."""
    prepared, already = ([record.case for record in group] for group in (report.prepared, report.already))
    return prepared, already, [item.path.name for item in report.refused]
