"""Rows of results for tests of tables, without any method or data set that is installed."""

from pathlib import Path

import pytest

from bench.results import tables
from bench.results.table_model import Cell, Row
from bench.results.tables import Filters, build_tables

from .score_rows import enter_rows, enter_run, run_facts

NUMBERS = {"ssim": 0.5, "psnr": 25.0, "mse": 0.005, "mae": 0.04, "density": 1.3, "coverage": 0.9}
FLOORS = {"mean": ("Mean volume", "floor"), "codediff": ("CodeDiff3D", "method"), "x2ctgan": ("X2CT-GAN", "method")}


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods that are installed do not matter here."""

    class Card:
        def __init__(self, title: str, kind: str, capabilities: set[str]) -> None:
            self.title, self.kind, self.capabilities = title, kind, capabilities

    def card(name: str) -> Card | None:
        if name not in FLOORS:
            return None
        return Card(*FLOORS[name], {"volume", "likelihood"} if name == "codediff" else {"volume"})

    monkeypatch.setattr(tables, "method_card", card)
    monkeypatch.setattr(tables, "installed_dataset", lambda name: None)


def add(
    results: Path,
    method: str,
    seed: int = 0,
    numbers: dict[str, float | None] | None = None,
    *,
    variant: str = "aaaaaaaa",
    fingerprint: str = "f0",
    note: str = "",
    run: dict | None = None,
    **other,
) -> str:
    """One run's summary rows; a number of None is a row that is na."""
    level = {"level": "set", "stat": "mean", "n": 48}
    shared = run_facts(method, variant, **{"seed": seed, **level, **other})
    baseline = {"density_baseline": 1.0, "coverage_baseline": 0.95} if shared["space"] != "drr" else {}
    rows = []
    for metric, value in {**baseline, **(NUMBERS if numbers is None else numbers)}.items():
        own = {"status": "na", "note": note or "no such thing"} if value is None else {"note": note}
        if value is not None and "status" in other:
            own["status"] = other["status"]
        rows.append(dict(**{**shared, **own}, metric=metric, value=value))
    enter_rows(results, rows)
    enter_run(results, **{"run_id": shared["run_id"], "data_fingerprint": fingerprint, "size": 32, **(run or {})})
    return shared["run_id"]


def table(results: Path, which: str = "2", **filters):
    (only,) = build_tables(which, results, Filters(**filters))
    return only


def row_of(block, title: str) -> Row:
    return next(row for row in (*block.methods, *block.references) if row.title == title)


def cell_of(block, title: str, metric: str) -> Cell:
    return next(cell for cell in row_of(block, title).cells if cell.metric == metric)
