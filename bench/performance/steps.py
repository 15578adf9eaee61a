"""Training steps: ours beside the published one, whose losses must be the same; and ours in bf16 beside float32."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.method import Batch, Stage, Update
from bench.performance.hooks import published_stages
from bench.performance.products import product_seconds
from bench.performance.rows import Row
from bench.performance.subjects import SEED, Subject, plain_update, prepared, trained, trained_stages
from bench.performance.timing import Bench, Work
from bench.pipeline.microbatch import autocast

SAME_LOSS = 1e-3  # relative; float32 sums in another order through networks that amplify them


def step_rows(subject: Subject, bench: Bench, stages: Sequence[str] = (), batch_size: int = 0) -> Iterator[Row]:
    """A row for each stage that has a published step, or for those named.

    `batch_size` cuts larger batches, to measure networks whose full batch takes too long; such a row says so in its
    item and does not replace that of full batches.
    """
    twins = published_stages(subject.method)
    for stage in trained_stages(subject.method):
        if stage.name not in twins or (stages and stage.name not in stages):
            continue
        twin, full, suffix = twins[stage.name], stage.loop.batch_size, ""
        if batch_size:
            stage.loop = twin.loop = stage.loop.model_copy(update={"batch_size": min(batch_size, full)})
            suffix = f", {subject.preset}, batch {stage.loop.batch_size} of {full}"
        with prepared(subject, stage, bench.device) as batch:
            for network in twin.networks.values():
                network.to(bench.device)
            difference = compare_losses(stage, twin, batch)
            ours, reference = _timed(stage, batch, "fp32"), _timed(twin, batch, "fp32")
            row = bench.measure(
                f"step/{subject.name}/{stage.name}{suffix}",
                ours,
                reference,
                size=_size(subject, stage),
                times=full / stage.loop.batch_size,
                note=f"losses of the first step differ by {difference:.0e}",
            )
            if bench.device.type == "cpu":  # on a GPU operations run beside their callers
                row = replace(row, products_s=product_seconds(ours), reference_products_s=product_seconds(reference))
            yield row


def half_rows(subject: Subject, bench: Bench) -> Iterator[Row]:
    """A row for each stage: its step under bf16 autocast beside its own in float32."""
    for stage in trained_stages(subject.method):
        if stage.name not in published_stages(subject.method):
            continue
        with prepared(subject, stage, bench.device) as batch:
            twin = copy.deepcopy(stage)
            ours, reference = _timed(twin, batch, "bf16"), _timed(stage, batch, "fp32")
            size = _size(subject, stage)
            yield bench.measure(f"bf16/{subject.name}/{stage.name}", ours, reference, size=size)


def _size(subject: Subject, stage: Stage) -> str:
    side = subject.method.data.size  # type: ignore[attr-defined]
    return f"{subject.preset}, volumes of {side}³, batch {stage.loop.batch_size}"


def compare_losses(ours: Stage, twin: Stage, batch: Batch) -> float:
    """Largest relative difference of what both log of a step from the same weights and seed, without dropout.

    Raises BenchError, naming the value, where they are not the same step.
    """
    with undropped(ours), undropped(twin):
        mine, published = (_losses(stage, batch) for stage in (ours, twin))
    largest = 0.0
    for name in mine.keys() & published.keys():
        scale = max(abs(mine[name]), abs(published[name]), abs(mine["loss"]) * SAME_LOSS)
        difference = abs(mine[name] - published[name]) / scale if scale else 0.0
        if not difference <= SAME_LOSS:
            raise BenchError(
                f"the published step of {ours.name} is not the same step: {name} is {published[name]:.6g} "
                f"and ours {mine[name]:.6g}"
            )
        largest = max(largest, difference)
    return largest


@contextmanager
def undropped(stage: Stage) -> Iterator[None]:
    """Without dropout, whose masks need not be drawn alike."""
    layers = [m for network in stage.networks.values() for m in network.modules() if isinstance(m, nn.Dropout)]
    chances = [layer.p for layer in layers]
    for layer in layers:
        layer.p = 0.0
    try:
        yield
    finally:
        for layer, chance in zip(layers, chances, strict=True):
            layer.p = chance


def _losses(stage: Stage, batch: Batch) -> Mapping[str, float]:
    trained(stage)
    torch.manual_seed(SEED)
    values = stage.step(batch, plain_update(stage), late_step(stage))
    return {name: float(value) for name, value in values.items()}


def _timed(stage: Stage, batch: Batch, precision: str) -> Work:
    trained(stage)
    update, step = plain_update(stage), late_step(stage)
    device = next(next(iter(stage.networks.values())).parameters()).device

    def work() -> None:
        torch.manual_seed(SEED)
        with autocast(device, precision):
            stage.step(batch, _in_full(update, device), step)

    return work


def _in_full(update: Update, device: torch.device) -> Update:
    """Back-propagation outside of autocast, as the training loop does it."""

    def outside(name: str, loss: Tensor) -> None:
        with torch.autocast(device.type, enabled=False):
            update(name, loss)

    return outside


def late_step(stage: Stage) -> int:
    """A step at which all parts of a stage's training have begun: its last."""
    return max(0, stage.loop.steps - 1)
