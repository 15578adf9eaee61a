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
    assert cell.value == (None if text == "N/A" else float(text.removeprefix("~")))


def test_exactly_one_row_breaks_the_order_of_mse_and_mae() -> None:
    broken = [
        (table, method)
        for table in ("1", "2")
        for method in ("x2ctgan", "ccx_raynet", "codediff")
        if any("cannot both hold" in text for text in find_doubts(read_table(table), method, "mse"))
    ]
    assert broken == [("2", "codediff")]
    cells = read_table("2")
    assert find_doubts(cells, "codediff", "mse") == find_doubts(cells, "codediff", "mae")
    assert cells["codediff", "mse"].value > 2 * cells["codediff", "mae"].value


def test_the_published_nll_is_said_to_be_an_absolute_error() -> None:
    for table in ("1", "2"):
        (text,) = find_doubts(read_table(table), "codediff", NLL)
        assert "mean absolute error" in text
        assert find_doubts(read_table(table), "x2ctgan", NLL) == []


def test_bold_type_on_another_than_the_best_is_noticed_once() -> None:
    wrong = [
        (table, *key)
        for table in ("1", "2", "3a", "3b", "4")
        for key in read_table(table)
        if any("printed in bold" in text for text in find_doubts(read_table(table), *key))
    ]
    assert wrong == [("3b", "codediff", "psnr")]
    assert best_printed(read_table("3b"), "psnr").method == "mednerf"
    assert best_printed(read_table("1"), "mse").method == "codediff"
    assert best_printed(read_table("1"), "density").method == "codediff"  # its arrow points up
    assert best_printed(read_table("2"), "coverage").method == "ccx_raynet"
