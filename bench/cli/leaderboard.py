"""`bench leaderboard`: who is best, and is the file that says so up to date?"""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import By, Check, ResultsDir


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
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Write the leaderboard: every method that was measured, sorted, with intervals and tests of its order."""
    from bench.results.leaderboard import generate_leaderboard
    from bench.results.model import read_results
    from bench.system.generated import refresh

    out = out or results_dir / "leaderboard.md"
    renew = f"bench leaderboard --by {by} --out {out} --results-dir {results_dir}"
    renew += f" --readme {readme}" if readme else ""
    typer.echo(refresh(generate_leaderboard(read_results(results_dir), by, out, readme), renew, check=check))
