"""`bench performance`: how fast and how large, beside the published way, and what a preset will take."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.cli.options import Device, ResultsDir, RunsDir, parse_list, parse_numbers
from bench.cli.usage import check_choices
from bench.system.generated import Generated, find_stale, write_all
from bench.system.progress import Progress


def performance(
    only: Annotated[
        str | None,
        typer.Option(help="Items, comma list: loop, step, sampling, growth, estimate, memory; all when left out."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Method or comma list; all when left out.")] = None,
    dataset: Annotated[str, typer.Option(help="Dataset whose sizes are taken.")] = "lidc",
    preset: Annotated[str, typer.Option(help="Preset of networks and sizes.")] = "tiny",
    run: Annotated[str, typer.Option(help="Id of a trained run, whose samples are judged as well as timed.")] = "",
    cases: Annotated[int, typer.Option(min=3, help="Test cases of that run.")] = 48,
    steps: Annotated[str | None, typer.Option(help="Numbers of sampling steps, comma list.")] = None,
    stage: Annotated[str | None, typer.Option(help="Stages that are measured, comma list; all when left out.")] = None,
    batch: Annotated[int, typer.Option(min=0, help="Cut the batches of steps to so many cases; 0 does not.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, help="Roughly how long all of it may take.")] = 900.0,
    device: Device = "auto",
    readme: Annotated[
        Path | None,
        typer.Option(help="Write targets and the picture of growth between the performance marks of this file."),
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Time ours and the published way in turns; write results/performance.csv, the tables .md and the picture .png.

    `--only estimate --method METHOD --dataset DATASET --preset PRESET` says what training will take on this device:
    from a few steps of each stage at the preset's own sizes, seconds a step, hours and memory, and what of it was
    measured and what extrapolated. Rows of items that are measured again are replaced, all others stay and are printed
    too.
    """
    methods, numbers = parse_list(method, "--method"), parse_numbers(steps, "--steps")
    items, stages = parse_list(only, "--only"), parse_list(stage, "--stage")
    check_choices(methods, [dataset], [preset])

    from bench.performance.items import measure
    from bench.performance.report import BLOCK, draw_picture, generate_performance
    from bench.performance.subjects import Request

    if readme is not None:
        find_stale([Generated(readme, "", BLOCK)])  # refuses a file without the marks before anything is measured
    request = Request(
        only=tuple(items),
        methods=tuple(methods),
        dataset=dataset,
        preset=preset,
        run=run,
        cases=cases,
        stages=tuple(stages),
        batch=batch,
        steps=tuple(numbers),
        device=device,
        threads=threads,
        seconds=seconds,
        runs_dir=runs_dir,
        results_dir=results_dir,
    )
    measure(request, Progress(Console(stderr=True)))
    draw_picture(results_dir, results_dir)
    parts = generate_performance(results_dir, results_dir, readme)
    write_all(find_stale(parts))
    typer.echo(parts[0].text if parts else "nothing was measured")
