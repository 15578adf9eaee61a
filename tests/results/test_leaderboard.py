"""The leaderboard: sorted, with intervals over cases, floors apart, and stale files are found."""

from pathlib import Path

import numpy as np
import pytest

from bench.cli import run_command
from bench.errors import UsageError
from bench.metrics.stats import mean_intervals
from bench.results import tables
from bench.results.leaderboard import document, leaderboard_tables
from bench.scoring.rows import ScoreRow, merge_rows, merge_run

from ..helpers.score_rows import run_facts

CASES = [f"case-{index:02d}" for index in range(12)]


@pytest.fixture(autouse=True)
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """`floor` is a floor, all else a method; the methods that are installed do not matter here."""

    class Card:
        capabilities = frozenset({"volume"})

        def __init__(self, name: str) -> None:
            self.title, self.kind = name.title(), "floor" if name == "floor" else "method"

    monkeypatch.setattr(tables, "method_card", Card)
    monkeypatch.setattr(tables, "find_installed_dataset", lambda name: None)


def drawn(seed: int, mean: float, spread: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, len(CASES))


def add(results: Path, method: str, psnr: np.ndarray, mae: np.ndarray | None = None, **other) -> None:
    """One run: rows of its cases and their means."""
    status = other.pop("status", "ok")
    shared = run_facts(method, **other)
    rows = []
    for metric, values in {"psnr": psnr, "mae": mae}.items():
        if values is None:
            continue
        for case, value in zip(CASES, values.tolist(), strict=True):
            rows.append(ScoreRow(**shared, metric=metric, level="case", case=case, stat="value", value=value, n=1))
        own = {"level": "set", "stat": "mean", "n": len(CASES), "status": status}
        note = "of 48 cases in the split" if status == "partial" else ""
        rows.append(ScoreRow(**shared, **own, metric=metric, value=float(values.mean()), note=note))
    merge_rows(results, rows)
    merge_run(results, {"run_id": shared["run_id"], "data_fingerprint": "f0", "size": 24})


def volumes(results: Path, by: str = "psnr"):
    return leaderboard_tables(results, by)[0].blocks[0]


def test_methods_are_sorted_in_the_direction_of_the_metric(tmp_path: Path) -> None:
    for seed, (method, psnr, mae) in enumerate((("a", 20, 0.02), ("b", 30, 0.05), ("c", 25, 0.03))):
        add(tmp_path, method, drawn(seed, psnr, 1.0), drawn(seed, mae, 0.001))
    assert [row.title for row in volumes(tmp_path).methods] == ["1. B", "2. C", "3. A"]
    by_mae = volumes(tmp_path, "mae")
    assert [row.title for row in by_mae.methods] == ["1. A", "2. C", "3. B"]
    assert by_mae.methods[0].cells[0].metric == "mae"
    with pytest.raises(UsageError, match="sorts by psnr, ssim, mse, mae; not by 'density'"):
        leaderboard_tables(tmp_path, "density")


def test_intervals_are_over_cases_of_the_mean_of_seeds(tmp_path: Path) -> None:
    runs = [drawn(seed, 20.0 + seed, 2.0) for seed in (0, 1)]
    for seed, values in enumerate(runs):
        add(tmp_path, "a", values, seed=seed)
    (row,) = volumes(tmp_path).methods
    expected = mean_intervals(np.mean(runs, axis=0)[:, None])
    assert row.cells[0].value == pytest.approx(expected.mean[0])
    assert row.cells[0].interval == pytest.approx((expected.low[0], expected.high[0]))
    text = document(leaderboard_tables(tmp_path), "psnr")
    spread = np.std([values.mean() for values in runs], ddof=1)
    assert f"{expected.mean[0]:.2f} ± {spread:.2f} [{expected.low[0]:.2f}, {expected.high[0]:.2f}]" in text


def test_seeds_scored_by_different_versions_of_a_protocol_are_never_averaged(tmp_path: Path) -> None:
    add(tmp_path, "a", drawn(0, 20.0, 1.0))
    add(tmp_path, "a", drawn(1, 30.0, 1.0), seed=1, protocol_hash="0" * 64)
    blocks = leaderboard_tables(tmp_path, "psnr")[0].blocks
    shown = [row.cells[0].value for block in blocks for row in block.methods]
    assert sorted(shown) == pytest.approx([drawn(0, 20.0, 1.0).mean(), drawn(1, 30.0, 1.0).mean()])
    assert len(blocks) == 2


