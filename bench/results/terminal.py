"""Draws tables for a terminal of any width: no number is cut. What does not fit is stacked, a few columns at a time.

Columns of numbers keep their cells whole; columns of words, and heads, wrap between words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench.results.renderers import Form, Sheet, heads_of, with_last_captions
from bench.results.table_model import Table
from bench.system.text import escape_terminal as escape

SUPERSCRIPTS = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹˒")
EDGE, GAP = 1, 3  # columns of a table's left edge, and of the space and rule around each of its columns
MOST_NAME, MOST_WORDS = 24, 26  # columns that names and other words take where a table must be narrow
RICH = Form(
    plain=escape,
    best=lambda text: f"[bold]{text}[/bold]",
    second=lambda text: f"[underline]{text}[/underline]",
    reference=lambda text: f"[italic]{text}[/italic]",
    marks=lambda text: text.translate(SUPERSCRIPTS),
)
NARROW = replace(RICH, between="\n")


def print_tables(tables: Sequence[Table], console: Console) -> None:
    """Print the tables."""
    for table, last in with_last_captions(tables):
        for block in table.blocks:
            console.print(f"Table {escape(table.id)} · {escape(table.title)}", style="italic", highlight=False)
            console.print(block.header, style="italic", highlight=False, markup=False)
            if block.warning:
                console.print(block.warning, style="italic", highlight=False, markup=False)
            heads = [escape(head) for head in heads_of(table)]
            forms = [RICH, NARROW]
            drawn = [[form.lines(table, block, references=of) for of in (False, True)] for form in forms]
            fits = len(_divide(heads, [*drawn[0][0], *drawn[0][1]], (0,), console.width)) == 1
            sections = drawn[0] if fits else drawn[1]
            _print_divided(heads, sections, (0,), console, "dim" if block.warning else "")
            if block.tested:
                console.print(block.tested, highlight=False, markup=False)
        for note in RICH.notes(table):
            console.print(note, highlight=False)
        if last:
            console.print(table.caption, style="dim", highlight=False, markup=False)
        console.print()


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Print a sheet, its title above it where it has one."""
    if sheet.title:
        console.print(escape(sheet.title), style="italic", highlight=False)
    words = [index for index, side in enumerate(sheet.alignment) if side == "left"]
    lines = [list(map(escape, line)) for line in sheet.lines]
    _print_divided(list(map(escape, sheet.heads)), [lines], words, console, keys=sheet.keys)


def _print_divided(
    heads: Sequence[str],
    sections: Sequence[Sequence[Sequence[str]]],
    words: Sequence[int],
    console: Console,
    style: str = "",
    keys: int = 1,
) -> None:
    """Print lines of marked-up cells in as many tables as the width asks for, the `keys` in each."""
    parts = _divide(heads, [line for section in sections for line in section], words, console.width, keys)
    shared = set.intersection(*map(set, parts))
    for part in parts:
        drawn = RichTable(style=style)
        for index, width in part.items():
            side = "left" if index in words else "right"
            drawn.add_column(heads[index], justify=side, no_wrap=False, overflow="fold", width=width)  # type: ignore[arg-type]
        for section in sections:
            for line in section:
                if len(parts) == 1 or any(line[index] for index in part if index not in shared):
                    drawn.add_row(*(line[index] for index in part))
            drawn.add_section()
        console.print(drawn)


def _divide(
    heads: Sequence[str], lines: Sequence[Sequence[str]], words: Sequence[int], width: int, keys: int = 1
) -> list[dict[int, int]]:
    """Return column → its width, for each of the tables that together show all columns.

    One table where all fit, words wrapped if need be; else the first `keys` columns are repeated in each.
    """
    columns = list(zip(heads, *lines, strict=True))
    whole = {index: max(map(_longest_line, cells)) for index, cells in enumerate(columns)}
    if _room(whole) <= width:
        return [whole]
    least = {}
    for index, cells in enumerate(columns):
        if index in words:
            least[index] = max(*map(_longest_word, cells), min(whole[index], MOST_WORDS if index else MOST_NAME))
        else:
            least[index] = max([_longest_word(heads[index]), *map(_longest_line, cells[1:])])
    widest = max((least[index] for index in range(keys, len(heads))), default=0)
    while keys > 1 and _room({index: least[index] for index in range(keys)}) + widest + GAP > width:
        keys -= 1  # no room for them beside the widest column
    repeated = {index: least[index] for index in range(keys)}
    parts = [dict(repeated)]
    for index in range(keys, len(heads)):
        if len(parts[-1]) > keys and _room({**parts[-1], index: least[index]}) > width:
            parts.append(dict(repeated))
        parts[-1][index] = least[index]
    if len(parts) == 1:
        _widen(parts[0], whole, width - _room(parts[0]))
    return parts


def _widen(part: dict[int, int], whole: Mapping[int, int], left: int) -> None:
    """Give what is left of a line, evenly, to the columns whose cells are wrapped."""
    while wrapped := [index for index, width in part.items() if width < whole[index]][: max(0, left)]:
        for index in wrapped:
            part[index] += 1
        left -= len(wrapped)


def _room(widths: dict[int, int]) -> int:
    return EDGE + sum(width + GAP for width in widths.values())


def _longest_line(cell: str) -> int:
    return max((line.cell_len for line in Text.from_markup(cell).split("\n")), default=0)


def _longest_word(cell: str) -> int:
    return max((Text(word).cell_len for word in Text.from_markup(cell).plain.split()), default=0)
