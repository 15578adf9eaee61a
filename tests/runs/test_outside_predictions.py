"""Predictions in other formats and on other grids: same voxels, same places, or a refusal that names the file."""

import pickle
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bench.cases import Cases
from bench.dataset import centred_affine
from bench.errors import BenchError
from bench.pipeline.resample import onto_grid, resample_predictions
from bench.runs.predictions import find_predictions, read_prediction

CASE = "test-001"


@pytest.fixture
def cases(make_data: Callable[..., dict[str, Cases]]) -> Cases:
    return make_data(test=3)["test"]


def truth(cases: Cases) -> np.ndarray:
    """(D, H, W) HU of the case."""
    return cases.hounsfield[cases.index(CASE)].astype(np.float32)


def unit(hounsfield: np.ndarray) -> np.ndarray:
    return (np.clip(hounsfield.astype(np.float64), -1000, 1000) + 1000) / 2000


@pytest.mark.parametrize(
    ("suffix", "flips"), [(".nrrd", ()), (".nrrd", (1, 2)), (".nhdr", (0,)), (".mha", (0, 1, 2)), (".mhd", (1, 2))]
)
def test_itk_files_in_any_orientation_are_the_same_volume(
    suffix: str, flips: tuple[int, ...], cases: Cases, tmp_path: Path
) -> None:
    itk = pytest.importorskip("SimpleITK")
    image = itk.GetImageFromArray(truth(cases))  # index order w, h, d
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ cases.affines[cases.index(CASE)]  # RAS to LPS
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    flipped = itk.Flip(image, [axis in flips for axis in range(3)])
    itk.WriteImage(itk.PermuteAxes(flipped, [2, 0, 1]), str(tmp_path / f"{CASE}{suffix}"))
    (path,) = find_predictions(tmp_path, cases.names, allow_missing=True).values()
    read, note = read_prediction(path, cases, CASE)
    np.testing.assert_allclose(read, unit(truth(cases)), atol=1e-6)
    assert note == "" or "clipped" in note


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, np.int64])
def test_an_array_is_taken_as_depth_height_width(dtype: type, cases: Cases, tmp_path: Path) -> None:
    np.save(tmp_path / f"{CASE}.npy", truth(cases).astype(dtype))
    read, _ = read_prediction(tmp_path / f"{CASE}.npy", cases, CASE)
    np.testing.assert_allclose(read, unit(truth(cases)), atol=1e-6)
    np.save(tmp_path / f"{CASE}.npy", unit(truth(cases)))
    with pytest.raises(BenchError, match="pass --unit unit"):
        read_prediction(tmp_path / f"{CASE}.npy", cases, CASE)
    read, _ = read_prediction(tmp_path / f"{CASE}.npy", cases, CASE, "unit")
    np.testing.assert_allclose(read, unit(truth(cases)), atol=1e-6)


def test_the_images_of_a_run_are_not_taken_for_a_volume(cases: Cases, tmp_path: Path) -> None:
    np.save(tmp_path / f"{CASE}.npy", truth(cases))
    np.save(tmp_path / f"{CASE}.renders.npy", np.zeros((2, 16, 16)))
    assert list(find_predictions(tmp_path, cases.names, allow_missing=True)) == [CASE]


def test_what_is_no_volume_is_refused_by_name(cases: Cases, tmp_path: Path) -> None:
    path = tmp_path / f"{CASE}.npy"
    for content, words in ((pickle.dumps([1, 2]), "plain .npy"), (b"", "plain .npy")):
        path.write_bytes(content)
        with pytest.raises(BenchError, match=words):
            read_prediction(path, cases, CASE)
    for array, words in (
        (np.zeros((16, 16)), "shape"),
        (np.zeros((16, 16, 15)), "--resample"),
        (np.zeros((16, 16, 16), complex), "numbers"),
        (np.full((16, 16, 16), np.nan), "NaN"),
    ):
        np.save(path, array)
        with pytest.raises(BenchError, match=words) as refusal:
            read_prediction(path, cases, CASE)
        assert str(path) in str(refusal.value)


