"""Draws tables as Markdown and CSV, and writes the cells of all forms; see also bench.results.latex and .terminal.

A `Table` has cells with ranks, spreads and footnotes; a `Sheet` is plain text in columns.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from tabulate import tabulate

from bench.results.model import BLOCK_KEYS
from bench.results.table_model import Cell, Table, TableBlock
from bench.system.csv_files import cell_of, csv_text
from bench.system.text import escape_markdown

REFERENCES = "for reference, never ranked"
LINE = 118  # characters of a line of prose
CSV_FACTS = (*BLOCK_KEYS, "device")
CSV_CELL = ("metric", "state", "value", "sd", "n", "rank", "distance", "published")


@dataclass(frozen=True)
class Sheet:
    """A table of plain text."""

    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    title: str = ""
    words: Sequence[int] = (0,)  # columns that are read from the left; the others are numbers
    keys: int = 1  # first columns that say what a line is of; where a table is divided, each part has them

    @property
    def alignment(self) -> list[str]:
        """Left or right, by column."""
        words = {index % len(self.heads) for index in self.words}
        return ["left" if index in words else "right" for index in range(len(self.heads))]


@dataclass(frozen=True)
class Form:
    """How one form writes text, emphasis and footnotes; what it writes is escaped."""

    plain: Callable[[str], str]
    best: Callable[[str], str]
    second: Callable[[str], str]
    reference: Callable[[str], str]
    marks: Callable[[str], str]
    between: str = " "  # value with its spread, interval, distance, printed number

    def cell(self, cell: Cell) -> str:
        """Return a cell: value ± sd and interval, distance, printed number, footnotes."""
        texts = cell.texts
        value = " ".join(filter(None, (texts.value, texts.sd)))
        number = self.plain(self.between.join(filter(None, (value, texts.interval))))
        number = {1: self.best, 2: self.second}.get(cell.rank or 0, str)(number)
        parts = (number, self.plain(texts.distance), self.plain(texts.published))
        return self.between.join(filter(None, parts)) + (self.footnote(cell.marks) if cell.marks else "")

    def footnote(self, numbers: Iterable[int]) -> str:
        """Return the sign that refers to footnotes."""
        return self.marks(",".join(map(str, numbers)))

    def lines(self, table: Table, block: TableBlock, *, references: bool = False) -> list[list[str]]:
        """Return the methods of a block, or its references, line by line."""
        lines = []
        for row in block.references if references else block.methods:
            place = f"{row.place}. " if row.place else "– " if table.numbered and not references else ""
            name = self.plain(place + row.title)
            name = self.reference(name) if references else name
            lines.append([name, *table.leads_of(row), *map(self.cell, row.cells)])
        return lines

    def notes(self, table: Table) -> list[str]:
        """Return the footnotes, each after its sign."""
        return [
            f"{self.footnote((number,))} {self.plain(text)}" for number, text in enumerate(table.footnotes, start=1)
        ]


def render(tables: Sequence[Table], form: str) -> str:
    """Return the tables as `md` or `csv` text, ending with a newline."""
    if form == "csv":
        columns = ["table", *CSV_FACTS, "method", "title", "kind", "origin", "seeds", "cpu_minutes", *CSV_CELL, "notes"]
        return draw_csv(columns, _csv_lines(tables))
    return "\n".join(
        _draw_markdown(table) + (f"\n{table.caption}\n" if last else "") for table, last in with_last_captions(tables)
    )


def draw_markdown(sheet: Sheet) -> str:
    """Return a sheet as a Markdown table, under its title where it has one."""
    escaped = [list(map(escape_markdown, line)) for line in sheet.lines]
    drawn = _draw_pipes(Sheet(list(map(escape_markdown, sheet.heads)), escaped, words=sheet.words))
    return f"{escape_markdown(sheet.title)}\n\n{drawn}\n" if sheet.title else drawn


def wrap_text(text: str, indent: str = "") -> str:
    """Return a sentence in lines of at most 118 characters, the second and further ones behind `indent`."""
    return fill(text, LINE, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def draw_csv(columns: Sequence[str], lines: Iterable[Mapping[str, object]]) -> str:
    """Return lines as CSV; what a line lacks and None are empty cells."""
    return csv_text(columns, [[cell_of(line.get(name)) for name in columns] for line in lines])


def with_last_captions(tables: Sequence[Table]) -> Iterator[tuple[Table, bool]]:
    """Yield each table, and whether its caption is not that of the next one, so that equal ones are printed once."""
    for table, following in zip(tables, (*tables[1:], None), strict=False):
        yield table, following is None or following.caption != table.caption


def heads_of(table: Table) -> list[str]:
    """Return the heads of a table's columns, that of names first."""
    return [table.name_column, *table.leads, *table.columns]


def _csv_lines(tables: Sequence[Table]) -> Iterator[dict[str, object]]:
    """One cell a line, unrounded."""
    for table in tables:
        for block in table.blocks:
            for row in block.rows:
                shared = {"table": table.id, **block.facts, "seeds": row.seeds, "cpu_minutes": row.cost}
                shared |= {name: getattr(row, name) for name in ("method", "title", "kind", "origin")}
                for cell in row.cells:
                    notes = "; ".join(table.footnotes[mark - 1] for mark in cell.marks)
                    yield {**shared, **{name: getattr(cell, name) for name in CSV_CELL}, "notes": notes}


# --- Markdown

MARKDOWN = Form(
    plain=escape_markdown,
    best=lambda text: f"**{text}**",
    second=lambda text: f"<u>{text}</u>",
    reference=lambda text: f"*{text}*",
    marks=lambda text: f"<sup>{text}</sup>",
)


def _draw_pipes(sheet: Sheet) -> str:
    """Return a sheet whose cells are Markdown already."""
    return tabulate(sheet.lines, sheet.heads, tablefmt="pipe", colalign=sheet.alignment, disable_numparse=True)


def _draw_markdown(table: Table) -> str:
    parts = [f"### Table {table.id} · {MARKDOWN.plain(table.title)}"]
    for block in table.blocks:
        lines = MARKDOWN.lines(table, block)
        if block.references:
            lines.append([f"*{REFERENCES}:*", *[""] * (len(heads_of(table)) - 1)])
            lines += MARKDOWN.lines(table, block, references=True)
        header = MARKDOWN.plain(block.header)
        drawn = _draw_pipes(Sheet(list(map(MARKDOWN.plain, heads_of(table))), lines))
        folded = [f"<details>\n<summary>{block.warning.capitalize()}</summary>", drawn, "</details>"]
        parts += [header, *(folded if block.warning else [drawn])]
        parts += [MARKDOWN.plain(block.tested)] if block.tested else []
    notes = [f"{note}  " for note in MARKDOWN.notes(table)]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"
