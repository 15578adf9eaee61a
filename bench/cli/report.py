"""`bench report`: everything that was measured, as one page to open offline."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import By, RunsDir, ShownResults


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
    from bench.system.progress import Progress

    request = ReportRequest(out, results_dir, runs_dir, by, cases, viewer_mib)
    progress = Progress()
    size = write_report(request, progress)
    progress.say(f"wrote {out} ({size / 2**20:.1f} MiB); open it in a browser")
