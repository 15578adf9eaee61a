"""Long work that is interrupted: killed, stopped, out of disk, crowded. Run again it ends, and nothing shows.

What is left must equal, bit for bit, what a run leaves that nothing disturbed. `pytest -m slow` on this file drills a
method of four stages, some two hundred runs; one run of a small method is killed in each phase in every test run.
"""

import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from bench.errors import BenchError, BusyError
from bench.pipeline.plan import RunRequest
from bench.plugins import templates
from bench.runs.folder import RunFolder
from bench.scoring.store import load_results, load_runs, put_run
from bench.system.files import PARTIAL, locked, write_text

from ..helpers.disturbed_runs import (
    UNDISTURBED,
    End,
    Fate,
    Whole,
    is_stopped,
    prepare_processes,
    read_state,
    run,
    run_undisturbed,
    start,
    wait,
)
from ..helpers.score_rows import run_line, score
from ..helpers.toy_runs import toy_record

FEW = ("data.phantoms=[6,1,2]",)
SMALL = ("data.phantoms=[6,1,1]", "loop.steps=40", "loop.checkpoint_every=10")
TEMPLATE = f"{Path(templates.__file__).parent / 'new_method.py'}:NewMethod"
KILLS = 3  # of each task
WRITES = (3, 9)  # files that are written between two kills
MOST_WRITES = 60  # such kills, if a run never ended
DISKS = 7  # sizes of a full one, beside that which the data do not fit on
SMALLEST_DISK = 4096  # bytes a file: less, and not even the messages could be written
BACKWARDS = -3600.0  # seconds at each reading of the clock
PROCESSES, RUNS, CASES, KILLED = 8, 6, 5, 3  # that merge, runs of each, rows of each, and how many are killed


