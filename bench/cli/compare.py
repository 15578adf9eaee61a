"""`bench compare`: is one method better than another, case by case?"""

from pathlib import Path
from typing import Annotated, Literal

import typer

WIDTH = 160  # columns of text that goes to a file or a pipe
CSV_FACTS = (  # before each line
    *("protocol", "protocol_hash", "dataset", "source", "split", "preset", "views", "data_fingerprint"),
)


def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="Method, run id, or the hash that ends the run ids of all its seeds.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="What A is compared with.")],
    metric: Annotated[list[str], typer.Option(help="Only this metric. Repeatable.")] = [],  # noqa: B006
    form: Annotated[Literal["rich", "md", "csv"], typer.Option("--format", help="csv: unrounded.")] = "rich",
    results_dir: Annotated[Path, typer.Option(help="Where scores.csv and runs.csv are.")] = Path("results"),
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol.")] = None,
    preset: Annotated[str | None, typer.Option(help="Only this preset.")] = None,
    source: Annotated[Literal["real", "phantom"] | None, typer.Option(help="Only real or phantom data.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
) -> None:
    """Compare two methods on the same cases: difference, interval, Wilcoxon test, smallest detectable difference.

    One table for each dataset, source, preset and split where both were measured, by default under the protocol of
    the leaderboard. All seeds of a method are averaged by case. A method's name stands for what was trained here;
    pretrained weights that stand beside it have a run id. What was not measured in the same way is refused.
    """
    from dataclasses import asdict

    import pandas as pd
    from rich.console import Console
    from rich.table import Table
    from tabulate import tabulate

    from bench.results.compare import NOTE, as_lines
    from bench.results.compare import compare as compared
    from bench.results.tables import Filters

    filters = Filters(dataset=dataset, protocol=protocol, preset=preset, source=source, split=split)
    comparisons, left_out = compared(results_dir, first, second, filters, metric)
    for reason in left_out:
        typer.echo(f"left out: {reason}", err=True)
    if form == "csv":
        lines = [
            {**{name: c.first.facts[name] for name in CSV_FACTS}, **asdict(d), "better": d.better}
            for c in comparisons
            for d in c.differences
        ]
        typer.echo(pd.DataFrame(lines).to_csv(index=False, lineterminator="\n"), nl=False)
        return
    if form == "md":
        for comparison in comparisons:
            heads, cells = as_lines(comparison)
            alignment = ("left", "left", *("right",) * (len(heads) - 3), "left")
            drawn = tabulate(cells, heads, tablefmt="pipe", colalign=alignment, disable_numparse=True)
            typer.echo(f"{comparison.header}\n\n{drawn}\n")
        typer.echo(NOTE)
        return
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    for comparison in comparisons:
        heads, cells = as_lines(comparison)
        console.print(comparison.header, highlight=False, markup=False)
        table = Table()
        for index, head in enumerate(heads):
            table.add_column(head, justify="left" if index in (0, 1, len(heads) - 1) else "right")
        for line in cells:
            table.add_row(*(cell.replace("[", "\\[") for cell in line))
        console.print(table)
    console.print(NOTE, style="dim", highlight=False, markup=False)
