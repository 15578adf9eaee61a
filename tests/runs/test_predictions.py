"""Predictions on disk: bytes that repeat, axes and orientations that are honoured, and one clear line for the rest."""

import gzip
import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bench.cases import Cases
from bench.errors import BenchError, UsageError
from bench.runs.manifest import find_intact, read_manifest
from bench.runs.predictions import find_predictions, nifti_bytes, read_prediction, write_prediction

WINDOW = (-1000.0, 1000.0)


@pytest.fixture
def cases(make_data) -> Cases:
    return make_data(test=3)["test"]


def volume(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((16, 16, 16))


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def in_hu(unit: np.ndarray) -> np.ndarray:
    return (unit * 2000 - 1000).astype(np.float32)


def test_what_is_written_is_read_back(tmp_path: Path, cases: Cases) -> None:
    entry = write_prediction(tmp_path, "test-001", volume(), cases, seconds=1.25, seed=7)
    read, note = read_prediction(tmp_path / entry.file, cases, "test-001")
    assert note == ""
    np.testing.assert_allclose(read, volume(), atol=1e-7)
    assert read_manifest(tmp_path) == {"test-001": entry}
    assert entry.sha256 == hashlib.sha256((tmp_path / entry.file).read_bytes()).hexdigest()
    assert (entry.seconds, entry.seed) == (1.25, 7)


def test_the_file_is_float32_hu_on_the_grid_of_the_case(tmp_path: Path, cases: Cases) -> None:
    write_prediction(tmp_path, "test-000", volume(), cases, seconds=0.0, seed=None)
    image = nib.load(tmp_path / "test-000.nii.gz")
    assert image.get_data_dtype() == np.float32
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.affine, cases.affines[0], atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), cases.affines[0], atol=1e-4)
    d, h, w = 2, 5, 11
    assert np.asarray(image.dataobj)[w, h, d] == pytest.approx(2000 * volume()[d, h, w] - 1000, abs=1e-3)


def test_simpleitk_sees_the_same_voxel_at_the_same_place(tmp_path: Path, cases: Cases) -> None:
    sitk = pytest.importorskip("SimpleITK")
    write_prediction(tmp_path, "test-000", volume(), cases, seconds=0.0, seed=None)
    image = sitk.ReadImage(str(tmp_path / "test-000.nii.gz"))
    d, h, w = 3, 4, 9
    ras = cases.affines[0] @ [w, h, d, 1]
    index = image.TransformPhysicalPointToIndex([-ras[0], -ras[1], ras[2]])  # ITK counts in LPS
    assert image[index] == pytest.approx(2000 * volume()[d, h, w] - 1000, abs=1e-3)


def test_equal_predictions_are_equal_files(tmp_path: Path, cases: Cases) -> None:
    first = nifti_bytes(in_hu(volume()), cases.affines[0])
    assert first == nifti_bytes(in_hu(volume()), cases.affines[0])
    assert first != nifti_bytes(in_hu(volume(1)), cases.affines[0])
    header = gzip.decompress(first)[:348]
    assert first[3] == 0  # no file name, comment or extra field
    assert first[4:8] == b"\0\0\0\0"  # no time
    assert b"/" not in header[148:228]  # no path in the description


def test_a_prediction_written_again_replaces_its_entry(tmp_path: Path, cases: Cases) -> None:
    for case, seed in (("test-001", 1), ("test-000", 2), ("test-001", 3)):
        write_prediction(tmp_path, case, volume(seed), cases, seconds=0.0, seed=seed)
    assert {case: entry.seed for case, entry in read_manifest(tmp_path).items()} == {"test-000": 2, "test-001": 3}
    assert list(read_manifest(tmp_path)) == ["test-000", "test-001"]


def test_only_whole_files_count_as_done(tmp_path: Path, cases: Cases) -> None:
    for case in ("test-000", "test-001", "test-002"):
        write_prediction(tmp_path, case, volume(), cases, seconds=0.0, seed=0)
    (tmp_path / "test-000.nii.gz").unlink()
    broken = tmp_path / "test-001.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-1])
    assert list(find_intact(tmp_path)) == ["test-002"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_not_written(tmp_path: Path, cases: Cases, bad: float) -> None:
    broken = volume()
    broken[1, 2, 3] = bad
    with pytest.raises(BenchError, match="prediction of test-000 holds NaN"):
        write_prediction(tmp_path, "test-000", broken, cases, seconds=0.0, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_shape_is_not_written(tmp_path: Path, cases: Cases) -> None:
    with pytest.raises(BenchError, match=r"shape \(16, 16, 15\), not \(16, 16, 16\)"):
        write_prediction(tmp_path, "test-000", volume()[..., :15], cases, seconds=0.0, seed=0)


@pytest.mark.parametrize("order", ["RAS", "LPS", "LPI", "SAR", "ILA", "PSR", "RAI"])
def test_outside_files_are_turned_by_their_affine(tmp_path: Path, cases: Cases, order: str) -> None:
    """The same volume stored in other axis orders and directions, as nibabel itself turns it."""
    image = nib.Nifti1Image(in_hu(volume()).T, cases.affines[2])
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(order))
    )
    turned = image.as_reoriented(turn)
    assert nib.aff2axcodes(turned.affine) == tuple(order)
    path = save(tmp_path / "test-002.nii", np.asarray(turned.dataobj), turned.affine)
    read, _ = read_prediction(path, cases, "test-002")
    np.testing.assert_allclose(read, volume(), atol=1e-6)


