"""Tables as Markdown, LaTeX, CSV and on a terminal hold the same facts, and what was typed decides which."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker
from rich.console import Console

from bench.cli import run_command
from bench.results.latex import draw_latex
from bench.results.model import read_results
from bench.results.renderers import render
from bench.results.table_model import label_of, leave_out
from bench.results.tables import build_tables
from bench.results.terminal import print_tables

from ..helpers.score_rows import HASH
from ..helpers.table_rows import NUMBERS, add, cards  # noqa: F401 - cards is a fixture

COMMITTED = Path(__file__).parents[2] / "results"

pytestmark = pytest.mark.usefixtures("cards")


# --- forms


@pytest.fixture
def full(tmp_path: Path) -> list:
    add(tmp_path, "codediff", 0, {**NUMBERS, "psnr": 25.0, "mse": 0.005})
    add(tmp_path, "codediff", 1, {**NUMBERS, "psnr": 26.0, "mse": 0.005})
    add(tmp_path, "x2ctgan", 0, {**NUMBERS, "psnr": 22.0, "mse": 0.01, "density": 0.8})
    add(tmp_path, "mean", 0, {**NUMBERS, "psnr": 18.0, "mse": 0.02})
    add(tmp_path, "mine[v2]", 0, {"psnr": 10.0}, run_id="mine")
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
    assert f"ct3d-2 ({HASH[:8]})" in text


def test_latex_parts_are_of_one_family_and_hold_their_own_notes_alone(full) -> None:
    _, fidelity, distortion, *errors = parts_of(draw_latex(full))
    best = r"CodeDiff3D & 2 & \textbf{0.500 $\pm$ 0.000} (0.436) & \textbf{25.50 $\pm$ 0.71} (25.05) \\"
    assert best in distortion
    assert r"\underline{22.00} (19.68)" in distortion
    assert r"\textit{Mean volume}" in distortion
    assert "real training cases" in fidelity
    assert "real training cases" not in distortion
    assert "cannot both hold" not in distortion
    assert "cannot both hold" in errors[0]
    without = draw_latex(leave_out(full, spread=True, distance=True))
    assert "0.80 (0.87)" in without
    assert re.search(r"pm|Delta", "".join(re.findall(r"^\\raggedright.*", without, re.MULTILINE))) is None


def test_latex_of_the_committed_tables_parses_and_every_line_has_all_columns() -> None:
    """An independent parser, strict about braces and environments, reads it; nothing but ASCII is left."""
    text = draw_latex(build_tables("all", read_results(COMMITTED)))
    assert text.isascii()
    nodes, _, length = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    floats = [node for node in nodes if isinstance(node, LatexEnvironmentNode)]
    assert length == len(text)
    assert len(floats) > 20
    assert {node.environmentname for node in floats} == {"table"}
    for part in parts_of(text):
        lines = [line for line in part.splitlines() if line.endswith(r"\\")]
        assert len({line.count(" & ") for line in lines}) == 1
        assert len(lines) > 1


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs texlive-latex-recommended")
def test_latex_of_the_committed_tables_is_typeset_and_nothing_leaves_the_page(tmp_path: Path) -> None:
    (tmp_path / "tables.tex").write_text(draw_latex(build_tables("all", read_results(COMMITTED))))
    packages = r"\documentclass{article}\usepackage{booktabs}\extrafloats{200}"
    (tmp_path / "page.tex").write_text(packages + r"\begin{document}\input{tables.tex}\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.findall("Overfull.*|LaTeX Warning: Float too large.*", done.stdout) == []


def parts_of(latex: str) -> list[str]:
    return re.findall(r"\\begin\{table\}.*?\\end\{table\}", latex, re.DOTALL)


def test_csv_holds_one_unrounded_cell_a_line(full) -> None:
    lines = list(csv.DictReader(io.StringIO(render(full, "csv"))))
    (psnr,) = [line for line in lines if line["method"] == "codediff" and line["metric"] == "psnr"]
    assert (psnr["value"], psnr["published"], psnr["rank"], psnr["seeds"]) == ("25.5", "25.05", "1", "2")
    (floor,) = [line for line in lines if line["method"] == "mean" and line["metric"] == "psnr"]
    assert (floor["kind"], floor["rank"]) == ("floor", "")
    assert len(lines) == 7 * 6


def test_the_terminal_shows_the_same(full) -> None:
    console = Console(width=220, record=True, file=io.StringIO(), force_terminal=True)
    print_tables(full, console)
    text = console.export_text(clear=False)
    for words in ("25.50 ± 0.71 (25.05)", "0.048)²", "cannot both hold", "mine[v2]"):
        assert words in text
    assert re.search(r"\x1b\[1m25\.50", console.export_text(styles=True))


def test_what_a_training_costs_stands_beside_its_scores_where_it_is_known(tmp_path: Path) -> None:
    for seed, seconds in enumerate((270.0, 330.0)):
        add(tmp_path, "codediff", seed, run={"seconds_fit_cpu": seconds})
    assert "| CodeDiff3D | 2 | 5.0 |" in re.sub(" +", " ", render(build_tables("2", read_results(tmp_path)), "md"))
    add(tmp_path, "x2ctgan")
    add(tmp_path, "codediff", 2)
    tables = build_tables("2", read_results(tmp_path))
    assert tables[0].leads == ("Seeds",)  # of one training it is not known, and of the other method of none


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
