"""Results made by hand for tests of what people read, without any method or data set that is installed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.card import MethodCard
from bench.results import model
from bench.results.model import read_results
from bench.results.table_model import Cell, Row, Table, TableBlock
from bench.results.tables import build_tables

from .score_rows import enter_rows, enter_run, run_facts

NUMBERS = {"ssim": 0.5, "psnr": 25.0, "mse": 0.005, "mae": 0.04, "density": 1.3, "coverage": 0.9}
REAL = {"density_baseline": 1.0, "coverage_baseline": 0.95}
KNOWN = {  # title, kind and what it can but make a volume
    "mean": ("Mean volume", "floor"),
    "floor": ("Floor", "floor"),
    "codediff": ("CodeDiff3D", "method", "likelihood"),
    "x2ctgan": ("X2CT-GAN", "method"),
}
CASES = [f"case-{index:02d}" for index in range(20)]
OfCases = Mapping[str, float | None]


def make_card(name: str, title: str, kind: Any = "method", *more: Any) -> MethodCard:
    """A card that says no more than this; no seed matters to a floor."""
    can = frozenset({"volume", *more})
    return MethodCard(name, title, "", 2024, "", "", can, kind=kind, deterministic=kind == "floor")


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods that are installed do not matter here: those of KNOWN have a card, no other has."""
    monkeypatch.setattr(model, "method_card", lambda name: make_card(name, *KNOWN[name]) if name in KNOWN else None)
    monkeypatch.setattr(model, "find_installed_dataset", lambda name: None)


def add(
    results: Path,
    method: str,
    seed: int = 0,
    numbers: Mapping[str, float | None] | None = None,
    *,
    cases: Mapping[str, OfCases] | None = None,
    encoders: Mapping[str, Sequence[float]] | None = None,
    variant: str = "aaaaaaaa",
    fingerprint: str = "f0",
    note: str = "",
    truths: Mapping[str, str] | None = None,
    samples: int = 1,
    run: Mapping[str, Any] | None = None,
    **other: Any,
) -> str:
    """Enter one run and return its id; a number of None is a row that is na.

    Metrics of several samples are of as many `samples`.

    `numbers` are metric → mean of the set, by default those of `cases` (metric → case → value) and of `encoders`
    (metric → value by encoder), and without any NUMBERS. `truths` are the notes of single cases, by metric.
    """
    status = other.pop("status", "ok")
    facts = run_facts(method, variant, **{"seed": seed, **other})
    rows = [
        _row(
            *(facts, metric, value),
            **{"level": "case", "case": case, "stat": "value", "n": samples if "_of_k" in metric else 1},
            note=(truths or {}).get(metric, ""),
        )
        for metric, values in (cases or {}).items()
        for case, value in values.items()
    ]
    for metric, found in (encoders or {}).items():
        reps = [f"{encoder}.0" if metric.endswith("baseline") else str(encoder) for encoder in range(len(found))]
        rows += [
            _row(facts, metric, value, level="set", rep=rep, stat="value", n=48)
            for rep, value in zip(reps, found, strict=True)
        ]
    if numbers is None and (cases or encoders):
        known = {metric: [v for v in values.values() if v is not None] for metric, values in (cases or {}).items()}
        numbers = {metric: float(np.mean(values)) for metric, values in {**known, **(encoders or {})}.items()}
    elif facts["space"] != "drr":
        numbers = {**REAL, **(NUMBERS if numbers is None else numbers)}
    shared = {"level": "set", "stat": "mean", "n": 48}
    shared |= {name: facts.pop(name) for name in ("n",) if name in facts}
    for metric, value in (numbers or {}).items():
        of_cases = {"n": sum(v is not None for v in cases[metric].values())} if metric in (cases or {}) else {}
        rows.append(_row(facts, metric, value, **shared | of_cases, note=note, status=status))
    enter_rows(results, rows)
    enter_run(results, **{"run_id": facts["run_id"], "data_fingerprint": fingerprint, "size": 32, **(run or {})})
    return facts["run_id"]


def _row(facts: Mapping[str, Any], metric: str, value: float | None, **own: Any) -> dict[str, Any]:
    if value is None:
        own |= {"status": "na", "note": own.get("note") or "no such thing"}
    return {**facts, **own, "metric": metric, "value": value}


def draw(seed: int, mean: float, spread: float = 2.0) -> dict[str, float | None]:
    """Normal values by case."""
    values = np.random.default_rng(seed).normal(mean, spread, len(CASES))
    return dict(zip(CASES, values.tolist(), strict=True))


def table(results: Path, which: str = "2", **filters: str):
    (only,) = build_tables(which, read_results(results), **filters)
    return only


def row_of(block: TableBlock, title: str) -> Row:
    return next(row for row in block.rows if row.title == title)


def notes_of(shown: Table, title: str, metric: str, block: int = 0) -> list[str]:
    """The footnotes of a cell."""
    return [shown.footnotes[mark - 1] for mark in cell_of(shown.blocks[block], title, metric).marks]


def cell_of(block: TableBlock, title: str, metric: str) -> Cell:
    return next(cell for cell in row_of(block, title).cells if cell.metric == metric)
