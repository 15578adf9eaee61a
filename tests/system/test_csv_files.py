"""CSV files: what is written comes back, and what does not fit its model is named with line and column."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.system.csv_files import escape_cell, is_formula, read_rows, write_rows


@dataclass(frozen=True)
class Entry:
    name: str
    share: float
    count: int | None = None
    note: str = ""


ENTRIES = [Entry("a", 0.1 + 0.2), Entry('b, "c"', 1e-300, 3, "one\nline"), Entry("001", -0.0)]


def test_rows_come_back_digit_by_digit_and_line_breaks_as_spaces(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", Entry, ENTRIES)
    assert read_rows(tmp_path / "a.csv", Entry) == [ENTRIES[0], Entry('b, "c"', 1e-300, 3, "one line"), ENTRIES[2]]
    assert read_rows(tmp_path / "absent.csv", Entry) == []


def test_a_column_with_a_default_may_be_missing_and_the_order_is_free(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("share,name\n0.5,a\n")
    assert read_rows(tmp_path / "a.csv", Entry) == [Entry("a", 0.5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\na\n", "has no column 'share'"),
        ("name,share,size\na,1,2\n", "has a column 'size'; it takes name, share, count, note"),
        ("name,share\na,much\n", "line 2, column share: Input should be a valid number"),
        ("name,share,count\na,1,\nb,1,2.5\n", "line 3, column count: Input should be a valid integer"),
        ("name,share\na,1\nb\n", "line 3 has 1 fields, not 2; it was cut or edited"),
        ('name,share\n"a,1\n', "cannot be read as CSV"),
        ("", "cannot be read as CSV"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BenchError, match=message):
        read_rows(tmp_path / "a.csv", Entry)


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "+cmd", "-2+3+cmd", "|x", "%0A"])
def test_a_cell_that_a_spreadsheet_would_compute_is_refused_and_the_file_left_alone(tmp_path: Path, cell: str) -> None:
    write_rows(tmp_path / "a.csv", Entry, ENTRIES)
    before = (tmp_path / "a.csv").read_bytes()
    with pytest.raises(BenchError, match="a spreadsheet would compute the note"):
        write_rows(tmp_path / "a.csv", Entry, [Entry("a", 1.0, note=cell)])
    assert (tmp_path / "a.csv").read_bytes() == before
    assert not is_formula(escape_cell(cell))


@pytest.mark.parametrize("cell", ["-1e-5", "+3", "-90+0", "270+0+22.5", "nan", "-inf", ""])
def test_numbers_and_views_are_no_formulas(cell: str) -> None:
    assert not is_formula(cell)
