"""What a table is, whatever draws it: blocks of rows that may be compared, cells, footnotes; and who is best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from bench.metrics import METRICS, Space
from bench.results.model import Entry, Kind

CAPTION = (
    "Cells: ours (published). Best is bold, second underlined, among methods trained here, run on all cases and scored "
    "against the CT; ± is the standard deviation over seeds. Density and coverage: value and its distance Δ from what "
    "real training cases score; neither more nor less is better. N/A: the method cannot, or its footnote says why; —: "
    "not run; error: the run failed, its footnote says how. Bold goes by the numbers that are shown; "
    "`bench compare A B` tests two methods."
)
MIXED_TRUTHS = "rows are scored against different truths, so methods are not compared here"
WITHOUT_VALUE = {"cannot": "N/A", "not_run": "—", "error": "error"}  # how a cell says why it has none


@dataclass(frozen=True)
class CellTexts:
    """The parts of a cell in words; empty where it has none."""

    value: str
    sd: str = ""
    interval: str = ""
    distance: str = ""
    published: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell; `state` says whether `value` is there."""

    metric: str
    state: Literal["value", "cannot", "not_run", "error", "blank"]
    value: float | None = None
    sd: float | None = None  # over seeds
    interval: tuple[float, float] | None = None  # of the mean, as `bench.results.inference` makes it
    n: int | None = None  # cases behind the value
    comparable: bool = True  # on all cases, against the CT, of a training of its own
    own_truth: bool = False  # scored against the method's own encoding of the CT
    rank: int | None = None  # 1 best, 2 second
    distance: float | None = None  # from the baseline
    published: str = ""
    marks: tuple[int, ...] = ()  # footnotes, from 1

    @property
    def shown(self) -> float | None:
        """The value as its digits show it, where it may be compared with others."""
        if not self.comparable or self.value is None:
            return None
        return round(self.value, METRICS[self.metric].digits(self.value))

    @property
    def texts(self) -> CellTexts:
        """The parts in words, at the digits of the metric."""
        if self.state in ("cannot", "not_run") and self.published == "N/A":
            return CellTexts("N/A")  # neither the paper nor this run has a number
        published = f"({self.published})" if self.published else ""
        if self.value is None:
            return CellTexts(WITHOUT_VALUE.get(self.state, ""), published=published)
        digits = METRICS[self.metric].digits(self.value)
        value, *ends = (f"{round(v, digits) + 0.0:.{digits}f}" for v in (self.value, *(self.interval or ())))
        return CellTexts(
            value,  # + 0.0: no negative zero
            "" if self.sd is None else f"± {self.sd:.{digits}f}",
            f"[{', '.join(ends)}]" if ends else "",
            "" if self.distance is None else f"Δ{_with_sign(self.distance, digits)}",
            published,
        )


@dataclass(frozen=True)
class Row:
    """One method, or one part of it, or what it is read beside."""

    title: str
    kind: Kind
    cells: tuple[Cell, ...]
    method: str = ""
    entry: Entry | None = None  # what was measured; None of a published number alone, and of a control
    seeds: int = 0
    place: int | None = None  # in a table that is numbered

    @property
    def origin(self) -> str:
        """Where the runs come from; empty without any."""
        return self.entry.origin if self.entry else ""

    @property
    def cost(self) -> float | None:
        """Processor minutes of a training, the mean over its runs; None where it is not known of all."""
        return self.entry.cpu_minutes if self.entry else None


@dataclass(frozen=True)
class TableBlock:
    """Rows that may be compared, and references beside which they are read."""

    facts: Mapping[str, str]  # what the rows share, by column of the scores
    header: str
    methods: tuple[Row, ...]
    references: tuple[Row, ...] = ()  # floors, ceilings, controls; never ranked
    tested: str = ""  # sentences that stand under it: what differs from the first

    @property
    def rows(self) -> tuple[Row, ...]:
        """Methods, then references."""
        return *self.methods, *self.references

    @property
    def warning(self) -> str:
        """Why the block is folded: some rows are scored against a truth that others do not share; else empty."""
        return MIXED_TRUTHS if any(cell.own_truth for row in self.rows for cell in row.cells) else ""


