"""Studies of how a trained method samples: how many steps, and what several samples of a case tell together."""

from collections.abc import Iterator, Sequence

import numpy as np

from bench.dataset import Cases, to_unit
from bench.errors import UsageError
from bench.metrics import METRICS
from bench.order import derived_seed
from bench.progress import Reporter
from bench.projector import AIR_BELOW_HU
from bench.samples import expected_best, interval_shares, truth_ranks
from bench.study.points import Point, Values
from bench.study.runs import StudyRequest, TrainedRun, limited, measure, reconstructions, scores

STEPS = "sampling steps"
STEP_COUNTS = tuple(2**power for power in range(13))
SAMPLES = 8
AS_CONFIGURED = "own"  # of a run that leaves the setting open
BEST, MEAN, INSIDE, SPREAD = "best of K samples", "mean of K samples", "stated share of the interval", "samples"


def steps(request: StudyRequest, runs: Sequence[TrainedRun], report: Reporter) -> Iterator[Point]:
    """Quality and time at other numbers of sampling steps than the run was configured with."""
    for run in runs:
        cases = limited(run.cases["test"], request.limit)
        if request.values:
            variants = [(value, run.with_setting(request.setting, value)) for value in request.values]
        else:
            variants = _accepted(run, request.setting)
        own = run.setting(request.setting)
        what = f"{run.config.method}, {request.setting}"
        setting = AS_CONFIGURED if own is None else str(own)
        yield Point(run.facts, STEPS, setting, measure(run, cases, report, f"{what} {setting}"))
        variants = [(value, variant) for value, variant in variants if value != own]
        for value, variant in reversed(variants):
            yield Point(run.facts, STEPS, str(value), measure(variant, cases, report, f"{what}={value}"))


def samples(request: StudyRequest, runs: Sequence[TrainedRun], report: Reporter) -> Iterator[Point]:
    """Several samples of every case: the best of K, the mean of K, their spread, and whether the truth lies inside."""
    if len(request.values) > 1:
        raise UsageError("samples takes one value: the number of samples of a case")
    count = request.values[0] if request.values else SAMPLES
    if count < 2:
        raise UsageError(f"samples needs at least 2 samples of a case, not {count}")
    for run in runs:
        cases = limited(run.cases["test"], request.limit)
        best, mean, inside, spread = _of_samples(run, cases, count, report)
        for parameter, found in ((BEST, best), (MEAN, mean), (INSIDE, inside)):
            for setting, values in found.items():
                yield Point(run.facts, parameter, setting, values)
        yield Point(run.facts, SPREAD, str(count), spread)


def _accepted(run: TrainedRun, key: str) -> list[tuple[int, TrainedRun]]:
    """Powers of two up to the first that the method refuses."""
    variants: list[tuple[int, TrainedRun]] = []
    for value in STEP_COUNTS:
        try:
            variants.append((value, run.with_setting(key, value)))
        except UsageError:
            if not variants:
                raise
            break
    return variants


def _of_samples(
    run: TrainedRun, cases: Cases, count: int, report: Reporter
) -> tuple[dict[str, Values], dict[str, Values], dict[str, Values], Values]:
    """By setting: values of the best of k, of the mean of k, of the intervals; and of the spread."""
    few = [k for k in (2**power for power in range(16)) if k < count] + [count]
    best: dict[str, Values] = {str(k): {} for k in few}
    mean: dict[str, Values] = {str(k): {} for k in few}
    inside: dict[str, Values] = {}
    spread: Values = {}
    with report.task(f"{run.config.method}, {count} samples a case", len(cases)) as task:
        draws = zip(*(reconstructions(run, cases, sample) for sample in range(count)), strict=True)
        for groups in draws:
            for place, name in enumerate(groups[0][0]):
                index = cases.names.index(name)
                hounsfield = np.asarray(cases.hounsfield[index], dtype=np.float32)
                truth = to_unit(hounsfield, cases.card.window)
                drawn = np.stack([volumes[place] for _, volumes, _ in groups])
                single = [scores(truth, one) for one in drawn]
                for k in few:
                    for metric in single[0]:
                        up = METRICS[metric].direction == "up"
                        _put(best[str(k)], metric, name, expected_best(np.array([s[metric] for s in single]), k, up))
                    for metric, value in scores(truth, drawn[:k].mean(0)).items():
                        _put(mean[str(k)], metric, name, value)
                random = np.random.default_rng(derived_seed(run.seed, "ties", name))
                ranks = truth_ranks(drawn, truth, random)
                body = hounsfield > AIR_BELOW_HU
                for stated, share in interval_shares(ranks, count).items():
                    _put(inside.setdefault(f"{stated:.3f}", {}), "inside", name, share)
                for stated, share in interval_shares(ranks[body], count).items():
                    _put(inside[f"{stated:.3f}"], "inside_body", name, share)
                _put(spread, "spread", name, float(drawn.std(0, ddof=1).mean()))
            task.advance(index + 1)
    return best, mean, inside, spread


def _put(values: Values, metric: str, case: str, value: float) -> None:
    values.setdefault(metric, {})[case] = value
