"""`bench literature`: what papers report of the field's methods, and ours beside it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import ShownResults, make_console


def literature(
    method: Annotated[str, typer.Argument(metavar="[METHOD]", help="Only methods whose name holds this.")] = "",
    form: Annotated[
        Literal["rich", "md", "csv"], typer.Option("--format", help="csv: the lines of results/literature.csv alone.")
    ] = "rich",
    results_dir: ShownResults = Path("results"),
) -> None:
    """Show what papers and repositories report of methods on LIDC-IDRI, with definition, split, window and source.

    What was measured here stands in a table of its own: nothing is merged, ranked or averaged across the two.
    """
    from bench.errors import unknown_name
    from bench.results.literature import NOTE, Report, choose_reports, draw_ours, draw_reports, read_literature
    from bench.results.model import read_results
    from bench.results.renderers import draw_markdown
    from bench.results.terminal import print_sheet
    from bench.system.csv_files import text_of_rows

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
    console = make_console()
    for sheet in sheets:
        print_sheet(sheet, console)
    for line in (NOTE, *dict.fromkeys(sources)):
        console.print(line, style="dim", highlight=False, markup=False)
