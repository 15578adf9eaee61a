"""`bench leaderboard`: who is best, and is the file that says so up to date?"""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import By, Check, ShownResults, folder_beside, make_console


def leaderboard(
    by: By = "psnr",
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="leaderboard.md beside the results")
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(help="File whose block between <!-- leaderboard --> and <!-- /leaderboard --> is renewed too."),
    ] = None,
    check: Check = False,
    results_dir: ShownResults = Path("results"),
) -> None:
    """Print and write the leaderboard: every method that was measured, sorted, with intervals and tests of order."""
    from bench.results.leaderboard import build_leaderboard, generate_leaderboard
    from bench.results.model import read_results
    from bench.results.terminal import print_tables
    from bench.system.generated import refresh

    out = out or folder_beside(results_dir) / "leaderboard.md"
    renew = f"bench leaderboard --by {by} --out {out} --results-dir {results_dir}"
    renew += f" --readme {readme}" if readme else ""
    results = read_results(results_dir)
    done = refresh(generate_leaderboard(results, by, out, readme), renew, check=check)
    if results.rows.empty:
        typer.echo(f"{results_dir} holds no results; `--results-dir builtin` shows those that come with the harness")
    if not check:
        print_tables([table for table in build_leaderboard(results, by) if table.space == "3d"], make_console())
    typer.echo(done)
