"""`bench run` and `bench import-weights`: train or take weights, reconstruct, and score."""

from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli import options
from bench.cli.usage import check_choices
from bench.errors import BenchError, BusyError, UsageError
from bench.pipeline.plan import RunRequest, choose_request_source
from bench.scoring import DEFAULT
from bench.system.progress import Progress
from bench.system.text import describe_error


def run(
    method: Annotated[str, typer.Option(help="Method, comma list, or path/to/file.py:Class. See `bench list`.")],
    dataset: Annotated[str, typer.Option(help="Dataset or comma list.")],
    preset: Annotated[
        str,
        typer.Option(
            help="smoke, 16³ voxels: seconds; tiny, 24³: minutes on a CPU; small, 64³: an hour or more; paper, 128³, "
            "of bags 256³: as published. `bench list` has the sizes of each dataset."
        ),
    ] = "tiny",
    seeds: options.Seeds = "0",
    set_: options.Settings = [],  # noqa: B006
    only: Annotated[
        Literal["fit", "predict", "score"] | None, typer.Option(help="Do one phase of a run instead of all.")
    ] = None,
    source: options.Source = "auto",
    test_on: options.TestOn = None,
    protocol: options.Protocol = DEFAULT,
    samples: options.Samples = 1,
    device: options.Device = "auto",
    from_pretrained: Annotated[
        bool, typer.Option("--from-pretrained", help="Take the weights that come with the method; do not train.")
    ] = False,
    runs_dir: options.RunsDir = Path("runs"),
    results_dir: options.ResultsDir = Path("results"),
) -> None:
    """Train a method, reconstruct the test cases, score them, and add the rows to results/.

    A run that is finished is not repeated; one that was stopped or killed goes on where it was. Several methods,
    datasets or seeds make several runs, one after the other: one that fails does not stop the others.
    """
    methods, datasets = options.parse_list(method, "--method"), options.parse_list(dataset, "--dataset")
    grid = list(product(methods, datasets, options.parse_numbers(seeds, "--seeds")))
    alone = len(grid) == 1  # of several, one that a setting does not fit fails by itself
    check_choices(methods, datasets, [preset], protocol, [set_] if alone else [])

    from bench.distributed import is_main, process_count  # with PyTorch
    from bench.pipeline.failures import forget_failure, record_failure
    from bench.pipeline.first_look import show_first_cases
    from bench.pipeline.run import run_one
    from bench.system.device import choose_device

    choose_device(device)  # once, before any run can fail of it
    progress = Progress()
    requests = [
        RunRequest(
            method=method_name,
            dataset=dataset_name,
            preset=preset,
            seed=seed,
            overrides=tuple(set_),
            protocol=protocol,
            source=choose_request_source(source, test_on),
            only=only,
            device=device,
            runs_dir=runs_dir,
            results_dir=results_dir,
            from_pretrained=from_pretrained,
            samples=samples,
        )
        for method_name, dataset_name, seed in grid
    ]
    if from_pretrained and only is None and is_main():
        show_first_cases(requests, progress)
    failed = []
    for number, request in enumerate(requests, start=1):
        of, on = request.method, request.dataset
        if not alone and is_main():
            progress.say(f"[{number}/{len(grid)}] {of} · {on} · {preset} · seed {request.seed}")
        try:
            folder = run_one(request, progress)
        except Exception as error:
            wrong = isinstance(error, UsageError) and (alone or from_pretrained)
            left = wrong or isinstance(error, BusyError)  # without a trace
            if is_main() and not left:
                with suppress(BenchError):  # a full disk may be the failure
                    record_failure(request, error)
            if alone or process_count() > 1:  # the other processes may be elsewhere in this run
                raise
            failed.append(f"{of} on {on}, seed {request.seed}: {describe_error(error)}")
            progress.say(f"failed: {failed[-1]}")
        else:
            if is_main():
                forget_failure(request)
                if only in (None, "score"):
                    _summarise(folder, results_dir, protocol, progress)
    if failed:
        raise BenchError(f"{len(failed)} of {len(grid)} runs failed; first: {failed[0]}")


def import_weights(
    method: Annotated[str, typer.Argument(help="Method whose official code wrote the checkpoints.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Its checkpoints, one a stage, in any order.")],
    dataset: Annotated[str, typer.Option(help="Dataset to reconstruct.")],
    preset: Annotated[str, typer.Option(help="Preset whose networks the checkpoints are of.")] = "paper",
    seed: Annotated[int, typer.Option(min=0, help="Of what the method draws.")] = 0,
    set_: options.Settings = [],  # noqa: B006
    source: options.Source = "auto",
    protocol: options.Protocol = DEFAULT,
    samples: options.Samples = 1,
    device: options.Device = "auto",
    runs_dir: options.RunsDir = Path("runs"),
    results_dir: options.ResultsDir = Path("results"),
) -> None:
    """Take published checkpoints in place of training, reconstruct the test cases, and add rows that are not ranked.

    Nothing in a file is run, and every tensor must find its place. CodeDiff3D: the X-rays' and the volumes'
    vqgan_ema_*.th and the sampler's absorbing_ema_*.th; what was never published (its log-sigma) is fitted here.
    X2CT-GAN: *_net_G.pth. `bench score RUN --protocol …` scores the same reconstructions under another protocol.
    """
    check_choices([method], [dataset], [preset], protocol, [set_])

    from bench.distributed import is_main  # with PyTorch
    from bench.pipeline.run import run_one
    from bench.system.device import choose_device

    choose_device(device)
    progress = Progress()
    request = RunRequest(
        method=method,
        dataset=dataset,
        preset=preset,
        seed=seed,
        overrides=tuple(set_),
        protocol=protocol,
        source=source,
        device=device,
        runs_dir=runs_dir,
        results_dir=results_dir,
        published=tuple(files),
        samples=samples,
    )
    folder = run_one(request, progress)
    if is_main():
        _summarise(folder, results_dir, protocol, progress)


def _summarise(folder: Path, results_dir: Path, protocol: str, progress: Progress) -> None:
    """Say what a run scored, where its pictures are, and what to type next."""
    from bench.results.summary import summarise_run

    try:
        summary = summarise_run(results_dir, folder.name, protocol)
    except BenchError as error:  # of another run's files: this one is done
        progress.say(f"the run is done, and not compared with others: {error}")
        return
    if summary is None:
        return
    progress.say(f"scores: {summary.scores}")
    if summary.line.data_remark:
        progress.say(
            f"trained on {summary.line.trained_on}, tested on {summary.line.source} data: {summary.line.data_remark}"
        )
    progress.say(f"pictures: {folder / 'previews'}")
    progress.say(f"next: {summary.next_command}")
