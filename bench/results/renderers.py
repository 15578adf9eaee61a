"""Draws tables for a terminal, Markdown, LaTeX (booktabs) and CSV; all read the same model."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence

from jinja2 import Environment
from rich.console import Console
from rich.markup import escape as rich_escape
from rich.table import Table as RichTable
from tabulate import tabulate

from bench.results.table_model import Block, Cell, Row, Table

REFERENCES = "for reference, never ranked"
SUPERSCRIPTS = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹˒")
Styled = Callable[[str, str], str]
"""`styled(text, style)` with style best, second or plain: escapes the text and puts emphasis around it."""


def render(tables: Sequence[Table], form: str) -> str:
    """The tables as `md`, `latex` or `csv` text, ending with a newline."""
    if form == "csv":
        return _csv(tables)
    if form == "latex":
        return "\n".join(_latex(table) for table in tables)
    return "\n".join(
        _markdown(table) + (f"\n{table.caption}\n" if last else "") for table, last in _with_last_captions(tables)
    )


def print_tables(tables: Sequence[Table], console: Console) -> None:
    """The tables on a terminal."""
    for table, last in _with_last_captions(tables):
        for block in table.blocks:
            console.print(_rich(table, block))
        for number, text in enumerate(table.footnotes, start=1):
            console.print(f"{_superscript((number,))} {text}", highlight=False, markup=False)
        if last:
            console.print(table.caption, style="dim", highlight=False, markup=False)
        console.print()


def _with_last_captions(tables: Sequence[Table]) -> Iterator[tuple[Table, bool]]:
    """Each table, and whether its caption is not that of the next one, so that equal ones are printed once."""
    for table, following in zip(tables, (*tables[1:], None), strict=True):
        yield table, following is None or following.caption != table.caption


def cell_text(cell: Cell, styled: Styled, marked: Callable[[tuple[int, ...]], str]) -> str:
    """One cell in words: value ± sd, distance, printed number, footnotes."""
    style = {1: "best", 2: "second"}.get(cell.rank or 0, "plain")
    parts = [styled(_value(cell), style)]
    if cell.distance is not None:
        parts.append(styled(f"Δ{_signed(cell.distance, cell.decimals)}", "plain"))
    if cell.state in ("cannot", "not_run") and cell.published == "N/A":
        parts = ["N/A"]  # neither the paper nor this run has a number
    elif cell.published:
        parts.append(styled(f"({cell.published})", "plain"))
    return " ".join(part for part in parts if part) + (marked(cell.marks) if cell.marks else "")


def _value(cell: Cell) -> str:
    if cell.value is None:
        return {"cannot": "N/A", "not_run": "—", "error": "error"}.get(cell.state, "")
    text = f"{round(cell.value, cell.decimals) + 0.0:.{cell.decimals}f}"  # + 0.0: no negative zero
    if cell.sd is not None:
        text += f" ± {cell.sd:.{cell.decimals}f}"
    if cell.interval is not None:
        low, high = (round(end, cell.decimals) + 0.0 for end in cell.interval)
        text += f" [{low:.{cell.decimals}f}, {high:.{cell.decimals}f}]"
    return text


def _signed(value: float, decimals: int) -> str:
    text = f"{value:+.{decimals}f}"
    return text.replace("-", "−") if float(text) else f"±{abs(float(text)):.{decimals}f}"


def _superscript(marks: tuple[int, ...]) -> str:
    return ",".join(map(str, marks)).translate(SUPERSCRIPTS)


def _lines(
    rows: Sequence[Row], styled: Styled, marked: Callable[[tuple[int, ...]], str], italic: Callable[[str], str] = str
) -> list[list[str]]:
    return [
        [
            italic(styled(row.title, "plain")),
            str(row.seeds) if row.seeds else "",
            *(cell_text(cell, styled, marked) for cell in row.cells),
        ]
        for row in rows
    ]


# --- terminal


def _rich(table: Table, block: Block) -> RichTable:
    drawn = RichTable(
        title=f"Table {table.id} · {rich_escape(table.title)}\n{rich_escape(block.header)}", title_justify="left"
    )
    drawn.add_column(table.name_column)
    for name in ("Seeds", *table.columns):
        drawn.add_column(name, justify="right")
    for line in _lines(block.methods, _rich_styled, _superscript):
        drawn.add_row(*line)
    if block.references:
        drawn.add_section()
        for line in _lines(block.references, _rich_styled, _superscript, lambda text: f"[italic]{text}[/italic]"):
            drawn.add_row(*line)
    return drawn


def _rich_styled(text: str, style: str) -> str:
    tag = {"best": "bold", "second": "underline"}.get(style)
    return f"[{tag}]{rich_escape(text)}[/{tag}]" if tag else rich_escape(text)


# --- Markdown


def _markdown(table: Table) -> str:
    parts = [f"### Table {table.id} · {table.title}"]
    for block in table.blocks:
        lines = _lines(block.methods, _markdown_styled, _markdown_marks)
        if block.references:
            lines.append([f"*{REFERENCES}:*", *[""] * (len(table.columns) + 1)])
            lines += _lines(block.references, _markdown_styled, _markdown_marks, lambda text: f"*{text}*")
        heads = [table.name_column, "Seeds", *table.columns]
        alignment = ("left", *("right",) * (len(heads) - 1))
        drawn = tabulate(lines, heads, tablefmt="pipe", colalign=alignment, disable_numparse=True)
        parts += [_markdown_styled(block.header, "plain"), drawn]
    notes = [f"{_markdown_marks((number,))} {text}  " for number, text in enumerate(table.footnotes, start=1)]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def _markdown_styled(text: str, style: str) -> str:
    text = text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
    return {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(style, text)


def _markdown_marks(marks: tuple[int, ...]) -> str:
    return f"<sup>{','.join(map(str, marks))}</sup>"


# --- LaTeX

LATEX = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True).from_string(
    r"""% needs \usepackage{booktabs}
