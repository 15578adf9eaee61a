"""Studies of how a trained method samples: how many steps, and what several samples of a case tell together."""

from collections.abc import Iterator, Sequence

import numpy as np

from bench.cases import Cases, take_first
from bench.errors import UsageError
from bench.metrics import METRICS
from bench.metrics.ensembles import expected_best
from bench.runs.predictions import write_prediction
from bench.study.points import Point, Values
from bench.study.runs import StudyRequest, TrainedRun, measure, reconstruct_cases, score_volumes
from bench.system.progress import Progress

STEPS = "sampling steps"
STEP_COUNTS = tuple(2**power for power in range(13))
SAMPLES = 8
KEPT = 3  # cases whose samples stay in the run's folder, for pictures of their spread
AS_CONFIGURED = "default"  # of a run that leaves the setting open
NONE = "none"  # of a run that has no such setting, beside one that has
BEST, MEAN, SPREAD = "best of K samples", "mean of K samples", "samples"


def vary_steps(request: StudyRequest, runs: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    """Measure quality and time at other numbers of sampling steps than the run was configured with.

    A method without the setting is measured once, for comparison, beside methods that have it; floors likewise, and
    stand at all settings.
    """
    asked, floors = [run for run in runs if not run.floor], [run for run in runs if run.floor]
    points = _vary_steps(request, asked, progress)
    settings: dict[str, None] = {}
    for point in points:
        settings[point.setting] = None
        yield point
    for floor in floors:
        found = measure(floor, take_first(floor.cases["test"], request.limit), progress, floor.config.method)
        yield from (Point(floor.facts, STEPS, setting, found, compared=False) for setting in settings)


def _vary_steps(request: StudyRequest, runs: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    some = any(request.setting in run.options for run in runs)
    for run in runs:
        cases = take_first(run.cases["test"], request.limit)
        if some and request.setting not in run.options:
            found = measure(run, cases, progress, f"{run.config.method}, no {request.setting}")
            yield Point(run.facts, STEPS, NONE, found, note=f"has no {request.setting}")
            continue
        if request.values:
            variants = [(value, run.with_option(request.setting, value)) for value in request.values]
        else:
            variants = _list_accepted(run, request.setting)
        own = run.options.get(request.setting)
        what = f"{run.config.method}, {request.setting}"
        setting = AS_CONFIGURED if own is None else str(own)
        yield Point(run.facts, STEPS, setting, measure(run, cases, progress, f"{what} {setting}"))
        variants = [(value, variant) for value, variant in variants if value != own]
        for value, variant in reversed(variants):
            yield Point(run.facts, STEPS, str(value), measure(variant, cases, progress, f"{what}={value}"))


def combine_samples(request: StudyRequest, runs: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    """Draw several samples of every case: the best of K, the mean of K, and their spread."""
    count = count_samples("samples", request)
    for run in runs:
        cases = take_first(run.cases["test"], request.limit)
        best, mean, spread = _of_samples(run, cases, count, progress)
        for parameter, found in ((BEST, best), (MEAN, mean)):
            for setting, values in found.items():
                yield Point(run.facts, parameter, setting, values)
        yield Point(run.facts, SPREAD, str(count), spread)


def count_samples(study: str, request: StudyRequest) -> int:
    """Return how many samples of a case are asked for. Raises UsageError for several numbers, or fewer than two."""
    if len(request.values) > 1:
        raise UsageError(f"{study} takes one value: the number of samples of a case")
    count = request.values[0] if request.values else SAMPLES
    if count < 2:
        raise UsageError(f"{study} needs at least 2 samples of a case, not {count}")
    return count


def draw_samples(
    run: TrainedRun, cases: Cases, count: int, progress: Progress
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield case by case its name, the truth (D, H, W) and its samples (K, D, H, W), both in [0, 1]."""
    with progress.task(f"{run.config.method}, {count} samples a case", len(cases)) as task:
        done = 0
        for groups in zip(*(reconstruct_cases(run, cases, sample) for sample in range(count)), strict=True):
            for place, name in enumerate(groups[0][0]):
                truth = cases.volumes([cases.index(name)])[0].numpy()
                yield name, truth, np.stack([volumes[place] for _, volumes, _ in groups])
                done += 1
                task.advance(done)


def put(values: Values, metric: str, case: str, value: float) -> None:
    """Enter one value of one case."""
    values.setdefault(metric, {})[case] = value


def _list_accepted(run: TrainedRun, key: str) -> list[tuple[int, TrainedRun]]:
    """Powers of two up to the first that the method refuses."""
    variants: list[tuple[int, TrainedRun]] = []
    for value in STEP_COUNTS:
        try:
            variants.append((value, run.with_option(key, value)))
        except UsageError:
            if not variants:
                raise
            break
    return variants


def _of_samples(
    run: TrainedRun, cases: Cases, count: int, progress: Progress
) -> tuple[dict[str, Values], dict[str, Values], Values]:
    """By setting: values of the best of k, of the mean of k; and of the spread."""
    few = [k for k in (2**power for power in range(16)) if k < count] + [count]
    best: dict[str, Values] = {str(k): {} for k in few}
    mean: dict[str, Values] = {str(k): {} for k in few}
    spread: Values = {}
    for name, truth, drawn in draw_samples(run, cases, count, progress):
        single = [score_volumes(truth, one) for one in drawn]
        for k in few:
            for metric in single[0]:
                up = METRICS[metric].direction == "up"
                put(best[str(k)], metric, name, expected_best(np.array([s[metric] for s in single]), k, up))
            for metric, value in score_volumes(truth, drawn[:k].mean(0)).items():
                put(mean[str(k)], metric, name, value)
        put(spread, "spread", name, float(drawn.std(0, ddof=1).mean()))
        if name in cases.names[:KEPT] and not run.floor:
            for index, volume in enumerate(drawn):
                write_prediction(run.folder.samples(cases.split, index), name, volume, cases, seconds=0.0, seed=None)
    return best, mean, spread
