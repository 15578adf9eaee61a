"""Tests that train or sample keep their bounds on every processor: with other instructions, threads and seeds.

`pytest -m slow tests/test_processors.py` repeats each test marked `trains` from every one of SEEDS under each choice of
instructions, half of them with one thread and half with two: half an hour of one core. Anywhere else such a test runs
once, from seed 0; `BENCH_TEST_SEEDS=1,2,3 pytest -m trains` runs it from others.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
SEEDS = "0,1,2"
OWN = torch.backends.cpu.get_cpu_capability()
NARROWED = pytest.mark.skipif("AVX" not in OWN, reason=f"this processor has {OWN}, which cannot be narrowed")


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize(
    ("aten", "onednn", "threads"),  # every pair of instructions, and each of them with one thread and two
    [
        ("", "", "1"),
        pytest.param("", "AVX2", "2", marks=NARROWED),
        pytest.param("avx2", "", "2", marks=NARROWED),
        pytest.param("avx2", "AVX2", "1", marks=NARROWED),
        pytest.param("default", "", "1", marks=NARROWED),
        pytest.param("default", "AVX2", "2", marks=NARROWED),
    ],
)
def test_trained_and_sampled_results_keep_their_bounds(aten: str, onednn: str, threads: str, tmp_path: Path) -> None:
    """An empty choice of instructions is the processor's own."""
    chosen = {"ATEN_CPU_CAPABILITY": aten, "ONEDNN_MAX_CPU_ISA": onednn, "OMP_NUM_THREADS": threads}
    environment = {name: value for name, value in (os.environ | chosen).items() if value}
    options = ["-q", "-n0", "-p", "no:cacheprovider", "-m", "trains and not slow", "--basetemp", str(tmp_path / "_")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests"],
        cwd=ROOT,
        env=environment | {"BENCH_TEST_SEEDS": SEEDS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