def test_floors_stand_apart_and_partial_runs_have_no_place(tmp_path: Path) -> None:
    add(tmp_path, "a", drawn(0, 20.0, 1.0))
    add(tmp_path, "floor", drawn(1, 40.0, 1.0))
    add(tmp_path, "c", drawn(2, 50.0, 1.0), status="partial")
    block = volumes(tmp_path)
    assert [row.title for row in block.methods] == ["1. A", "– C"]
    assert block.references[0].title == "Floor"
    assert block.references[0].cells[0].interval is not None


def test_pretrained_weights_have_no_place_not_even_alone(tmp_path: Path) -> None:
    add(tmp_path, "a", drawn(0, 20.0, 1.0))
    add(tmp_path, "b", drawn(1, 30.0, 1.0), origin="pretrained")
    add(tmp_path, "c", drawn(2, 10.0, 1.0))
    block = volumes(tmp_path)
    assert [row.title for row in block.methods] == ["1. A", "2. C", "– B (pretrained weights)"]
    assert block.methods[2].cells[0].rank is None
    assert block.methods[2].cells[0].interval is not None
    add(tmp_path / "alone", "b", drawn(1, 30.0, 1.0), origin="pretrained")
    assert [row.title for row in volumes(tmp_path / "alone").methods] == ["– B (pretrained weights)"]


def test_presets_and_datasets_never_share_a_block_and_the_largest_comes_first(tmp_path: Path) -> None:
    for preset, size in (("tiny", 24), ("small", 64), ("smoke", 16)):
        add(tmp_path, "codediff", drawn(size, 25.0, 1.0), preset=preset)
        merge_run(tmp_path, {"run_id": f"codediff-lidc-{preset}-s0-aaaaaaaa", "size": size})
    add(tmp_path, "codediff", drawn(2, 30.0, 1.0), dataset="baggage")
    shown = leaderboard_tables(tmp_path)
    assert [table.title for table in shown] == ["baggage, volumes", "lidc, volumes"]
    assert [block.facts["preset"] for block in shown[1].blocks] == ["small", "tiny", "smoke"]
    assert all(len(block.methods) == 1 for table in shown for block in table.blocks)
    assert "25.05" not in document(shown, "psnr")


def test_the_command_writes_checks_and_names_the_command_that_renews(tmp_path: Path, capsys) -> None:
    out, readme = tmp_path / "board.md", tmp_path / "README.md"
    readme.write_text("# Title\n\n<!-- leaderboard -->\nold\n<!-- /leaderboard -->\n\nafter\n")
    base = ["leaderboard", "--out", str(out), "--readme", str(readme), "--results-dir", str(tmp_path)]
    assert run_command([*base, "--check"]) == 1
    assert not out.exists()
    assert run_command(base) == 0
    assert "No method has been measured yet" in out.read_text()
    add(tmp_path, "a", drawn(0, 20.0, 1.0))
    capsys.readouterr()
    assert run_command([*base, "--check"]) == 1
    said = capsys.readouterr().err
    assert f"{out}, {readme} out of date" in said
    assert "`bench leaderboard --by psnr" in said
    assert run_command(base) == 0
    assert run_command([*base, "--check"]) == 0
    text = readme.read_text()
    assert text.startswith("# Title\n\n<!-- leaderboard -->\n")
    assert text.endswith("<!-- /leaderboard -->\n\nafter\n")
    assert "1. A" in text
    assert "old" not in text
    readme.write_text(text.replace("1. A", "1. B"))
    assert run_command([*base, "--check"]) == 1
    assert run_command([*base, "--by", "ssim", "--check"]) == 1


def test_a_readme_is_touched_only_when_it_is_named_and_needs_its_marks(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- leaderboard -->\nold\n<!-- /leaderboard -->\n")
    assert run_command(["leaderboard"]) == 0
    assert "old" in readme.read_text()
    readme.write_text("# Title\n<!-- leaderboard -->\n")
    assert run_command(["leaderboard", "--readme", "README.md"]) == 2
    assert "needs one line <!-- leaderboard -->" in capsys.readouterr().err
