"""The printed numbers: nothing is lost, and what is impossible is found by computation."""

from collections import Counter

import pytest

from bench.metrics import METRICS, NLL
from bench.results.published import best_printed, find_doubts, read_published, read_table


def test_every_printed_cell_is_there_once() -> None:
    cells = read_published()
    assert len(cells) == 80
    assert Counter(cell.table for cell in cells) == {"1": 21, "2": 21, "3a": 16, "3b": 16, "4": 6}
    assert max(Counter((c.table, c.method, c.metric) for c in cells).values()) == 1
    assert {cell.metric for cell in cells} <= set(METRICS)


@pytest.mark.parametrize(
    ("table", "method", "metric", "text"),
    [  # read off the paper's Tables 1-4
        ("1", "x2ctgan", "psnr", "34.68"),
        ("1", "ccx_raynet", "coverage", "0.89"),
        ("1", "codediff", "mae", "0.0049"),
        ("1", "x2ctgan", NLL, "N/A"),
        ("2", "x2ctgan", "mse", "0.045"),
        ("2", "codediff", "density", "1.42"),
        ("2", "codediff", NLL, "0.10"),
        ("3a", "mednerf", "coverage", "0.46"),
        ("3b", "mednerf", "psnr", "27.02"),
        ("3b", "codediff", "ssim", "0.42"),
        ("4", "codediff/transformer", "infer_seconds", "~10.9"),
        ("4", "codediff/vqvae3d", "train_hours", "~56"),
    ],
)
def test_numbers_are_those_of_the_paper_as_printed(table: str, method: str, metric: str, text: str) -> None:
    cell = read_table(table)[method, metric]
    assert cell.text == text
    assert cell.number == (None if text == "N/A" else float(text.removeprefix("~")))


@pytest.mark.parametrize(
    ("doubt", "expected"),
    [
        ("cannot both hold: MSE ≤ MAE on [0, 1], MSE ≤ 2 MAE", [("2", "codediff", "mse"), ("2", "codediff", "mae")]),
        ("prints the mean absolute error", [("1", "codediff", NLL), ("2", "codediff", NLL)]),
        ("printed in bold", [("3b", "codediff", "psnr")]),
    ],
)
def test_the_doubtful_prints_are_those_found_by_computation(doubt: str, expected: list[tuple[str, str, str]]) -> None:
    tables = {table: read_table(table) for table in ("1", "2", "3a", "3b", "4")}
    of_cells = {(table, *key): find_doubts(cells, *key) for table, cells in tables.items() for key in cells}
    assert sorted(place for place, doubts in of_cells.items() if doubt in " ".join(doubts)) == sorted(expected)
    assert sum(map(len, of_cells.values())) == 5


def test_the_best_of_a_column_goes_by_its_printed_arrow() -> None:
    assert best_printed(read_table("3b"), "psnr").method == "mednerf"
    assert best_printed(read_table("1"), "mse").method == "codediff"
    assert best_printed(read_table("1"), "density").method == "codediff"  # its arrow points up
    assert best_printed(read_table("2"), "coverage").method == "ccx_raynet"
