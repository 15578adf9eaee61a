"""Predictions in another unit, or stored another way round, are refused, doubted aloud, or read as a card says."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bench.cases import Cases
from bench.errors import BenchError, UsageError
from bench.pipeline.doubts import find_better_unit
from bench.runs.prediction_card import PredictionCard, describe, join_clipping
from bench.runs.predictions import check_prediction, find_predictions, read_prediction

NOISE = np.random.default_rng(3)


@pytest.fixture
def cases(make_data: Callable[..., dict[str, Cases]]) -> Cases:
    return make_data(train=1, test=3)["test"]


def made(cases: Cases, case: str) -> np.ndarray:
    """A good prediction (D, H, W) in [0, 1]."""
    return np.clip(cases.truth(case) + NOISE.normal(0, 0.02, cases.hounsfield.shape[1:]), 0, 1)


def hounsfield(unit: np.ndarray) -> np.ndarray:
    return 2000 * unit - 1000


WRITTEN: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # [0, 1] → what people store
    "hu": hounsfield,
    "unit": lambda unit: unit,
    "hu+1024": lambda unit: hounsfield(unit) + 1024,
    "mhu": lambda unit: hounsfield(unit) + 1000,
    "signed": lambda unit: 2 * unit - 1,
    "byte": lambda unit: np.rint(255 * unit),
    "hu+1024, unclipped": lambda unit: hounsfield(unit) + 1024 + NOISE.normal(0, 30, unit.shape),
    "byte, unclipped": lambda unit: 255 * unit + NOISE.normal(0, 4, unit.shape),
    "range": lambda unit: (hounsfield(unit) + 1000) / 2500,
}


def write(folder: Path, cases: Cases, store: Callable[[np.ndarray], np.ndarray]) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    for case, affine in zip(cases.names, cases.affines, strict=True):
        stored = store(made(cases, case)).astype(np.float32)
        nib.save(nib.Nifti1Image(stored.T, affine), folder / f"{case}.nii.gz")
    return find_predictions(folder, cases.names)


@pytest.mark.parametrize(
    ("stored", "unit", "advice"),
    [
        ("unit", "hu", "--unit unit"),
        ("signed", "hu", "--unit signed"),
        ("byte", "hu", "--unit byte"),
        ("hu+1024", "hu", r"--unit hu\+1024"),
        ("mhu", "hu", "--unit mhu"),
        ("hu+1024, unclipped", "hu", r"--unit hu\+1024"),
        ("byte, unclipped", "hu", "--unit byte"),
        ("range", "hu", "--unit unit"),
        ("signed", "unit", "--unit signed"),
        ("byte", "unit", "--unit byte"),
        ("hu", "unit", "--unit hu"),
        ("hu", "signed", "--unit hu"),
        ("hu", "byte", "--unit hu"),
        ("unit", "byte", "--unit unit"),
    ],
)
def test_what_cannot_be_of_the_unit_is_refused(
    tmp_path: Path, cases: Cases, stored: str, unit: str, advice: str
) -> None:
    files = write(tmp_path / "p", cases, WRITTEN[stored])
    case = cases.names[0]
    with pytest.raises(BenchError, match=rf"{case}.nii.gz.*pass --unit.*") as caught:
        check_prediction(files[case], cases, case, unit)
    assert advice.replace("\\", "") in str(caught.value)


@pytest.mark.parametrize("unit", ["hu", "unit", "hu+1024", "mhu", "signed", "byte"])
def test_every_known_unit_is_the_same_prediction_and_no_doubt(tmp_path: Path, cases: Cases, unit: str) -> None:
    files = write(tmp_path / "p", cases, WRITTEN[unit])
    for case, path in files.items():
        check_prediction(path, cases, case, unit)
        error = read_prediction(path, cases, case, unit)[0] - cases.truth(case)
        assert np.sqrt(np.mean(error**2)) < 0.025
    assert find_better_unit(files, cases, unit) == ""


@pytest.mark.parametrize(
    ("stored", "unit", "says"),
    [
        ("hu+1024", "hu", "as HU + 1024 (--unit hu+1024)"),
        ("range", "unit", 'as another range (unit = "unit", range = [-1000, 1500] in a card)'),
    ],
)
def test_what_fits_far_better_in_another_unit_is_doubted(
    tmp_path: Path, cases: Cases, stored: str, unit: str, says: str
) -> None:
    files = write(tmp_path / "p", cases, WRITTEN[stored])
    assert says in find_better_unit(files, cases, PredictionCard(unit=unit))


@pytest.mark.parametrize("unit", ["hu", "hu+1024"])
def test_values_beyond_all_matter_are_refused(tmp_path: Path, cases: Cases, unit: str) -> None:
    files = write(tmp_path / "p", cases, lambda values: hounsfield(values) * 1e30)
    with pytest.raises(BenchError, match="which no HU do"):
        check_prediction(files[cases.names[0]], cases, cases.names[0], unit)


@pytest.mark.parametrize("change", [lambda v: np.full_like(v, 0.5), lambda v: 0.5 + 0.4 * (v - 0.5)])
def test_a_prediction_that_is_merely_bad_is_neither(tmp_path: Path, cases: Cases, change: Callable) -> None:
    files = write(tmp_path / "p", cases, lambda unit: hounsfield(change(unit)))
    for case, path in files.items():
        check_prediction(path, cases, case, "hu")
    assert find_better_unit(files, cases, "hu") == ""


def write_card(folder: Path, text: str) -> None:
    folder.with_name(f"{folder.name}.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("card", "store"),
    [
        ('unit = "unit"\nrange = [-1000, 1500]', lambda unit: (WRITTEN["range"](unit)).T),
        ('unit = "signed"\naxes = ["D", "H", "W"]', lambda unit: WRITTEN["signed"](unit)),
        ('axes = ["W", "-H", "D"]', lambda unit: hounsfield(unit).transpose(2, 1, 0)[:, ::-1]),
        ('axes = ["H", "W", "D"]\nflips = ["D", "W"]', lambda unit: hounsfield(unit)[::-1, :, ::-1].transpose(1, 2, 0)),
        ("crop = [[2, 18], [0, 16], [1, 17]]", lambda unit: np.pad(hounsfield(unit), [(2, 3), (0, 0), (1, 0)])),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".nii"])
def test_a_card_says_what_files_cannot(tmp_path: Path, cases: Cases, card: str, store: Callable, suffix: str) -> None:
    folder, case = tmp_path / "p.1", cases.names[0]
    folder.mkdir()
    write_card(folder, card)
    expected = made(cases, case)
    stored = np.ascontiguousarray(store(expected)).astype(np.float32)
    if suffix == ".npy":
        np.save(folder / f"{case}.npy", stored.T if "range" in card else stored)
    else:
        affine = cases.affines[0] if "range" in card else np.eye(4)  # which the card overrules
        nib.save(nib.Nifti1Image(stored, affine), folder / f"{case}.nii")
    how = describe(folder, None)
    check_prediction(folder / f"{case}{suffix}", cases, case, how)
    np.testing.assert_allclose(read_prediction(folder / f"{case}{suffix}", cases, case, how)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('unit = "furlong"', "unit: "),
        ("units = 1", "units: "),
        ('axes = ["D", "D", "W"]', "axes must name D, H and W once each"),
        ("range = [1, -1]", "range must rise"),
        ("crop = [[0, 4]]", "crop"),
        ("unit = ", "cannot be read"),
    ],
)
def test_a_wrong_card_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p").mkdir()
    write_card(tmp_path / "p", text)
    with pytest.raises(BenchError, match=r"p\.toml") as caught:
        describe(tmp_path / "p", None)
    assert message in str(caught.value)


def test_the_command_line_and_the_card_may_not_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    assert describe(tmp_path / "p", None) == "hu"
    assert describe(tmp_path / "p", "unit") == "unit"
    write_card(tmp_path / "p", 'unit = "signed"')
    assert describe(tmp_path / "p", "signed") == PredictionCard(unit="signed")
    with pytest.raises(UsageError, match="contradicts the card"):
        describe(tmp_path / "p", "unit")


def test_clipping_is_told_apart_from_other_notes() -> None:
    notes = ["a; b; 3 % of voxels clipped to -1000..1000", "12.5 % of voxels clipped to -1000..1000", "c"]
    plain, said = join_clipping(notes)
    assert plain == ["a; b", "", "c"]
    assert said == "up to 12.5 % of voxels clipped to -1000..1000 in 2 of 3 cases"
