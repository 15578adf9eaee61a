"""Ours beside another way: the harness's loop beside a bare one, training steps and samples beside the published ones.

A published step must have our losses. Whether samples in fewer steps stay as good needs a trained run: judged are, case
by case, the PSNR of the decoded sample, the bound of −log p of the drawn codes under the model itself, and whether
coverage counts the case. They count as equal where the interval of each paired difference holds 0.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
import torch
from prdc.prdc import compute_nearest_neighbour_distances, compute_pairwise_distance
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from bench.card import Loop
from bench.cases import Cases, take_first
from bench.errors import BenchError, UsageError
from bench.method import Batch, Method, Stage
from bench.metrics.distortion import psnr
from bench.metrics.stats import mean_intervals
from bench.performance.measuring import Bench, Row, Work
from bench.performance.subjects import (
    SEED,
    Request,
    Sampler,
    find_last_step,
    find_offer,
    make_update,
    prepare_stage,
    set_training,
    take_views,
    without_dropout,
)
from bench.pipeline.fit import Run, make_accelerator, train
from bench.pipeline.microbatch import to_device
from bench.plugins.config import FitConfig
from bench.runs.folder import RunFolder
from bench.scoring.fidelity import calling_prdc, encode
from bench.scoring.protocols import get_protocol
from bench.study.runs import StudyRequest, find_runs
from bench.system.progress import Progress
from bench.system.seeding import BatchOrder

LOOP_STEPS = (6, 150)  # of a repetition of the loop, at least and at most
REPETITION = 8.0  # seconds, beside which the loop's own start and end, once a stage, are short
SAME_LOSS = 1e-3  # relative; float32 sums in another order through networks that amplify them
TOGETHER = 8  # cases drawn at once by ours
NEAREST = 5  # neighbours of coverage, as in the default protocol
JUDGED = (("PSNR", " dB"), ("bound", " nats a code"), ("coverage", ""))


def measure_loops(request: Request, bench: Bench) -> Iterator[Row]:
    """Yield a row for each stage that takes steps; its ratio is bare over harness, so 0.97 is an overhead of 3 %."""
    for subject in request.subjects(bench.device):
        for stage in filter(request.takes, subject.stages):
            with prepare_stage(subject, stage, bench.device), TemporaryDirectory() as folder:
                kept, stage.loop = stage.loop, shorten(stage.loop, 2)
                bare = partial(run_bare_loop, stage, bench.device)
                bare()  # warms up
                steps = min(LOOP_STEPS[1], max(LOOP_STEPS[0], int(REPETITION / (bench.once(bare) / 2))))
                stage.loop = shorten(kept, steps)
                yield bench.measure(
                    f"loop/{subject.name}/{stage.name}",
                    partial(run_harness_loop, stage, Path(folder), bench.device),
                    bare,
                    per=steps,
                    size=f"{subject.preset}, {steps} steps a repetition",
                )
                stage.loop = kept


def shorten(loop: Loop, steps: int) -> Loop:
    """Return the loop of so many steps without validation, which a bare loop would have to copy."""
    every = min(loop.average_every, steps)
    changes = {"validate_every": 0, "keep": "last", "average_every": every, "checkpoint_every": 10**9}
    return loop.model_copy(update={"steps": steps, **changes})


def run_harness_loop(stage: Stage, folder: Path, device: torch.device) -> None:
    """Take all steps as a run takes them, its log included, in a new folder below `folder`."""
    progress, place = Progress(), RunFolder(Path(mkdtemp(dir=folder)))
    progress.quiet = True
    train(stage, Run({}, place, SEED, make_accelerator(device.type), progress, FitConfig(precision="fp32")))


def run_bare_loop(stage: Stage, device: torch.device) -> None:
    """Take the same steps with nothing but the optimisers and the moving averages."""
    loop, items = stage.loop, stage.batches("train")
    order = BatchOrder(len(items), loop.batch_size, SEED, 0, loop.steps)  # type: ignore[arg-type]
    averages = {}
    if loop.average_decay is not None:
        update_average = get_ema_multi_avg_fn(loop.average_decay)
        averages = {n: AveragedModel(stage.networks[n], multi_avg_fn=update_average) for n in stage.averaged}
    update = make_update(stage)
    set_training(stage)
    for step, batch in enumerate(DataLoader(items, batch_sampler=order)):
        stage.step(to_device(batch, device), update, step)
        if averages and (step + 1) % loop.average_every == 0:
            for name, average in averages.items():
                average.update_parameters(stage.networks[name])


def measure_steps(request: Request, bench: Bench) -> Iterator[Row]:
    """Yield a row for each stage that has a published step. Raises UsageError where none of the stages asked for has.

    `request.batch` cuts larger batches, to measure networks whose full batch takes too long; such a row says so in its
    item and does not replace that of full batches.
    """
    pairs = 0
    for subject in request.subjects(bench.device):
        twins = find_offer(subject.name, "make_published_stages", lambda method: {})(subject.method)
        for stage in filter(request.takes, subject.stages):
            if stage.name not in twins:
                continue
            twin, full, pairs = twins[stage.name], stage.loop.batch_size, pairs + 1
            cases = min(full, request.batch or full)
            cut = f", {subject.preset}, batch {cases} of {full}" if request.batch else ""
            for network in twin.networks.values():
                network.to(bench.device)
            with prepare_stage(subject, stage, bench.device) as make_batch:
                batch = make_batch(cases)
                difference = compare_losses(stage, twin, batch)
                yield bench.measure(
                    f"step/{subject.name}/{stage.name}{cut}",
                    repeat_step(stage, batch),
                    repeat_step(twin, batch),
                    size=f"{subject.preset}, volumes of {subject.cases['test'].card.size}³, batch {cases}",
                    note=f"losses of the first step differ by {difference:.0e}",
                )
    if request.stages and not pairs:
        raise UsageError(f"no stage {', '.join(request.stages)} of {', '.join(request.methods)} has a published step")


def compare_losses(ours: Stage, twin: Stage, batch: Batch) -> float:
    """Return the largest relative difference of what both log of a step from equal weights and seed, without dropout.

    Raises BenchError, naming the value, where they are not the same step.
    """
    with without_dropout(ours), without_dropout(twin):
        mine, published = ({k: float(v) for k, v in repeat_step(stage, batch)().items()} for stage in (ours, twin))
    largest = 0.0
    for name in mine.keys() & published.keys():
        scale = max(abs(mine[name]), abs(published[name]), abs(mine["loss"]) * SAME_LOSS)
        difference = abs(mine[name] - published[name]) / scale if scale else 0.0
        if not difference <= SAME_LOSS:
            values = f"{name} is {published[name]:.6g} and ours {mine[name]:.6g}"
            raise BenchError(f"the published step of {ours.name} is not the same step: {values}")
        largest = max(largest, difference)
    return largest


def repeat_step(stage: Stage, batch: Batch) -> Work:
    """Return a function that takes a step in float32 and returns what it logs, each time from the same seed."""
    set_training(stage)
    update, step = make_update(stage), find_last_step(stage)

    def work() -> Mapping[str, Any]:
        torch.manual_seed(SEED)
        return stage.step(batch, update, step)

    return work


def measure_sampling(request: Request, bench: Bench) -> Iterator[Row]:
    """Yield a row for each method that draws in steps and number of steps; seconds a case.

    Quality is judged where `request.run` names a trained run. Raises UsageError for one that does not draw in steps,
    and for more steps than there are codes.
    """
    samplers: Iterable[tuple[str, Method, Cases]]
    if request.run:
        asked = StudyRequest(run_ids=(request.run,), device=request.device, runs_dir=request.runs_dir)
        (run,) = find_runs(asked, Progress())
        samplers = [(run.config.method, run.method, take_first(run.cases["test"], request.cases))]
    else:
        samplers = ((one.name, one.method, one.cases["test"]) for one in request.subjects(bench.device))
    for name, method, cases in samplers:
        tool: Sampler | None = find_offer(name, "make_sampler", lambda method: None)(method)
        if tool is None and request.run:
            raise UsageError(f"{name} does not draw in steps; --run takes a run of a method that does")
        if tool is not None:
            with torch.inference_mode():
                yield from _measure_sampler(name, tool, cases, request, bench)


def _measure_sampler(name: str, tool: Sampler, cases: Cases, request: Request, bench: Bench) -> Iterator[Row]:
    views, seeds = take_views(cases, range(TOGETHER), bench.device)
    context, quality = tool.context(views), {}
    if request.run:
        real = encode_volumes([cases.volumes([index])[0] for index in range(len(cases))], cases)
        published = judge_samples(tool, cases, None, real, bench)
    for steps in request.steps or [tool.steps, *(2**n for n in reversed(range(16)) if 2**n < tool.steps)]:
        if request.run:
            equal, note = compare_samples(published, judge_samples(tool, cases, steps, real, bench))
            quality = {"equal": equal, "note": note}
        yield bench.measure(
            f"sampling/{name}/{steps}",
            partial(tool.draw, context, seeds, steps),
            partial(tool.published, context, seeds),
            per=TOGETHER,
            size=f"{request.run or 'untrained'}, {tool.steps} codes, {TOGETHER} cases at once",
            **quality,
        )


def judge_samples(tool: Sampler, cases: Cases, steps: int | None, real: np.ndarray, bench: Bench) -> np.ndarray:
    """Return (n, 2 or 3), by case: PSNR in dB, bound in nats a code, and where cases suffice whether it is covered.

    Samples are those of ours in so many steps, or of the published loop where `steps` is None. `real` are features of
    the true volumes.
    """
    volumes: list[torch.Tensor] = []
    judged: list[tuple[float, float]] = []
    for group in cases.groups(TOGETHER):
        views, seeds = take_views(cases, group, bench.device)
        context = tool.context(views)
        codes = tool.published(context, seeds) if steps is None else tool.draw(context, seeds, steps)
        made = tool.decode(codes).float().cpu()
        nats = (tool.nats(codes, context, seeds) / codes.shape[1]).cpu().numpy()
        known = zip(cases.volumes(group).numpy(), made.numpy(), nats, strict=True)
        judged += [(psnr(truth, volume, data_range=1.0) or np.nan, bound) for truth, volume, bound in known]
        volumes += list(made)
    if len(cases) < NEAREST + 2:
        return np.array(judged)
    return np.column_stack([judged, cover(real, encode_volumes(volumes, cases))])


def compare_samples(published: np.ndarray, ours: np.ndarray) -> tuple[bool, str]:
    """Return whether ours are as good as the published, as `judge_samples` gives both, and the differences in words."""
    means = mean_intervals(ours - published)
    equal = (means.low <= 0) & (means.high >= 0)
    words = [
        f"{label} {mean:+.3f}{unit} [{low:+.3f}, {high:+.3f}] {'equal' if same else 'not equal'}"
        for (label, unit), mean, low, high, same in zip(JUDGED, means.mean, means.low, means.high, equal, strict=False)
    ]
    return bool(equal.all()), "; ".join([*words, f"{len(ours)} cases"])


def cover(real: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Return, for each case (n,), the share of encoders by which something made is nearer than its k-th neighbour.

    `real` and `made` are (encoders, n, features); the mean over cases is the coverage of Naeem et al. (ICML 2020).
    """
    with calling_prdc():
        shares = [
            compute_pairwise_distance(r, m).min(1) < compute_nearest_neighbour_distances(r, NEAREST)
            for r, m in zip(real, made, strict=True)
        ]
    return np.mean(shares, axis=0)


def encode_volumes(volumes: Sequence[torch.Tensor], cases: Cases) -> np.ndarray:
    """Return features (encoders, cases, features) of volumes under the default protocol."""
    settings = get_protocol().fidelity
    assert settings is not None
    return encode(volumes, cases.card.size, settings, torch.device("cpu"))["3d"]
