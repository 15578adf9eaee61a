"""Numbers side by side: `bench table`, those of the paper; `compare`, of two methods; `literature`, of the field."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from bench.cli import options
from bench.errors import unknown_name
from bench.scoring import DEFAULT
from bench.system.csv_files import text_of_rows
from bench.system.files import write_text

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
    results_dir: options.ShownResults = Path("results"),
    dataset: options.OnlyDataset = None,
    protocol: options.OnlyProtocol = None,
    preset: options.OnlyPreset = None,
    source: options.OnlySource = None,
    split: options.OnlySplit = None,
) -> None:
    """Print Tables 1-4 of the paper, our number and the published one in brackets, and 5-8, which the paper lacks.

    Without results the published numbers are shown alone. Runs that must not be compared (another protocol, source,
    preset, split, set of views or data) stand in blocks of their own.
    """
    from bench.results.latex import draw_latex
    from bench.results.model import read_results
    from bench.results.renderers import render
    from bench.results.table_model import leave_out
    from bench.results.tables import build_tables
    from bench.results.terminal import print_tables

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
        print_tables(tables, options.make_console())
    else:
        console = Console(width=options.WIDTH, record=True, quiet=True)
        print_tables(tables, console)
        write_text(out, console.export_text())
    if out is not None:
        typer.echo(f"wrote {out}")


def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="Method, run id, or the hash that ends the run ids of all its seeds.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="What A is compared with.")],
    metric: Annotated[list[str], typer.Option(help="Only this metric. Repeatable.")] = [],  # noqa: B006
    form: Annotated[Literal["rich", "md", "csv"], typer.Option("--format", help="csv: unrounded.")] = "rich",
    results_dir: options.ShownResults = Path("results"),
    dataset: options.OnlyDataset = None,
    protocol: options.OnlyProtocol = None,
    preset: options.OnlyPreset = None,
    source: options.OnlySource = None,
    split: options.OnlySplit = None,
) -> None:
    """Compare two methods over the same cases and all their trainings: difference, interval, test, verdict.

    One table for each dataset, source, preset and split where both were measured, by default under the protocol of
    the leaderboard. A trained method with one seed gets no verdict: what is said holds for that training. A method's
    name stands for what was trained here; pretrained weights that stand beside it have a run id. What was not measured
    in the same way is refused.
    """
    from bench.results.compare import NOTE, compare_methods, sheet_of, write_csv
    from bench.results.model import read_results
    from bench.results.renderers import draw_markdown
    from bench.results.terminal import print_sheet

    asked = {"dataset": dataset, "protocol": protocol, "preset": preset, "source": source, "split": split}
    results = read_results(results_dir)
    comparisons, left_out = compare_methods(results, first, second, metric, **asked)
    if protocol is None and (lack := results.tell_lack(DEFAULT)):
        typer.echo(lack, err=True)
    for reason in left_out:
        typer.echo(f"left out: {reason}", err=True)
    if form == "csv":
        typer.echo(write_csv(comparisons), nl=False)
        return
    if form == "md":
        for comparison in comparisons:
            remark = f"\n{comparison.remark}\n" if comparison.remark else ""
            typer.echo(f"{comparison.header}\n\n{draw_markdown(sheet_of(comparison))}\n{remark}")
        typer.echo(NOTE)
        return
    console = options.make_console()
    for comparison in comparisons:
        console.print(comparison.header, highlight=False, markup=False)
        print_sheet(sheet_of(comparison), console)
        if comparison.remark:
            console.print(comparison.remark, highlight=False, markup=False)
    console.print(NOTE, style="dim", highlight=False, markup=False)


def literature(
    method: Annotated[str, typer.Argument(metavar="[METHOD]", help="Only methods whose name holds this.")] = "",
    form: Annotated[
        Literal["rich", "md", "csv"], typer.Option("--format", help="csv: the lines of results/literature.csv alone.")
    ] = "rich",
    results_dir: options.ShownResults = Path("results"),
) -> None:
    """Show what papers and repositories report of methods on LIDC-IDRI, with definition, split, window and source.

    What was measured here stands in a table of its own: nothing is merged, ranked or averaged across the two.
    """
    from bench.results.literature import NOTE, Report, choose_reports, draw_ours, draw_reports, read_literature
    from bench.results.model import read_results
    from bench.results.renderers import draw_markdown
    from bench.results.terminal import print_sheet

    known = read_literature()
    reports = choose_reports(known, method)
    if not reports:
        raise unknown_name("method", method, sorted({one.method for one in known}))
    if form == "csv":
        typer.echo(text_of_rows(Report, reports), nl=False)
        return
    sources = [f"{one.reported_by}: {one.source}" for one in reports]
    sheets = [draw_reports(reports), draw_ours(read_results(results_dir), reports)]
    sheets = [sheet for sheet in sheets if sheet.lines]
    if form == "md":
        told = "\n".join(f"- {source}" for source in dict.fromkeys(sources))
        typer.echo("\n\n".join([*map(draw_markdown, sheets), NOTE, told]))
        return
    console = options.make_console()
    for sheet in sheets:
        print_sheet(sheet, console)
    for line in (NOTE, *dict.fromkeys(sources)):
        console.print(line, style="dim", highlight=False, markup=False)
