"""What every test can ask for: a data folder of its own, and small synthetic data sets."""

import os
from collections.abc import Callable
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores; threads that wait for each other waste them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from bench.cases import Cases

from .helpers import toy_data

SEEDS = [int(seed) for seed in os.environ.get("BENCH_TEST_SEEDS", "0").split(",")]


@pytest.fixture(scope="session", params=SEEDS, ids="seed {}".format)
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of a test that trains or samples: 0, or each of $BENCH_TEST_SEEDS; see tests/test_processors.py."""
    return request.param


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that stands for $BENCH_DATA."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def make_data() -> Callable[..., dict[str, Cases]]:
    """`make_data(train=12, test=8, size=16, name="toy", …)` → split → Cases of smooth random volumes."""
    return toy_data.make_data
