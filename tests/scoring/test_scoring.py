"""From predictions to rows: every number in its place, only files are read, and a stopped scoring goes on."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.cases import Cases
from bench.dataset import to_unit
from bench.errors import BenchError
from bench.metrics.settings import EncoderSettings
from bench.runs.predictions import write_prediction
from bench.runs.record import StageRecord
from bench.scoring import score as scoring
from bench.scoring.bits import CaseLikelihood, write_likelihoods
from bench.scoring.cases import score_case
from bench.scoring.protocol import Fidelity
from bench.scoring.protocols import get_protocol
from bench.scoring.rows import Score, check_scores, frame_of, read_scores
from bench.scoring.score import RunFacts, score_predictions

from ..helpers.toy_data import make_data as make_toy_data
from ..helpers.toy_data import predict, towards_grey

PLAIN = replace(get_protocol("ct3d-1"), fidelity=None, turn=None)
NARROW = EncoderSettings(widths=(4, 8, 8, 8), head_width=8)
FEW = Fidelity(nearest_k=3, encoder=NARROW, encoder_seeds=(0,), baseline_draws=1, small_encoded_side=48)
FACTS = RunFacts("mine-toy-tiny-s3-0123abcd", "mine", "builtin", "tiny", 3, "0.1.0")


@pytest.fixture(scope="module")
def data() -> dict[str, Cases]:
    return make_toy_data(train=8, test=7)


@pytest.fixture(scope="module")
def rows(data: dict[str, Cases], tmp_path_factory: pytest.TempPathFactory) -> list[Score]:
    """The rows of predictions that become greyer from case to case."""
    return score_predictions(FACTS, data, predict(tmp_path_factory.mktemp("grey"), data["test"], towards_grey), PLAIN)


def truth(cases: Cases) -> np.ndarray:
    return to_unit(cases.hounsfield.astype(np.float64), cases.card.window)


def values(rows, **wanted) -> list[float | None]:
    return [r.value for r in rows if all(getattr(r, key) == value for key, value in wanted.items())]


def watch_cases(monkeypatch: pytest.MonkeyPatch, limit: int = 99) -> list[int]:
    """Return a list that grows with each case that is scored; more than a limit of them are an interruption."""
    scored: list[int] = []

    def score(volumes, protocol):
        if len(scored) == limit:
            raise KeyboardInterrupt
        scored.append(1)
        return score_case(volumes, protocol)

    monkeypatch.setattr(scoring, "score_case", score)
    return scored


def test_every_case_has_its_own_numbers_in_3d_and_on_projections(data, rows) -> None:
    check_scores(frame_of(rows))
    assert {(r.protocol, r.protocol_hash, r.code_version) for r in rows} == {("ct3d-1", PLAIN.sha256(), "0.1.0")}
    for index, case in enumerate(data["test"].names):
        exact = truth(data["test"])[index]
        error = (exact - towards_grey(exact, index)).ravel()
        (mse,) = values(rows, case=case, space="3d", metric="mse")
        (l1,) = values(rows, case=case, space="3d", metric="l1_sample")
        assert mse == pytest.approx(np.mean(error**2), rel=1e-5)
        assert l1 == pytest.approx(np.mean(np.abs(error)), rel=1e-5)
        for number, axis in enumerate("dhw"):
            flat = exact.max(number) - towards_grey(exact, index).max(number)
            (psnr,) = values(rows, case=case, space="mip", axis=axis, metric="psnr")
            assert psnr == pytest.approx(-10 * math.log10(np.mean(flat**2)), rel=1e-5)
        per_axis = [values(rows, case=case, space="mip", axis=a, metric="ssim")[0] for a in ("d", "h", "w", "mean")]
        assert per_axis[3] == pytest.approx(np.mean(per_axis[:3]))


def test_means_are_those_of_the_case_rows(rows) -> None:
    for space, axis, metric in (("3d", "all", "psnr"), ("mip", "mean", "ssim"), ("mip", "w", "mae")):
        place = {"space": space, "axis": axis, "metric": metric}
        per_case = values(rows, **place, level="case")
        assert len(per_case) == 7
        assert values(rows, **place, level="set", stat="mean") == [pytest.approx(np.mean(per_case))]
        assert values(rows, **place, level="set", stat="sd") == [pytest.approx(np.std(per_case, ddof=1))]


def test_an_exact_match_has_no_psnr_and_is_left_out_of_the_mean_with_a_note(tmp_path: Path, data) -> None:
    exact_first = predict(tmp_path, data["test"], lambda v, i: v if i == 0 else towards_grey(v, i))
    rows = score_predictions(FACTS, data, exact_first, PLAIN)
    # int16 HU survive float32 exactly, so the stored prediction equals the truth
    (row,) = [r for r in rows if r.case == "test-000" and r.space == "3d" and r.metric == "psnr"]
    assert (row.value, row.status, row.note) == (None, "na", "exact match, so PSNR is infinite")
    (mean,) = [r for r in rows if (r.space, r.metric, r.stat) == ("3d", "psnr", "mean")]
    others = [v for v in values(rows, space="3d", metric="psnr", level="case") if v is not None]
    assert mean.n == 6
    assert mean.value == pytest.approx(np.mean(others))
    assert mean.note == "1 of 7 cases left out: exact match, so PSNR is infinite"


def test_a_metric_that_no_case_has_is_na(tmp_path: Path, make_data) -> None:
    data = make_data(train=2, test=2, size=8)
    rows = score_predictions(FACTS, data, predict(tmp_path, data["test"], towards_grey), PLAIN)
    (mean,) = [r for r in rows if (r.space, r.metric, r.level) == ("3d", "ssim", "set")]
    assert (mean.value, mean.status, mean.n) == (None, "na", 0)
    assert mean.note == "a side is under the 11 voxels of the SSIM window"


def test_without_likelihoods_the_rows_say_the_method_has_none(rows) -> None:
    nll = [r for r in rows if r.metric.startswith("nll_")]
    assert {(r.status, r.note, r.value) for r in nll} == {("na", "the method has no likelihood", None)}
    assert {(r.space, r.metric, r.level) for r in nll} == {
        (space, metric, level)
        for space, metric in (("3d", "nll_bits_per_voxel"), ("code", "nll_bits_per_code"))
        for level in ("case", "set")
    }


def test_likelihoods_beside_the_predictions_become_bits(tmp_path: Path, data) -> None:
    folder = predict(tmp_path, data["test"], towards_grey)
    nats = [
        CaseLikelihood(n, 4096 * math.log(2) * i, 64 * math.log(2), 4096, 8) for i, n in enumerate(data["test"].names)
    ]
    write_likelihoods(folder / "likelihood.csv", nats)
    rows = score_predictions(FACTS, data, folder, PLAIN)
    (per_voxel,) = values(rows, metric="nll_bits_per_voxel", stat="mean")
    (per_code,) = values(rows, metric="nll_bits_per_code", stat="mean")
    assert per_voxel == pytest.approx(3 + 64 / 4096)
    assert per_code == pytest.approx(8.0)
    write_likelihoods(folder / "likelihood.csv", nats[1:])
    with pytest.raises(BenchError, match=r"likelihood\.csv has no line for test-000"):
        score_predictions(FACTS, data, folder, PLAIN)


def test_a_stopped_scoring_goes_on_where_it_was(tmp_path: Path, data, rows, monkeypatch) -> None:
    folder, csv = predict(tmp_path / "p", data["test"], towards_grey), tmp_path / "scores.csv"
    monkeypatch.setattr(scoring, "SAVE_EVERY", 2)
    watch_cases(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        score_predictions(FACTS, data, folder, PLAIN, csv)
    scored = watch_cases(monkeypatch)
    resumed = score_predictions(FACTS, data, folder, PLAIN, csv)
    assert len(scored) == 3  # four of five were saved
    assert sorted(resumed, key=repr) == sorted(read_scores(csv), key=repr) == sorted(rows, key=repr)
    watch_cases(monkeypatch, 0)
    score_predictions(FACTS, data, folder, PLAIN, csv)  # nothing is left to do

    write_prediction(folder, "test-004", np.zeros((16, 16, 16)), data["test"], seconds=0.0, seed=0)
    scored = watch_cases(monkeypatch)
    changed = score_predictions(FACTS, data, folder, PLAIN, csv)
    assert len(scored) == 1
    (mae,) = values(changed, case="test-004", space="3d", metric="mae")
    assert mae == pytest.approx(truth(data["test"])[4].mean(), rel=1e-6)


@pytest.mark.parametrize("how", ["code", "data", "damage", "record"])
def test_rows_of_other_code_data_or_damaged_files_are_not_reused(
    tmp_path: Path, make_data, monkeypatch, how: str
) -> None:
    data, facts = make_data(train=2, test=2), FACTS
    folder, csv = predict(tmp_path / "p", data["test"], towards_grey), tmp_path / "scores.csv"
    score_predictions(FACTS, data, folder, PLAIN, csv)
    if how == "code":
        facts = replace(FACTS, code_version="0.2.0")
    if how == "data":
        data = {split: replace(cases, card=replace(cases.card, fingerprint="another")) for split, cases in data.items()}
    if how == "damage":
        csv.write_text(csv.read_text().replace("0.", "1.", 1))
    if how == "record":
        csv.with_suffix(".json").write_text("[]")
    scored = watch_cases(monkeypatch)
    score_predictions(facts, data, folder, PLAIN, csv)
    assert len(scored) == 2


def test_rows_of_other_protocols_are_kept_beside(tmp_path: Path, data, monkeypatch) -> None:
    csv = tmp_path / "scores.csv"
    folder = predict(tmp_path / "test", data["test"], towards_grey)
    score_predictions(FACTS, data, folder, PLAIN, csv)
    score_predictions(FACTS, data, folder, get_protocol("x2ct-2019"), csv)
    assert {row.protocol for row in read_scores(csv)} == {"ct3d-1", "x2ct-2019"}
    watch_cases(monkeypatch, 0)
    score_predictions(FACTS, data, folder, PLAIN, csv)


def test_missing_cases_make_every_summary_partial(tmp_path: Path, data, data_folder: Path) -> None:
    folder = predict(tmp_path / "p", data["test"], towards_grey)
    (folder / "test-003.nii.gz").unlink()
    with pytest.raises(BenchError, match="1 of 7 cases have no file: test-003"):
        score_predictions(FACTS, data, folder, PLAIN)
    rows = score_predictions(FACTS, data, folder, replace(PLAIN, fidelity=FEW), allow_missing=True)
    summaries = [r for r in rows if r.level == "set" and r.value is not None]
    assert {r.status for r in summaries} == {"partial"}
    assert {r.n for r in summaries} == {6}
    assert all(r.note.startswith("of 7 cases in the split") for r in summaries)
    assert {r.metric for r in summaries} >= {"mse", "density", "coverage_baseline"}


def test_set_scores_and_progress_come_with_the_rest(tmp_path: Path, data, data_folder: Path) -> None:
    folder = predict(tmp_path / "p", data["test"], lambda v, _: v)
    fidelity = replace(FEW, encoder_seeds=(0, 1), baseline_draws=2)
    seen = []
    rows = score_predictions(
        FACTS, data, folder, replace(PLAIN, fidelity=fidelity), None, lambda done, total: seen.append((done, total))
    )
    total = seen[0][1]
    assert seen == [(index + 1, total) for index in range(total)]
    assert total >= 7 + 7 + 7 + 7  # scored, predictions, truth and at least one draw encoded
    assert values(rows, space="3d", metric="coverage", rep="1", stat="value") == [1.0]
    assert len(values(rows, space="mip", axis="h", metric="density_baseline", stat="value")) == 4
    assert {row.level for row in rows} == {"case", "set"}


def test_predictions_that_are_not_those_of_the_manifest_are_refused(tmp_path: Path, data) -> None:
    folder = predict(tmp_path, data["test"], towards_grey)
    (folder / "test-005.nii.gz").write_bytes((folder / "test-001.nii.gz").read_bytes())
    with pytest.raises(BenchError, match=r"test-005\.nii\.gz is not the file its manifest describes"):
        score_predictions(FACTS, data, folder, PLAIN)


def test_clipping_is_noted_in_the_rows_of_the_case(tmp_path: Path, make_data) -> None:
    data = make_data(train=2, test=2)
    folder = predict(tmp_path, data["test"], lambda v, i: np.full_like(v, 1.25) if i else v * 0.5)
    rows = score_predictions(FACTS, data, folder, PLAIN)
    assert {r.note for r in rows if r.case == "test-001" and r.space == "3d" and r.value is not None} == {
        "100 % of voxels clipped to -1000..1000"
    }
    (mae,) = values(rows, case="test-001", space="3d", metric="mae")
    assert mae == pytest.approx(1 - truth(data["test"])[1].mean(), rel=1e-6)


def test_times_of_parts_become_rows(tmp_path: Path, data) -> None:
    prior = StageRecord(sha256="", after="", steps=500, seconds=7200.0, cpu_seconds=5400.0)
    facts = replace(FACTS, stages={"prior": prior}, infer_seconds={"prior": 1.5, "decoder": 0.25})
    rows = score_predictions(facts, data, predict(tmp_path, data["test"], towards_grey), PLAIN)
    times = {(r.axis, r.metric): (r.value, r.n, r.level) for r in rows if r.space == "time"}
    assert times == {
        ("prior", "train_hours"): (2.0, 500, "run"),
        ("prior", "train_cpu_hours"): (1.5, 500, "run"),
        ("prior", "infer_seconds"): (1.5, 7, "run"),
        ("decoder", "infer_seconds"): (0.25, 7, "run"),
    }
