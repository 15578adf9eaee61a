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


def vary_steps(request: StudyRequest, runs: Sequence[TrainedRun], _: Progress) -> Iterator[Point]:
    """Measure quality and time at other numbers of sampling steps than the run was configured with.

    A method without the setting is measured once, for comparison, beside methods that have it; floors likewise, and
    stand at all settings.
    """
    key, settings = request.setting, dict[str, None]()
    some = any(key in run.options for run in runs if not run.floor)
    for run in runs:
        cases = take_first(run.cases["test"], request.limit)
        if run.floor:
            found = measure(run, cases, run.config.method)
            yield from (Point(run.facts, STEPS, setting, found, compared=False) for setting in settings)
            continue
        if some and key not in run.options:
            settings[NONE] = None
            found = measure(run, cases, f"{run.config.method}, no {key}")
            yield Point(run.facts, STEPS, NONE, found, note=f"has no {key}")
            continue
        variants = _list_variants(run, key, request.values)
        own = run.options.get(key)
        variants.pop(own, None)
        named = {AS_CONFIGURED if own is None else str(own): run}
        named |= {str(value): variants[value] for value in reversed(variants)}
        for setting, variant in named.items():
            settings[setting] = None
            yield Point(run.facts, STEPS, setting, measure(variant, cases, f"{run.config.method}, {key}={setting}"))


def combine_samples(request: StudyRequest, runs: Sequence[TrainedRun], _: Progress) -> Iterator[Point]:
    """Draw several samples of every case: the best of K, the mean of K, and their spread."""
    count = count_samples("samples", request)
    few = [*(2**power for power in range(16) if 2**power < count), count]
    for run in runs:
        cases = take_first(run.cases["test"], request.limit)
        found: dict[tuple[str, str], Values] = {(what, str(k)): {} for what in (BEST, MEAN) for k in few}
        spread = found[SPREAD, str(count)] = {}
        for name, truth, drawn in draw_samples(run, cases, count):
            single = [score_volumes(truth, one) for one in drawn]
            for k in few:
                for metric in single[0]:
                    up = METRICS[metric].direction == "up"
                    best = expected_best(np.array([scores[metric] for scores in single]), k, up)
                    put(found[BEST, str(k)], metric, name, best)
                for metric, value in score_volumes(truth, drawn[:k].mean(0)).items():
                    put(found[MEAN, str(k)], metric, name, value)
            put(spread, "spread", name, float(drawn.std(0, ddof=1).mean()))
            if name in cases.names[:KEPT] and not run.floor:
                for index, volume in enumerate(drawn):
                    folder = run.folder.samples(cases.split, index)
                    write_prediction(folder, name, volume, cases, seconds=0.0, seed=None)
        yield from (Point(run.facts, parameter, setting, values) for (parameter, setting), values in found.items())


def count_samples(study: str, request: StudyRequest) -> int:
    """Return how many samples of a case are asked for. Raises UsageError for several numbers, or fewer than two."""
    if len(request.values) > 1:
        raise UsageError(f"{study} takes one value: the number of samples of a case")
    count = request.values[0] if request.values else SAMPLES
    if count < 2:
        raise UsageError(f"{study} needs at least 2 samples of a case, not {count}")
    return count


def draw_samples(run: TrainedRun, cases: Cases, count: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield case by case its name, the truth (D, H, W) and its samples (K, D, H, W), both in [0, 1]."""
    with run.progress.task(f"{run.config.method}, {count} samples a case", len(cases)) as task:
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


def _list_variants(run: TrainedRun, key: str, values: Sequence[int]) -> dict[object, TrainedRun]:
    """Return the run by number of steps: those asked for, else powers of two up to the first that it refuses."""
    variants: dict[object, TrainedRun] = {}
    for value in values or STEP_COUNTS:
        try:
            variants[value] = run.with_option(key, value)
        except UsageError:
            if values or not variants:
                raise
            break
    return variants