def test_itk_files_that_reach_elsewhere_or_do_not_say_how_they_lie_are_refused(cases: Cases, tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    itk.WriteImage(itk.GetImageFromArray(truth(cases)), str(tmp_path / f"{CASE}.mhd"))
    header = tmp_path / f"{CASE}.mhd"
    text = header.read_text()
    for elsewhere in ("/etc/passwd", "../secret.raw", "LIST", f"{CASE}.%d.raw 1 16 1"):
        header.write_text(text.replace(f"{CASE}.raw", elsewhere))
        with pytest.raises(BenchError, match=CASE):
            read_prediction(header, cases, CASE)
    nrrd = tmp_path / f"{CASE}.nrrd"
    sizes = b"NRRD0004\ntype: float\ndimension: 3\nsizes: 16 16 16\nencoding: raw\nendian: little\n\n"
    nrrd.write_bytes(sizes + truth(cases).tobytes())
    with pytest.raises(BenchError, match="states no space"):
        read_prediction(nrrd, cases, CASE)


def ramp(size: int, affine: np.ndarray) -> np.ndarray:
    """(W, H, D): a linear function of the place in millimetres, which linear interpolation repeats exactly."""
    index = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), -1)
    return (index @ affine[:3, :3].T + affine[:3, 3]) @ [1.0, 0.5, -0.7]


@pytest.mark.parametrize("size", [11, 16, 24, 40])
def test_a_linear_volume_is_the_same_on_any_grid(size: int, cases: Cases) -> None:
    affine = cases.affines[0]
    other = centred_affine(size, 320.0 / size, (3.0, -7.0, 20.0))
    made, covered = onto_grid(ramp(size, other), np.linalg.inv(other) @ affine, (16, 16, 16), -1000.0)
    inner = (slice(4, -4),) * 3  # away from the border, where smoothing and the last centres bend it
    np.testing.assert_allclose(made[inner], ramp(16, affine)[inner], atol=1.5)
    assert covered == 1.0


def test_a_finer_grid_is_smoothed_before_it_is_thinned(cases: Cases) -> None:
    fine = centred_affine(64, 5.0, (3.0, -7.0, 20.0))
    noise = np.random.default_rng(0).normal(size=(64, 64, 64))
    made, _ = onto_grid(noise, np.linalg.inv(fine) @ cases.affines[0], (16, 16, 16), 0.0)
    assert made.std() < 0.15  # 0.35 by linear interpolation alone


def test_what_the_prediction_does_not_reach_is_air(cases: Cases) -> None:
    shifted = cases.affines[0].copy()
    shifted[2, 3] -= 4 * 20.0  # four voxels down
    made, covered = onto_grid(np.full((16, 16, 16), 50.0), np.linalg.inv(shifted) @ cases.affines[0], (16,) * 3, -1000)
    assert covered == 0.75
    assert (made[:, :, :4] == -1000).all()
    assert (made[:, :, 4:] == 50).all()


def test_a_volume_that_lies_elsewhere_is_refused(cases: Cases, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(truth(cases).T, np.diag([20.0, 20.0, 20.0, 1.0])), tmp_path / f"{CASE}.nii.gz")
    with pytest.raises(BenchError, match=r"covers \d+ % of test-001"):
        resample_predictions(tmp_path, tmp_path / "out", cases, "hu", allow_missing=True)


def test_a_direction_that_would_hang_its_reader_is_refused(cases: Cases, tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    path = tmp_path / f"{CASE}.mha"
    itk.WriteImage(itk.GetImageFromArray(truth(cases)), str(path))
    content = path.read_bytes()
    assert b"1 0 0 0 1 0 0 0 1" in content
    path.write_bytes(content.replace(b"1 0 0 0 1 0 0 0 1", b"1 0 0 0 1 0 0 1e308 1"))
    with pytest.raises(BenchError, match="no usable affine"):
        read_prediction(path, cases, CASE)
