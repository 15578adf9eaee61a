"""The leaderboard: all methods that were measured, sorted by a distortion metric, with intervals and tests.

Markdown in a file of its own, and a small table a data set between two marks in README.md. It can be made again from
results/ alone, so a file that is out of date is found.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from bench.errors import UsageError
from bench.metrics import LAPLACE, METRICS, NLL
from bench.metrics.stats import LEVEL
from bench.results.inference import LEVEL_OF_TESTS, TEST, compare_entries, estimate_means, say_detectable
from bench.results.model import SPACES, Column, Results, belongs, is_of_patients
from bench.results.renderers import Sheet, draw_markdown, render, wrap_text
from bench.results.table_model import Cell, Row, Table, TableBlock, number_rows
from bench.results.tables import TableSpec, build_table, narrow
from bench.scoring import DEFAULT
from bench.system.generated import Generated
from bench.system.text import escape_markdown

DEFAULT_BY = "psnr"
BLOCK = "leaderboard"  # between <!-- leaderboard --> and <!-- /leaderboard --> in a README
BRIEF_ROWS, BRIEF_FLOORS = 8, 2  # of a README's table at most, and floors among them at least
ENOUGH_METHODS = 3  # that make a block worth showing before one of a smaller grid
BRIEF_COLUMNS: tuple[tuple[tuple[str, Column], ...], ...] = (  # head and column; of each group the first measured
    (("PSNR, dB", ("3d", "psnr")),),
    (("SSIM", ("3d", "ssim")),),
    (("Dice, lung", ("anatomy", "dice_lung")), ("Bias, bone, HU", ("tissue", "bias_hu_bone"))),
    (("Coverage Δ", ("3d", "coverage")),),
    (("Laplace, bits", ("3d", LAPLACE)), ("NLL, bits", ("3d", NLL))),
)
NOTHING = "No method has been measured yet: `bench run --method codediff --dataset lidc` is a start."


def build_leaderboard(results: Results, by: str = DEFAULT_BY) -> list[Table]:
    """Return one table a data set and space, methods sorted by `by`; the blocks are those of `bench table`.

    Patients come before anything else. Raises UsageError when `by` is no distortion metric.
    """
    sortable = [key for key, metric in METRICS.items() if metric.sortable]
    if by not in sortable:
        raise UsageError(f"the leaderboard sorts by {', '.join(sortable)}; not by '{by}'")
    names = sorted(results.rows["dataset"].unique(), key=lambda name: (not is_of_patients(name), name))
    bases = [name for name in names if not any(belongs(name, other) for other in names if other != name)]
    tables: list[Table] = []
    for dataset, (space, shown) in product(bases, SPACES.items()):
        spec = narrow(TableSpec(f"L{len(tables) + 1}", f"{dataset}, {shown.heading}", dataset, space), results)
        if not spec.metrics:
            continue
        spec = replace(spec, by=by if space in METRICS[by].spaces else spec.metrics[0])
        table = build_table(spec, results)
        if blocks := tuple(_sort_block(block, spec) for block in table.blocks if block.facts):
            tables.append(replace(table, blocks=blocks, caption="", numbered=True))
    return tables


def write_document(tables: Sequence[Table], by: str) -> str:
    """Return the whole file."""
    how = (
        f"Sorted by {METRICS[by].label}. ±: standard deviation over seeds, each a training. In brackets: {LEVEL:.0%} "
        f"interval of the mean. {TEST} Places go by the means; the line under a table says what "
        f"of it is established, by tests against its first at {LEVEL_OF_TESTS:.0%}, p adjusted (Holm) for what the "
        "line names. `bench compare A B` tests two methods; whether two intervals overlap says little. Floors, "
        "ceilings, pretrained weights and runs on part of the cases are not ranked."
    )
    return "\n\n".join(["# Leaderboard", how, render(tables, "md").strip() or NOTHING]) + "\n"


def write_block(tables: Sequence[Table], by: str, full: str) -> str:
    """Return one small table of volumes a data set, for a README; `full` is where the whole file lies, seen from it.

    Of several blocks it is the one of the largest grid that holds enough methods.
    """
    shown = [max(table.blocks, key=_rate_block) for table in tables if table.space == "3d"]
    parts = [_draw_brief(block, by) for block in shown]
    note = (
        f"Sorted by {METRICS[by].label}; ± is the standard deviation over seeds, Δ the distance from what real "
        "training cases score, \\* a number with a note. Floors learn nothing and are not ranked. Intervals, tests, "
        "notes, all metrics and protocols:"
    )
    return "\n\n".join([*(parts or [NOTHING]), f"{wrap_text(note)}\n[{full}]({full})."])


def generate_leaderboard(results: Results, by: str, out: Path, readme: Path | None) -> list[Generated]:
    """Return the file and, where a README is named, its block."""
    tables = build_leaderboard(results, by)
    parts = [Generated(out, write_document(tables, by))]
    if readme is not None:
        parts.append(Generated(readme, write_block(tables, by, os.path.relpath(out, readme.parent)), BLOCK))
    return parts


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


def _rate_block(block: TableBlock) -> tuple[bool, ...]:
    """Return what makes a block worth showing; of equals it is the first, whose grid is the largest."""
    placed = [row for row in block.methods if row.place]
    return block.facts["protocol"] == DEFAULT, not block.warning, len(placed) >= ENOUGH_METHODS, bool(placed)


def _draw_brief(block: TableBlock, by: str) -> str:
    """Return the best methods of a block and its best floors, few columns, under what they share."""
    floors = number_rows([row for row in block.references if row.kind == "floor" and row.entry])
    methods = [row for row in block.methods if row.place][: BRIEF_ROWS - min(BRIEF_FLOORS, len(floors))]
    rows = [*methods, *floors[: BRIEF_ROWS - len(methods)]]
    measured = {column for row in rows if row.entry for column in row.entry.summaries}
    groups = [[one for one in group if one[1] in measured] for group in BRIEF_COLUMNS]
    columns = [group[0] for group in groups if group]
    names = [f"{row.place}. {row.title}" if row.kind == "method" else f"floor: {row.title}" for row in rows]
    shown = [column for _, column in columns]
    lines = [
        [name, *(_say_briefly(row, column, spread=column == shown[0]) for column in shown)]
        for name, row in zip(names, rows, strict=True)
    ]
    shared = block.header.removeprefix(f"sorted by {METRICS[by].label} · ").partition(" · views ")[0]
    drawn = draw_markdown(Sheet(["Method", *(head for head, _ in columns)], lines))
    return "\n\n".join([f"**{escape_markdown(shared)}**", drawn, wrap_text(escape_markdown(block.tested))]).strip()


def _say_briefly(row: Row, column: Column, *, spread: bool) -> str:
    """Return a mean and, where asked, its spread over seeds; where neither way is better, its distance alone."""
    entry, metric = row.entry, METRICS[column[1]]
    known = [summary.value for summary in (entry.summaries.get(column, ()) if entry else ()) if summary.known]
    if entry is None or not known:
        return "–"
    sd = float(np.std(known, ddof=1)) if spread and len(known) > 1 else None
    distance = entry.distance(column) if metric.direction == "toward_baseline" else None
    texts = Cell(metric.key, "value", float(np.mean(known)), sd, distance=distance).texts
    told = texts.distance.removeprefix("Δ") or " ".join(filter(None, (texts.value, texts.sd)))
    marked = any(cell.marks for cell in row.cells if cell.metric == metric.key)
    return (f"{told} *" if marked else told).replace(" ", "\u00a0")
