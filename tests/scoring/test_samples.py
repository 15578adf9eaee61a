"""Several samples of a case: mean and best by formula, intervals that hold draws as stated, and rows of their own.

Checked against closed forms and counting by hand; nothing of one sample changes when further ones are there.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.cases import Cases
from bench.dataset import DatasetCard, to_unit
from bench.errors import BenchError
from bench.metrics import MEAN_OF_K, METRICS, SAMPLED
from bench.runs.predictions import count_samples, sample_folder, write_prediction
from bench.scoring.protocol import CaseScore, Protocol, Samples, SetScore
from bench.scoring.protocols import DEFAULT, PROTOCOLS
from bench.scoring.rows import Score, score_key
from bench.scoring.samples import no_sample_scores, score_alone, score_samples
from bench.scoring.score import RunFacts, score_predictions

from ..helpers.toy_data import GEOMETRY

WINDOW = (-1000.0, 1000.0)
CARD = DatasetCard("toy", "phantom", 16, 20.0, WINDOW, 16, (270.0, 0.0), (True, False), GEOMETRY, {}, "")
FACTS = RunFacts("toy-s0", "toy", "external", "tiny", 0, "0")


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch) -> Protocol:
    """The default protocol with samples and without its slow parts."""
    quick = replace(PROTOCOLS[DEFAULT], fidelity=None, turn=None, projections=None, likelihood=None, samples=Samples())
    monkeypatch.setitem(PROTOCOLS, DEFAULT, quick)
    return quick


@pytest.fixture
def cases(make_data) -> dict[str, Cases]:
    return make_data(test=3)


def values(scores: Sequence[CaseScore | SetScore]) -> dict[tuple[str, str], float | None]:
    return {(score.axis, score.metric): score.value for score in scores}


def stored(folder: Path, cases: Cases, volumes: np.ndarray) -> None:
    """Write samples (K, N, D, H, W) in [0, 1] as a folder of predictions holds them."""
    for index, sample in enumerate(volumes):
        for name, volume in zip(cases.names, sample, strict=True):
            write_prediction(sample_folder(folder, index), name, volume, cases, seconds=0.0, seed=None)


def noisy(cases: Cases, count: int = 3, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    truth = np.stack([cases.truth(name) for name in cases.names])
    return np.clip(truth + random.normal(0, 0.1, (count, *truth.shape)), 0, 1)


def scored(cases: dict[str, Cases], folder: Path, protocol: Protocol, csv: Path | None = None, **facts) -> list[Score]:
    return score_predictions(replace(FACTS, **facts), cases, folder, protocol, csv)


def of(rows: Sequence[Score], metric: str, axis: str = "all", stat: str = "value") -> dict[str, float | None]:
    return {row.case: row.value for row in rows if (row.metric, row.axis, row.stat) == (metric, axis, stat)}


def test_mean_and_best_of_offsets_are_their_closed_forms() -> None:
    truth, offsets = np.full((12, 12, 12), 0.5), (0.3, -0.1, 0.2, 0.0)
    found = values(score_samples("a", truth, [truth + offset + 0.01 for offset in offsets], CARD, Samples()))
    mean = np.mean(offsets) + 0.01
    assert found["all", "mse_mean_of_k"] == pytest.approx(mean**2)
    assert found["all", "mae_mean_of_k"] == pytest.approx(mean)
    assert found["all", "psnr_mean_of_k"] == pytest.approx(-20 * np.log10(mean))
    assert found["all", "psnr_best_of_k"] == pytest.approx(40.0)
    assert found["all", "mae_best_of_k"] == pytest.approx(0.01)
    assert found["all", "interval_coverage"] == 1.0


def test_voxels_inside_are_counted_by_the_tissue_of_the_ct() -> None:
    hounsfield = np.array([-1000.0, -700, -700, -100, 40, 40, 40, 40, 700.0]).reshape(1, 3, 3)
    low = np.array([0.5, -0.1, 0.1, -0.1, -0.1, -0.1, -0.1, 0.1, 0.1]).reshape(1, 3, 3)  # of the lowest sample, off
    truth = to_unit(hounsfield, WINDOW)
    samples = [truth + low, truth + 0.2, truth + 0.15]
    scores = score_samples("a", truth, samples, CARD, Samples())
    shares = {score.metric: score.value for score in scores if score.metric.startswith("interval_coverage")}
    of_classes = {"air": 0.0, "lung": 0.5, "fat": 1.0, "soft": 0.75, "bone": 0.0}
    assert shares == {
        "interval_coverage": 5 / 9,
        **{f"interval_coverage_{name}": share for name, share in of_classes.items()},
    }
    assert {score.space for score in scores if score.metric == "interval_coverage_fat"} == {"tissue"}


@pytest.mark.parametrize(("spread", "share"), [(1.0, 7 / 9), (0.2, None)])
def test_draws_like_the_truth_are_enclosed_as_stated_and_narrow_ones_less(spread: float, share: float | None) -> None:
    random = np.random.default_rng(1)
    centre = np.full((30, 30, 30), 0.5)
    truth = centre + random.normal(0, 0.05, centre.shape)
    samples = [centre + spread * random.normal(0, 0.05, centre.shape) for _ in range(8)]
    scores = score_samples("a", truth, samples, CARD, Samples())
    (found,) = (score for score in scores if (score.metric, score.axis) == ("interval_coverage", "all"))
    assert "77.8%" in found.note
    assert found.n == 8
    assert found.value is not None
    assert found.value == pytest.approx(share, abs=0.01) if share else found.value < 0.4


def test_ties_count_alike_at_every_call() -> None:
    truth = np.zeros((12, 12, 12))
    samples = [truth, truth, np.where(np.arange(12) < 6, 0.0, 0.1) + truth]
    first, second = (values(score_samples("a", truth, samples, CARD, Samples())) for _ in range(2))
    assert first == second
    assert 0 < first["all", "interval_coverage_air"] < 1


def test_equal_samples_are_said_to_be_equal_and_enclose_nothing() -> None:
    truth = np.linspace(0, 1, 12**3).reshape(12, 12, 12)
    scores = score_samples("a", truth, [0.9 * truth] * 3, CARD, Samples())
    assert all("all samples are equal (3)" in score.note for score in scores)
    found = values(scores)
    assert found["all", "mae_mean_of_k"] == found["all", "mae_best_of_k"] == pytest.approx(np.mean(0.1 * truth))
    assert found["all", "interval_coverage_lung"] is None


def test_what_is_not_there_is_undefined_with_the_reason() -> None:
    truth = np.full((12, 12, 12), 0.5)
    scores = score_samples("a", truth, [truth, truth - 0.1], CARD, Samples())
    assert all(score.value is None or np.isfinite(score.value) for score in scores)
    notes = {(score.axis, score.metric): score.note for score in scores if score.value is None}
    assert notes["all", "interval_coverage_bone"] == "the truth has no such voxel"
    assert "PSNR is infinite" in notes["all", "psnr_best_of_k"]
    assert {score.value for score in no_sample_scores()} == {None}


def test_a_method_that_draws_nothing_is_its_own_mean() -> None:
    scores = [CaseScore("3d", "all", metric, 0.5) for metric in SAMPLED] + [CaseScore("mip", "d", "psnr", 9.0)]
    assert values(score_alone(scores)) == {("all", f"{metric}{MEAN_OF_K}"): 0.5 for metric in SAMPLED}


def test_samples_have_rows_of_their_own_and_change_no_other(tmp_path: Path, cases, protocol: Protocol) -> None:
    volumes = noisy(cases["test"])
    stored(tmp_path / "one", cases["test"], volumes[:1])
    stored(tmp_path / "three", cases["test"], volumes)
    assert (count_samples(tmp_path / "one"), count_samples(tmp_path / "three")) == (1, 3)
    one, three = scored(cases, tmp_path / "one", protocol), scored(cases, tmp_path / "three", protocol, samples=3)
    own = {metric for metric, entry in METRICS.items() if entry.family == "samples"}
    missing = own - {row.metric for row in three}
    assert missing == {f"interval_coverage_{name}" for name in ("organic", "cloth", "mineral", "metal")}  # of bags
    assert [row for row in three if row.metric not in own] == [row for row in one if row.metric not in own]
    for index, name in enumerate(cases["test"].names):
        error = np.mean((volumes[:, index].mean(0) - cases["test"].truth(name)) ** 2)
        assert of(three, "psnr_mean_of_k")[name] == pytest.approx(-10 * np.log10(error), abs=1e-4)
        assert of(three, "psnr_mean_of_k")[name] > of(three, "psnr_best_of_k")[name] >= of(three, "psnr")[name]
    assert {row.n for row in three if row.metric == "psnr_mean_of_k" and row.level == "case"} == {3}
    (missing,) = (row for row in one if row.metric == "psnr_mean_of_k")
    assert (missing.level, missing.value, missing.status) == ("set", None, "na")
    assert "one sample a case" in missing.note


def test_one_volume_of_a_method_that_draws_nothing_is_its_mean_of_k(tmp_path: Path, cases, protocol: Protocol) -> None:
    stored(tmp_path, cases["test"], noisy(cases["test"], 1))
    rows = scored(cases, tmp_path, protocol, draws=False)
    assert of(rows, "psnr_mean_of_k") == of(rows, "psnr")
    assert of(rows, "psnr_mean_of_k", stat="mean") == of(rows, "psnr", stat="mean")
    assert not of(rows, "interval_coverage")


def test_a_protocol_without_samples_sees_the_first_alone(tmp_path: Path, cases, protocol: Protocol) -> None:
    stored(tmp_path, cases["test"], noisy(cases["test"]))
    rows = scored(cases, tmp_path, replace(protocol, samples=None), samples=3)
    assert not {row.metric for row in rows if METRICS[row.metric].family == "samples"}


def test_kept_rows_are_those_of_the_same_samples(tmp_path: Path, cases, protocol: Protocol, monkeypatch) -> None:
    from bench.scoring import score

    stored(tmp_path / "p", cases["test"], noisy(cases["test"]))
    csv, called = tmp_path / "scores.csv", []
    real = score.score_case
    monkeypatch.setattr(score, "score_case", lambda *given: called.append(1) or real(*given))
    first = scored(cases, tmp_path / "p", protocol, csv, samples=3)
    assert sorted(scored(cases, tmp_path / "p", protocol, csv, samples=3), key=score_key) == sorted(
        first, key=score_key
    )
    assert len(called) == 3
    other = np.full((16, 16, 16), 0.3)
    folder, name = sample_folder(tmp_path / "p", 2), cases["test"].names[1]
    write_prediction(folder, name, other, cases["test"], seconds=0.0, seed=None)
    again = scored(cases, tmp_path / "p", protocol, csv, samples=3)
    assert len(called) == 4
    assert of(again, "psnr") == of(first, "psnr")
    changed = {
        case for case, value in of(again, "psnr_mean_of_k").items() if value != of(first, "psnr_mean_of_k")[case]
    }
    assert changed == {name}
    scored(cases, tmp_path / "p", protocol, csv, samples=2)
    assert len(called) == 7


def test_missing_and_damaged_samples_are_refused_by_name(tmp_path: Path, cases, protocol: Protocol) -> None:
    stored(tmp_path, cases["test"], noisy(cases["test"]))
    (sample_folder(tmp_path, 2) / "test-001.nii.gz").unlink()
    with pytest.raises(BenchError, match=r"samples/002: no sample of test-001"):
        scored(cases, tmp_path, protocol, samples=3)
    assert of(scored(cases, tmp_path, protocol, samples=2), "psnr_mean_of_k").keys() >= {"test-001"}
    (sample_folder(tmp_path, 1) / "test-000.nii.gz").write_bytes((tmp_path / "test-001.nii.gz").read_bytes())
    with pytest.raises(BenchError, match=r"samples/001/test-000.nii.gz is not the file its manifest describes"):
        scored(cases, tmp_path, protocol, samples=2)
