"""What a table is, whatever draws it: blocks of rows that may be compared, cells, footnotes; and who is best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.metrics import METRICS

Kind = Literal["method", "floor", "ceiling"]
CAPTION = (
    "Cells: ours (published). Best is bold, second underlined, among methods trained here and run on all cases; ± is "
    "the standard deviation over seeds. Density and coverage: value and its distance Δ from what real training cases "
    "score; neither more nor less is better. N/A: the method cannot, or its footnote says why; —: not run; error: the "
    "run failed, its footnote says how."
)


@dataclass(frozen=True)
class Cell:
    """One cell; `state` says whether `value` is there."""

    metric: str
    state: Literal["value", "cannot", "not_run", "error", "blank"]
    value: float | None = None
    sd: float | None = None  # over seeds
    interval: tuple[float, float] | None = None  # of the mean over cases
    n: int | None = None  # cases behind the value
    comparable: bool = True  # on all cases, of a training of its own
    rank: int | None = None  # 1 best, 2 second
    distance: float | None = None  # from the baseline
    published: str = ""
    marks: tuple[int, ...] = ()  # footnotes, from 1

    @property
    def decimals(self) -> int:
        """Digits shown after the point."""
        return METRICS[self.metric].decimals


@dataclass(frozen=True)
class Row:
    """One method, or one part of it."""

    method: str
    title: str
    kind: Kind
    origin: str
    seeds: int
    cells: tuple[Cell, ...]
    run_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """Rows that may be compared, and references beside which they are read."""

    facts: Mapping[str, str]  # what the rows share, by column of scores.csv
    header: str
    methods: tuple[Row, ...]
    references: tuple[Row, ...] = ()  # floors, ceilings, real cases; never ranked


@dataclass(frozen=True)
class Table:
    """A whole table."""

    id: str
    title: str
    columns: tuple[str, ...]  # labels
    blocks: tuple[Block, ...]
    footnotes: tuple[str, ...]
    caption: str = CAPTION
    name_column: str = "Method"


@dataclass
class Footnotes:
    """Numbers notes as they appear; the same note keeps its number."""

    texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> int:
        """The number of a note, from 1."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def label_of(metric: str) -> str:
    """The head of a column: which way is better, name, unit."""
    entry = METRICS[metric]
    arrow = {"up": "↑ ", "down": "↓ ", "toward_baseline": ""}[entry.direction]
    return f"{arrow}{entry.label}" + (f", {entry.unit}" if entry.unit else "")


def ranked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows with the best and the second of each column marked, by the digits that are shown.

    Equal numbers share a rank; a number without another to compare it with has none.
    """
    if not rows:
        return ()
    columns = [_ranked_column(cells) for cells in zip(*(row.cells for row in rows), strict=True)]
    return tuple(replace(row, cells=cells) for row, cells in zip(rows, zip(*columns, strict=True), strict=True))


def _ranked_column(cells: Sequence[Cell]) -> list[Cell]:
    direction = METRICS[cells[0].metric].direction
    shown = [_shown(cell) if cell.comparable and direction != "toward_baseline" else None for cell in cells]
    known = [value for value in shown if value is not None]
    if len(known) < 2:
        return list(cells)
    first_two = sorted(set(known), reverse=direction == "up")[:2]
    return [
        replace(cell, rank=first_two.index(value) + 1) if value in first_two else cell
        for cell, value in zip(cells, shown, strict=True)
    ]


def _shown(cell: Cell) -> float | None:
    return None if cell.value is None else round(cell.value, cell.decimals)
