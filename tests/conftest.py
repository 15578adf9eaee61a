"""What every test can ask for: one data folder, small synthetic data sets, and a finished run of a floor."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores; threads that wait for each other waste them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import joblib
import pytest

from bench.cases import Cases
from bench.cli import run_command
from bench.scoring import DEFAULT
from bench.scoring.protocols import PROTOCOLS
from bench.system.files import locked

from .helpers import toy_data

SEEDS = [int(seed) for seed in os.environ.get("BENCH_TEST_SEEDS", "0").split(",")]


@pytest.fixture(scope="session", params=SEEDS, ids="seed {}".format)
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of a test that trains or samples: 0, or each of $BENCH_TEST_SEEDS; see tests/test_processors.py."""
    return request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one worker, which makes their fixtures once; a test may name another group."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers share; who writes into it takes a lock."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _shared_data(shared_folder: Path) -> Iterator[None]:
    """Let $BENCH_DATA be one folder for all tests: what one of them prepared or encoded, the others find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(shared_folder / "data"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Let prdc compute in this thread: on matrices of tests its eight take twenty times as long, most of it waiting."""
    with joblib.parallel_config(backend="sequential"):
        yield


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that stands for $BENCH_DATA."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def quick_protocol() -> Iterator[None]:
    """The default protocol without its slow parts: density and coverage, and images all round a case."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, DEFAULT, replace(PROTOCOLS[DEFAULT], fidelity=None, turn=None))
        yield


@pytest.fixture(scope="module")
def mean_run(quick_protocol: None, shared_folder: Path) -> Path:
    """A folder with `runs` and `results` of one run of `mean` under the quick protocol; copy it to change it."""
    folder = shared_folder / "mean"
    places = ["--runs-dir", str(folder / "runs"), "--results-dir", str(folder / "results")]
    small = ["--preset", "smoke", "--set", "data.phantoms=[8,2,3]", "--source", "phantom"]
    with locked(shared_folder / "mean.lock"):
        if not (folder / "finished").exists():
            assert run_command(["run", "--method", "mean", "--dataset", "lidc", *small, *places]) == 0
            (folder / "finished").touch()
    return folder


@pytest.fixture
def make_data() -> Callable[..., dict[str, Cases]]:
    """`make_data(train=12, test=8, size=16, …)` → split → Cases of smooth random volumes."""
    return toy_data.make_data
