"""The leaderboard: sorted, with intervals and tests over cases and seeds, floors apart, and stale files are found."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from bench.cli import run_command
from bench.errors import UsageError
from bench.metrics.stats import estimate_mean
from bench.results.leaderboard import build_leaderboard, write_block, write_document
from bench.results.model import read_results
from bench.results.table_model import Table, TableBlock

from ..helpers.table_rows import CASES, add, cards, draw  # noqa: F401 - cards is a fixture

pytestmark = pytest.mark.usefixtures("cards")


def board(results: Path, by: str = "psnr") -> list[Table]:
    return build_leaderboard(read_results(results), by)


def volumes(results: Path, by: str = "psnr") -> TableBlock:
    return board(results, by)[0].blocks[0]


def places(block: TableBlock) -> list[tuple[int | None, str]]:
    return [(row.place, row.title) for row in block.methods]


def test_methods_are_sorted_in_the_direction_of_the_metric(tmp_path: Path) -> None:
    for seed, (method, psnr, mae) in enumerate((("a", 20, 0.02), ("b", 30, 0.05), ("c", 25, 0.03))):
        add(tmp_path, method, cases={"psnr": draw(seed, psnr, 1.0), "mae": draw(seed, mae, 0.001)})
    assert places(volumes(tmp_path)) == [(1, "b"), (2, "c"), (3, "a")]
    by_mae = volumes(tmp_path, "mae")
    assert places(by_mae) == [(1, "a"), (2, "c"), (3, "b")]
    assert by_mae.methods[0].cells[0].metric == "mae"
    with pytest.raises(UsageError, match="sorts by ssim, psnr, psnr_mean_of_k, mse, mae; not by 'density'"):
        board(tmp_path, "density")


def test_intervals_are_over_cases_and_seeds_and_stay_in_the_range_of_their_metric(tmp_path: Path) -> None:
    runs = [draw(seed, 20.0 + seed) for seed in (0, 1, 2)]
    for seed, values in enumerate(runs):
        errors = dict.fromkeys(CASES, 0.001 + 0.002 * seed)
        add(tmp_path, "a", seed, cases={"psnr": values, "mae": errors})
    (row,) = volumes(tmp_path).methods
    by_run = np.array([list(values.values()) for values in runs])
    expected = estimate_mean(by_run)
    spread = np.std(by_run.mean(1), ddof=1)
    assert row.cells[0].value == pytest.approx(by_run.mean())
    assert row.cells[0].interval == pytest.approx(expected.interval)
    text = write_document(board(tmp_path), "psnr")
    assert f"{by_run.mean():.2f} ± {spread:.2f} [{expected.interval[0]:.2f}, {expected.interval[1]:.2f}]" in text
    (of_mae,) = (cell for cell in row.cells if cell.metric == "mae")
    assert of_mae.interval == (0.0, pytest.approx(0.003 + 0.002 / 3**0.5 * t.isf(0.025, 2)))


def test_what_tests_say_of_the_order_stands_under_the_table(tmp_path: Path) -> None:
    for method, first in (("a", 30.0), ("b", 29.9), ("c", 20.0)):
        for seed in range(3):
            add(tmp_path, method, seed, cases={"psnr": draw(0, first + 0.1 * seed)})
    add(tmp_path, "d", cases={"psnr": draw(0, 19.0)})
    add(tmp_path, "floor", cases={"psnr": draw(0, 40.0)})
    said = volumes(tmp_path).tested
    assert said.startswith("First by PSNR: a. It is better than c. It cannot be told apart")
    detectable = float(said.partition("from b (")[2].partition(" dB)")[0])
    assert 0.1 < detectable < 1.0
    assert said.endswith("Without a verdict, for one of the two was trained once: d.")
    assert said in write_document(board(tmp_path), "psnr")
    assert volumes(tmp_path, "ssim").tested == ""  # nothing has it


def test_equal_numbers_share_a_place_and_floors_partial_runs_and_pretrained_weights_have_none(tmp_path: Path) -> None:
    for home in (tmp_path, tmp_path / "alone"):
        add(home, "e", cases={"psnr": draw(1, 60.0)}, origin="pretrained")
    for method, psnr in (("a", 25.001), ("b", 25.004), ("c", 19.0)):
        add(tmp_path, method, numbers={"psnr": psnr})
    add(tmp_path, "floor", cases={"psnr": draw(1, 40.0)})
    add(tmp_path, "d", cases={"psnr": draw(2, 50.0)}, status="partial", note="of 48 cases in the split")
    block = volumes(tmp_path)
    assert places(block) == [(1, "b"), (1, "a"), (3, "c"), (None, "d"), (None, "e (pretrained weights)")]
    assert block.methods[4].cells[0].rank is None
    assert [row.title for row in block.references if row.cells[0].interval] == ["Floor"]
    text = write_document(board(tmp_path), "psnr")
    assert all(shown in text for shown in ("| 3. c ", "| – d ", "| *Floor* "))
    assert places(volumes(tmp_path / "alone")) == [(None, "e (pretrained weights)")]


def test_presets_and_datasets_never_share_a_block_and_the_largest_comes_first(tmp_path: Path) -> None:
    for preset, size in (("tiny", 24), ("small", 64), ("smoke", 16)):
        add(tmp_path, "codediff", cases={"psnr": draw(size, 25.0)}, preset=preset, run={"size": size})
    add(tmp_path, "codediff", cases={"psnr": draw(2, 30.0)}, dataset="baggage")
    shown = board(tmp_path)
    assert [table.title for table in shown] == ["baggage, volumes", "lidc, volumes"]
    assert [block.facts["preset"] for block in shown[1].blocks] == ["small", "tiny", "smoke"]
    assert all(len(block.methods) == 1 for table in shown for block in table.blocks)
    assert "25.05" not in write_document(shown, "psnr")


def test_the_command_writes_checks_and_names_the_command_that_renews(tmp_path: Path, capsys) -> None:
    out, readme = tmp_path / "board.md", tmp_path / "README.md"
    readme.write_text("# Title\n\n<!-- leaderboard -->\nstale\n<!-- /leaderboard -->\n\nafter\n")
    base = ["leaderboard", "--out", str(out), "--results-dir", str(tmp_path)]
    assert run_command([*base, "--check"]) == 1
    assert not out.exists()
    assert run_command(base) == 0
    assert "No method has been measured yet" in out.read_text()
    assert "stale" in readme.read_text()  # it is touched only where it is named
    add(tmp_path, "a", cases={"psnr": draw(0, 20.0)})
    base += ["--readme", str(readme)]
    capsys.readouterr()
    assert run_command([*base, "--check"]) == 1
    said = capsys.readouterr().err
    assert f"{out}, {readme} out of date" in said
    assert "`bench leaderboard --by psnr" in said
    assert run_command(base) == 0
    assert run_command([*base, "--check"]) == 0
    text = readme.read_text()
    assert re.fullmatch(
        r"# Title\n\n<!-- leaderboard -->\n.*\b1\. a .*<!-- /leaderboard -->\n\nafter\n", text, re.DOTALL
    )
    assert "stale" not in text
    readme.write_text(text.replace("1. a", "1. b"))
    assert [run_command([*base, *more, "--check"]) for more in ([], ["--by", "ssim"])] == [1, 1]
    readme.write_text("# Title\n<!-- leaderboard -->\n")
    assert run_command(base) == 2
    assert "needs one line <!-- leaderboard -->" in capsys.readouterr().err


def test_the_readmes_table_is_short_and_names_what_was_measured(tmp_path: Path) -> None:
    for seed, method in enumerate("abcdefg"):
        add(tmp_path, method, cases={"psnr": draw(seed, 20.0 + seed)}, encoders={"coverage": [0.8, 0.9]})
    for floor in ("mean", "floor"):
        add(tmp_path, floor, cases={"psnr": draw(1, 15.0)})
    text = write_block(board(tmp_path), "psnr", "results/leaderboard.md")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "Method" not in line]
    assert [row.split()[1] for row in rows] == ["1.", "2.", "3.", "4.", "5.", "6.", "floor:", "floor:"]
    assert rows[0].split()[2] == "g"  # the best
    (head,) = [line for line in text.splitlines() if "Method" in line]
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["Method", "PSNR, dB", "Coverage Δ"]  # all there is
    assert "First by PSNR: g." in text
    assert all(len(line) <= 120 for line in text.splitlines())
