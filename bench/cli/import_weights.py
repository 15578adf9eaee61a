"""`bench import-weights`: published weights, in the layout of the official code, reconstruct and are scored here."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Device, Protocol, ResultsDir, RunsDir, Samples, Settings, Source
from bench.cli.run import summarise
from bench.cli.usage import check_choices
from bench.scoring import DEFAULT


def import_weights(
    method: Annotated[str, typer.Argument(help="Method whose official code wrote the checkpoints.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Its checkpoints, one a stage, in any order.")],
    dataset: Annotated[str, typer.Option(help="Dataset to reconstruct.")],
    preset: Annotated[str, typer.Option(help="Preset whose networks the checkpoints are of.")] = "paper",
    seed: Annotated[int, typer.Option(min=0, help="Of what the method draws.")] = 0,
    set_: Settings = [],  # noqa: B006
    source: Source = "auto",
    protocol: Protocol = DEFAULT,
    samples: Samples = 1,
    device: Device = "auto",
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Take published checkpoints in place of training, reconstruct the test cases, and add rows that are not ranked.

    Nothing in a file is run, and every tensor must find its place. CodeDiff3D: the X-rays' and the volumes'
    vqgan_ema_*.th and the sampler's absorbing_ema_*.th; what was never published (its log-sigma) is fitted here.
    X2CT-GAN: *_net_G.pth. `bench score RUN --protocol …` scores the same reconstructions under another protocol.
    """
    check_choices([method], [dataset], [preset], protocol, [set_])

    from bench.distributed import is_main  # with PyTorch
    from bench.pipeline.plan import RunRequest
    from bench.pipeline.run import run_one
    from bench.system.device import choose_device
    from bench.system.progress import Progress

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
        summarise(folder, results_dir, protocol, progress)
