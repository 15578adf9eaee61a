"""A scheduler's warning ends a command wherever it arrives."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.system.signals import interrupts_held_back

STOPPED_IN_A_FINALISER = """
import os, signal, sys, time
from bench.cli import ended_by

class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(1000))  # the handler runs here, and what it raises is dropped

def work():
    finalised = Finalised()
    del finalised
    for _ in range(1000):
        time.sleep(0.01)
    print("not stopped")

sys.exit(ended_by(work))
"""
STOPPED_IN_THE_OPEN = STOPPED_IN_A_FINALISER.replace("__del__", "stop").replace("del finalised", "finalised.stop()")


@pytest.mark.parametrize("script", [STOPPED_IN_THE_OPEN, STOPPED_IN_A_FINALISER], ids=["in the open", "in a finaliser"])
def test_a_warning_ends_the_command_with_143(script: str) -> None:
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 143, ended.stderr
    assert "stopped by SIGTERM" in ended.stderr
    assert ended.stdout == ""


SLOW_WORKERS = """
import signal, sys, time
from bench.cli import ended_by
from bench.system.workers import map_in_workers

if __name__ != "__main__" and "starting" in sys.argv:
    time.sleep(100)  # as the imports of a worker may take, where many compute

def slow(job):
    print("begun", flush=True)
    time.sleep(100)

def jobs():
    print("asked", flush=True)
    return [1, 2]

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests themselves run without Ctrl-C
    sys.exit(ended_by(lambda: list(map_in_workers(slow, jobs(), 2))))
"""


@pytest.mark.parametrize(("workers", "said_first"), [("working", "asked\nbegun\n"), ("starting", "asked\n")])
def test_interrupting_twice_ends_workers_at_once(workers: str, said_first: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SLOW_WORKERS)
    place = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    command = subprocess.Popen([sys.executable, str(script), workers], **place)  # type: ignore[call-overload]
    try:
        assert "".join(command.stdout.readline() for _ in said_first.splitlines()) == said_first
        for _ in range(2):  # as a terminal does: to all processes
            time.sleep(0.3)
            os.killpg(command.pid, signal.SIGINT)
        began = time.monotonic()
        _, said = command.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
    assert command.returncode in (130, -signal.SIGINT)  # the latter once Python is ending
    assert "Traceback" not in said
    assert time.monotonic() - began < 20


@pytest.fixture
def with_interrupts() -> Iterator[None]:
    """Ctrl-C is heard, also where the tests run in the background and would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("with_interrupts")
def test_an_interruption_waits_though_another_thread_receives_it() -> None:
    waiting = threading.Event()
    other = threading.Thread(target=waiting.wait)
    other.start()  # before, so that it does not inherit what this thread blocks
    done = []

    def work() -> None:
        with interrupts_held_back():
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(100):  # the handler runs between two of these, if it is let
                time.sleep(0.001)
            done.append("all")

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        waiting.set()
        other.join()
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