\begin{table}
\centering
\caption{ {{- table.title }}. {{ table.caption -}} }
{% for block in blocks %}
{\footnotesize {{ block.header }}\par}
\begin{tabular}{ {{- alignment -}} }
\toprule
{{ heads | join(" & ") }} \\
\midrule
{% for line in block.methods %}
{{ line | join(" & ") }} \\
{% endfor %}
{% if block.references %}
\midrule
{% for line in block.references %}
{{ line | join(" & ") }} \\
{% endfor %}
{% endif %}
\bottomrule
\end{tabular}
{% endfor %}
{% for note in notes %}
{\footnotesize {{ note }}\par}
{% endfor %}
\end{table}
"""
)
LATEX_CHARACTERS = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≤": r"$\leq$",
    "−": r"$-$",
    "—": "---",
    "·": r"$\cdot$",
    "³": r"$^3$",
}


def _latex(table: Table) -> str:
    blocks = [
        {
            "header": _latex_styled(block.header, "plain"),
            "methods": _lines(block.methods, _latex_styled, _latex_marks),
            "references": _lines(block.references, _latex_styled, _latex_marks, lambda text: rf"\textit{{{text}}}"),
        }
        for block in table.blocks
    ]
    return LATEX.render(
        table={"title": _latex_styled(table.title, "plain"), "caption": _latex_styled(table.caption, "plain")},
        blocks=blocks,
        alignment="l" + "r" * (len(table.columns) + 1),
        heads=[_latex_styled(head, "plain") for head in (table.name_column, "Seeds", *table.columns)],
        notes=[
            f"{_latex_marks((number,))} {_latex_styled(text, 'plain')}"
            for number, text in enumerate(table.footnotes, start=1)
        ],
    )


def _latex_styled(text: str, style: str) -> str:
    text = "".join(LATEX_CHARACTERS.get(character, character) for character in text)
    return {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(style, text)


def _latex_marks(marks: tuple[int, ...]) -> str:
    return f"$^{{{','.join(map(str, marks))}}}$"


# --- CSV

CSV_FACTS = (
    *("protocol", "protocol_hash", "dataset", "source", "split", "preset", "views", "data_fingerprint", "device"),
)
CSV_CELL = ("metric", "state", "value", "sd", "n", "rank", "distance", "published")


def _csv(tables: Sequence[Table]) -> str:
    """One cell a line, unrounded."""
    text = io.StringIO()
    columns = ["table", *CSV_FACTS, "method", "title", "kind", "origin", "seeds", *CSV_CELL, "notes"]
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for block in table.blocks:
            facts = {name: block.facts.get(name, "") for name in CSV_FACTS}
            for row in (*block.methods, *block.references):
                for cell in row.cells:
                    own = {name: getattr(cell, name) for name in CSV_CELL}
                    notes = "; ".join(table.footnotes[mark - 1] for mark in cell.marks)
                    names = {"method": row.method, "title": row.title, "kind": row.kind, "origin": row.origin}
                    writer.writerow({"table": table.id, **facts, **names, "seeds": row.seeds, **own, "notes": notes})
    return text.getvalue()
