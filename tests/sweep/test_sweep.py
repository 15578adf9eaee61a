"""Sweeps: what a grid expands to, that jobs survive what ends them, and that states tell what happened and why."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from threading import Thread

import pytest

from bench.cli import run_command
from bench.errors import UsageError
from bench.runs.folder import RunFolder
from bench.scoring.store import load_runs
from bench.sweep.grid import Grid, Job, expand, find_newest_grid, keep_grid
from bench.sweep.local import divide_machine, run_local
from bench.sweep.slurm import SlurmOptions, queue, submit
from bench.sweep.state import is_finished, judge_jobs, log_of
from bench.sweep.work import Work, in_use, is_alive, last_attempt
from bench.system.files import read_json, write_json
from bench.system.progress import Progress

from ..helpers.toy_runs import toy_record

SMALL = "data.phantoms=[4,1,3]"


def grid(folder: Path, **choices: object) -> Grid:
    usual: dict[str, object] = {"methods": ("mean",), "datasets": ("lidc",), "presets": ("smoke",)}
    places = {"runs_dir": folder / "runs", "results_dir": folder / "results"}
    return Grid.model_validate({**usual, "overrides": (SMALL,), **places, **choices})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of Python that stands for `bench` in jobs; it is given the command's arguments."""
    file = tmp_path / "fake.py"
    monkeypatch.setattr(Work, "command", lambda work: [sys.executable, str(file), *work.arguments])
    return file


def work(folder: Path, *arguments: str) -> Work:
    return Work(arguments, folder / "run", folder / "job.log")


def test_a_grid_is_the_product_of_its_choices(tmp_path: Path) -> None:
    jobs = expand(grid(tmp_path, methods=("mean", "nearest"), presets=("smoke", "tiny"), seeds=(0, 3)))
    found = [(job.request.method, job.request.preset, job.request.seed) for job in jobs]
    assert found == list(product(("mean", "nearest"), ("smoke", "tiny"), (0, 3)))
    assert len({job.label for job in jobs}) == 8


def test_varied_settings_are_jobs_of_their_own_and_equal_ones_are_one(tmp_path: Path) -> None:
    varied = ("training.loop.steps=[2, 4]", "training.learning_rate=[1e-3, 1e-4, 0.001]")
    jobs = expand(grid(tmp_path, methods=("x2ctgan",), varied=varied))
    steps, rates = (f"training.loop.steps={n}" for n in (2, 4)), (f"training.learning_rate={r}" for r in (1e-3, 1e-4))
    assert [job.request.overrides[1:] for job in jobs] == list(product(steps, rates))


@pytest.mark.parametrize("text", ["training.loop.steps=2", "training.loop.steps=[]", "=[1]", "a=[1", "steps"])
def test_what_does_not_vary_a_setting_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"key=\[first, second\]"):
        expand(grid(tmp_path, methods=("x2ctgan",), varied=(text,)))


def test_a_broken_method_makes_its_own_jobs_impossible_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('not today')")
    chosen = grid(tmp_path, methods=(str(tmp_path / "broken.py"), "mean"))
    jobs = expand(chosen)
    assert [state.name for state in judge_jobs(chosen, jobs)] == ["failed", "waiting"]
    assert "not today" in judge_jobs(chosen, jobs)[0].why


def test_the_run_lies_where_its_job_says_and_its_command_makes_it(tmp_path: Path) -> None:
    chosen = grid(tmp_path, protocol="x2ct-2019", device="cpu", source="phantom")
    (job,) = expand(chosen)
    of_run = f"--method mean --dataset lidc --preset smoke --seed 0 --set '{SMALL}' --protocol x2ct-2019"
    places = f"--runs-dir {tmp_path}/runs --results-dir {tmp_path}/results"
    assert job.command == f"bench run {of_run} --source phantom --device cpu {places}"
    assert run_command(shlex.split(job.command)[1:]) == 0
    assert job.folder is not None
    assert job.folder.finished_record().run_id == job.label
    assert is_finished(job)
    assert judge_jobs(chosen, [job])[0].name == "done"
    prediction = next((job.folder.root / "predictions" / "test").glob("*.nii.gz"))
    prediction.write_bytes(prediction.read_bytes()[:-9])
    assert not is_finished(job)