def request(method: str, overrides: tuple[str, ...]) -> RunRequest:
    return RunRequest(method, "lidc", "smoke", 0, overrides, "x2ct-2019", "phantom", device="cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The run of four stages that is drilled, undisturbed."""
    return run_undisturbed(request("codediff", FEW), tmp_path_factory.mktemp("whole"))


@pytest.fixture
def chance() -> random.Random:
    return random.Random(1)


def strike(whole: Whole, root: Path, task: str, sent: signal.Signals, chance: random.Random, **also: float) -> End:
    """Run below `root` until a signal comes at a random moment of a task."""
    return run(whole.request, root, Fate(task, chance.random() * whole.seconds[task], sent, **also))  # type: ignore[arg-type]


def check_finishes(whole: Whole, root: Path, fate: Fate = UNDISTURBED) -> None:
    """Run once more below `root`; it must end, and leave what an undisturbed run leaves and nothing else."""
    end = run(whole.request, root, fate)
    assert end.code == 0, end
    assert read_state(root) == whole.state
    assert not list(root.rglob(f".*{PARTIAL}"))


def check_refused(end: End) -> None:
    assert end.code == 1, end
    assert "cannot write" in end.message


def test_a_run_that_is_killed_in_each_phase_goes_on_and_ends_as_if_nothing_had_been(
    tmp_path: Path, chance: random.Random
) -> None:
    small = run_undisturbed(request(TEMPLATE, SMALL), tmp_path / "whole")
    assert {"prepare lidc", "fit network", "reconstruct test", "score"} <= small.seconds.keys()
    for task in small.seconds:
        end = strike(small, tmp_path / "killed", task, signal.SIGKILL, chance)
        assert end.code == -signal.SIGKILL, (task, end)
    check_finishes(small, tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("sent", "times", "code"), [(signal.SIGKILL, KILLS, -signal.SIGKILL), (signal.SIGTERM, 1, 143)]
)
def test_a_run_survives_signals_at_any_moment_of_any_task(
    sent: signal.Signals, times: int, code: int, whole: Whole, tmp_path: Path, chance: random.Random
) -> None:
    """SIGTERM ends it in seconds, which its process watches."""
    for task in whole.seconds:
        for _ in range(times):
            end = strike(whole, tmp_path, task, sent, chance)
            assert end.code == code, (task, end)
    check_finishes(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_survives_kills_as_any_file_gets_its_name(whole: Whole, tmp_path: Path, chance: random.Random) -> None:
    for kills in range(MOST_WRITES):  # more and more writes between them: some files are only kept together
        end = run(whole.request, tmp_path, Fate(writes=chance.randint(*WRITES) + kills // 4))
        if end.code != -signal.SIGKILL:
            break
    assert kills > 5
    assert end.code == 0, end
    check_finishes(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_full_disk_is_one_line_wherever_a_write_breaks_off(
    whole: Whole, tmp_path: Path, chance: random.Random
) -> None:
    volumes = next((whole.root / "data").rglob("volumes.npy")).stat().st_size
    check_refused(run(whole.request, tmp_path, Fate(file_bytes=volumes - 1)))
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    shutil.copytree(whole.root / "data", tmp_path / "data")
    files = {path.stat().st_size for path in (whole.root / "runs").rglob("*") if path.is_file()}
    limits = [size - 1 for size in files if size > SMALLEST_DISK]
    for limit in sorted(chance.sample(limits, min(DISKS, len(limits)))):
        check_refused(run(whole.request, tmp_path, Fate(file_bytes=limit)))
    check_finishes(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["results", "runs"])
def test_a_folder_that_cannot_be_written_is_one_line(name: str, whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.root / "data", tmp_path / "data")
    check_refused(run(whole.request, tmp_path, Fate(read_only=tmp_path / name)))
    (tmp_path / name).chmod(0o755)
    check_finishes(whole, tmp_path)


@pytest.mark.slow
def test_a_clock_that_goes_back_changes_nothing(whole: Whole, tmp_path: Path, chance: random.Random) -> None:
    shutil.copytree(whole.root / "data", tmp_path / "data")
    task = chance.choice(list(whole.seconds))
    assert strike(whole, tmp_path, task, signal.SIGKILL, chance, clock_step=BACKWARDS).code == -signal.SIGKILL
    check_finishes(whole, tmp_path, Fate(clock_step=BACKWARDS))


@pytest.mark.slow
def test_a_second_process_is_refused_and_the_first_ends(whole: Whole, tmp_path: Path, chance: random.Random) -> None:
    shutil.copytree(whole.root / "data", tmp_path / "data")
    task = next(name for name in whole.seconds if not name.startswith("prepare"))
    first = start(whole.request, tmp_path, Fate(task, chance.random() * whole.seconds[task], signal.SIGSTOP))
    while first.is_alive() and not is_stopped(first.pid):
        time.sleep(0.05)
    second = run(whole.request, tmp_path)
    os.kill(first.pid or 0, signal.SIGCONT)
    assert wait(first, tmp_path).code == 0
    assert second.code == 1
    assert "in use by another process" in second.message
    assert read_state(tmp_path) == whole.state


@pytest.mark.slow
def test_processes_that_merge_at_once_lose_no_row_and_double_none(tmp_path: Path, chance: random.Random) -> None:
    began = time.monotonic()
    check_merging(tmp_path / "live", [None] * PROCESSES)
    seconds = (time.monotonic() - began) / 2
    delays = [chance.random() * seconds if index < KILLED else None for index in range(PROCESSES)]
    check_merging(tmp_path / "killed", delays)


def check_merging(folder: Path, delays: list[float | None]) -> None:
    """Let processes merge runs into one folder, some of them killed after a delay; every run is whole or absent."""
    context = prepare_processes()
    workers = [context.Process(target=merge, args=(folder, index, delay)) for index, delay in enumerate(delays)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not [w.exitcode for w, delay in zip(workers, delays, strict=True) if delay is None and w.exitcode]
    cases, runs = (Counter(read(folder)["run_id"]) for read in (load_results, load_runs))
    assert {f"run-{i}-{n}" for i, delay in enumerate(delays) if delay is None for n in range(RUNS)} <= runs.keys()
    assert set(cases.values()) == {CASES}
    assert set(runs.values()) == {1}
    assert runs.keys() <= cases.keys()


def merge(folder: Path, index: int, delay: float | None) -> None:
    if delay is not None:
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    for number in range(RUNS):
        scores = [score("ssim", 0.5, case=f"case-{case}") for case in range(CASES)]
        put_run(folder, run_line(f"run-{index}-{number}", steps=number), scores)


def test_a_run_that_another_process_holds_is_refused_and_not_changed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked(), pytest.raises(BusyError, match="in use by another process"), RunFolder(tmp_path).locked():
        pass
    with folder.locked():
        folder.write(toy_record())
    assert folder.record() == toy_record()


def test_what_a_killed_writer_left_is_dropped_by_the_next_holder_alone(tmp_path: Path) -> None:
    inner = tmp_path / "predictions"
    write_text(inner / "a.csv", "kept")
    (inner / ".a.csv.x1y2z3.partial").write_text("half")
    with RunFolder(tmp_path).locked():
        assert [path.name for path in inner.iterdir()] == ["a.csv"]


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(BenchError, match=r"cannot write .*free or change the disk"),
        locked(tmp_path / "file" / ".lock"),
    ):
        pass
