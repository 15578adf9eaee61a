"""What is generated from results: `bench leaderboard`, `bench findings`, and all of it with `bench publish`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.runs.folder import require_run
from bench.scoring import DEFAULT
from bench.system.generated import refresh
from bench.system.progress import Progress


def leaderboard(
    by: options.By = "psnr",
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="leaderboard.md beside the results")
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(help="File whose block between <!-- leaderboard --> and <!-- /leaderboard --> is renewed too."),
    ] = None,
    check: options.Check = False,
    results_dir: options.ShownResults = Path("results"),
) -> None:
    """Print and write the leaderboard: every method that was measured, sorted, with intervals and tests of order."""
    from bench.results.leaderboard import build_leaderboard, generate_leaderboard
    from bench.results.model import read_results
    from bench.results.terminal import print_tables

    out = out or options.folder_beside(results_dir) / "leaderboard.md"
    renew = f"bench leaderboard --by {by} --out {out} --results-dir {results_dir}"
    renew += f" --readme {readme}" if readme else ""
    results = read_results(results_dir)
    done = refresh(generate_leaderboard(results, by, out, readme), renew, check=check)
    if results.rows.empty:
        typer.echo(f"{results_dir} holds no results; `--results-dir builtin` shows those that come with the harness")
    if not check:
        print_tables([table for table in build_leaderboard(results, by) if table.space == "3d"], options.make_console())
    typer.echo(done)


def findings(
    out: Annotated[
        Path | None,
        typer.Option(
            help="File whose blocks <!-- findings --> and, where it has it, <!-- studies --> are renewed.",
            show_default="FINDINGS.md beside the results",
        ),
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(help="File whose block between <!-- findings --> and <!-- /findings --> gets the short form."),
    ] = None,
    protocol: options.FindingsProtocol = DEFAULT,
    check: options.Check = False,
    results_dir: options.ShownResults = Path("results"),
) -> None:
    """Write what results and studies say: printed order against ours, floors, ceilings, controls, other definitions."""
    from bench.results.findings import generate_findings, list_missing
    from bench.results.model import read_results
    from bench.study.verdicts import generate_verdicts

    out = out or options.folder_beside(results_dir) / "FINDINGS.md"
    renew = f"bench findings --out {out} --protocol {protocol} --results-dir {results_dir}"
    renew += f" --readme {readme}" if readme else ""
    results = read_results(results_dir)
    parts = [*generate_findings(results, out, readme, protocol), *generate_verdicts(results_dir, out)]
    typer.echo(refresh(parts, renew, check=check))
    for line in list_missing(results, protocol):
        typer.echo(f"missing: {line}")


def publish(
    readme: Annotated[
        Path,
        typer.Option(help="File whose blocks are renewed: leaderboard, findings and performance, where it has them."),
    ] = Path("README.md"),
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder that is written to; left out, the one that is read.")
    ] = None,
    protocol: options.FindingsProtocol = DEFAULT,
    check: options.Check = False,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="RUN,…",
            help="Keep the first volumes and the training curves of these runs in volumes/, for pictures alone.",
        ),
    ] = None,
    runs_dir: options.RunsDir = Path("runs"),
    results_dir: options.ResultsDir = Path("results"),
) -> None:
    """Write the leaderboard, findings and performance tables, and the README's blocks, from the results alone.

    The leaderboard is written as a page too, leaderboard.html: one file for any static host, which fetches nothing.
    With --keep that alone is done, and nothing is scored from what is kept.
    The same texts as of `bench leaderboard`, `bench findings` and `bench performance`, which write their own part.
    """
    if keep is not None:
        runs = options.parse_list(keep, "--keep")
        kept = [require_run(run, runs_dir) for run in runs]  # all, before anything is written

        from bench.report.kept import keep_run

        for run in kept:
            typer.echo(f"wrote {keep_run(run, results_dir, Progress())}")
        return

    from bench.performance.report import draw_picture
    from bench.report.publish import generate_all

    folder = out or results_dir
    if not check:
        draw_picture(results_dir, folder)
    renew = f"bench publish --readme {readme} --out {folder} --protocol {protocol} --results-dir {results_dir}"
    typer.echo(refresh(generate_all(results_dir, folder, readme, protocol), renew, check=check))
