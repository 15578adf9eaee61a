"""`bench results`: every score as one table, for a spreadsheet or a notebook."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import ShownResults


def results(
    out: Annotated[Path, typer.Option(metavar="CSV", help="File to write.")] = Path("results.csv"),
    runs: Annotated[
        bool, typer.Option("--runs", help="A line a run, failed ones too, in place of one a score.")
    ] = False,
    results_dir: ShownResults = Path("results"),
) -> None:
    """Join the scores of all runs with the facts of their runs, and write them to one CSV.

    The table is derived: nothing reads it back. In Python: `bench.load_results("results")`.
    """
    from bench.scoring.store import load_results, load_runs
    from bench.system.files import write_text

    table = load_runs(results_dir) if runs else load_results(results_dir)
    write_text(out, table.to_csv(index=False, lineterminator="\n"))
    typer.echo(f"wrote {out} ({len(table):,} rows)")
