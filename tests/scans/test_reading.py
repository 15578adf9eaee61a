"""Readers bring every scan to one orientation and one scale, and name what they cannot use with the reason."""

import gzip
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bench.errors import BenchError, UsageError
from bench.scans.reading.find import find_scans
from bench.scans.reading.nifti import patient_of
from bench.scans.reading.scan import Rejected, Scan, ScanError, ScanSource, check_hounsfield, oriented

SPACING = (3.0, 2.0, 1.5)  # D, H, W
CENTRE = (7.0, -20.0, 130.0)


def body(shape: tuple[int, int, int] = (48, 32, 40)) -> np.ndarray:
    """A block of tissue (D, H, W) in air with one dense marker towards superior, anterior, right."""
    hounsfield = np.full(shape, -1000, np.int16)
    hounsfield[4:-4, 6:-6, 6:-6] = 40
    hounsfield[8:12, 9:12, 10:15] = 700
    return hounsfield


def ras_affine(shape: tuple[int, ...], spacing: tuple[float, ...] = SPACING) -> np.ndarray:
    """Affine of an array stored (W, H, D) with all three axes against R, A, S, its centre at CENTRE."""
    affine = np.diag([-spacing[2], -spacing[1], -spacing[0], 1.0])
    affine[:3, 3] = np.array(CENTRE) - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def write_nifti(path: Path, hounsfield: np.ndarray, codes: str = "LPI") -> Path:
    """Write (D, H, W) HU with the voxel axes running along `codes`, the same points in space whatever they are."""
    image = nibabel.Nifti1Image(hounsfield.transpose(2, 1, 0), ras_affine(hounsfield.shape))
    orientations = nibabel.orientations
    wanted = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.axcodes2ornt(tuple(codes))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image.as_reoriented(wanted), path)
    return path


def only(folder: Path) -> ScanSource | Rejected:
    found = list(find_scans(folder))
    assert len(found) == 1, found
    return found[0]


def reason_of(path: Path) -> str:
    """Why a file is refused, at first sight or on reading."""
    source = only(path)
    if isinstance(source, Rejected):
        return source.reason
    with pytest.raises(ScanError) as caught:
        source.read()
    return str(caught.value)


def same(scan: Scan, hounsfield: np.ndarray) -> None:
    np.testing.assert_array_equal(scan.hounsfield, hounsfield)
    np.testing.assert_allclose(scan.spacing_mm, SPACING, rtol=1e-5)
    np.testing.assert_allclose(scan.centre_ras_mm, CENTRE, atol=1e-3)


@pytest.mark.parametrize("codes", ["LPI", "RAS", "LAS", "PIR", "SLA", "ASR"])
def test_a_nifti_in_any_orientation_is_the_same_scan(tmp_path: Path, codes: str) -> None:
    scan = only(write_nifti(tmp_path / "case.nii.gz", body(), codes)).read()
    same(scan, body())
    assert scan.hounsfield.dtype == np.int16


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_the_number_type_of_a_nifti_does_not_matter(tmp_path: Path, dtype: type) -> None:
    nibabel.save(
        nibabel.Nifti1Image(body().transpose(2, 1, 0).astype(dtype), ras_affine(body().shape)), tmp_path / "a.nii"
    )
    same(only(tmp_path).read(), body())


def test_scaled_integers_and_metres_are_honoured(tmp_path: Path) -> None:
    affine = np.diag([0.001, 0.001, 0.001, 1.0]) @ ras_affine(body().shape)
    image = nibabel.Nifti1Image((body().transpose(2, 1, 0) + 1024).astype(np.int16), affine)
    image.header.set_xyzt_units("meter")
    image.header.set_slope_inter(1.0, -1024.0)
    content = bytearray(image.to_bytes())
    content[112:120] = np.array([1.0, -1024.0], "<f4").tobytes()  # nibabel drops them on writing
    (tmp_path / "a.nii").write_bytes(content)
    same(only(tmp_path).read(), body())


def test_an_oblique_scan_is_brought_to_the_axes_of_the_scanner(tmp_path: Path) -> None:
    angle = np.radians(12)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    grid = np.stack(np.meshgrid(*[np.arange(60) * 2.0 - 59] * 3, indexing="ij"), axis=-1) @ rotation.T  # RAS
    smooth = 500 * np.exp(-((grid - [5, -8, 6]) ** 2).sum(-1) / 2 / 10**2) - 1000
    affine = np.eye(4)
    affine[:3, :3] = rotation * 2.0
    affine[:3, 3] = rotation @ np.full(3, -59.0)
    scan = oriented(smooth.astype(np.float32), affine)
    d, h, w = (np.arange(size) - (size - 1) / 2 for size in scan.hounsfield.shape)
    right, anterior, superior = (
        centre - 2.0 * axis for centre, axis in zip(scan.centre_ras_mm, (w, h, d), strict=True)
    )
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


