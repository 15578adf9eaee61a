"""Runs in processes of their own that something befalls: a signal, a full disk, a read-only folder, a bad clock.

The processes are forked from one that has imported the harness, so that each costs its run and no imports. Linux only.
"""

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from bench.cli import ended_by
from bench.pipeline.plan import RunRequest
from bench.pipeline.run import run_one
from bench.plugins.registry import get_dataset, get_method
from bench.scoring.rows import SINGLE_FILE
from bench.scoring.store import load_results
from bench.system.files import digest_of, sha256_of
from bench.system.progress import Progress, Task

PATIENCE = 10.0  # seconds from a warning to the end of the process
TOO_LATE = 98  # exit code of a process that took longer
MISSED = 99  # exit code of a run that ended before its task came
KEPT = ("runs/**/*.safetensors", "runs/**/train.csv", "runs/**/*.nii.gz", "runs/**/likelihood.csv", "data/**/*.npy")


@dataclass(frozen=True)
class Fate:
    """What befalls a run."""

    task: str = ""  # in which a signal comes, as the terminal names it
    after: float = 0.0  # seconds of that task; at the latest the signal comes as the task ends
    signal: int = signal.SIGKILL
    writes: int | None = None  # files that get their name before SIGKILL comes at the next
    file_bytes: int | None = None  # a longer file breaks off there, as on a full disk
    read_only: Path | None = None  # a folder that cannot be written
    clock_step: float = 0.0  # seconds that the clock goes on each time it is read; negative: backwards


UNDISTURBED = Fate()


@dataclass(frozen=True)
class End:
    """How a process ended: its exit code, negative for a signal, and its last message."""

    code: int
    message: str


@dataclass(frozen=True)
class Whole:
    """A run that nothing disturbed: the seconds of each of its tasks, in order, and what it left."""

    request: RunRequest
    root: Path
    seconds: dict[str, float]
    state: dict[str, str]


def prepare_processes() -> multiprocessing.context.ForkServerContext:
    """Return a context whose processes have imported what of the harness, methods and datasets this one has so far."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if name.startswith("bench.")])
    return context


def is_stopped(process: int | None) -> bool:
    """Whether SIGSTOP holds a process."""
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T"


def start(request: RunRequest, root: Path, fate: Fate = UNDISTURBED) -> BaseProcess:
    """Start a run that keeps data, runs and results below `root`; its exit code is that of `bench run`."""
    root.mkdir(parents=True, exist_ok=True)
    own = replace(request, runs_dir=root / "runs", results_dir=root / "results")
    process = prepare_processes().Process(target=_live, args=(own, root, fate, dict(os.environ)))
    process.start()
    return process


def wait(process: BaseProcess, root: Path) -> End:
    """Wait for a process of `start`, and return how it ended."""
    process.join()
    log = _log(root, process.pid)
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    said = [line for line in lines if line.startswith("bench: ")] or lines  # libraries may warn after it
    return End(process.exitcode or 0, said[-1] if said else "")


def run(request: RunRequest, root: Path, fate: Fate = UNDISTURBED) -> End:
    """Start a run below `root`, and return how it ended."""
    return wait(start(request, root, fate), root)


def run_undisturbed(request: RunRequest, root: Path) -> Whole:
    """Run once below `root`, and return what it left; an AssertionError says how it failed."""
    get_method(request.method), get_dataset(request.dataset)  # imported here, they are in all processes
    end = run(request, root)
    assert end.code == 0, end
    lines = [line.split("\t") for line in (root / "times").read_text().splitlines()]
    return Whole(request, root, {name: float(seconds) for name, seconds in lines}, read_state(root))


def read_state(root: Path) -> dict[str, str]:
    """Return a hash of all that a run left below `root` and that every such run must leave, bit for bit, by its name.

    These are data, weights, training log, predictions, and all scores but times.
    """
    files = {path.relative_to(root).as_posix(): sha256_of(path) for pattern in KEPT for path in root.glob(pattern)}
    scores = load_results(root / "results")[list(SINGLE_FILE)]
    rows = scores[scores["space"] != "time"].drop(columns="code_version")
    return files | {"scores": digest_of(rows.astype(str).to_numpy().tolist())}


class _Doomed(Progress):
    """A progress that sends this process a signal within one task, and notes the seconds of all."""

    def __init__(self, fate: Fate, times: Path) -> None:
        super().__init__()
        self.fate, self.times, self.struck = fate, times, threading.Event()

    @contextmanager
    def task(self, name: str, total: int, start: int = 0) -> Iterator[Task]:
        began, doomed = time.monotonic(), self.fate.task == name
        if doomed:
            timer = threading.Timer(self.fate.after, self._strike)
            timer.daemon = True
            timer.start()
        with super().task(name, total, start) as task:
            yield task
            if doomed:
                self._strike()
        with self.times.open("a") as file:
            file.write(f"{name}\t{time.monotonic() - began}\n")

    def _strike(self) -> None:
        if not self.struck.is_set():
            self.struck.set()
            if self.fate.signal == signal.SIGTERM:
                threading.Thread(target=_lose_patience, daemon=True).start()
            os.kill(os.getpid(), self.fate.signal)


def _lose_patience() -> None:
    time.sleep(PATIENCE)
    os._exit(TOO_LATE)


def _log(root: Path, process: int | None) -> Path:
    return root / f"{process}.log"


def _live(request: RunRequest, root: Path, fate: Fate, environment: dict[str, str]) -> None:
    """Run in this process, let `fate` befall it, and end it with the exit code of the command."""
    os.environ.update(environment, BENCH_DATA=str(root / "data"), OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    with _log(root, os.getpid()).open("w", buffering=1) as lines:
        os.dup2(lines.fileno(), 1)
        os.dup2(lines.fileno(), 2)
    if fate.read_only:
        fate.read_only.mkdir(parents=True, exist_ok=True)
        fate.read_only.chmod(0o555)
        _drop_rights()
    if fate.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fate.file_bytes, resource.RLIM_INFINITY))
    if fate.writes is not None:
        _kill_at_write(fate.writes)
    if fate.clock_step:
        _set_clock(fate.clock_step)
    progress = _Doomed(fate, root / "times")

    def work() -> int:
        run_one(request, progress)
        return MISSED if fate.task and not progress.struck.is_set() else 0

    code = ended_by(work)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _drop_rights() -> None:
    """Give up root's right to write where nobody may (CAP_DAC_OVERRIDE), for this process and those it starts."""
    if os.geteuid() == 0:
        libc, header, sets = (
            ctypes.CDLL(None, use_errno=True),
            (ctypes.c_uint32 * 2)(0x20080522),
            (ctypes.c_uint32 * 6)(),
        )
        libc.capget(header, sets)
        for index in range(3):  # effective, permitted, inheritable
            sets[index] &= ~(1 << 1)
        libc.prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP
        if libc.capset(header, sets):
            raise OSError(ctypes.get_errno(), "cannot give up the rights of root")


def _kill_at_write(allowed: int) -> None:
    names = iter(range(allowed))

    def see(event: str, arguments: tuple) -> None:
        if event == "os.rename" and next(names, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(see)


def _set_clock(step: float) -> None:
    """Let the wall clock, of which no order may be taken, jump at each reading."""
    readings, began, gmtime = iter(range(1, sys.maxsize)), time.time(), time.gmtime
    time.time = lambda: began + step * next(readings)
    time.gmtime = lambda seconds=None: gmtime(time.time() if seconds is None else seconds)
