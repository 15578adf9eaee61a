"""What a wheel holds: all code, the committed results, no weights; and that it is small."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
MOST_BYTES = 10 * 10**6


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = str(tmp_path_factory.mktemp("wheel"))
    return Path(next(WheelBuilder(str(ROOT)).build(directory=folder, versions=["standard"])))


def committed(*folders: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def test_it_is_small_and_holds_all_but_weights_and_pages(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    code = {f"bench/{path.removeprefix('bench/')}" for path in committed("bench", "methods", "datasets")}
    listed = [path for path in committed("results/*.csv") if not path.startswith("results/volumes/")]
    rows = {path.replace("results/", "bench/results/builtin/", 1) for path in listed}
    assert rows
    assert {path for path in code if not path.endswith(".safetensors")} | rows <= inside
    assert not [path for path in inside if path.endswith(".safetensors")]
    assert {Path(path).suffix for path in inside if path.startswith("bench/results/builtin/")} == {".csv", ".png"}


@pytest.mark.slow
def test_an_installed_wheel_shows_the_committed_results_and_says_where_weights_are(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    assert run("-m", "pip", "install", "--no-deps", "--no-index", str(wheel)).returncode == 0
    packages = next((tmp_path / "venv").glob("lib/*/site-packages"))
    (packages / "borrowed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    assert run("-c", "import bench; print(bench.__file__)").stdout.startswith(str(packages))
    table = run("-m", "bench", "table", "2", "--results-dir", "builtin", "--format", "csv")
    here = run("-m", "bench", "table", "2", "--results-dir", str(ROOT / "results"), "--format", "csv")
    assert table.returncode == 0, table.stderr
    assert table.stdout == here.stdout
    assert "codediff" in table.stdout.lower()
    assert run("-m", "bench", "leaderboard", "--results-dir", "builtin").returncode == 0
    assert (tmp_path / "leaderboard.md").exists()
    asked = ["--method", "x2ctgan", "--dataset", "lidc", "--preset", "tiny", "--from-pretrained"]
    refused = run("-m", "bench", "run", *asked, "--runs-dir", str(tmp_path / "runs"))
    assert refused.returncode == 2
    assert "copy methods/x2ctgan/pretrained of a clone" in refused.stderr
