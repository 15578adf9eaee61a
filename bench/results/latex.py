"""Draws tables in LaTeX (booktabs) that fit a page of one column: one a block of rows and family of metrics.

What is too wide for \textwidth of the class article at \footnotesize is divided further, names and seeds in each part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from jinja2 import Environment

from bench.metrics import METRICS
from bench.results.renderers import Form, heads_of
from bench.results.table_model import Row, Table, TableBlock

NAMES = 0.22  # share of \textwidth for the names, which wrap
ROOM = 66  # characters of all other columns; the test that typesets tables says whether they fit
GAP = 2  # characters between columns
FAMILIES = {
    "distortion": "distortion",
    "samples": "several samples",
    "likelihood": "likelihood",
    "fidelity": "fidelity of the set",
    "anatomy": "structures",
    "cost": "time",
}
TEMPLATE = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True).from_string(
    r"""% needs \usepackage{booktabs}
\begin{table}
\centering\footnotesize\setlength{\tabcolsep}{3pt}
\caption{ {{- caption -}} }
\smallskip
\begin{tabular}{p{ {{- names -}} \textwidth}{{ "r" * (heads | length - 1) }}}
\toprule
{{ heads | join(" & ") }} \\
\midrule
{% for line in methods %}
\raggedright {{ line | join(" & ") }} \\
{% endfor %}
{% if references %}
\midrule
{% for line in references %}
\raggedright {{ line | join(" & ") }} \\
{% endfor %}
{% endif %}
\bottomrule
\end{tabular}
{% for note in notes %}
\par\smallskip\parbox{\textwidth}{\raggedright {{ note -}} }
{% endfor %}
\end{table}
"""
)
CHARACTERS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{character: f"${character}$" for character in "<>|"},
        **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "—": "---", "–": "--", "…": r"\ldots{}"},
        **{"±": r"$\pm$", "−": "$-$", "×": r"$\times$", "·": r"$\cdot$", "²": "$^2$", "³": "$^3$", "°": r"$^\circ$"},
        **{"Δ": r"$\Delta$", "σ": r"$\sigma$", "β": r"$\beta$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"},
        **{"≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\rightarrow$", "“": "``", "”": "''", "’": "'"},
    }
)
MEASURE = Form(*[str] * 5)  # type: ignore[arg-type]
IN_LATEX = Form(
    plain=lambda text: text.translate(CHARACTERS),
    best=lambda text: rf"\textbf{{{text}}}",
    second=lambda text: rf"\underline{{{text}}}",
    reference=lambda text: rf"\textit{{{text}}}",
    marks=lambda text: f"$^{{{text}}}$",
)


def draw_latex(tables: Sequence[Table]) -> str:
    """Return the tables as text that `\\input` takes, ending with a newline; the last part of each has its legend."""
    drawn = []
    for table in tables:
        parts = [(block, columns) for block in table.blocks for columns in _divide(table, block)]
        for number, (block, columns) in enumerate(parts, start=1):
            drawn.append(_draw_part(table, block, columns, table.caption if number == len(parts) else ""))
    return "\n".join(drawn)


def _divide(table: Table, block: TableBlock) -> Iterator[list[int]]:
    """Yield the columns of metrics of each part: of one family, and no wider than the page."""
    if not block.rows:
        return
    lines = [heads_of(table), *MEASURE.lines(table, block), *MEASURE.lines(table, block, references=True)]
    widths = [max(map(len, column)) + GAP for column in zip(*lines, strict=True)][1:]
    fixed, widths = sum(widths[: len(table.leads)]), widths[len(table.leads) :]
    for _, family in groupby(range(len(table.columns)), key=lambda index: _family(block, index)):
        part, room = list[int](), ROOM - fixed
        for index in family:
            width = widths[index]
            if part and width > room:
                yield part
                part, room = [], ROOM - fixed
            part.append(index)
            room -= width
        yield part


def _family(block: TableBlock, index: int) -> str:
    return METRICS[block.rows[0].cells[index].metric].family


def _draw_part(table: Table, block: TableBlock, columns: Sequence[int], legend: str) -> str:
    def keep(rows: Sequence[Row]) -> tuple[Row, ...]:
        kept = [replace(row, cells=tuple(row.cells[index] for index in columns)) for row in rows]
        return tuple(row for row in kept if any(cell.state != "blank" for cell in row.cells))

    part, plain = replace(block, methods=keep(block.methods), references=keep(block.references)), IN_LATEX.plain
    used = {mark for row in part.rows for cell in row.cells for mark in cell.marks}
    footnotes = [note for number, note in enumerate(IN_LATEX.notes(table), start=1) if number in used]
    sentences = (block.header, block.warning.capitalize(), block.tested, legend)
    heads = list(map(plain, heads_of(table)))
    fixed = len(heads) - len(table.columns)
    return TEMPLATE.render(
        caption=plain(f"{table.title}: {FAMILIES[_family(block, columns[0])]}"),
        names=NAMES,
        heads=[*heads[:fixed], *(heads[fixed + index] for index in columns)],
        methods=IN_LATEX.lines(table, part),
        references=IN_LATEX.lines(table, part, references=True),
        notes=[*footnotes, *map(plain, filter(None, sentences))],
    )
