"""Several processes under torchrun train what one would, stop and resume together, and divide the cases among them."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.cli import run_command
from bench.errors import UsageError
from bench.pipeline.fit import Run, fit_stages
from bench.scoring.rows import KEY
from bench.scoring.store import load_results, load_runs

from ..helpers.small_runs import run_arguments

HERE = Path(__file__).parents[1] / "helpers"
sys.path.insert(0, str(HERE))
import data_parallel as script  # noqa: E402


def torchrun(*arguments: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join((str(HERE), os.environ.get("PYTHONPATH", ""))),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def logged(file: Path) -> dict[tuple[str, int, str], float]:
    with file.open(encoding="utf-8", newline="") as opened:
        return {(r["stage"], int(r["step"]), r["name"]): float(r["value"]) for r in csv.DictReader(opened)}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left."""
    folder = tmp_path_factory.mktemp("two")
    torchrun(str(HERE / "data_parallel.py"), str(folder))
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, script.CurveStage]:
    """What one process left."""
    folder, stage = tmp_path_factory.mktemp("one"), script.CurveStage(script.LOOP)
    script.fit(stage, folder)
    script.reconstruct(folder)
    return folder, stage


def test_two_processes_give_the_loss_curve_of_one(two: Path, one: tuple[Path, script.CurveStage]) -> None:
    ours, theirs = logged(two / "whole" / "train.csv"), logged(one[0] / "train.csv")
    assert ours.keys() == theirs.keys()
    assert len(ours) == script.STEPS + script.STEPS // script.LOOP.validate_every
    assert max(abs(ours[key] - theirs[key]) for key in ours) < 1e-4
    assert max(theirs.values()) > 100 * 1e-4  # the bound above says something


def test_processes_hold_the_same_networks_and_they_are_those_of_one(
    two: Path, one: tuple[Path, script.CurveStage]
) -> None:
    first, second = (torch.load(two / f"process-{rank}.pt") for rank in (0, 1))
    for name, tensor in one[1].networks["curve"].state_dict().items():
        assert torch.equal(first["whole"][name], second["whole"][name])
        assert torch.allclose(first["whole"][name], tensor, atol=1e-4), name
    assert first["high"] == second["high"] == pytest.approx(one[1].high)


def test_a_warning_to_one_process_stops_all_at_one_step_and_they_resume_exactly(two: Path) -> None:
    first, second = (torch.load(two / f"process-{rank}.pt") for rank in (0, 1))
    stops = {(two / f"stopped-{rank}.txt").read_text() for rank in (0, 1)}
    assert len(stops) == 1
    assert "step 13 of curve" in stops.pop()
    assert all(torch.equal(first["whole"][name], tensor) for name, tensor in first["resumed"].items())
    assert all(torch.equal(first["whole"][name], tensor) for name, tensor in second["resumed"].items())
    assert first["high"] == first["high resumed"] == second["high resumed"]
    assert (two / "whole" / "train.csv").read_text() == (two / "broken" / "train.csv").read_text()


def test_processes_divide_the_cases_and_leave_each_once(two: Path, one: tuple[Path, script.CurveStage]) -> None:
    folders = [folder / "predictions" / "test" for folder in (two, one[0])]
    likelihoods = [(folder / "likelihood.csv").read_text() for folder in folders]
    assert likelihoods[0] == likelihoods[1]
    manifests = [pd.read_csv(folder / "manifest.csv").drop(columns="seconds") for folder in folders]
    pd.testing.assert_frame_equal(*manifests)
    assert manifests[0]["case"].is_unique
    assert len(manifests[0]) == script.TEST_CASES
    made = np.array([[int(n) for n in (two / f"made-{rank}.txt").read_text().split()] for rank in (0, 1)])
    assert made[:, 0].tolist() == [12, 8]  # groups 1 and 3, group 2
    assert made[:, 1].sum() == 8  # the group of the case that was lost, by one of them


def test_batches_that_cannot_be_shared_equally_are_refused_before_training() -> None:
    class Three:
        num_processes = 3

    with pytest.raises(UsageError, match=r"3 processes cannot share the batches of 4 of stage curve"):
        fit_stages([script.CurveStage(script.LOOP)], Run({}, None, 0, Three(), None))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("method", "settings", "stages", "steps"),
    [
        # dropout and random masks differ between one process and two, and so does the discriminator of codediff,
        # which normalises over the share of the batch that a process holds: the equality is that without them.
        # From the fourth step on x2ctgan's rounding errors grow by tens a step: one process on two threads drifts as
        # far from itself on one, by 0.014 in the loss of step 8; ccx_raynet's do so from the third, until which two
        # processes and one log the same digits. A wrong gradient shows in the second step.
        ("x2ctgan", ["generator.dropout=0"], ["generator"], 3),
        ("ccx_raynet", ["generator.dropout=0"], ["mask", "generator"], 2),
        ("lift_unet", [], ["network"], 1000),
        ("mednerf", [], [], 0),  # each process draws poses and patches of its own
        (
            "codediff",
            [f"vqvae{n}d.discriminator_start=1000" for n in (2, 3)],
            ["vqvae2d", "vqvae3d", "log_sigma"],
            1000,
        ),
    ],
)
def test_a_method_trained_by_two_processes_has_the_loss_and_the_rows_of_one(
    method: str, settings: list[str], stages: list[str], steps: int, tmp_path: Path
) -> None:
    def arguments(folder: str) -> list[str]:
        chosen = [part for setting in settings for part in ("--set", setting)]
        more = ["--device", "cpu", "--protocol", "x2ct-2019", *chosen]
        return run_arguments(tmp_path / folder, method, *more, phantoms="8,2,10")

    assert run_command(arguments("one")) == 0
    torchrun("-m", "bench", *arguments("two"))
    one, two = (next((tmp_path / name / "runs").glob("*/*/*/run.json")).parent for name in ("one", "two"))
    assert one.name == two.name
    curves = [logged(folder / "train.csv") for folder in (one, two)]
    keys = [key for key in curves[0] if key[0] in stages and key[1] <= steps and key[2].endswith("loss")]
    assert {key[0] for key in keys} == set(stages)
    assert max((abs(curves[0][key] - curves[1][key]) for key in keys), default=0.0) < 1e-4
    scores = [load_results(tmp_path / name / "results") for name in ("one", "two")]
    assert not scores[1].duplicated(list(KEY)).any()
    assert set(map(tuple, scores[0][list(KEY)].values)) == set(map(tuple, scores[1][list(KEY)].values))
    runs = load_runs(tmp_path / "two" / "results")
    assert runs["run_id"].tolist() == [two.name]
