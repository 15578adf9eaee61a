"""A whole run of the smallest preset, as a user types it: what it leaves, and that it can be stopped and repeated."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench.cli import run_command
from bench.scoring import DEFAULT
from bench.scoring.protocols import PROTOCOLS
from bench.scoring.rows import SINGLE_FILE
from bench.scoring.store import load_results, load_runs

from ..helpers.small_runs import run_arguments

STAGES = ("vqvae2d", "vqvae3d", "log_sigma", "transformer")


def arguments(folder: Path, *more: str) -> list[str]:
    return run_arguments(folder, "codediff", *more)


def values(folder: Path) -> pd.DataFrame:
    scores = load_results(folder / "results")[list(SINGLE_FILE)]
    return scores[scores["space"] != "time"].drop(columns=["run_id", "code_version"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for all tests; density and coverage by one encoder of small volumes and one draw, to save time."""
    home, protocol = tmp_path_factory.mktemp("home"), PROTOCOLS[DEFAULT]
    assert protocol.fidelity is not None
    with pytest.MonkeyPatch.context() as patch:
        short = replace(protocol.fidelity, encoder_seeds=(0,), baseline_draws=1, small_encoded_side=32)
        patch.setitem(PROTOCOLS, DEFAULT, replace(protocol, fidelity=short))
        yield home


@pytest.fixture(scope="module")
def finished(home: Path) -> Path:
    assert run_command(arguments(home)) == 0
    return next((home / "runs" / "lidc" / "codediff").iterdir())


def test_a_run_leaves_weights_predictions_scores_and_pictures(finished: Path, home: Path) -> None:
    record = json.loads((finished / "run.json").read_text())
    assert record["status"] == "done"
    assert record["data"]["source"] == "phantom"
    assert set(record["stages"]) == set(STAGES)
    assert len(list((finished / "predictions" / "test").glob("*.nii.gz"))) == 7
    assert len(list((finished / "previews").glob("*.png"))) == 3
    assert not list((finished / "checkpoints").glob("*.pt"))
    scores = values(home)
    wanted = {"mse", "mae", "psnr", "ssim", "density", "coverage", "nll_bits_per_voxel", "nll_bits_per_code"}
    assert wanted <= set(scores["metric"])
    assert set(scores["source"]) == {"phantom"}
    runs = load_runs(home / "results")
    assert runs["run_id"].tolist() == [finished.name]
    assert runs["peak_memory_mib"].item() > 100


def test_nothing_personal_is_recorded(finished: Path) -> None:
    text = (finished / "run.json").read_text()
    for secret in (os.uname().nodename, str(Path.home()), str(finished)):
        assert secret not in text


def test_a_finished_run_that_the_results_lack_is_put_back_without_training(finished: Path, home: Path) -> None:
    before, weights = values(home), sorted((finished / "checkpoints").glob("*.safetensors"))
    times = [file.stat().st_mtime_ns for file in weights]
    shutil.rmtree(home / "results")
    assert run_command(arguments(home)) == 0
    pd.testing.assert_frame_equal(values(home), before)
    assert weights
    assert [file.stat().st_mtime_ns for file in weights] == times


def test_scoring_again_gives_the_same_rows(finished: Path, home: Path) -> None:
    before = values(home)
    (finished / "scores.csv").unlink()
    assert run_command(arguments(home, "--only", "score")) == 0
    pd.testing.assert_frame_equal(values(home), before)


def test_a_damaged_prediction_is_made_again(finished: Path, home: Path) -> None:
    file = next((finished / "predictions" / "test").glob("*.nii.gz"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert run_command(arguments(home, "--only", "score")) == 1
    assert run_command(arguments(home)) == 0
    assert file.read_bytes() == whole


def test_real_data_that_are_not_there_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "empty"))
    assert run_command(arguments(tmp_path, "--source", "real")) == 1
    error = capsys.readouterr().err
    assert "bench data prepare lidc --from DIR" in error
    assert "--source phantom" in error


@pytest.mark.gpu
def test_cuda_and_cpu_agree_on_a_reconstruction(finished: Path, home: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    folder = home / "cuda"
    assert run_command(arguments(folder, "--device", "cuda", "--set", "fit.precision=fp32")) == 0
    wanted = "metric == 'psnr' and level == 'set' and space == '3d' and stat == 'mean'"
    ours, theirs = (values(one).query(wanted)["value"].item() for one in (folder, home))
    assert ours == pytest.approx(theirs, abs=1.0)
