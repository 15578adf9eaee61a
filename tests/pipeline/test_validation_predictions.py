"""Every run predicts validation cases; what is fitted on them goes with it: scored again, packed and shipped."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli import run_command
from bench.plugins import shipped_weights
from bench.scoring.laplace import FILE_NAME, LaplaceFit, read_fit
from bench.scoring.protocols import FITTED, PROTOCOLS
from bench.scoring.rows import Score, read_scores
from bench.scoring.store import load_results

from ..helpers.small_runs import places, run_arguments

METHOD, PROTOCOL = "x2ctgan+cnn", "ct3d-1"
LIKELIHOODS = ("laplace_bits_per_voxel", "nll_bits_per_voxel", "nll_bits_per_code", "codes_share")


def arguments(home: Path, method: str = METHOD, *more: str) -> list[str]:
    return run_arguments(home, method, "--source", "phantom", "--protocol", PROTOCOL, *more, phantoms="8,4,3")


def score(folder: Path, results: Path) -> None:
    """Score a run again, into other results."""
    assert run_command(["score", str(folder), "--protocol", PROTOCOL, "--results-dir", str(results)]) == 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished run under a protocol that has likelihoods and nothing slow."""
    home = tmp_path_factory.mktemp("home")
    likely = replace(
        PROTOCOLS[PROTOCOL],
        projections=None,
        turn=None,
        fidelity=None,
        likelihood="1-hu-bins-and-share",
        laplace=replace(FITTED, bins=(1, 4)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, PROTOCOL, likely)
        patch.setattr("bench.pipeline.run.FITTED", likely.laplace)
        patch.setattr(shipped_weights, "folder_of", lambda method: home / "weights")
        assert run_command(arguments(home)) == 0
        yield home


def run_of(home: Path, method: str = METHOD) -> Path:
    (folder,) = (home / "runs" / "lidc" / method).iterdir()
    return folder


def fit_of(folder: Path) -> LaplaceFit:
    fit = read_fit(folder / "predictions" / "test" / FILE_NAME)
    assert fit is not None
    return fit


def bits_of(folder: Path) -> list[Score]:
    rows = read_scores(folder / "scores.csv")
    return [row for row in rows if row.metric == "laplace_bits_per_voxel" and row.level == "case"]


def test_validation_cases_are_predicted_and_fitted_on(home: Path) -> None:
    folder = run_of(home)
    assert len(list((folder / "predictions" / "validation").glob("*.nii.gz"))) == 4
    fit = fit_of(folder)
    assert (len(fit.fitted), len(fit.chosen)) == (2, 2)
    rows = bits_of(folder)
    assert len(rows) == 3
    assert all(row.value is not None and 0 < row.value < 12 and row.note == fit.note for row in rows)
    test = {row.case for row in rows}
    assert not test & {*fit.fitted, *fit.chosen}


def test_a_second_scoring_needs_no_validation_predictions_and_changes_nothing(home: Path, tmp_path: Path) -> None:
    folder = run_of(home)
    before, hidden = bits_of(folder), folder / "predictions" / "hidden"
    (folder / "predictions" / "validation").rename(hidden)
    try:
        score(folder, tmp_path)
        assert bits_of(folder) == before
    finally:
        hidden.rename(folder / "predictions" / "validation")


def test_verifying_makes_the_fit_anew(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_of(home)
    command = ["verify", str(folder), "--results-dir", str(home / "results")]
    assert run_command(command) == 0
    assert "predictions validation" in capsys.readouterr().out
    fit, path = fit_of(folder), folder / "predictions" / "test" / FILE_NAME
    whole = path.read_text()
    path.write_text(fit.model_copy(update={"scales": tuple(9 * scale for scale in fit.scales)}).model_dump_json())
    try:
        score(folder, home / "forged")
        assert run_command(command) == 1
        assert "rows differ" in capsys.readouterr().out
    finally:
        path.write_text(whole)
        score(folder, home / "results")


def test_pretrained_weights_bring_their_fit_and_predict_no_validation_case(home: Path) -> None:
    trained = run_of(home)
    assert run_command(["export", str(trained), "--pretrained"]) == 0
    assert run_command(arguments(home, METHOD, "--from-pretrained")) == 0
    (given,) = (folder for folder in trained.parent.iterdir() if folder != trained)
    assert not (given / "predictions" / "validation").exists()
    assert fit_of(given) == fit_of(trained)
    rows = zip(bits_of(given), bits_of(trained), strict=True)
    assert all(abs((one.value or 0) - (other.value or 0)) < 0.05 for one, other in rows)
    assert "predict_validation" in json.loads((trained / "run.json").read_text())["seconds"]
    assert "predict_validation" not in json.loads((given / "run.json").read_text())["seconds"]
    shutil.rmtree(given)


def test_an_archive_holds_all_that_the_likelihood_came_of(home: Path, tmp_path: Path) -> None:
    folder = run_of(home)
    assert run_command(["export", str(folder), "--out", str(tmp_path / "run.zip")]) == 0
    assert run_command(["import", str(tmp_path / "run.zip"), *places(tmp_path)]) == 0
    moved = run_of(tmp_path)
    assert fit_of(moved) == fit_of(folder)
    assert run_command(["verify", str(moved), "--results-dir", str(tmp_path / "results")]) == 0


def test_a_coder_and_fitted_floors_are_runs_of_their_own(home: Path) -> None:
    """Each has its own number in its own run, and none stands among another's rows."""
    for method in ("xz", "voxel_laplace"):
        assert run_command(arguments(home, method)) == 0
    rows = load_results(home / "results").query("level == 'set' and stat == 'mean' and metric in @LIKELIHOODS")
    known = {(row.method, row.metric) for row in rows[rows["value"].notna()].itertuples()}
    assert known == {
        ("xz", "nll_bits_per_voxel"),
        ("voxel_laplace", "nll_bits_per_voxel"),
        ("voxel_laplace", "laplace_bits_per_voxel"),
        (METHOD, "laplace_bits_per_voxel"),
    }
    assert not (run_of(home, "xz") / "predictions" / "validation").exists()
    reason = rows[(rows["method"] == "xz") & (rows["metric"] == "laplace_bits_per_voxel")]["note"].item()
    assert reason == "it is shown the truth, so it predicts nothing"


def test_an_outside_folder_gets_a_likelihood_where_it_has_validation_predictions(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = run_of(home) / "predictions"
    options = ["--dataset", "lidc", "--preset", "smoke", "--source", "phantom", "--protocol", PROTOCOL]
    command = ["score", str(predictions / "test"), "--method", "other", *options, "--allow-missing", *places(tmp_path)]
    assert run_command([*command, "--validation", str(predictions / "validation")]) == 0
    rows = load_results(tmp_path / "results").query("metric == 'laplace_bits_per_voxel' and level == 'case'")
    expected = {row.case: row.value for row in bits_of(run_of(home))}
    assert dict(zip(rows["case"], rows["value"], strict=True)) == pytest.approx(expected, rel=1e-9)
    assert run_command(command) == 0
    rows = load_results(tmp_path / "results").query("metric == 'laplace_bits_per_voxel' and level == 'set'")
    assert rows["note"].tolist() == ["no validation predictions to fit a distribution on"]
    assert run_command(["score", str(run_of(home)), "--protocol", PROTOCOL, "--validation", str(predictions)]) == 2
    assert "a run of ours has its own" in capsys.readouterr().err
