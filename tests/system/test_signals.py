"""A scheduler's warning ends a command wherever it arrives."""

import subprocess
import sys

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
