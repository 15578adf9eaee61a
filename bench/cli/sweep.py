"""`bench sweep`: many runs at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Column, Table

from bench.cli import options
from bench.cli.usage import check_choices
from bench.errors import UsageError
from bench.pipeline.plan import choose_request_source
from bench.plugins.config import parse_variations
from bench.scoring import DEFAULT
from bench.system.progress import Progress
from bench.system.text import escape_terminal as escape


def sweep(
    what: Annotated[
        Literal["run", "status"], typer.Argument(help="status: what ran, what failed and why, and how to retry.")
    ] = "run",
    method: Annotated[str | None, typer.Option(help="Method or comma list. See `bench list`.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset or comma list.")] = None,
    preset: Annotated[str, typer.Option(help="Preset or comma list.")] = "tiny",
    seeds: options.Seeds = "0",
    set_: Annotated[list[str], typer.Option("--set", help="A setting of every job: key=value. Repeatable.")] = [],  # noqa: B006
    vary: Annotated[
        list[str], typer.Option(help="A setting that jobs differ in: key=[first, second]. Repeatable.")
    ] = [],  # noqa: B006
    source: options.Source = "auto",
    test_on: options.TestOn = None,
    protocol: options.Protocol = DEFAULT,
    samples: options.Samples = 1,
    device: options.Device = "auto",
    runs_dir: options.RunsDir = Path("runs"),
    results_dir: options.ResultsDir = Path("results"),
    launcher: Annotated[Literal["local", "slurm"], typer.Option(help="This machine, or Slurm through submitit.")] = (
        "local"
    ),
    max_parallel: Annotated[int, typer.Option(min=1, help="Most jobs at a time.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share a job, each with a GPU or cores.")] = 1,
    minutes: Annotated[int, typer.Option(min=1, help="slurm: time limit; a run that reaches it is queued again.")] = 60,
    partition: Annotated[str, typer.Option(help="slurm: partition.")] = "",
    gpus: Annotated[int, typer.Option(min=0, help="slurm: GPUs of a job.")] = 0,
    cpus: Annotated[int, typer.Option(min=0, help="slurm: cores of a job; 0 leaves it to Slurm.")] = 0,
    slurm: Annotated[list[str], typer.Option(help="slurm: anything else, e.g. account=me. Repeatable.")] = [],  # noqa: B006
    wait: Annotated[bool, typer.Option("--wait", help="slurm: return when all jobs have ended.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the jobs and start none.")] = False,
) -> int:
    """Run every combination of methods, datasets, presets, seeds and varied settings.

    What is finished is not repeated, what was stopped or killed goes on where it was: the same command can be typed
    again at any time. `bench sweep status` without options tells of the sweep that was started last.
    """
    chosen = what == "run" or method is not None  # else the sweep that was started last is meant
    methods, datasets = options.parse_list(method, "--method"), options.parse_list(dataset, "--dataset")
    presets, numbers = options.parse_list(preset, "--preset"), options.parse_numbers(seeds, "--seeds")
    if chosen:
        if not (methods and datasets and presets and numbers):
            raise UsageError("a sweep needs at least one method, dataset, preset and seed; see `bench list`")
        check_choices(methods, datasets, presets, protocol, [(*set_, *varied) for varied in parse_variations(vary)])

    if launcher == "slurm" and gpus:
        if processes > gpus:
            raise UsageError(f"{processes} processes cannot have a GPU each of {gpus}; set --processes or --gpus")
        device = "cuda" if device == "auto" else device  # a job without its GPU fails, in place of computing for days

    from bench.sweep.grid import Grid, expand, find_newest_grid, keep_grid
    from bench.sweep.local import run_local
    from bench.sweep.slurm import SlurmOptions, queue, submit, wait_for_queue
    from bench.sweep.state import describe_counts, is_finished, judge_jobs
    from bench.system.device import choose_device

    progress = Progress()
    if not chosen:
        grid = find_newest_grid(runs_dir)
    else:
        grid = Grid(
            methods=tuple(methods),
            datasets=tuple(datasets),
            presets=tuple(presets),
            seeds=tuple(numbers),
            overrides=tuple(set_),
            varied=tuple(vary),
            protocol=protocol,
            source=choose_request_source(source, test_on),
            samples=samples,
            device=device,
            runs_dir=runs_dir,
            results_dir=results_dir,
        )
    jobs = expand(grid)
    held = queue(grid)
    before = judge_jobs(grid, jobs, held)
    if what == "status" or dry_run:
        _show(before)
        progress.say(f"{grid.name}: {describe_counts(before)}")
        return 0
    if launcher != "slurm":
        choose_device(grid.device)  # once, before any run can fail of it
    wanted = [job for job in jobs if job.folder is not None and job.label not in held and not is_finished(job)]
    keep_grid(grid)
    progress.say(f"{grid.name}: {describe_counts(before)}; {len(wanted)} to do; logs in {grid.folder / 'logs'}")
    if launcher == "slurm":
        if wanted:
            asked = SlurmOptions(minutes, max_parallel, partition, gpus, cpus, processes, tuple(slurm))
            for label, job_id in submit(grid, wanted, asked).items():
                progress.say(f"Slurm {job_id}: {label}")
        if not wait:
            progress.say("see `bench sweep status`; the same command again submits what has not run")
            return 0
        wait_for_queue(grid, [job.label for job in jobs], progress)
    else:
        run_local(grid, wanted, max_parallel, processes, progress)
    after = judge_jobs(grid, jobs, queue(grid))
    _show(after)
    progress.say(f"{grid.name}: {describe_counts(after)}")
    return 0 if all(state.name == "done" for state in after) else 1


def _show(found: Sequence[Any]) -> None:
    """Print a table of the states of jobs and, of each job that may be run again, the command."""
    from bench.sweep.state import AGAIN

    table = Table("run", "state", Column("why", overflow="fold"), title_justify="left")
    for state in found:
        table.add_row(escape(state.job.label), state.name, escape(state.why))
    console = options.make_console(width=200)
    console.print(table)
    again = [state.job for state in found if state.name in (*AGAIN, "waiting")]
    if again:
        console.print("To run one of them alone:" if len(again) > 1 else "To run it alone:")
    for job in again:
        console.print(f"  {job.command}", highlight=False, markup=False, soft_wrap=True)
