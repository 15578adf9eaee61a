"""CSV files whose rows are checked alike when they are written and when they are read: one model says what a row is.

A model is a dataclass or a pydantic model; its fields are the columns, in order. An empty cell is None where the field
allows it. No cell may be one that a spreadsheet would compute.
"""

import csv
import io
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from bench.errors import BenchError
from bench.system.files import write_text

FORMULA = re.compile(r"[=+\-@\t\r|%]")  # what makes a spreadsheet compute a cell
NUMBERS = re.compile(r"[+-]?(nan|inf|[\d.]+(e[+-]?\d+)?)([+-][\d.]+)*", re.IGNORECASE)  # 1e-5, or views 270+0

Row = TypeVar("Row")


def columns_of(model: type[Any]) -> tuple[str, ...]:
    """Return the names of the columns of a model's file, in order."""
    return tuple(f.name for f in fields(model)) if is_dataclass(model) else tuple(model.model_fields)


def write_rows(path: Path, model: type[Row], rows: Iterable[Row]) -> str:
    """Write rows of a model atomically; return the SHA-256 of the file. Raises BenchError as `text_of_rows`."""
    return write_text(path, text_of_rows(model, rows))


def text_of_rows(model: type[Row], rows: Iterable[Row]) -> str:
    """Return rows of a model as the text of a CSV file. Raises BenchError for a cell that a spreadsheet computes."""
    columns = columns_of(model)
    values = attrgetter(*columns)
    lines = [[cell_of(value) for value in values(row)] for row in rows]
    for line in lines:
        for name, cell in zip(columns, line, strict=True):
            if is_formula(cell):
                raise BenchError(f"a spreadsheet would compute the {name} {cell[:40]!r}; give it another name")
    return csv_text(columns, lines)


def read_rows(path: Path, model: type[Row]) -> list[Row]:
    """Return the rows of a model's file, none without the file; a column whose field has a default may be missing.

    Raises BenchError, with line and column, for a file with other columns or with a cell that does not fit the model.
    """
    if not path.exists():
        return []
    header, lines = read_cells(path)
    return parse_rows(header, lines, model, str(path))


def parse_rows(header: Sequence[str], lines: Sequence[Sequence[str]], model: type[Row], where: str) -> list[Row]:
    """Return the rows of a model from cells under a header. Raises BenchError as `read_rows`, saying `where`."""
    columns = columns_of(model)
    optional = {name for name, kind in get_type_hints(model).items() if NoneType in get_args(kind)}
    if unknown := set(header) - set(columns):
        raise BenchError(f"{where} has a column {min(unknown)!r}; it takes {', '.join(columns)}")
    values = [
        {name: None if not cell and name in optional else cell for name, cell in zip(header, line, strict=True)}
        for line in lines
    ]
    try:
        return _list_adapter(model).validate_python(values)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        index, *column = first["loc"]
        if first["type"] in ("missing", "missing_argument"):
            raise BenchError(f"{where} has no column {column[0]!r}; it needs {', '.join(columns)}") from error
        place = f"line {int(index) + 2}" + (f", column {column[0]}" if column else "")
        raise BenchError(f"{where} {place}: {first['msg']}") from error


def read_cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return header and lines of a CSV file. Raises BenchError for what is no CSV or has a line that was cut."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file, strict=True)
    except (csv.Error, ValueError, OSError) as error:
        raise BenchError(f"{path} cannot be read as CSV: {error}") from error
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise BenchError(f"{path} line {number} has {len(line)} fields, not {len(header)}; it was cut or edited")
    return header, lines


def csv_text(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return the text of a CSV file. Raises BenchError for a carriage return, at which readers would end the line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    if "\r" in text.getvalue():
        raise BenchError("a cell or column holds a carriage return; take it out and try again")
    return text.getvalue()


def cell_of(value: Any) -> str:
    """Return a value as the text of one cell: empty for None, yes or no, all digits of a float, one line of a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value) if isinstance(value, float) else " ".join(str(value).split())


def is_formula(cell: str) -> bool:
    """Return whether a spreadsheet that opens the file would compute a cell."""
    return bool(FORMULA.match(cell)) and not NUMBERS.fullmatch(cell)


def escape_cell(text: str) -> str:
    """Return a text that was not made here as a cell that no spreadsheet computes."""
    return f"'{text}" if is_formula(text) else text


@cache
def _list_adapter(model: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(list[model])  # type: ignore[valid-type]
