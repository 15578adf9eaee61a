"""`bench table`: the paper's tables with our numbers beside the printed ones."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import (
    WIDTH,
    OnlyDataset,
    OnlyPreset,
    OnlyProtocol,
    OnlySource,
    OnlySplit,
    ShownResults,
    make_console,
)

SUFFIXES = {".md": "md", ".tex": "latex", ".csv": "csv"}


def table(
    which: Annotated[
        str,
        typer.Argument(
            help="1, 2, 3, 4, 5 (X-ray images), 6 (structures), 7 (errors by class of voxel), 8 (likelihoods), 3a, 3b, "
            "…, or all."
        ),
    ] = "all",
    form: Annotated[
        Literal["rich", "md", "latex", "csv"] | None,
        typer.Option("--format", help="Default: by the suffix of --out, else for a terminal."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
    spread: Annotated[bool, typer.Option(help="Print ± over seeds.")] = True,
    distance: Annotated[bool, typer.Option(help="Print Δ, the distance from what real cases score.")] = True,
    results_dir: ShownResults = Path("results"),
    dataset: OnlyDataset = None,
    protocol: OnlyProtocol = None,
    preset: OnlyPreset = None,
    source: OnlySource = None,
    split: OnlySplit = None,
) -> None:
    """Print Tables 1-4 of the paper, our number and the published one in brackets, and 5-8, which the paper lacks.

    Without results the published numbers are shown alone. Runs that must not be compared (another protocol, source,
    preset, split, set of views or data) stand in blocks of their own.
    """
    from rich.console import Console

    from bench.results.latex import draw_latex
    from bench.results.model import read_results
    from bench.results.renderers import render
    from bench.results.table_model import leave_out
    from bench.results.tables import build_tables
    from bench.results.terminal import print_tables
    from bench.system.files import write_text

    asked = {"dataset": dataset, "protocol": protocol, "preset": preset, "source": source, "split": split}
    tables = leave_out(
        build_tables(which, read_results(results_dir), **asked), spread=not spread, distance=not distance
    )
    chosen = form or (SUFFIXES.get(out.suffix, "md") if out else "rich")
    if chosen != "rich":
        text = draw_latex(tables) if chosen == "latex" else render(tables, chosen)
        if out is None:
            typer.echo(text, nl=False)
        else:
            write_text(out, text)
    elif out is None:
        print_tables(tables, make_console())
    else:
        console = Console(width=WIDTH, record=True, quiet=True)
        print_tables(tables, console)
        write_text(out, console.export_text())
    if out is not None:
        typer.echo(f"wrote {out}")
