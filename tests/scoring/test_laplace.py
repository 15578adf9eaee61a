"""The likelihood around predictions: planted scales come back, no test case is seen, and every bad input has a word."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import laplace

from bench.cases import Cases
from bench.errors import BenchError
from bench.runs.predictions import write_prediction
from bench.scoring.laplace import (
    FILE_NAME,
    NO_FIT,
    LaplaceFit,
    fit_files,
    fit_for,
    read_fit,
    settings_digest,
    write_fit,
)
from bench.scoring.protocol import FittedLaplace, Protocol
from bench.scoring.protocols import FITTED, PROTOCOLS
from bench.scoring.score import RunFacts, score_predictions

from .test_protocols import settings_of, with_another

WINDOW = (-1000.0, 1000.0)
QUICK = replace(FITTED, bins=(1, 2, 4), voxels=2**12)
FACTS = RunFacts("toy-toy-tiny-s0-00000000", "toy", "builtin", "tiny", 0, "0")
PLAIN = Protocol(id="ct3d-1", truth="ct", distortion=PROTOCOLS["ct3d-1"].distortion, laplace=QUICK)


def make_cases(truth: np.ndarray, make_data: Callable[..., dict], split: str = "validation") -> Cases:
    """The toy data set with these volumes (N, D, H, W) as one of its splits."""
    cases = make_data(size=truth.shape[1])[split]
    names = tuple(f"{split}-{index:03d}" for index in range(len(truth)))
    affines = np.stack([cases.affines[0]] * len(truth))
    return replace(cases, names=names, hounsfield=truth.astype(np.int16), affines=affines)


def write_all(folder: Path, predicted: np.ndarray, cases: Cases) -> dict[str, Path]:
    for name, volume in zip(cases.names, predicted, strict=True):
        write_prediction(folder, name, (volume + 1000) / 2000, cases, seconds=0.0, seed=0)
    return {name: folder / f"{name}.nii.gz" for name in cases.names}


def fit_folder(folder: Path, cases: Cases, settings: FittedLaplace = QUICK) -> LaplaceFit:
    """Return the fit on all cases of a folder."""
    return fit_all({name: folder / f"{name}.nii.gz" for name in cases.names}, cases, settings)


def fit_all(files: dict[str, Path], cases: Cases, settings: FittedLaplace = QUICK) -> LaplaceFit:
    fit = fit_files(files, cases, settings)
    assert isinstance(fit, LaplaceFit)
    return fit


@pytest.fixture
def planted(make_data, tmp_path: Path) -> tuple[Path, Cases]:
    """Predictions of two kinds: about −600 HU, off by −40 with scale 5, and about 300, off by 25 with scale 60."""
    random = np.random.default_rng(0)
    shape = (6, 16, 16, 16)
    low = np.indices(shape).sum(0) % 2 == 0  # exactly half, so that two bins part them
    predicted = np.where(low, random.uniform(-650, -550, shape), random.uniform(250, 350, shape))
    error = np.where(low, random.laplace(-40, 5, shape), random.laplace(25, 60, shape))
    cases = make_cases(np.rint(predicted + error), make_data)
    write_all(tmp_path / "validation", predicted, cases)
    return tmp_path / "validation", cases


def test_planted_shifts_and_scales_are_found_by_predicted_value(planted: tuple[Path, Cases]) -> None:
    folder, cases = planted
    fit = fit_folder(folder, cases, replace(QUICK, bins=(2,)))
    assert fit.shifts == pytest.approx([-40, 25], abs=3)
    assert fit.scales == pytest.approx([5, 60], rel=0.05)


def test_more_bins_are_chosen_where_the_error_depends_on_the_prediction(planted: tuple[Path, Cases]) -> None:
    folder, cases = planted
    fit = fit_folder(folder, cases)
    assert len(fit.scales) >= 2
    assert min(fit.bits, key=lambda tried: fit.bits[tried])[0] in "24"
    ideal = np.mean([math.log2(2 * math.e * scale) for scale in (5, 60)])  # entropy of the Laplace distribution
    assert min(fit.bits.values()) == pytest.approx(ideal, abs=0.05)
    assert min(bits for tried, bits in fit.bits.items() if tried.startswith("1 ")) > ideal + 0.3


def test_one_half_fits_and_the_other_chooses(planted: tuple[Path, Cases]) -> None:
    folder, cases = planted
    fit = fit_folder(folder, cases)
    assert fit.fitted == cases.names[0::2]
    assert fit.chosen == cases.names[1::2]
    changed, one_try = cases.hounsfield.copy(), replace(QUICK, bins=(1,), least_scales_hu=(0.05,))
    changed[1::2] = 0  # of those that choose
    other, same = (fit_folder(folder, given, one_try) for given in (replace(cases, hounsfield=changed), cases))
    assert (other.shifts, other.scales) == (same.shifts, same.scales)
    assert other.bits != same.bits


def test_the_bits_of_a_case_are_those_of_scipy(planted: tuple[Path, Cases]) -> None:
    folder, cases = planted
    fit = fit_folder(folder, cases, replace(QUICK, bins=(2,)))
    predicted, truth = np.linspace(-990, 990, 45), np.linspace(-1000, 1000, 45).round()[::-1]
    place = (predicted[:, None] >= np.array(fit.edges)).sum(1)
    of_voxel = laplace(predicted + np.array(fit.shifts)[place], np.array(fit.scales)[place])
    upper = np.where(truth >= 1000, 1.0, of_voxel.cdf(truth + 0.5))
    lower = np.where(truth <= -1000, 0.0, of_voxel.cdf(truth - 0.5))
    probable = upper - lower > 1e-9
    assert probable.sum() > 4
    nats = fit.nats(truth, predicted, WINDOW)
    np.testing.assert_allclose(nats[probable], -np.log((upper - lower)[probable]), rtol=1e-6)
    assert np.isfinite(nats).all()


def test_the_fit_sees_no_test_case(planted: tuple[Path, Cases], make_data, tmp_path: Path) -> None:
    """Only the case itself changes its number when the truth of a test case changes."""
    folder, validation = planted
    random = np.random.default_rng(1)
    truth = random.integers(-900, 900, (3, 16, 16, 16))
    test = make_cases(truth, make_data, "test")
    write_all(tmp_path / "test", truth + random.normal(0, 30, truth.shape), test)
    fit = fit_for(tmp_path / "test", folder, validation, QUICK)

    def bits(cases: Cases) -> dict[str, float | None]:
        rows = score_predictions(FACTS, {"test": cases}, tmp_path / "test", PLAIN, laplace=fit)
        return {row.case: row.value for row in rows if row.metric == "laplace_bits_per_voxel" and row.level == "case"}

    before, changed = bits(test), test.hounsfield.copy()
    changed[0] = 500
    (tmp_path / "test" / FILE_NAME).unlink()
    assert fit_for(tmp_path / "test", folder, validation, QUICK) == fit
    after = bits(replace(test, hounsfield=changed))
    assert after["test-000"] != before["test-000"]
    assert [after[name] for name in test.names[1:]] == [before[name] for name in test.names[1:]]


@pytest.fixture
def kept(planted: tuple[Path, Cases], tmp_path: Path) -> LaplaceFit:
    """The fit that was kept beside the predictions of a test split."""
    fit = fit_for(tmp_path / "test", *planted, QUICK)
    assert isinstance(fit, LaplaceFit)
    return fit


def test_a_kept_fit_needs_no_validation_predictions_and_other_settings_do(
    kept: LaplaceFit, planted: tuple[Path, Cases], tmp_path: Path
) -> None:
    assert read_fit(tmp_path / "test" / FILE_NAME) == kept
    assert fit_for(tmp_path / "test", tmp_path / "none", planted[1], QUICK) == kept
    assert fit_for(tmp_path / "test", tmp_path / "none", planted[1], replace(QUICK, bins=(1,))) == NO_FIT


def test_changed_validation_predictions_are_fitted_again(
    kept: LaplaceFit, planted: tuple[Path, Cases], tmp_path: Path
) -> None:
    folder, cases = planted
    write_all(folder, np.zeros(cases.hounsfield.shape), cases)
    assert fit_for(tmp_path / "test", folder, cases, QUICK) != kept


def test_checking_makes_the_fit_anew_and_keeps_nothing(
    kept: LaplaceFit, planted: tuple[Path, Cases], tmp_path: Path
) -> None:
    forged = kept.model_copy(update={"scales": tuple(scale / 3 for scale in kept.scales)})
    write_fit(tmp_path / "test" / FILE_NAME, forged)
    assert fit_for(tmp_path / "test", *planted, QUICK, again=True) == kept
    assert read_fit(tmp_path / "test" / FILE_NAME) == forged


@pytest.mark.parametrize(("count", "reason"), [(0, NO_FIT), (1, "1 validation prediction; a fit needs 2")])
def test_too_few_validation_predictions_are_no_fit(count: int, reason: str, make_data, tmp_path: Path) -> None:
    cases = make_cases(np.zeros((3, 16, 16, 16)), make_data)
    files = write_all(tmp_path, np.zeros((3, 16, 16, 16)), cases)
    assert fit_files({name: files[name] for name in cases.names[:count]}, cases, QUICK) == reason


def test_without_a_fit_every_case_says_why(make_data, tmp_path: Path) -> None:
    cases = make_cases(np.zeros((2, 16, 16, 16)), make_data, "test")
    write_all(tmp_path, np.zeros((2, 16, 16, 16)), cases)
    rows = [
        row
        for row in score_predictions(FACTS, {"test": cases}, tmp_path, PLAIN)
        if row.metric == "laplace_bits_per_voxel"
    ]
    assert {(row.value, row.status, row.note) for row in rows} == {(None, "na", NO_FIT)}
    assert {row.level for row in rows} == {"case", "set"}


@pytest.mark.parametrize("predicted", ["truth", "flat"])
def test_exact_and_flat_predictions_have_a_finite_number(predicted: str, make_data, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    truth = random.integers(-1000, 1001, (4, 16, 16, 16))
    cases = make_cases(truth, make_data)
    files = write_all(tmp_path, truth if predicted == "truth" else np.full(truth.shape, -1000.0), cases)
    fit = fit_all(files, cases)
    bits = fit.score(truth[0], (truth[0] + 1000) / 2000 if predicted == "truth" else np.zeros(truth[0].shape), WINDOW)
    assert bits.value is not None
    expected = 0.0 if predicted == "truth" else math.log2(2001)  # of a uniform draw
    assert bits.value == pytest.approx(expected, abs=0.01 if predicted == "truth" else 0.7)
    far = fit.score(np.full(truth[0].shape, 1000), np.zeros(truth[0].shape), WINDOW)  # all that could be wrong is
    assert far.value is not None
    assert math.isfinite(far.value)


def test_a_damaged_fit_is_named(kept: LaplaceFit, planted: tuple[Path, Cases], tmp_path: Path) -> None:
    path = tmp_path / "test" / FILE_NAME
    for change in ({"scales": [0.0]}, {"edges": [3.0, 1.0]}, {"fitted": []}, {"more": 1}):
        path.write_text(json.dumps(kept.model_dump(mode="json") | change))
        with pytest.raises(BenchError, match=r"laplace\.json is damaged"):
            fit_for(tmp_path / "test", *planted, QUICK)


def test_every_setting_enters_the_hash_of_the_fit() -> None:
    settings = [FITTED, *(with_another(FITTED, path) for path in settings_of(FITTED))]
    assert len(settings) == len(FittedLaplace.__dataclass_fields__) + 1
    assert len({settings_digest(one, WINDOW) for one in settings}) == len(settings)
    assert settings_digest(FITTED, WINDOW) != settings_digest(FITTED, (-1000.0, 3095.0))