def test_the_newest_sweep_is_found_again(tmp_path: Path) -> None:
    first, second = grid(tmp_path, seeds=(1,)), grid(tmp_path, seeds=(2,))
    assert first.name != second.name
    with pytest.raises(UsageError, match="no sweep"):
        find_newest_grid(first.runs_dir)
    for index, chosen in enumerate((first, second, first)):
        keep_grid(chosen)
        os.utime(chosen.folder / "sweep.json", (index, index))
    assert find_newest_grid(first.runs_dir) == first


def test_processors_are_divided_and_gpus_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert divide_machine(3, 1, 16, []) == [{"OMP_NUM_THREADS": "5"}] * 3
    assert divide_machine(4, 1, 2, []) == [{"OMP_NUM_THREADS": "1"}] * 4
    devices = [share["CUDA_VISIBLE_DEVICES"] for share in divide_machine(3, 2, 24, ["0", "1", "4", "5"])]
    assert devices == ["0,1", "4,5", "0,1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert divide_machine(2, 1, 16, ["0"]) == [{"OMP_NUM_THREADS": "7", "CUDA_VISIBLE_DEVICES": "0"}] * 2


def test_a_log_tells_how_a_job_ended(tmp_path: Path, fake: Path) -> None:
    fake.write_text("print('bench: no such disk')\nraise SystemExit(1)", encoding="utf-8")
    job = work(tmp_path, "run", "--seed", "0")
    assert job() == 1
    assert last_attempt(job.log) == (1, "no such disk")
    assert "start: bench run --seed 0" in job.log.read_text()
    assert not is_alive(job.log)


def test_a_killed_process_is_tried_once_more(tmp_path: Path, fake: Path) -> None:
    once = tmp_path / "once"
    fake.write_text(
        f"import os, pathlib\nonce = pathlib.Path({str(once)!r})\n"
        "if not once.exists():\n    once.touch()\n    os.kill(os.getpid(), 9)\nprint('second time')",
        encoding="utf-8",
    )
    job = work(tmp_path)
    assert job() == 0
    assert job.log.read_text().count("exit -9") == 1
    fake.write_text("import os\nos.kill(os.getpid(), 9)", encoding="utf-8")
    always = work(tmp_path / "always")
    assert always() == -9
    assert always.log.read_text().count("exit -9") == 2


def test_a_job_that_outlives_who_started_it_is_waited_for_and_not_done_twice(tmp_path: Path, fake: Path) -> None:
    """The first launcher is killed; its job goes on, and a second launcher must see that."""
    fake.write_text(
        f"import time, pathlib\np = pathlib.Path({str(tmp_path)!r})\n(p / 'began').open('a').write('x')\n"
        "time.sleep(3)\n(p / 'ended').open('a').write('x')",
        encoding="utf-8",
    )
    launcher = (
        "import sys; from pathlib import Path; from bench.sweep.work import Work\n"
        f"Work.command = lambda work: [sys.executable, {str(fake)!r}]\n"
        f"Work((), Path({str(tmp_path)!r}) / 'run', Path({str(tmp_path)!r}) / 'job.log', apart=True)()"
    )
    first = subprocess.Popen([sys.executable, "-c", launcher])
    while not (tmp_path / "began").exists():
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    job = work(tmp_path)
    assert is_alive(job.log)
    fake.write_text("import sys; sys.exit(0)", encoding="utf-8")
    assert job() == 0
    assert (tmp_path / "ended").read_text() == "x"  # before the second began
    assert not is_alive(job.log)


def test_a_run_that_another_process_has_is_in_use(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write(toy_record())
    assert not in_use(tmp_path)
    with folder.locked():
        assert in_use(tmp_path)
    assert not in_use(tmp_path)


@pytest.mark.parametrize(
    ("record", "log", "expected"),
    [
        ({}, "", ("waiting", "")),
        ({"status": "running"}, "", ("killed", "it last said: nothing")),
        ({"status": "running"}, "== t start: x\nfit: 3/9\n", ("killed", "fit: 3/9")),
        ({"status": "running"}, "== t start: x\nfit: 3/9\n== t exit -9\n", ("killed", "SIGKILL")),
        ({"status": "stopped"}, "== t start: x\nbench: stopped at step 3\n== t exit 143\n", ("stopped", "at step 3")),
        ({"status": "failed", "error": "BenchError: no"}, "== t start: x\n== t exit 1\n", ("failed", "no")),
        ({}, "== t start: x\nbench: unknown setting\n== t exit 2\n", ("failed", "unknown setting")),
        ({"status": "stopped"}, "== t start: x\nbench: disk full\n== t exit 1\n", ("failed", "disk full")),
        ({"status": "done", "scored": {}}, "== t start: x\n== t exit 0\n", ("waiting", "")),
        ({"status": "stopped"}, "== t start: x\n== 2026 exit bar\n== t exit 143\n", ("stopped", "exit bar")),
    ],
)
def test_states_follow_from_the_run_and_its_log(tmp_path: Path, record: dict, log: str, expected: tuple) -> None:
    chosen = grid(tmp_path)
    (job,) = expand(chosen)
    assert job.folder is not None
    if record:
        job.folder.write(toy_record(**record))
    if log:
        log_of(chosen, job).parent.mkdir(parents=True)
        log_of(chosen, job).write_text(log.replace("== t ", "== 2026-01-01T00:00:00Z "))
    (state,) = judge_jobs(chosen, [job])
    assert (state.name, expected[1] in state.why) == (expected[0], True)
    (state,) = judge_jobs(chosen, [job], {job.label: "Slurm 7: pending, Priority"})
    assert state.name == "queued"


def test_one_failing_job_stops_no_other_and_a_stop_reaches_all(
    tmp_path: Path, fake: Path, request: pytest.FixtureRequest
) -> None:
    chosen = grid(tmp_path, seeds=(0, 1, 2, 3))
    jobs = expand(chosen)
    fake.write_text(
        "import sys\nprint('bench: odd seed')\nsys.exit(int(sys.argv[sys.argv.index('--seed') + 1]) % 2)",
        encoding="utf-8",
    )
    run_local(chosen, jobs, 2, 1, Progress())
    assert [last_attempt(log_of(chosen, job))[0] for job in jobs] == [0, 1, 0, 1]
    fake.write_text("import time\ntime.sleep(60)", encoding="utf-8")

    def interrupt() -> None:
        while sum(is_alive(log_of(chosen, job)) for job in jobs) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    # a shell makes what it starts with & ignore the signal
    request.addfinalizer(
        partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
    )
    began = time.monotonic()
    Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_local(chosen, jobs, 2, 1, Progress())
    assert time.monotonic() - began < 30
    assert [last_attempt(log_of(chosen, job))[0] for job in jobs] == [-15, -15, 0, 1]


def test_slurm_is_asked_for_only_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    chosen = grid(tmp_path)
    assert queue(chosen) == {}
    with pytest.raises(UsageError, match="no sbatch here"):
        submit(chosen, expand(chosen), SlurmOptions())


def test_processes_on_slurm_have_a_gpu_each_and_no_job_computes_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results"), "--set", SMALL]
    chosen = ["sweep", "--method", "mean", "--dataset", "lidc", "--preset", "smoke", *places, "--launcher", "slurm"]
    assert run_command([*chosen, "--gpus", "1", "--processes", "2"]) == 2
    assert "2 processes cannot have a GPU each of 1" in capsys.readouterr().err
    submitted: list[Job] = []
    monkeypatch.setattr("bench.sweep.slurm.submit", lambda grid, jobs, options: submitted.extend(jobs) or {})
    assert run_command([*chosen, "--gpus", "2", "--processes", "2"]) == 0
    (job,) = submitted
    assert job.arguments[job.arguments.index("--device") + 1] == "cuda"


def test_a_sweep_on_this_machine_runs_what_is_missing_and_tells_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def say(*command: str) -> str:
        assert run_command(list(command)) == 0
        return capsys.readouterr().out

    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results")]
    quick = ["--set", SMALL, "--protocol", "x2ct-2019"]
    chosen = ["--method", "mean,nearest", "--dataset", "lidc", "--preset", "smoke", *quick, *places]
    assert "2 waiting" in say("sweep", *chosen, "--dry-run")
    assert not (tmp_path / "runs").exists()
    say("run", *chosen[2:], "--method", "mean")
    told = say("sweep", *chosen, "--max-parallel", "2")
    assert "1 done, 1 waiting; 1 to do" in told
    assert "2 done" in told
    assert len(list((tmp_path / "runs" / "sweeps").glob("*/logs/*.log"))) == 1
    assert sorted(load_runs(tmp_path / "results")["method"]) == ["mean", "nearest"]
    assert "2 done" in say("sweep", "status", *places[:2])
    record = next((tmp_path / "runs").glob("lidc/mean/*/run.json"))
    write_json(record, {**read_json(record), "status": "failed", "error": "BenchError: the disk is full"})
    told = say("sweep", "status", *places[:2])
    assert "the disk is full" in told
    again = f"bench run --method mean --dataset lidc --preset smoke --seed 0 --set '{SMALL}' --protocol x2ct-2019"
    assert again in told
