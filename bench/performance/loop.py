"""What the harness's training loop costs over a bare PyTorch loop of the same steps on the same batches."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from bench.card import Loop
from bench.method import Stage
from bench.performance.rows import Row
from bench.performance.subjects import SEED, Subject, plain_update, prepared, trained, trained_stages
from bench.performance.timing import Bench
from bench.pipeline.fit import Run, make_accelerator, train
from bench.pipeline.microbatch import autocast, to_device
from bench.plugins.config import FitConfig
from bench.runs.folder import RunFolder
from bench.system.progress import Progress
from bench.system.seeding import BatchOrder

LEAST_STEPS = 6  # of a repetition, of slow stages
REPETITION = 8.0  # seconds, beside which the loop's own start and end, once a stage, are short


def loop_rows(subject: Subject, bench: Bench, steps: int) -> Iterator[Row]:
    """A row for each stage that takes steps; its ratio is bare over harness, so 0.97 is an overhead of 3 %.

    A repetition takes `steps` steps, and fewer of slow stages: as many as take REPETITION seconds, but LEAST_STEPS.
    """
    for stage in trained_stages(subject.method):
        with prepared(subject, stage, bench.device), TemporaryDirectory() as folder:
            kept, stage.loop = stage.loop, shortened(stage.loop, 2)
            for _ in range(2):  # the first one warms up
                one = bench.once(lambda stage=stage: bare_loop(stage, bench.device)) / 2  # type: ignore[misc]
            count = min(steps, max(LEAST_STEPS, int(REPETITION / one)))
            stage.loop = shortened(kept, count)
            counter = iter(range(1_000_000))
            yield bench.measure(
                f"loop/{subject.name}/{stage.name}",
                lambda stage=stage, folder=folder, counter=counter: harness_loop(  # type: ignore[misc]
                    stage, Path(folder) / str(next(counter)), bench.device
                ),
                lambda stage=stage: bare_loop(stage, bench.device),  # type: ignore[misc]
                per=count,
                size=f"{subject.preset}, {count} steps a repetition",
            )
            stage.loop = kept


def shortened(loop: Loop, steps: int) -> Loop:
    """The loop of so many steps without validation, which a bare loop would have to copy."""
    every = min(loop.average_every, steps)
    return loop.model_copy(
        update={"steps": steps, "validate_every": 0, "keep": "last", "average_every": every, "checkpoint_every": 10**9}
    )


def harness_loop(stage: Stage, folder: Path, device: torch.device) -> None:
    """All steps as a run takes them, its log included."""
    progress = Progress()
    progress.quiet = True
    accelerator = make_accelerator("cuda" if device.type == "cuda" else "cpu")
    train(stage, Run({}, RunFolder(folder), SEED, accelerator, progress, FitConfig(precision="fp32")))


def bare_loop(stage: Stage, device: torch.device) -> None:
    """The same steps with nothing but the optimisers and the moving averages."""
    loop, items = stage.loop, stage.batches("train")
    order = BatchOrder(len(items), loop.batch_size, SEED, 0, loop.steps)  # type: ignore[arg-type]
    averages = {}
    if loop.average_decay is not None:
        update_average = get_ema_multi_avg_fn(loop.average_decay)
        averages = {n: AveragedModel(stage.networks[n], multi_avg_fn=update_average) for n in stage.averaged}
    update = plain_update(stage)
    trained(stage)
    for step, batch in enumerate(DataLoader(items, batch_sampler=order)):
        with autocast(device, "fp32"):
            stage.step(to_device(batch, device), update, step)
        if averages and (step + 1) % loop.average_every == 0:
            for name, average in averages.items():
                average.update_parameters(stage.networks[name])
