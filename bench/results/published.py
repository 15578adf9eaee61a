"""The numbers CodeDiff3D (ICCV 2023) printed in its Tables 1–4, and what is wrong with some of them.

They stand in results/paper.csv. What cannot be is found by computation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from bench.metrics import NLL
from bench.system.csv_files import read_rows

BUILTIN = "builtin"  # the name of the results that come with the harness
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
class Published:
    """One printed cell, a line of the file."""

    source: str
    table: str
    dataset: str
    space: str
    method: str
    metric: Annotated[str, BeforeValidator(lambda name: NLL if name == "nll" else name)]  # our column
    direction: Literal["up", "down"]  # the arrow of its column
    value: Annotated[str, Field(pattern=r"^(\d+(\.\d+)?)?$")]  # as printed, so that 0.10 stays 0.10
    printed_bold: bool
    note: str

    @property
    def text(self) -> str:
        """The number as printed; N/A where the paper prints that."""
        return f"{'~' if 'printed with ~' in self.note else ''}{self.value}" if self.value else "N/A"

    @property
    def number(self) -> float | None:
        """The number; None where the paper has none."""
        return float(self.value) if self.value else None


def find_results(folder: str | Path) -> Path:
    """Return a folder of results; for `builtin` that of the harness: of the clone, in a wheel beside this module."""
    inside = Path(__file__).with_name(BUILTIN)
    if str(folder) != BUILTIN:
        return Path(folder)
    return inside if inside.is_dir() else Path(__file__).parents[2] / "results"


def read_published() -> list[Published]:
    """Return all printed cells, in the order of the paper. Raises BenchError for a file that was edited or cut."""
    return read_rows(find_results(BUILTIN) / "paper.csv", Published)


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
    if metric == NLL and cell.number is not None:
        notes.append(
            "printed as NLL without a unit; the released evaluation prints the mean absolute error of one sample "
            "under that name, so compare it with MAE and not with bits"
        )
    mse, mae = (cells[method, name].number if (method, name) in cells else None for name in ("mse", "mae"))
    if metric in ("mse", "mae") and mse is not None and mae is not None and mse > mae:
        where = " on [0, 1], where MSE ≤ MAE" if mse <= 2 * mae else ": MSE ≤ MAE on [0, 1], MSE ≤ 2 MAE on [-1, 1]"
        notes.append(f"MSE {mse:g} and MAE {mae:g} cannot both hold{where}")
    best = best_printed(cells, metric)
    if cell.printed_bold and best is not None and cell.number != best.number:
        notes.append(f"printed in bold, although {title_of(best.method)} has {best.text}")
    return notes


def best_printed(cells: Mapping[tuple[str, str], Published], metric: str) -> Published | None:
    """Return the best printed value of a column by the arrow printed beside it; None without any value."""
    column = {cell: cell.number for cell in cells.values() if cell.metric == metric and cell.number is not None}
    return min(column, key=lambda cell: -column[cell] if cell.direction == "up" else column[cell], default=None)


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
