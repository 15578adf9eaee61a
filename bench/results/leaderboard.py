"""The leaderboard: all methods that were measured, sorted by a distortion metric, with intervals over cases.

Markdown in a file of its own, and the part on volumes between two marks in README.md. It can be made again from
results/ alone, so a file that is out of date is found.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench.errors import UsageError
from bench.metrics import METRICS, Space
from bench.metrics.stats import LEVEL, mean_intervals
from bench.results.entries import Entry, entries_of, read_rows
from bench.results.renderers import render
from bench.results.table_model import Block, Cell, Row, Table
from bench.results.tables import DRR_METRICS, MIP_METRICS, VOLUME_METRICS, TableSpec, belongs, build_table
from bench.scoring.store import load_results
from bench.system.files import with_block, write_text

SORTABLE = ("psnr", "ssim", "mse", "mae")  # distortion; density and coverage are never ranked
DEFAULT_BY = "psnr"
SPACES: tuple[tuple[Space, str, tuple[str, ...]], ...] = (
    ("3d", "volumes", VOLUME_METRICS),
    ("mip", "maximum-intensity projections", MIP_METRICS),
    ("drr", "X-ray images at angles not given", DRR_METRICS),
)
BLOCK = "leaderboard"  # between <!-- leaderboard --> and <!-- /leaderboard --> in a README
NOTHING = "No method has been measured yet: `bench run --method codediff --dataset lidc` is a start.\n"


def leaderboard_tables(results_dir: Path, by: str = DEFAULT_BY) -> list[Table]:
    """One table a dataset and space, methods sorted by `by`; the blocks are those of `bench table`.

    Raises UsageError when `by` is no distortion metric, BenchError for a damaged results file.
    """
    if by not in SORTABLE:
        raise UsageError(f"the leaderboard sorts by {', '.join(SORTABLE)}; not by '{by}'")
    scores = load_results(results_dir)
    rows = read_rows(results_dir)
    names = sorted(scores["dataset"].unique())
    bases = [name for name in names if not any(belongs(name, other) for other in names if other != name)]
    tables: list[Table] = []
    for dataset in bases:
        for space, title, metrics in SPACES:
            columns = (by, *(metric for metric in metrics if metric != by))
            spec = TableSpec(f"L{len(tables) + 1}", f"{dataset}, {title}", dataset, space, columns)
            table = build_table(spec, scores)
            blocks = tuple(block for block in table.blocks if block.methods or block.references)
            if any(block.facts for block in blocks):
                tables.append(replace(table, blocks=tuple(_sorted(block, spec, rows) for block in blocks), caption=""))
    return tables


def document(tables: Sequence[Table], by: str) -> str:
    """The whole file."""
    parts = ["# Leaderboard", _about(by), render(tables, "md").strip() if tables else NOTHING.strip()]
    return "\n\n".join(parts) + "\n"


def block(tables: Sequence[Table], by: str, full: str) -> str:
    """The tables of volumes, for a README; `full` is where the whole file lies, as seen from it."""
    shown = [table for table in tables if table.title.endswith(SPACES[0][1])]
    text = render(shown, "md").strip() if shown else NOTHING.strip()
    return f"{_about(by)} All of it is in [{full}]({full}).\n\n{text}"


def refresh(results_dir: Path, by: str, out: Path, readme: Path | None, *, check: bool) -> list[Path]:
    """Write the file, and the block of a README where one is named; with `check` only say which are out of date.

    Raises UsageError for a README without the lines <!-- leaderboard --> and <!-- /leaderboard -->.
    """
    tables = leaderboard_tables(results_dir, by)
    wanted = {out: document(tables, by)}
    if readme is not None:
        wanted[readme] = with_block(readme, BLOCK, block(tables, by, os.path.relpath(out, readme.parent)))
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if not check:
        for path in stale:
            write_text(path, wanted[path])
    return stale


def _about(by: str) -> str:
    return (
        f"Sorted by {METRICS[by].label}. ±: standard deviation over seeds, each a training. In brackets: {LEVEL:.0%} "
        "bootstrap interval of a mean over cases, for these trainings. Whether two methods differ is for "
        "`bench compare A B`, which pairs the cases; intervals that overlap say little. Floors, ceilings, pretrained "
        "weights and runs on part of the cases are not ranked."
    )


def _sorted(block: Block, spec: TableSpec, rows: pd.DataFrame) -> Block:
    columns = [(spec.space, metric) for metric in spec.metrics]
    mine = rows[rows["run_id"].isin([run for row in (*block.methods, *block.references) for run in row.run_ids])]
    for name, value in block.facts.items():
        mine = mine[mine[name] == value]
    entries = {entry.run_ids: entry for entry in entries_of(mine, columns)}
    up = METRICS[spec.metrics[0]].direction == "up"
    methods = [_with_intervals(row, spec, entries) for row in block.methods if row.run_ids]
    methods.sort(key=lambda row: _place(row.cells[0], up))
    return replace(
        block,
        header=f"sorted by {METRICS[spec.metrics[0]].label} · {block.header}",
        methods=tuple(_numbered(methods)),
        references=tuple(_with_intervals(row, spec, entries) for row in block.references),
    )


def _with_intervals(row: Row, spec: TableSpec, entries: Mapping[tuple[str, ...], Entry]) -> Row:
    entry = entries.get(row.run_ids)
    if entry is None:
        return row
    means = mean_intervals(entry.values[[(spec.space, metric) for metric in spec.metrics]].to_numpy())
    cells = [
        replace(cell, interval=(float(low), float(high))) if cell.value is not None and math.isfinite(low) else cell
        for cell, low, high in zip(row.cells, means.low, means.high, strict=True)
    ]
    return replace(row, cells=tuple(cells))


def _place(cell: Cell, up: bool) -> tuple[bool, float]:
    """Best first; what cannot be ranked last."""
    value = cell.value if cell.value is not None and cell.comparable else None
    return value is None, 0.0 if value is None else (-value if up else value)


def _numbered(rows: Sequence[Row]) -> Iterator[Row]:
    """Rows with their place before the name; equal numbers share one."""
    place, last = 0, ""
    for index, row in enumerate(rows, start=1):
        cell = row.cells[0]
        if cell.value is None or not cell.comparable:
            yield replace(row, title=f"– {row.title}")
            continue
        shown = f"{cell.value:.{cell.decimals}f}"
        place, last = (place if shown == last else index), shown
        yield replace(row, title=f"{place}. {row.title}")
