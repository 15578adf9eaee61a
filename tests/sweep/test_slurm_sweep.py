"""A sweep on a real Slurm of one node: an array, jobs that must give way and go on, one that is cancelled and retried.

Needs Debian's packages: apt-get install slurm-wlm.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.cli import run_command
from bench.scoring.rows import KEY
from bench.scoring.store import load_results, load_runs
from bench.sweep.grid import Grid, Job, expand, find_newest_grid
from bench.sweep.slurm import queue
from bench.sweep.state import judge_jobs, log_of

SCRIPT = Path(__file__).with_name("slurm_node.sh")
PATIENCE = 600.0

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("sbatch") is None or shutil.which("slurmctld") is None, reason="needs slurm-wlm"),
]
pytest.importorskip("submitit")


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Slurm of this machine alone, and an empty data folder."""
    folder = tmp_path / "slurm"
    started = subprocess.run(["bash", SCRIPT, "start", folder], capture_output=True, text=True, check=True)
    monkeypatch.setenv("SLURM_CONF", started.stdout.strip())
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    yield folder
    subprocess.run(["scancel", "--user", str(os.getuid())], check=False)
    subprocess.run(["bash", SCRIPT, "stop", folder], check=True)


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.2)


def slurm_id(grid: Grid, job: Job) -> str:
    return queue(grid)[job.label].split()[1].rstrip(":")


def starts(grid: Grid, job: Job) -> int:
    return log_of(grid, job).read_text().count(" start: ")


def checkpoints(job: Job) -> list[Path]:
    assert job.folder is not None
    return list(job.folder.checkpoints.glob("*.pt"))


def test_jobs_that_give_way_go_on_and_a_cancelled_one_is_retried(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results")]
    settings = ["--set", "data.phantoms=[8,2,7]", "--set", "training.loop.steps=30", "--protocol", "x2ct-2019"]
    chosen = ["--method", "x2ctgan", "--dataset", "lidc", "--preset", "smoke", "--seeds", "0,1,2", *settings, *places]
    command = ["sweep", *chosen, "--launcher", "slurm", "--max-parallel", "2", "--minutes", "30"]
    assert run_command(command) == 0
    grid = find_newest_grid(tmp_path / "runs")
    jobs = expand(grid)
    requeued, warned, cancelled = jobs
    assert len({job_id.split("_")[0] for job_id in (slurm_id(grid, job) for job in jobs)}) == 1  # one array
    running = ["squeue", "--noheader", "--array", "--states=running"]
    until(lambda: bool(checkpoints(requeued)) and bool(checkpoints(warned)), "two jobs train")
    assert len(subprocess.check_output(running, text=True).splitlines()) == 2  # the third waits its turn

    ids = {job.label: slurm_id(grid, job) for job in jobs}
    subprocess.run(["scontrol", "requeue", ids[requeued.label]], check=True)
    subprocess.run(["scancel", "--signal=USR2", ids[warned.label]], check=True)
    until(lambda: bool(checkpoints(cancelled)), "the third job trains")
    subprocess.run(["scancel", ids[cancelled.label]], check=True)
    until(lambda: cancelled.label not in queue(grid), "the third job is cancelled")
    state = next(state for state in judge_jobs(grid, jobs, queue(grid)) if state.job.label == cancelled.label)
    assert state.name == "stopped"
    capsys.readouterr()
    assert run_command(["sweep", "status", "--runs-dir", str(tmp_path / "runs")]) == 0
    assert cancelled.command in capsys.readouterr().out

    assert run_command([*command, "--wait"]) == 0  # the same command: what Slurm holds is not submitted again
    assert "3 done" in capsys.readouterr().out
    for job in jobs:
        assert starts(grid, job) == 2
        assert log_of(grid, job).read_text().count("generator: going on at step") == 1
        assert "trained again" not in log_of(grid, job).read_text()
        assert job.folder.finished_record().stages["generator"].steps == 30  # type: ignore[union-attr]
    scores = load_results(tmp_path / "results")
    assert not scores.duplicated(list(KEY)).any()
    runs = load_runs(tmp_path / "results")
    assert sorted(runs["run_id"]) == sorted(job.label for job in jobs)
