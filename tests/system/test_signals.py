"""A scheduler's warning ends a command wherever it arrives."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
import sys, time
from bench.cli import ended_by
from bench.scans import prepare

def slow(job):
    print("begun", flush=True)
    time.sleep(100)

prepare._work = slow
if __name__ == "__main__":
    sys.exit(ended_by(lambda: list(prepare._run_jobs([1, 2], 2))))
"""


@pytest.mark.slow  # beside other tests a worker that is still starting can outlive both signals
def test_interrupting_twice_ends_the_workers_of_a_preparation_at_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SLOW_WORKERS)
    place = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    command = subprocess.Popen([sys.executable, str(script)], **place)  # type: ignore[call-overload]
    try:
        assert command.stdout.readline() == "begun\n"
        began = time.monotonic()
        for _ in range(2):  # as a terminal does: to all processes
            os.killpg(command.pid, signal.SIGINT)
            time.sleep(0.3)
        _, said = command.communicate(timeout=60)
    finally:
        command.kill()
    assert command.returncode in (130, -signal.SIGINT)  # the latter once Python is ending
    assert said.strip() in ("bench: interrupted; what is done is kept, and the same command goes on from there", "")
    assert time.monotonic() - began < 20
