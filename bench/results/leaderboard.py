"""The leaderboard: all methods that were measured, sorted by a distortion metric, with intervals and tests.

Markdown in a file of its own, and the part on volumes between two marks in README.md. It can be made again from
results/ alone, so a file that is out of date is found.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import UsageError
from bench.metrics import METRICS
from bench.metrics.stats import LEVEL
from bench.results.inference import (
    LEVEL_OF_TESTS,
    TEST,
    compare_entries,
    estimate_means,
    say_detectable,
)
from bench.results.model import SPACES, Column, Results, belongs
from bench.results.renderers import render
from bench.results.table_model import Row, Table, TableBlock, number_rows
from bench.results.tables import TableSpec, build_table, narrow
from bench.system.generated import Generated

DEFAULT_BY = "psnr"
BLOCK = "leaderboard"  # between <!-- leaderboard --> and <!-- /leaderboard --> in a README
NOTHING = "No method has been measured yet: `bench run --method codediff --dataset lidc` is a start."


def build_leaderboard(results: Results, by: str = DEFAULT_BY) -> list[Table]:
    """Return one table a data set and space, methods sorted by `by`; the blocks are those of `bench table`.

    Raises UsageError when `by` is no distortion metric.
    """
    sortable = [key for key, metric in METRICS.items() if metric.sortable]
    if by not in sortable:
        raise UsageError(f"the leaderboard sorts by {', '.join(sortable)}; not by '{by}'")
    names = sorted(results.rows["dataset"].unique())
    tables: list[Table] = []
    for dataset in names:
        if any(belongs(dataset, other) for other in names if other != dataset):
            continue
        for space, shown in SPACES.items():
            spec = narrow(TableSpec(f"L{len(tables) + 1}", f"{dataset}, {shown.heading}", dataset, space), results)
            if not spec.metrics:
                continue
            spec = replace(spec, by=by if space in METRICS[by].spaces else spec.metrics[0])
            table = build_table(spec, results)
            blocks = tuple(_sort_block(block, spec) for block in table.blocks if block.facts)
            if blocks:
                tables.append(replace(table, blocks=blocks, caption="", numbered=True))
    return tables


def write_document(tables: Sequence[Table], by: str) -> str:
    """Return the whole file."""
    return "\n\n".join(["# Leaderboard", _explain(by), render(tables, "md").strip() or NOTHING]) + "\n"


def write_block(tables: Sequence[Table], by: str, full: str) -> str:
    """Return the tables of volumes, for a README; `full` is where the whole file lies, as seen from it."""
    shown = [table for table in tables if table.space == "3d"]
    return f"{_explain(by)} All of it is in [{full}]({full}).\n\n{render(shown, 'md').strip() or NOTHING}"


def generate_leaderboard(results: Results, by: str, out: Path, readme: Path | None) -> list[Generated]:
    """Return the file and, where a README is named, its block."""
    tables = build_leaderboard(results, by)
    parts = [Generated(out, write_document(tables, by))]
    if readme is not None:
        parts.append(Generated(readme, write_block(tables, by, os.path.relpath(out, readme.parent)), BLOCK))
    return parts


def _explain(by: str) -> str:
    return (
        f"Sorted by {METRICS[by].label}. ±: standard deviation over seeds, each a training. In brackets: {LEVEL:.0%} "
        f"interval of the mean. {TEST} Places go by the means; the line under a table says what "
        f"of it is established, by tests against its first at {LEVEL_OF_TESTS:.0%}, p adjusted (Holm) for what the "
        "line names. `bench compare A B` tests two methods; whether two intervals overlap says little. Floors, "
        "ceilings, pretrained weights and runs on part of the cases are not ranked."
    )


def _test_first(block: TableBlock, column: Column) -> TableBlock:
    """Add to a sorted block what differs from its first method; p is adjusted for these differences."""
    entries = [row.entry for row in block.methods if row.place and row.entry]
    if len(entries) < 2:
        return block
    first, *others = entries
    found = compare_entries([(column, first, other) for other in others])
    known = [(other.title, d) for other, d in zip(others, found, strict=True) if d]
    groups = {
        "It is better than": [title for title, d in known if d.better == "A"],
        "It cannot be told apart (smallest detectable difference in brackets) from": [
            f"{title} ({say_detectable(d)})" for title, d in known if d.tied
        ],
        "Without a verdict, for one of the two was trained once:": [title for title, d in known if d.scope],
    }
    said = [f"{words} {', '.join(titles)}." for words, titles in groups.items() if titles]
    return replace(block, tested=" ".join([f"First by {METRICS[column[1]].label}: {first.title}.", *said]))


def _sort_block(block: TableBlock, spec: TableSpec) -> TableBlock:
    methods = number_rows([_add_intervals(row, spec) for row in block.methods if row.entry])
    references = tuple(_add_intervals(row, spec) for row in block.references)
    header = f"sorted by {METRICS[spec.by].label} · {block.header}"
    return _test_first(replace(block, header=header, methods=methods, references=references), (spec.space, spec.by))


def _add_intervals(row: Row, spec: TableSpec) -> Row:
    if row.entry is None:
        return row
    means = estimate_means(row.entry, [(spec.space, cell.metric) for cell in row.cells])
    cells = (
        replace(cell, interval=mean.interval if cell.value is not None else None)
        for cell, mean in zip(row.cells, means, strict=True)
    )
    return replace(row, cells=tuple(cells))
