"""`bench gallery`: one picture of one case a dataset, method by method."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import By, RunsDir, ShownResults, folder_beside


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
    from bench.system.progress import Progress

    out = out or folder_beside(results_dir) / "gallery.png"
    groups = collect_groups(read_results(results_dir), results_dir, runs_dir, by, Progress())
    names = draw_gallery(out, groups, case)
    typer.echo(f"wrote {out} ({', '.join(names)})")
