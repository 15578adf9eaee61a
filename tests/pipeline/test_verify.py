"""`bench verify`: a run that is what it says passes, and every kind of change is found and named."""

import gzip
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bench.cli import run_command
from bench.pipeline.verify import compare_rows
from bench.runs.manifest import MANIFEST
from bench.scoring import DEFAULT
from bench.scoring.protocols import CARRIED, PROTOCOLS
from bench.scoring.store import load_results

from ..helpers.score_rows import score
from ..helpers.small_runs import change_json, places, run_arguments, with_cells

SPREAD = {"metric": "ssim", "space": "3d", "level": "set", "stat": "sd"}


@pytest.fixture
def run(mean_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(mean_run, tmp_path, dirs_exist_ok=True)
    return next((tmp_path / "runs" / "lidc" / "mean").iterdir())


@pytest.fixture
def verify(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[[], tuple[int, str]]:
    """Verify the run: exit code, and the line on standard error."""

    def call() -> tuple[int, str]:
        capsys.readouterr()
        return run_command(["verify", run.name, *places(tmp_path)]), capsys.readouterr().err

    return call


@pytest.fixture
def complain(verify: Callable[[], tuple[int, str]]) -> Callable[[], str]:
    """Verify the run, which does not pass: the line on standard error."""

    def call() -> str:
        code, error = verify()
        assert code == 1
        return error

    return call


def again(home: Path) -> list[str]:
    """Return the command that made the run."""
    return run_arguments(home, "mean", "--source", "phantom", phantoms="8,2,3")


def test_an_untouched_run_passes_twice_and_is_not_changed(run: Path, verify) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert verify() == (0, "")
    assert verify() == (0, "")
    assert {path: path.read_bytes() for path in before} == before


def test_other_weights_are_found(run: Path, complain) -> None:
    file = run / "checkpoints" / "mean.safetensors"
    tensors = load_file(file)
    save_file({name: value + np.float32(1e-7) for name, value in tensors.items()}, file)
    assert "weights mean" in complain()


def test_another_prediction_is_found_even_with_a_manifest_that_agrees(
    run: Path, tmp_path: Path, complain, capsys: pytest.CaptureFixture
) -> None:
    folder = run / "predictions" / "test"
    file = sorted(folder.glob("*.nii.gz"))[0]
    old = hashlib.sha256(file.read_bytes()).hexdigest()
    image = nib.load(file)
    better = nib.Nifti1Image(np.asarray(image.dataobj) + np.float32(5), image.affine)
    file.write_bytes(gzip.compress(better.to_bytes()))
    assert file.name.removesuffix(".nii.gz") in complain()
    manifest = folder / MANIFEST
    manifest.write_text(manifest.read_text().replace(old, hashlib.sha256(file.read_bytes()).hexdigest(), 1))
    assert "the manifest is not the one that was scored" in complain()
    for command in (["score", run.name, *places(tmp_path)], again(tmp_path)):
        before = (run / "run.json").read_bytes()
        capsys.readouterr()
        assert run_command(command) == 1
        assert "holds other predictions than run.json names" in capsys.readouterr().err
        assert (run / "run.json").read_bytes() == before
    shutil.rmtree(folder)
    assert run_command(again(tmp_path)) == 0


@pytest.mark.parametrize("lost", ["a row", "all", "the line of the run"])
def test_a_finished_run_whose_rows_the_results_lack_is_put_back(
    lost: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    scores, line = (tmp_path / "results" / part / f"{run.name}.csv" for part in ("scores", "runs"))
    whole = scores.read_bytes()
    if lost == "a row":
        scores.write_bytes(b"".join(row for row in whole.splitlines(keepends=True) if b",ssim,set" not in row))
    else:
        (scores if lost == "all" else line).unlink()
    assert run_command(again(tmp_path)) == 0
    assert "nothing to do" not in capsys.readouterr().out
    assert line.exists()
    assert len(scores.read_bytes().splitlines()) == len(whole.splitlines())
    before = (run / "run.json").read_bytes()
    assert run_command(again(tmp_path)) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (run / "run.json").read_bytes() == before


def test_missing_and_additional_predictions_are_found(run: Path, complain) -> None:
    file = sorted((run / "predictions" / "test").glob("*.nii.gz"))[0]
    shutil.copy(file, file.with_name("extra.nii.gz"))
    assert "extra.nii.gz" in complain()
    file.with_name("extra.nii.gz").unlink()
    file.unlink()
    assert file.name.removesuffix(".nii.gz") in complain()
    (file.parent / MANIFEST).unlink()
    assert f"{MANIFEST} is missing" in complain()


@pytest.mark.parametrize("place", ["run", "results"])
@pytest.mark.parametrize(("column", "value"), [("value", "0.9"), ("code_version", "9.9.9")])
def test_an_improved_number_or_another_code_is_found(
    place: str, column: str, value: str, run: Path, tmp_path: Path, complain
) -> None:
    file = run / "scores.csv" if place == "run" else tmp_path / "results" / "scores" / f"{run.name}.csv"
    file.write_text(with_cells(file.read_text(), SPREAD, **{column: value}))
    error = complain()
    assert value in error
    assert "ssim of set (3d/all, sd)" in error


@pytest.mark.parametrize(("column", "value"), [("n", 9), ("note", "of 9 cases"), ("status", "partial")])
def test_what_stands_beside_a_number_is_compared_too(column: str, value: object) -> None:
    one = score("ssim", 0.5, n=3)
    found = compare_rows("rows", [one], [one.model_copy(update={column: value})])
    assert compare_rows("rows", [one], [one]).good
    assert not found.good
    assert f"{column} {getattr(one, column)} is stated, {value} is found" in found.text


def test_a_time_is_held_against_the_one_recorded(run: Path, complain) -> None:
    file = run / "scores.csv"
    file.write_text(with_cells(file.read_text(), {"metric": "train_hours", "space": "time"}, value="1e-9"))
    error = complain()
    assert "train_hours of run" in error
    assert "1e-09 is stated" in error


def test_times_that_an_earlier_version_did_not_write_are_no_difference(run: Path, tmp_path: Path, verify) -> None:
    for file in (run / "scores.csv", *(tmp_path / "results" / "scores").glob("*.csv")):
        lines = file.read_text().splitlines(keepends=True)
        fewer = [line for line in lines if ",train_cpu_hours," not in line]
        assert len(fewer) < len(lines)
        file.write_text("".join(fewer))
    assert verify() == (0, "")


def test_a_line_of_the_results_that_is_another_runs_is_found(run: Path, tmp_path: Path, complain) -> None:
    file = tmp_path / "results" / "runs" / f"{run.name}.csv"
    file.write_text(file.read_text().replace(",builtin,", ",plugin,"))
    assert "its origin of this run is 'plugin'" in complain()


def test_a_row_that_was_left_out_is_found(run: Path, complain) -> None:
    lines = (run / "scores.csv").read_text().splitlines(keepends=True)
    (run / "scores.csv").write_text("".join(line for line in lines if ",mae,case," not in line))
    assert "rows on one side only" in complain()


@pytest.mark.parametrize("key", ["seed", "split", "config_sha256", "plugin_sha256"])
def test_a_record_that_does_not_give_the_name_is_found(key: str, run: Path, complain) -> None:
    change_json(run / "run.json", **{key: {"seed": 7, "split": "train"}.get(key, "0" * 64)})
    assert "name" in complain()


def test_scores_of_a_protocol_that_has_changed_are_not_called_good(run: Path, complain, monkeypatch) -> None:
    monkeypatch.setitem(PROTOCOLS, DEFAULT, replace(PROTOCOLS[DEFAULT], truth="encoded"))
    assert "protocol" in complain()


def test_a_run_scored_under_an_earlier_hash_of_the_same_definition_passes_and_is_not_made_again(
    run: Path, verify, monkeypatch, tmp_path: Path
) -> None:
    earlier, today = "1" * 64, PROTOCOLS[DEFAULT].sha256()
    monkeypatch.setitem(CARRIED, earlier, today)
    for file in (run / "run.json", run / "scores.csv"):
        file.write_text(file.read_text().replace(today, earlier))
    assert verify() == (0, "")
    scores = (run / "scores.csv").read_bytes()
    assert run_command(again(tmp_path)) == 0
    assert (run / "scores.csv").read_bytes() == scores
    assert {row["protocol_hash"] for row in load_results(tmp_path / "results").to_dict("records")} == {today}


def test_where_there_is_no_run_the_error_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_command(["verify", "nothing", "--runs-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"unknown run 'nothing'; there is none in {tmp_path}, `bench run` makes one" in said