def test_a_file_just_called_ct_is_named_by_its_folder(tmp_path: Path) -> None:
    for folder in ("s0001", "s0002"):
        write_nifti(tmp_path / folder / "ct.nii.gz", body())
    assert [source.patient for source in find_scans(tmp_path)] == ["s0001_ct", "s0002_ct"]


def test_every_unusable_nifti_is_refused_with_its_reason(tmp_path: Path) -> None:
    affine = ras_affine(body().shape)

    def save(name: str, array: np.ndarray, affine: np.ndarray | None = affine) -> Path:
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / name)
        return tmp_path / name

    good = body().transpose(2, 1, 0)
    with_nan = good.astype(np.float32)
    with_nan[3, 3, 3] = np.nan
    assert "4-D" in reason_of(save("4d.nii.gz", np.stack([good, good], axis=-1)))
    assert "NaN" in reason_of(save("nan.nii.gz", with_nan))
    assert "all air" in reason_of(save("air.nii.gz", np.full_like(good, -1000)))
    assert "HU + 1024" in reason_of(save("unsigned.nii.gz", good + 1024))
    padded = good + 1024
    padded[:6] = -1024
    assert "HU + 1024" in reason_of(save("padded.nii.gz", padded))
    assert "not HU" in reason_of(save("unit.nii.gz", (good > 0).astype(np.float32)))
    assert "spacing 50 × 2 × 3" in reason_of(save("spacing.nii.gz", good, np.diag([50.0, 2.0, 3.0, 1.0])))
    assert "independent" in reason_of(
        save("flat.nii.gz", good, np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    )
    assert "no orientation" in reason_of(save("nowhere.nii.gz", good, None))
    assert "not a volume" in reason_of(save("slice.nii.gz", good[:, :, :1]))
    assert "2-D" in reason_of(save("picture.nii.gz", good[:, :, 0]))
    (tmp_path / "empty.nii.gz").touch()
    assert "empty" in reason_of(tmp_path / "empty.nii.gz")
    (tmp_path / "text.nii").write_text("no image at all" * 40)
    assert "damaged or no NIfTI" in reason_of(tmp_path / "text.nii")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_truncated_gz_is_refused(tmp_path: Path, kept: float) -> None:
    noise = np.random.default_rng(0).normal(0, 20, body().shape).astype(np.int16)
    content = write_nifti(tmp_path / "whole.nii.gz", body() + noise).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(content[: int(kept * len(content))])
    assert "damaged" in reason_of(tmp_path / "cut.nii.gz")


def test_a_flipped_bit_in_a_gz_is_noticed(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "stored.nii", body())
    content = bytearray(gzip.compress(path.read_bytes(), compresslevel=0))  # stored: only the checksum can tell
    content[len(content) // 2] ^= 1
    (tmp_path / "stored.nii.gz").write_bytes(content)
    assert "damaged" in reason_of(tmp_path / "stored.nii.gz")


def test_a_cut_uncompressed_nifti_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", body())
    path.write_bytes(path.read_bytes()[:-1000])
    assert "damaged" in reason_of(path)


def test_values_of_a_real_range_pass() -> None:
    check_hounsfield(body())
    check_hounsfield(np.where(body() == -1000, -2048, body()))  # padding only


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", body())
    (tmp_path / "._a.nii.gz").write_bytes(b"\0" * 100)
    (tmp_path / "notes.csv").write_text("a,b\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert only(tmp_path).series == "a"


def test_a_missing_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        list(find_scans(tmp_path / "nowhere"))


def test_the_hash_of_a_source_follows_its_content_alone(tmp_path: Path) -> None:
    first = only(write_nifti(tmp_path / "one" / "a.nii.gz", body()))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "a.nii.gz").rename(tmp_path / "two" / "b.nii.gz")
    assert only(tmp_path / "two").sha256() == first.sha256()
    assert only(write_nifti(tmp_path / "three" / "a.nii.gz", body() + 1)).sha256() != first.sha256()


def test_without_the_extra_dicom_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(BenchError, match=r"pip install 'ct-from-views-bench\[data\]'"):
        list(find_scans(tmp_path))