def test_integers_float64_and_a_fourth_axis_of_one_are_accepted(tmp_path: Path, cases: Cases) -> None:
    whole = np.rint(in_hu(volume())).astype(np.int16)
    for array in (whole.T, whole.T.astype(np.float64), whole.T[..., None]):
        read, _ = read_prediction(save(tmp_path / "test-000.nii", array, cases.affines[0]), cases, "test-000")
        np.testing.assert_allclose(read, (whole + 1000.0) / 2000, atol=1e-7)


def test_values_outside_the_window_are_clipped_with_a_note(tmp_path: Path, cases: Cases) -> None:
    array = np.zeros((16, 16, 16), dtype=np.float32)
    array[0, 0, :8], array[0, 1, :8] = 3000.0, -2000.0
    read, note = read_prediction(save(tmp_path / "test-000.nii", array.T, cases.affines[0]), cases, "test-000")
    assert note == f"{100 * 16 / 4096:.3g} % of voxels clipped to -1000..1000"
    assert (read[0, 0, 0], read[0, 1, 0], read[5, 5, 5]) == (1.0, 0.0, 0.5)


def test_another_grid_is_refused_with_the_right_one_named(tmp_path: Path, cases: Cases) -> None:
    good = cases.affines[0]
    moved, coarse, oblique = good.copy(), good.copy(), good.copy()
    moved[0, 3] += 0.2 * cases.card.voxel_mm
    coarse[:3, :3] *= 1.05
    oblique[:3, :3] = [[-19.9, 2.0, 0], [-2.0, -19.9, 0], [0, 0, -20.0]]
    for affine in (moved, coarse, oblique, np.eye(4), np.diag([20.0, 20.0, 20.0, 1.0])):
        path = save(tmp_path / "test-000.nii", in_hu(volume()), affine)
        with pytest.raises(BenchError, match=r"test-000.nii lies on another grid: a corner is .* voxels off"):
            read_prediction(path, cases, "test-000")


def test_affines_rounded_in_print_are_accepted(tmp_path: Path, cases: Cases) -> None:
    path = save(tmp_path / "test-000.nii", in_hu(volume()).T, np.round(cases.affines[0], 1))
    assert read_prediction(path, cases, "test-000")[1] == ""


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((16, 16, 15), np.float32), r"has \(16, 16, 15\) voxels"),
        (np.zeros((16, 16), np.float32), "one number a voxel is needed"),
        (np.zeros((16, 16, 16, 2), np.float32), "one number a voxel is needed"),
        (np.zeros((16, 16, 16), np.complex64), "one number a voxel is needed"),
        (np.full((16, 16, 16), np.nan, np.float32), "4096 of 4096 voxels are NaN"),
    ],
)
def test_other_contents_are_refused_by_name(tmp_path: Path, cases: Cases, array: np.ndarray, message: str) -> None:
    path = save(tmp_path / "test-000.nii.gz", array, cases.affines[0])
    with pytest.raises(BenchError, match=f"test-000.nii.gz.*{message}"):
        read_prediction(path, cases, "test-000")


@pytest.mark.parametrize("content", [b"", b"not a volume", None])
def test_damaged_files_are_refused_by_name(tmp_path: Path, cases: Cases, content: bytes | None) -> None:
    path = save(tmp_path / "test-000.nii.gz", in_hu(volume()).T, cases.affines[0])
    path.write_bytes(path.read_bytes()[:3000] if content is None else content)
    with pytest.raises(BenchError, match=r"test-000.nii\.gz"):
        read_prediction(path, cases, "test-000")


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_files_are_matched_to_cases_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii", "a.1.nii.gz", "manifest.csv", "likelihood.csv", ".hidden.nii.gz", "notes.txt")
    found = find_predictions(tmp_path, ["a.1", "b"])
    assert {case: path.name for case, path in found.items()} == {"a.1": "a.1.nii.gz", "b": "b.nii"}


@pytest.mark.parametrize(
    ("names", "files", "message"),
    [
        (["a", "b", "c"], ["a.nii"], "2 of 3 cases have no file: b, c; add them or pass --allow-missing"),
        (["a"], ["a.nii", "z.nii"], "no such case in the split: z; cases are named like a"),
        (["a"], ["a.nii", "a.nii.gz"], "more than one file for a; keep one a case"),
        (list("abcdefgh"), ["a.nii"], "7 of 8 cases have no file: b, c, d, e, f and 2 more"),
    ],
)
def test_folders_that_do_not_fit_the_split_are_refused(tmp_path: Path, names, files, message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(BenchError, match=message):
        find_predictions(tmp_path, names)


def test_missing_cases_may_be_allowed_but_others_never(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii")
    assert list(find_predictions(tmp_path, ["a", "b"], allow_missing=True)) == ["a"]
    touch(tmp_path, "z.nii")
    with pytest.raises(BenchError, match="no such case in the split: z"):
        find_predictions(tmp_path, ["a", "b"], allow_missing=True)


def test_an_empty_or_absent_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no volume \(\.nii\.gz, \.nii"):
        find_predictions(tmp_path, ["a"])
    with pytest.raises(UsageError, match="no folder"):
        find_predictions(tmp_path / "absent", ["a"])
