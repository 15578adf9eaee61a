"""Tables on terminals of any width: every number whole, in one piece and beside its row's name."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from bench.report.plots import HERE, view_literature
from bench.results.leaderboard import build_leaderboard
from bench.results.literature import choose_reports, draw_reports, read_literature
from bench.results.model import read_results
from bench.results.renderers import Sheet
from bench.results.table_model import Cell, Row, Table, TableBlock
from bench.results.terminal import print_sheet, print_tables

ROOT = Path(__file__).parents[2]
HEADS = ("Method", "PSNR, dB", "SSIM", "Verdict", "Interval of the difference", "p", "Smallest difference")
NAME = "a method with quite a long name"
LINES = [
    (NAME, "22.09 ± 0.44", "0.787", "A is better", "[-12.345, 123.456]", "0.001", "1.71 dB"),
    ("b", "1.05 ± 0.01", "-0.001", "cannot be told apart", "[-0.1, 0.2]", "< 0.001", "0.9999999 dB"),
]


def shown(width: int, draw) -> list[str]:
    console = Console(width=width, file=(out := io.StringIO()))
    draw(console)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in out.getvalue()
    return lines


@pytest.mark.parametrize("width", [60, 80, 100, 110, 160])
def test_cells_of_numbers_stay_whole_at_any_width(width: int) -> None:
    lines = shown(width, lambda console: print_sheet(Sheet(HEADS, LINES, words=(0, 3)), console))
    for line in LINES:
        for number in (cell for index, cell in enumerate(line) if index not in (0, 3)):
            assert any(re.search(rf"│ +{re.escape(number)} │", text) for text in lines), number
    assert (sum("┏" in text for text in lines) == 1) == (width == 160)


@pytest.mark.parametrize("width", [80, 120, 160])
def test_no_word_of_many_wrapped_heads_is_broken(width: int) -> None:
    heads = ("Method", *["High-frequency power"] * 4, *["Detected, lung"] * 6)
    lines = shown(width, lambda console: print_sheet(Sheet(heads, [("mean", *["1.00"] * 10)], words=(0,)), console))
    for word in ("High-frequency", "Detected,"):
        assert sum(line.count(word) for line in lines) == heads[1:].count("High-frequency power") + 2 * ("," in word)


def test_a_narrow_table_stacks_intervals_under_values_and_repeats_names() -> None:
    cell = Cell("psnr", "value", 22.09, 0.44, interval=(20.98, 23.2), published="22.66", marks=(1,))
    rows = tuple(Row(f"method {name}", "method", (cell,) * 5, seeds=3) for name in "ab")
    empty = Row("controls", "ceiling", (cell, *[Cell("psnr", "blank")] * 4))
    table = Table("2", "title", ("↑ PSNR, dB",) * 5, (TableBlock({}, "header", rows, (empty,)),), ("a note",))
    narrow = shown(80, lambda console: print_tables([table], console))
    wide = shown(300, lambda console: print_tables([table], console))
    assert sum(line.count("22.09 ± 0.44 [20.98, 23.20] (22.66)¹") for line in wide) == 11
    for part in ("22.09 ± 0.44 ", "[20.98, 23.20] ", "(22.66)¹"):
        assert sum(line.count(part) for line in narrow) == 11, part
    assert sum("method a" in line for line in narrow) == sum("┏" in line for line in narrow) > 1
    assert sum("controls" in line for line in narrow) == 1  # not where it has nothing


def test_the_committed_results_fit_eighty_columns() -> None:
    tables = build_leaderboard(read_results(ROOT / "results").only(dataset="lidc", protocol="ct3d-2"))
    text = "\n".join(shown(80, lambda console: print_tables(tables[:1], console)))
    numbers = [t for row in tables[0].blocks[0].methods for c in row.cells if (t := c.texts.interval)]
    assert numbers
    assert all(number in text for number in numbers)


def test_literature_keeps_digits_and_says_who_reports_what() -> None:
    reports = read_literature()
    assert len(reports) == 25
    psnr = {one.psnr_db for one in choose_reports(reports, "x2ctgan") if one.views == "2"}
    assert psnr == {"19.68", "26.03", "25.06", "26.747", "26.19"}
    lines = draw_reports(reports).lines
    assert sum("X2CT-GAN, 1 view" in line for line in lines) == 1
    assert all(one.source and one.psnr_definition and one.checked for one in reports)


def test_the_report_draws_each_reported_number_once_and_averages_none() -> None:
    view = view_literature(read_results(ROOT / "results"))
    here = sum(line[1] != "–" for line in view.sheets[1].lines)
    assert view.chart.count("<circle") == 25 + here
    assert 'class="mean"' not in view.chart
    assert [definition for _, definition in view.legend][-1] == HERE
    assert len({colour for colour, _ in view.legend}) == len(view.legend)


def test_what_a_line_is_of_stands_in_each_part() -> None:
    lines = [("3d", metric, *["1.2345 ± 0.0001"] * 6) for metric in ("PSNR", "SSIM")]
    sheet = Sheet(("Space", "Metric", *"abcdef"), lines, words=(0, 1), keys=2)
    shown_lines = shown(70, lambda console: print_sheet(sheet, console))
    tables = sum("┏" in line for line in shown_lines)
    assert tables > 1
    assert sum(bool(re.match("│ 3d +│ PSNR +│", line)) for line in shown_lines) == tables
