"""`bench leaderboard`: who is best, and is the file that says so up to date?"""

from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    by: Annotated[str, typer.Option(help="Distortion metric to sort by.")] = "psnr",
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("results/leaderboard.md"),
    readme: Annotated[
        Path | None,
        typer.Option(help="File whose block between <!-- leaderboard --> and <!-- /leaderboard --> is renewed too."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 when a file is out of date.")
    ] = False,
    results_dir: Annotated[Path, typer.Option(help="Where scores.csv and runs.csv are.")] = Path("results"),
) -> None:
    """Write the leaderboard: every method that was measured, sorted, with bootstrap intervals over cases."""
    from bench.errors import BenchError
    from bench.results.leaderboard import refresh

    stale = refresh(results_dir, by, out, readme, check=check)
    if check and stale:
        command = f"bench leaderboard --by {by} --out {out} --results-dir {results_dir}"
        command += f" --readme {readme}" if readme else ""
        raise BenchError(f"{', '.join(map(str, stale))} out of date; run `{command}`")
    typer.echo(f"wrote {', '.join(map(str, stale))}" if stale else "up to date")
