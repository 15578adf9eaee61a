"""The numbers CodeDiff3D (ICCV 2023) printed in its Tables 1–4, and what is wrong with some of them.

They stand in results/paper.csv. What cannot be is found by computation.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bench.metrics import NLL
from bench.system.csv_files import read_rows

BUILTIN = "builtin"  # the name of the results that come with the harness
COLUMN_OF = {"nll": NLL}  # the printed column under which a number of ours stands; others keep their names
PRINTED_TITLES = {
    "x2ctgan": "X2CT-GAN",
    "ccx_raynet": "CCX-rayNet",
    "mednerf": "MedNeRF",
    "codediff": "CodeDiff3D",
    "codediff/vqvae2d": "2D VQ-VAE",
    "codediff/vqvae3d": "3D VQ-VAE",
    "codediff/transformer": "Transformer",
}


@dataclass(frozen=True)
class _Line:
    """One line of the file."""

    source: str
    table: str
    dataset: str
    space: str
    method: str
    metric: str
    direction: Literal["up", "down"]
    value: Annotated[str, Field(pattern=r"^(\d+(\.\d+)?)?$")]  # as printed, so that 0.10 stays 0.10
    printed_bold: bool
    note: str


@dataclass(frozen=True)
class Published:
    """One printed cell."""

    table: str
    method: str
    metric: str  # our column
    text: str  # as printed; N/A where the paper prints that
    value: float | None
    direction: Literal["up", "down"]  # the arrow of its column
    printed_bold: bool


def find_results(folder: str | Path) -> Path:
    """Return a folder of results; for `builtin` that of the harness: of the clone, in a wheel beside this module."""
    inside = Path(__file__).with_name(BUILTIN)
    if str(folder) != BUILTIN:
        return Path(folder)
    return inside if inside.is_dir() else Path(__file__).parents[2] / "results"


def read_published() -> list[Published]:
    """Return all printed cells, in the order of the paper. Raises BenchError for a file that was edited or cut."""
    return [_cell(line) for line in read_rows(find_results(BUILTIN) / "paper.csv", _Line)]


def read_table(table: str) -> dict[tuple[str, str], Published]:
    """Return (method, metric) → printed cell of one table, in the order of the paper."""
    return {(cell.method, cell.metric): cell for cell in read_published() if cell.table == table}


def list_methods(cells: Mapping[tuple[str, str], Published]) -> list[str]:
    """Return the methods, or parts of them, that have a cell, in the order of the paper."""
    return list(dict.fromkeys(method for method, _ in cells))


def title_of(method: str) -> str:
    """Return what the paper calls a method or a part of one."""
    return PRINTED_TITLES.get(method, method)


def find_doubts(cells: Mapping[tuple[str, str], Published], method: str, metric: str) -> list[str]:
    """Return footnotes to one printed cell: impossible, another quantity, bold type on another than the best."""
    cell = cells[method, metric]
    notes = []
    if metric == NLL and cell.value is not None:
        notes.append(
            "printed as NLL without a unit; the released evaluation prints the mean absolute error of one sample "
            "under that name, so compare it with MAE and not with bits"
        )
    mse, mae = (cells.get((method, name)) for name in ("mse", "mae"))
    if metric in ("mse", "mae") and mse and mae and (mse.value or 0.0) > (mae.value or 0.0):
        wide = (mse.value or 0.0) > 2 * (mae.value or 0.0)
        where = ": MSE ≤ MAE on [0, 1], MSE ≤ 2 MAE on [-1, 1]" if wide else " on [0, 1], where MSE ≤ MAE"
        notes.append(f"MSE {mse.value:g} and MAE {mae.value:g} cannot both hold{where}")
    best = best_printed(cells, metric)
    if cell.printed_bold and best is not None and cell.value != best.value:
        notes.append(f"printed in bold, although {title_of(best.method)} has {best.text}")
    return notes


def best_printed(cells: Mapping[tuple[str, str], Published], metric: str) -> Published | None:
    """Return the best printed value of a column by the arrow printed beside it; None without any value."""
    column = [cell for cell in cells.values() if cell.metric == metric and cell.value is not None]
    return min(column, key=by_arrow, default=None)


def by_arrow(cell: Published) -> float:
    """Return a key that puts the best of a column first, as its printed arrow says; cells without a value last."""
    return math.inf if cell.value is None else -cell.value if cell.direction == "up" else cell.value


def count_firsts(method: str, tables: Sequence[str]) -> tuple[int, int, int]:
    """Return in how many columns of some tables a method is best, in how many it is bold, and how many there are.

    The printed NLL, which no other method has, is no such column.
    """
    best = bold = columns = 0
    for table in tables:
        cells = read_table(table)
        for metric in dict.fromkeys(metric for _, metric in cells if metric != NLL):
            first = best_printed(cells, metric)
            columns += 1
            best += first is not None and first.method == method
            bold += (method, metric) in cells and cells[method, metric].printed_bold
    return best, bold, columns


def _cell(line: _Line) -> Published:
    approximate = "~" if "printed with ~" in line.note else ""
    return Published(
        table=line.table,
        method=line.method,
        metric=COLUMN_OF.get(line.metric, line.metric),
        text=approximate + line.value if line.value else "N/A",
        value=float(line.value) if line.value else None,
        direction=line.direction,
        printed_bold=line.printed_bold,
    )
