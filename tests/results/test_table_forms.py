"""Tables as Markdown, LaTeX, CSV and on a terminal hold the same facts, and what was typed decides which."""

import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from bench.cli import run_command
from bench.results.model import read_results
from bench.results.renderers import render
from bench.results.table_model import label_of
from bench.results.tables import build_tables
from bench.results.terminal import print_tables

from ..helpers.score_rows import HASH
from ..helpers.table_rows import NUMBERS, add, cards  # noqa: F401 - cards is a fixture

pytestmark = pytest.mark.usefixtures("cards")


# --- forms


@pytest.fixture
def full(tmp_path: Path) -> list:
    add(tmp_path, "codediff", 0, {**NUMBERS, "psnr": 25.0, "mse": 0.005})
    add(tmp_path, "codediff", 1, {**NUMBERS, "psnr": 26.0, "mse": 0.005})
    add(tmp_path, "x2ctgan", 0, {**NUMBERS, "psnr": 22.0, "mse": 0.01, "density": 0.8})
    add(tmp_path, "mean", 0, {**NUMBERS, "psnr": 18.0, "mse": 0.02})
    return build_tables("2", read_results(tmp_path))


def test_markdown_shows_value_spread_print_rank_and_notes(full) -> None:
    text = render(full, "md")
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "**25.50 ± 0.71** (25.05)" in lines["CodeDiff3D"]
    assert "<u>22.00</u> (19.68)" in lines["X2CT-GAN"]
    assert "0.80 Δ−0.20 (0.87)" in lines["X2CT-GAN"]
    assert "**0.00500 ± 0.00000** (0.048)<sup>2</sup>" in lines["CodeDiff3D"]
    assert "18.00" in lines["*Mean volume*"]
    assert "1.00" in lines["*real training cases*"]
    assert len({line.count("|") for line in lines.values()}) == 1
    assert "<sup>2</sup> MSE 0.048 and MAE 0.013 cannot both hold" in text
    assert f"ct3d-1 ({HASH[:8]})" in text


def test_latex_is_balanced_and_escaped(full) -> None:
    text = render(full, "latex")
    assert r"\textbf{25.50 $\pm$ 0.71} (25.05)" in text
    assert r"\underline{22.00} (19.68)" in text
    assert r"\textit{Mean volume}" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {8}
    for opening in re.findall(r"\\begin\{(\w+)\}", text):
        assert text.count(rf"\begin{{{opening}}}") == text.count(rf"\end{{{opening}}}")
    assert text.count("{") == text.count("}")
    assert not set(text) - set(map(chr, range(32, 127))) - {"\n"}


def test_csv_holds_one_unrounded_cell_a_line(full) -> None:
    lines = list(csv.DictReader(io.StringIO(render(full, "csv"))))
    (psnr,) = [line for line in lines if line["method"] == "codediff" and line["metric"] == "psnr"]
    assert (psnr["value"], psnr["published"], psnr["rank"], psnr["seeds"]) == ("25.5", "25.05", "1", "2")
    (floor,) = [line for line in lines if line["method"] == "mean" and line["metric"] == "psnr"]
    assert (floor["kind"], floor["rank"]) == ("floor", "")
    assert len(lines) == 7 * 5


def test_the_terminal_shows_the_same(full) -> None:
    console = Console(width=220, record=True, file=io.StringIO(), force_terminal=True)
    print_tables(full, console)
    text = console.export_text(clear=False)
    assert "25.50 ± 0.71 (25.05)" in text
    assert "0.048)²" in text
    assert "cannot both hold" in text
    assert re.search(r"\x1b\[1m25\.50", console.export_text(styles=True))


def test_a_number_that_rounds_to_zero_has_no_sign(tmp_path: Path) -> None:
    add(tmp_path, "codediff", numbers={"ssim": -0.0001})
    assert "| 0.000 (0.436) " in re.sub(" +", " ", render(build_tables("2", read_results(tmp_path)), "md"))


def test_brackets_in_names_survive_the_terminal(tmp_path: Path) -> None:
    add(tmp_path, "mine[v2]", numbers={"psnr": 20.0}, run_id="mine")
    console = Console(width=200, record=True, file=io.StringIO())
    print_tables(build_tables("2", read_results(tmp_path)), console)
    assert "mine[v2]" in console.export_text()


def test_labels_carry_direction_and_unit() -> None:
    assert [label_of(m) for m in ("psnr", "mse", "density")] == ["↑ PSNR, dB", "↓ MSE", "Density"]


# --- commands


def test_the_command_writes_the_form_of_the_suffix(tmp_path: Path, capsys) -> None:
    for name, start in (("t.md", "### Table 1"), ("t.tex", "% needs"), ("t.csv", "table,protocol")):
        out = tmp_path / name
        assert run_command(["table", "1", "--out", str(out), "--results-dir", str(tmp_path)]) == 0
        assert out.read_text().startswith(start)
    assert run_command(["table", "2", "--format", "md", "--results-dir", str(tmp_path)]) == 0
    assert "| CodeDiff3D" in capsys.readouterr().out
    assert run_command(["table", "9", "--results-dir", str(tmp_path)]) == 2
    assert "unknown table '9'" in capsys.readouterr().err
