"""Readers bring every scan to one orientation and one scale, and name what they cannot use with the reason."""

import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bench.errors import BenchError
from bench.scans.reading.find import find_scans
from bench.scans.reading.names import patient_of
from bench.scans.reading.scan import Scan, orient

from ..helpers.scans import affine_of, find_all, read_only, write_nifti

SPACING = (3.0, 2.0, 1.5)  # D, H, W
CENTRE = (7.0, -20.0, 130.0)


def body(shape: tuple[int, int, int] = (48, 32, 40)) -> np.ndarray:
    """A block of tissue (D, H, W) in air with one dense marker towards superior, anterior, right."""
    hounsfield = np.full(shape, -1000, np.int16)
    hounsfield[4:-4, 6:-6, 6:-6] = 40
    hounsfield[8:12, 9:12, 10:15] = 700
    return hounsfield


def write(path: Path, hounsfield: np.ndarray, codes: str = "LPI") -> Path:
    return write_nifti(path, hounsfield, SPACING, CENTRE, codes)


def same(scan: Scan, hounsfield: np.ndarray) -> None:
    np.testing.assert_array_equal(scan.hounsfield, hounsfield)
    np.testing.assert_allclose(scan.spacing_mm, SPACING, rtol=1e-5)
    np.testing.assert_allclose(scan.centre_ras_mm, CENTRE, atol=1e-3)


@pytest.mark.parametrize("codes", ["LPI", "RAS", "LAS", "PIR", "SLA", "ASR"])
def test_a_nifti_in_any_orientation_is_the_same_scan(tmp_path: Path, codes: str) -> None:
    scan = read_only(write(tmp_path / "case.nii.gz", body(), codes))
    same(scan, body())
    assert scan.hounsfield.dtype == np.int16


def test_scaled_integers_and_metres_are_honoured(tmp_path: Path) -> None:
    affine = np.diag([0.001, 0.001, 0.001, 1.0]) @ affine_of(body().shape, SPACING, CENTRE)
    image = nibabel.Nifti1Image((body().transpose(2, 1, 0) + 1024).astype(np.int16), affine)
    image.header.set_xyzt_units("meter")
    image.header.set_slope_inter(1.0, -1024.0)
    content = bytearray(image.to_bytes())
    content[112:120] = np.array([1.0, -1024.0], "<f4").tobytes()  # nibabel drops them on writing
    (tmp_path / "a.nii").write_bytes(content)
    same(read_only(tmp_path), body())


def test_an_oblique_scan_is_brought_to_the_axes_of_the_scanner(tmp_path: Path) -> None:
    angle = np.radians(12)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    grid = np.stack(np.meshgrid(*[np.arange(60) * 2.0 - 59] * 3, indexing="ij"), axis=-1) @ rotation.T  # RAS
    smooth = 500 * np.exp(-((grid - [5, -8, 6]) ** 2).sum(-1) / 2 / 10**2) - 1000
    affine = np.eye(4)
    affine[:3, :3] = rotation * 2.0
    affine[:3, 3] = rotation @ np.full(3, -59.0)
    scan = orient(smooth.astype(np.float32), affine)
    d, h, w = (np.arange(size) - (size - 1) / 2 for size in scan.hounsfield.shape)
    right, anterior, superior = (c - 2.0 * axis for c, axis in zip(scan.centre_ras_mm, (w, h, d), strict=True))
    distance = (superior - 6)[:, None, None] ** 2 + (anterior + 8)[None, :, None] ** 2 + (right - 5)[None, None, :] ** 2
    expected = 500 * np.exp(-distance / 2 / 10**2) - 1000
    bound = 3 * 2.0**2 / 8 * 500 / 10**2  # of linear interpolation: axes · h²/8 · largest second derivative
    assert np.abs(scan.hounsfield - expected).max() < bound
    assert expected.max() > -508  # the peak is in it, at most a voxel off


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("LIDC-IDRI-0001_2mm", "LIDC-IDRI-0001"),
        ("ct_LIDC-IDRI-0912.20000101.1", "LIDC-IDRI-0912"),
        ("TCGA-DE-A4MA_2mm", "TCGA-DE-A4MA"),
        ("subject-7_1.5mm", "subject-7"),
        ("subject-7_2mm_iso", "subject-7"),
        ("totalseg_example_ct", "totalseg_example_ct"),
    ],
)
def test_the_patient_is_taken_from_the_file_name(name: str, patient: str) -> None:
    assert patient_of(name) == patient


def test_hidden_and_other_files_are_passed_over_and_one_just_called_ct_is_named_by_its_folder(tmp_path: Path) -> None:
    for folder in ("s0001", "s0002"):
        write(tmp_path / folder / "ct.nii.gz", body())
    (tmp_path / "s0001" / "._ct.nii.gz").write_bytes(b"\0" * 100)
    (tmp_path / "notes.csv").write_text("a,b\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    sources, rejected = find_all(tmp_path)
    assert [(source.patient, source.series) for source in sources] == [("s0001_ct",) * 2, ("s0002_ct",) * 2]
    assert not rejected


def test_without_the_extra_dicom_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(BenchError, match=r"pip install 'ct-from-views-bench\[data\]'"):
        list(find_scans(tmp_path))
