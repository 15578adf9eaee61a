"""Everything that was measured in one file: a page (`bench report`), a picture (`gallery`), a table (`results`)."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import By, RunsDir, ShownResults, folder_beside
from bench.system.files import write_text
from bench.system.progress import Progress


def report(
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    by: By = "psnr",
    cases: Annotated[
        int,
        typer.Option(min=1, max=20, help="Cases shown in pictures: the first of the split; worst and best follow."),
    ] = 2,
    viewer_mib: Annotated[
        float, typer.Option(min=0, max=512, help="MiB that volumes may take in the page; cases beyond are left out.")
    ] = 24.0,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ShownResults = Path("results"),
) -> None:
    """Write one HTML file: tables, training curves, pictures, studies, provenance, and a viewer of the volumes.

    It opens from disk and fetches nothing. What is missing (runs without predictions, data that are not prepared) is
    named in the page.
    """
    from bench.report.page import ReportRequest, write_report

    request = ReportRequest(out, results_dir, runs_dir, by, cases, viewer_mib)
    progress = Progress()
    size = write_report(request, progress)
    progress.say(f"wrote {out} ({size / 2**20:.1f} MiB); open it in a browser")


def gallery(
    out: Annotated[
        Path | None, typer.Option(help="PNG to write.", show_default="gallery.png beside the results")
    ] = None,
    case: Annotated[int, typer.Option(help="Which test case, by its place in the split.")] = 0,
    by: By = "psnr",
    results_dir: ShownResults = Path("results"),
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Draw one case of each dataset at its largest grid: X-rays, the truth, and what every run made of it."""
    from bench.report.collect import collect_groups
    from bench.report.gallery import draw_gallery
    from bench.results.model import read_results

    out = out or folder_beside(results_dir) / "gallery.png"
    groups = collect_groups(read_results(results_dir), results_dir, runs_dir, by, Progress())
    names = draw_gallery(out, groups, case)
    typer.echo(f"wrote {out} ({', '.join(names)})")


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

    table = load_runs(results_dir) if runs else load_results(results_dir)
    write_text(out, table.to_csv(index=False, lineterminator="\n"))
    typer.echo(f"wrote {out} ({len(table):,} rows)")
