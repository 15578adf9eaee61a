"""One job as a process of its own: `bench run`, its output in a log that says when it began and how it ended.

A run that is stopped or killed goes on where it was when its job is done again, so a job may be ended at any moment.
The log is locked while the job lives: the process inherits the lock with its output, and holds it when whoever started
it is killed.
"""

import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from bench.runs.folder import RunFolder
from bench.system.text import plain_line

POLL_SECONDS = 0.2
GRACE_SECONDS = 60.0  # a stopped run may finish its step and write its checkpoint
RETRIES = 1  # of a process that was killed, e.g. where memory ran short for a moment
MARK = "== "  # begins the lines that are ours in a log; a job may write one like it
MARKED = re.compile(rf"{MARK}\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ (?:start: .*|exit (?P<code>-?\d{{1,4}}))")
STOPPED = (143, -signal.SIGTERM, -signal.SIGUSR1, -signal.SIGUSR2)  # exit codes of a run that was asked to stop


@dataclass
class Work:
    """What starts a job, on this machine or on the one a scheduler chose."""

    arguments: tuple[str, ...]  # of `bench`
    folder: Path  # of the run
    log: Path
    directory: Path = field(default_factory=Path.cwd)  # in which the command was typed
    processes: int = 1  # that share the run; above 1 under torchrun
    environment: dict[str, str] = field(default_factory=dict)
    apart: bool = False  # in a session of its own, where Ctrl-C does not reach it
    halted: bool = False
    child: subprocess.Popen | None = None

    def __call__(self) -> int:
        """Run it to its end; return its exit code. While another process has the run, wait for that one."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        retries = RETRIES
        while not self.halted:
            if in_use(self.folder):
                time.sleep(POLL_SECONDS)
                continue
            code = self._attempt()
            if code is None or (code == 1 and in_use(self.folder)):  # another process was faster
                time.sleep(POLL_SECONDS)
                continue
            if code < 0 and code not in STOPPED and retries and not self.halted:
                retries -= 1
                continue
            return code
        return STOPPED[0]

    def stop(self) -> None:
        """Ask the run for a checkpoint and its end, wait for it, and kill it when it takes too long."""
        self.halted = True
        child, deadline = self.child, time.monotonic() + GRACE_SECONDS
        if child is None:
            return
        child.terminate()
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if child.poll() is None:
            child.kill()

    def command(self) -> list[str]:
        """The process: `bench`, or torchrun that starts several of it."""
        several = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(self.processes), "-m"]
        return [sys.executable, "-m", *(several if self.processes > 1 else ()), "bench", *self.arguments]

    def _attempt(self) -> int | None:
        """The exit code; None where another process is at the job."""
        with self.log.open("ab", buffering=0) as log:
            if not _try_lock(log):
                return None
            log.write(_format_mark(f"start: {shlex.join(('bench', *self.arguments))}"))
            self.child = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=self.apart,
            )
            if self.halted:  # while it was started
                self.child.terminate()
            while (code := self.child.poll()) is None:  # no blocking wait: a signal's handler must be able to poll too
                time.sleep(POLL_SECONDS)
            if code and self.processes > 1 and RunFolder(self.folder).status == "stopped":
                code = STOPPED[0]  # torchrun has one code for all that is not 0
            log.write(_format_mark(f"exit {code}"))
            fcntl.flock(log, fcntl.LOCK_UN)  # a process that another thread starts just now inherits it for a moment
        return code


def in_use(folder: Path) -> bool:
    """Return whether a living process has this run. Only a run that says it is running is looked at closely."""
    if RunFolder(folder).status != "running":
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def is_alive(log: Path) -> bool:
    """Return whether the job of this log is being done."""
    if not log.exists():
        return False
    with log.open("rb") as file:
        return not _try_lock(file)


def last_attempt(log: Path) -> tuple[int | None, str]:
    """Exit code of the last attempt in a log, None where it never ended, and the last line that it said."""
    text = log.read_text("utf-8", errors="replace") if log.exists() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if not MARKED.fullmatch(line)), "")
    ended = next((mark for line in reversed(lines) if (mark := MARKED.fullmatch(line))), None)
    code = ended["code"] if ended else None
    return None if code is None else int(code), plain_line(said.removeprefix("bench: "))


def _try_lock(file: BinaryIO) -> bool:
    """Lock an open file until all processes that inherit it have closed it; False where another has the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _format_mark(text: str) -> bytes:
    return f"{MARK}{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n".encode()
