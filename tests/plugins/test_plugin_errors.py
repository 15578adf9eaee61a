"""A plug-in that is broken, in any way, is named in one line and has its row; the other methods of a command go on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import run_command
from bench.plugins.registry import get_method
from bench.results.model import read_results
from bench.results.tables import build_tables
from bench.scoring.store import load_results, load_runs

GOOD = """
import torch
from bench.method import Method, MethodCard, Settings

class Mine(Method):
    card = MethodCard("mine", "Mine", "none", 2026, "", "", frozenset({"volume", "mip"}))

    class Config(Settings):
        level: float = 0.5

    def __init__(self, config, data):
        self.size, self.level = data.size, config.level

    def stages(self):
        return []

    def reconstruct(self, views, *, seeds):
        return torch.full((len(seeds), self.size, self.size, self.size), self.level)
"""
FULL = "return torch.full("
BROKEN = {  # what is changed in the file, and words that the reason must hold
    "raises on import": ("import torch\n", "import torch\nraise RuntimeError('no licence')\n", "no licence"),
    "exits on import": ("import torch\n", "import sys\nsys.exit(3)\n", "SystemExit"),
    "needs a missing package": ("import torch\n", "import no_such_package\n", "no_such_package"),
    "is no Python": ("class Mine(Method):", "class Mine(Method)", "SyntaxError"),
    "has no card": ("card = MethodCard", "kard = MethodCard", "card"),
    "lacks a part": ("def reconstruct", "def rekonstruct", "reconstruct"),
    "has a setting without a default": ("level: float = 0.5", "level: float", "'level' needs a default"),
    "raises as it is built": ("self.size, self.level =", "1 / 0\n        self.size, self.level =", "ZeroDivisionError"),
    "raises at work": (FULL, "raise ValueError('two\\nlines')\n        " + FULL, "ValueError: two lines"),
    "needs a package at work": (FULL, "import no_such_package\n        " + FULL, "no_such_package"),
    "gives the wrong shape": ("self.size, self.size, self.size", "self.size, self.size, 3", "shape"),
    "gives NaN": ("self.level)\n", "float('nan'))\n", "NaN"),
    "gives no tensor": (FULL, "return None and torch.full(", "NoneType"),
}


@pytest.fixture
def run(quick_protocol: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`run(methods)` in an empty folder that holds mine.py."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(GOOD)
    small = ["--preset", "smoke", "--set", "data.phantoms=[8,2,3]", "--source", "phantom"]
    return lambda methods, *more: run_command(["run", "--method", methods, "--dataset", "lidc", *small, *more])


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_has_a_row_and_the_others_go_on(
    kind: str, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    before, after, words = BROKEN[kind]
    assert before in GOOD
    (tmp_path / "mine.py").write_text(GOOD.replace(before, after))
    assert run("mine.py:Mine,mean") == 1
    output = capsys.readouterr()
    assert len(output.err.strip().splitlines()) == 1
    assert "1 of 2 runs failed" in output.err
    assert words in output.err
    assert output.out.count("failed: mine.py:Mine on lidc, seed 0") == 1
    assert output.out.count("data of lidc:") == 1
    runs = load_runs(tmp_path / "results").set_index("method")
    assert runs["status"].to_dict() == {"mine": "failed", "mean": "done"}
    assert words in runs.loc["mine", "error"]
    rows = load_results(tmp_path / "results").query("method == 'mine'")
    assert set(rows["status"]) == {"error"}
    assert rows["note"].str.contains(words.split(":")[-1].strip(), regex=False).all()
    (table,) = build_tables("2", read_results(tmp_path / "results"))
    assert [row.title for row in table.blocks[0].methods if row.method == "mine"] == ["mine (plug-in)"]
    assert any(words in note for note in table.footnotes)


def test_a_plugin_that_is_mended_loses_its_error(run: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD.replace(FULL, "raise ValueError('why')\n        " + FULL))
    assert run("mine.py:Mine") == 1
    assert set(load_results(tmp_path / "results")["status"]) == {"error"}
    (tmp_path / "mine.py").write_text(GOOD)
    assert run("mine.py:Mine") == 0
    scores = load_results(tmp_path / "results")
    assert "error" not in set(scores["status"])
    assert set(scores["origin"]) == {"plugin"}
    assert load_runs(tmp_path / "results")["status"].tolist() == ["done"]


def test_the_traceback_of_a_plugin_is_kept(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "mine.py").write_text(GOOD.replace(FULL, "raise ValueError('why')\n        " + FULL))
    assert run("mine.py:Mine") == 1
    error = capsys.readouterr().err
    assert "mine raised ValueError: why" in error
    assert "a defect" not in error
    (kept,) = tmp_path.glob("runs/lidc/mine/*/error.txt")
    assert str(kept.relative_to(tmp_path)) in error
    assert "in reconstruct" in kept.read_text()


def test_an_edited_plugin_is_another_run(run: Callable[..., int], tmp_path: Path) -> None:
    assert run("mine.py:Mine") == 0
    assert run("mine.py:Mine") == 0
    assert len(list(tmp_path.glob("runs/lidc/mine/*"))) == 1
    (tmp_path / "mine.py").write_text(GOOD.replace("self.level)\n", "self.level / 2)\n"))
    assert run("mine.py:Mine") == 0
    records = [json.loads(file.read_text()) for file in tmp_path.glob("runs/lidc/mine/*/run.json")]
    assert len({record["plugin_sha256"] for record in records}) == 2
    means = load_results(tmp_path / "results").query("metric == 'mae' and level == 'set' and stat == 'mean'")
    assert means.query("space == '3d'")["value"].nunique() == 2


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("mine.py:Other,mean", "no Other"),
        ("none.py:Mine,mean", "no file none.py"),
        ("mean,mien", "unknown method 'mien'"),
        ("mine.py:torch", "not a Method"),
        (",", "at least one name"),
    ],
)
def test_a_name_that_is_wrong_stops_the_command_before_the_first_run(
    methods: str, words: str, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(methods) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "results").exists()


def test_a_failed_import_leaves_no_half_module(run: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('once')\n")
    assert run("mine.py") == 1
    (tmp_path / "mine.py").write_text(GOOD)
    assert get_method("mine.py").card.name == "mine"
