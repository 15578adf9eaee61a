"""`bench publish`: everything that is generated into the repository, written again or found out of date."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Check, FindingsProtocol, ResultsDir, RunsDir, parse_list
from bench.runs.folder import require_run
from bench.scoring import DEFAULT


def publish(
    readme: Annotated[
        Path,
        typer.Option(help="File whose blocks are renewed: leaderboard, findings and performance, where it has them."),
    ] = Path("README.md"),
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder that is written to; left out, the one that is read.")
    ] = None,
    protocol: FindingsProtocol = DEFAULT,
    check: Check = False,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="RUN,…",
            help="Keep the first volumes and the training curves of these runs in volumes/, for pictures alone.",
        ),
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Write the leaderboard, findings and performance tables, and the README's blocks, from the results alone.

    The leaderboard is written as a page too, leaderboard.html: one file for any static host, which fetches nothing.
    With --keep that alone is done, and nothing is scored from what is kept.
    The same texts as of `bench leaderboard`, `bench findings` and `bench performance`, which write their own part.
    """
    if keep is not None:
        kept = [require_run(run, runs_dir) for run in parse_list(keep, "--keep")]  # all, before anything is written

        from bench.report.kept import keep_run
        from bench.system.progress import Progress

        for run in kept:
            typer.echo(f"wrote {keep_run(run, results_dir, Progress())}")
        return

    from bench.performance.report import draw_picture
    from bench.report.publish import generate_all
    from bench.system.generated import refresh

    folder = out or results_dir
    if not check:
        draw_picture(results_dir, folder)
    renew = f"bench publish --readme {readme} --out {folder} --protocol {protocol} --results-dir {results_dir}"
    typer.echo(refresh(generate_all(results_dir, folder, readme, protocol), renew, check=check))
