"""A run in a process of its own that something befalls: a signal, a full disk, a folder it may not write, a bad clock.

Processes are forked from one that has imported the harness, so that a drill costs its runs and no imports.
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
from dataclasses import dataclass
from pathlib import Path

from bench.pipeline.run import RunRequest, run_one
from bench.system.progress import Progress, Task
from bench.system.signals import WARNINGS

PATIENCE = 10.0  # seconds from a warning to the end of the process
TOO_LATE = 98  # exit code of a process that took longer
MISSED = 99  # exit code of a run that ended before anything befell it
CAP_DAC_OVERRIDE = 1  # the right of root to write where nobody may
PR_CAPBSET_DROP = 24


@dataclass(frozen=True)
class Moment:
    """When a signal comes: a part of the way through a task, at the latest as it ends."""

    task: str  # as the terminal names it
    part: float  # 0..1 of the seconds that the task takes
    seconds: float  # that an undisturbed run spent on it


@dataclass(frozen=True)
class Fate:
    """What befalls a run."""

    moment: Moment | None = None
    signal: int = signal.SIGKILL
    writes: int | None = None  # files that are renamed into their place before kill -9 comes at the next
    file_bytes: int | None = None  # no file may become longer: where a write breaks off on a full disk
    read_only: tuple[Path, ...] = ()  # folders that cannot be written
    clock_step: float = 0.0  # seconds that the clock goes on each time it is read; negative: backwards


@dataclass(frozen=True)
class End:
    """How a process ended: its exit code, negative for a signal, and its last message."""

    code: int
    message: str


def ready_processes() -> multiprocessing.context.ForkServerContext:
    """Makes processes that have imported what of the harness, of methods and of datasets this one has so far."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if name.startswith("bench.")])
    return context


def start(request: RunRequest, fate: Fate, log: Path) -> multiprocessing.process.BaseProcess:
    """Start a run; its messages go to the file `log`, and its exit code is that of `bench run`."""
    process = ready_processes().Process(target=_live, args=(request, fate, log, dict(os.environ)))
    process.start()
    return process


def ended(process: multiprocessing.process.BaseProcess, log: Path) -> End:
    """Wait for a process that `start` started."""
    process.join()
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    said = [line for line in lines if line.startswith("bench: ")] or lines  # libraries may warn after it
    return End(process.exitcode or 0, said[-1] if said else "")


class _Doomed(Progress):
    """A progress that sends this process a signal at a moment of one task."""

    def __init__(self, fate: Fate, times: Path) -> None:
        super().__init__()
        self.fate, self.times, self.struck = fate, times, threading.Event()

    @contextmanager
    def task(self, name: str, total: int, start: int = 0) -> Iterator[Task]:
        moment, began = self.fate.moment, time.monotonic()
        hit = moment is not None and moment.task == name
        if hit and moment is not None:
            timer = threading.Timer(moment.part * moment.seconds, self._strike)
            timer.daemon = True
            timer.start()
        with super().task(name, total, start) as task:
            yield task
            if hit:
                self._strike()
        with self.times.open("a") as file:
            file.write(f"{name}\t{time.monotonic() - began}\n")

    def _strike(self) -> None:
        if self.struck.is_set():
            return
        self.struck.set()
        if self.fate.signal in WARNINGS:
            threading.Thread(target=_lose_patience, daemon=True).start()
        os.kill(os.getpid(), self.fate.signal)


def _lose_patience() -> None:
    time.sleep(PATIENCE)
    os._exit(TOO_LATE)


def _live(request: RunRequest, fate: Fate, log: Path, environment: dict[str, str]) -> None:
    """The whole life of the process; ends it with the exit code of the command."""
    import torch

    from bench.cli import ended_by

    os.environ.update(environment)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    with log.open("w", buffering=1) as lines:
        os.dup2(lines.fileno(), 1)
        os.dup2(lines.fileno(), 2)
    for folder in fate.read_only:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o555)
    if fate.read_only:
        _become_ordinary()
    if fate.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fate.file_bytes, resource.RLIM_INFINITY))
    if fate.writes is not None:
        _kill_at_write(fate.writes)
    if fate.clock_step:
        _set_clock(fate.clock_step)
    progress = _Doomed(fate, log.with_suffix(".times"))

    def work() -> int:
        run_one(request, progress)
        return MISSED if fate.moment and not progress.struck.is_set() else 0

    code = ended_by(work)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _become_ordinary() -> None:
    """Give up root's right to write what is read-only, for this process and those it starts."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        held = (ctypes.c_uint32 * 6)()
        libc.capget(header, held)
        for index in (0, 1, 2):  # effective, permitted, inheritable
            held[index] &= ~(1 << CAP_DAC_OVERRIDE)
        libc.prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)
        if libc.capset(header, held):
            raise OSError(ctypes.get_errno(), "cannot give up the rights of root")


def _kill_at_write(allowed: int) -> None:
    renamed = [0]

    def see(event: str, arguments: tuple) -> None:
        if event == "os.rename":
            renamed[0] += 1
            if renamed[0] > allowed:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(see)


def _set_clock(step: float) -> None:
    """Let the wall clock, of which no order may be taken, jump at each reading."""
    read, began, real = [0], time.time(), time.gmtime

    def now() -> float:
        read[0] += 1
        return began + step * read[0]

    time.time = now
    time.gmtime = lambda seconds=None: real(now() if seconds is None else seconds)