@dataclass(frozen=True)
class Table:
    """A whole table."""

    id: str
    title: str
    columns: tuple[str, ...]  # labels
    blocks: tuple[TableBlock, ...]
    footnotes: tuple[str, ...] = ()
    caption: str = CAPTION
    name_column: str = "Method"
    space: Space | None = None  # None of times
    numbered: bool = False  # methods have their place before their name, or a dash

    @cached_property
    def leads(self) -> tuple[str, ...]:
        """Heads between the names and the metrics: seeds and, where it is known of some row, what a training cost."""
        known = any(row.cost is not None for block in self.blocks for row in block.rows)
        return ("Seeds", "Training, CPU min") if known else ("Seeds",)

    def leads_of(self, row: Row) -> list[str]:
        """Return the cells of a row under `leads`."""
        return [str(row.seeds or ""), "" if row.cost is None else f"{row.cost:.1f}"][: len(self.leads)]

    @property
    def has_rows(self) -> bool:
        """Whether anything stands in it."""
        return any(block.rows for block in self.blocks)

    def notes_of(self, block: TableBlock) -> list[tuple[int, str]]:
        """Return the footnotes, each with its number, that a block refers to."""
        used = {mark for row in block.rows for cell in row.cells for mark in cell.marks}
        return [(number, text) for number, text in enumerate(self.footnotes, start=1) if number in used]


@dataclass
class Footnotes:
    """Numbers notes as they appear; the same note keeps its number."""

    texts: list[str] = field(default_factory=list)

    def mark(self, *texts: str) -> tuple[int, ...]:
        """Return the numbers of notes, from 1."""
        self.texts += dict.fromkeys(text for text in texts if text not in self.texts)
        return tuple(self.texts.index(text) + 1 for text in texts)


def label_of(metric: str) -> str:
    """Return the head of a column: which way is better, name, unit."""
    arrow = {"up": "↑ ", "down": "↓ "}.get(METRICS[metric].direction, "")
    return arrow + METRICS[metric].name


def leave_out(tables: Sequence[Table], *, spread: bool, distance: bool) -> list[Table]:
    """Return the tables without the spread over seeds, without distances from the baseline, or without both."""

    asked: dict[str, Any] = {name: None for name, out in (("sd", spread), ("distance", distance)) if out}

    def cut(rows: Sequence[Row]) -> tuple[Row, ...]:
        return tuple(replace(row, cells=tuple(replace(cell, **asked) for cell in row.cells)) for row in rows)

    def cut_block(block: TableBlock) -> TableBlock:
        return replace(block, methods=cut(block.methods), references=cut(block.references))

    return [replace(table, blocks=tuple(map(cut_block, table.blocks))) for table in tables]


def rank_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows with the best and the second of each column marked, by the digits that are shown.

    Equal numbers share a rank; a number without another to compare it with has none.
    """
    if not rows:
        return ()
    columns = [_rank_column(cells) for cells in zip(*(row.cells for row in rows), strict=True)]
    return tuple(replace(row, cells=cells) for row, cells in zip(rows, zip(*columns, strict=True), strict=True))


def number_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows from best to worst by their first cell, with their places; equal numbers share one.

    What may not be compared comes last and has none.
    """
    sign = -1 if rows and METRICS[rows[0].cells[0].metric].direction == "up" else 1
    known = [row for row in rows if row.cells[0].shown is not None]
    known.sort(key=lambda row: sign * (row.cells[0].value or 0.0))
    shown = [row.cells[0].shown for row in known]
    numbered = [replace(row, place=shown.index(value) + 1) for row, value in zip(known, shown, strict=True)]
    return *numbered, *(row for row in rows if row.cells[0].shown is None)


def _rank_column(cells: Sequence[Cell]) -> list[Cell]:
    direction = METRICS[cells[0].metric].direction
    known = {cell.shown for cell in cells if cell.shown is not None}
    if direction == "toward_baseline" or sum(cell.shown is not None for cell in cells) < 2:
        return list(cells)
    first_two = sorted(known, reverse=direction == "up")[:2]
    return [replace(cell, rank=first_two.index(cell.shown) + 1) if cell.shown in first_two else cell for cell in cells]


def _with_sign(value: float, digits: int) -> str:
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else f"±{abs(float(text)):.{digits}f}"
