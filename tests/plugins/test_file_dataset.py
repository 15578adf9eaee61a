"""A dataset given as a file is run, scored again, and tabulated like a built-in one."""

from pathlib import Path

import pytest

from bench.cli import run_command
from bench.plugins.registry import get_dataset
from bench.scoring.store import load_results

FILE = """
from dataclasses import replace
from bench.datasets.lidc import DATASET as chests
DATASET = replace(chests, name="{name}")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "other"):
        (tmp_path / f"{name}.py").write_text(FILE.format(name=name))
    return tmp_path


def test_its_runs_are_scored_again_by_its_file(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert get_dataset("./mine.py").name == "mine"  # and not what the file imports
    assert get_dataset("./mine.py:chests").name == "lidc"
    small = ["--preset", "smoke", "--set", "data.phantoms=[8,2,7]"]
    for phase in ("fit", "predict"):
        assert run_command(["run", "--method", "mean", "--dataset", "./mine.py", "--only", phase, *small]) == 0
    (run,) = (own / "runs" / "mine" / "mean").iterdir()
    again = ["score", run.name, "--protocol", "x2ct-2019"]
    for options, code, words in (
        ([], 2, f"bench score {run.name} --dataset FILE.py"),
        (["--dataset", "./other.py"], 2, "was made on the dataset mine, not on other"),
        (["--dataset", "./mine.py"], 0, ""),
    ):
        assert run_command([*again, *options]) == code
        assert words in capsys.readouterr().err
    scores = load_results(own / "results")
    assert set(scores["protocol"]) == {"x2ct-2019"}
    assert set(scores["dataset"]) == {"mine"}
    assert run_command(["table"]) == 0
