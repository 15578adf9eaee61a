"""`bench performance`: how fast and how large, beside the published way."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.run import listed
from bench.cli.usage import check_choices


def performance(
    only: Annotated[
        str, typer.Option(help="Items, comma list: loop, step, bf16, sampling, reconstruct, data, growth, memory.")
    ] = "",
    method: Annotated[str, typer.Option(help="Method or comma list; all when left out.")] = "",
    dataset: Annotated[str, typer.Option(help="Dataset whose phantoms and sizes are taken.")] = "lidc",
    preset: Annotated[str, typer.Option(help="Preset of networks and sizes.")] = "tiny",
    memory_preset: Annotated[str, typer.Option(help="Preset whose memory is estimated.")] = "paper",
    run: Annotated[str, typer.Option(help="Id of a trained run, whose samples are judged as well as timed.")] = "",
    cases: Annotated[int, typer.Option(min=3, help="Test cases of that run.")] = 48,
    steps: Annotated[str, typer.Option(help="Numbers of sampling steps, comma list.")] = "",
    stage: Annotated[str, typer.Option(help="Stages whose steps and memory are measured; all when left out.")] = "",
    batch: Annotated[int, typer.Option(min=0, help="Cut the batches of steps to so many cases; 0 does not.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, help="Roughly how long all of it may take.")] = 900.0,
    quick: Annotated[bool, typer.Option("--quick", help="Few repetitions and small volumes.")] = False,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    readme: Annotated[
        Path | None,
        typer.Option(help="Write targets and the picture of growth between the performance marks of this file."),
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    results_dir: Annotated[Path, typer.Option(help="performance.csv, .md and .png go there.")] = Path("results"),
) -> None:
    """Time ours and the published way in turns; write results/performance.csv, the tables .md and the picture .png.

    Rows of items that are measured again are replaced, all others stay and are printed too.
    """
    methods, numbers = listed(method), _whole(steps)
    check_choices(methods, [dataset], [preset])

    from rich.console import Console

    from bench.performance.items import PICTURE, TABLES, Request, measure
    from bench.performance.report import markdown
    from bench.system.files import replace_block, with_block, write_text
    from bench.system.progress import Progress

    if readme is not None:
        with_block(readme, "performance", "")  # refuses a file without the marks before anything is measured
    request = Request(
        only=tuple(listed(only)),
        methods=tuple(methods),
        dataset=dataset,
        preset=preset,
        memory_preset=memory_preset,
        run=run,
        cases=cases,
        stages=tuple(listed(stage)),
        batch=batch,
        steps=numbers,
        device=device,
        threads=threads,
        seconds=seconds,
        quick=quick,
        runs_dir=runs_dir,
        results_dir=results_dir,
    )
    rows = measure(request, Progress(Console(stderr=True)))
    drawn = (results_dir / PICTURE).exists()
    text = markdown(rows, PICTURE if drawn else "")
    write_text(results_dir / TABLES, f"# Performance\n\n{text}")
    if readme is not None:
        beside = os.path.relpath(results_dir / PICTURE, readme.parent) if drawn else ""
        replace_block(readme, "performance", markdown(rows, beside, brief=True))
    typer.echo(text)


def _whole(text: str) -> tuple[int, ...]:
    from bench.errors import UsageError

    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"--steps takes whole numbers separated by commas, not '{text}'") from error
