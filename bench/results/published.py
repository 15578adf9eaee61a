"""The numbers CodeDiff3D (ICCV 2023) printed in its Tables 1–4, and what is wrong with some of them.

They stand in results/paper.csv, which a wheel holds beside this module. What cannot be is found by computation.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.metrics import METRICS, NLL

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
class Published:
    """One printed cell."""

    table: str
    method: str
    metric: str  # our column
    text: str  # as printed; N/A where the paper prints that
    value: float | None
    printed_bold: bool


def read_published() -> list[Published]:
    """Return all printed cells, in the order of the paper."""
    beside = Path(__file__).with_name("paper.csv")
    path = beside if beside.exists() else Path(__file__).parents[2] / "results" / "paper.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return [_cell(line) for line in csv.DictReader(file)]


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
    """Return the best printed value of a column; None where more is not better."""
    column = [cell for cell in cells.values() if cell.metric == metric and cell.value is not None]
    sign = {"up": 1.0, "down": -1.0}.get(METRICS[metric].direction)
    return max(column, key=lambda cell: sign * (cell.value or 0.0)) if column and sign else None


def _cell(line: Mapping[str, str]) -> Published:
    approximate = "~" if "printed with ~" in line["note"] else ""
    return Published(
        table=line["table"],
        method=line["method"],
        metric=COLUMN_OF.get(line["metric"], line["metric"]),
        text=approximate + line["value"] if line["value"] else "N/A",
        value=float(line["value"]) if line["value"] else None,
        printed_bold=line["printed_bold"] == "1",
    )
