"""What a study measured: values by case at every setting, their means with intervals, the change from the reference."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.metrics import METRICS
from bench.metrics.stats import LEVEL, Estimate, mean_intervals
from bench.results.renderers import Sheet
from bench.system.csv_files import read_rows, write_rows

Values = dict[str, dict[str, float]]
"""Metric → case → value; NaN where it is undefined."""

OWN_METRICS = {  # beside those of the results: label, digits after the point
    "seconds": ("Seconds a case", 3),
    "inside": ("Share of voxels inside", 3),
    "inside_body": ("Share of body voxels inside", 3),
    "spread": ("Standard deviation over samples", 4),
    "auroc": ("AUROC of NLL", 3),
    "auroc_codes": ("AUROC of codes", 3),
    "auroc_decoder": ("AUROC of decoder", 3),
    "auroc_floor": ("AUROC of distance to mean", 3),
    "decoder_bits_per_voxel": ("NLL of decoder, bits/voxel", 3),
    "distance": ("MSE to mean volume", 4),
    "auroc_nearest": ("AUROC of distance to nearest case", 3),
    "nearest_distance": ("MSE to nearest case", 4),
    "view_signal": ("Signal in the views, share of the scale", 4),
    "contrast_kept": ("Contrast kept", 3),
    "auroc_nodule": ("AUROC of with and without", 3),
    "contrast_with": ("Contrast with nodule, HU", 1),
    "contrast_without": ("Contrast without, HU", 1),
    "inside_factors": ("Share of factors inside", 3),
    "excess": ("Cases inside − stated share", 3),
    "rank": ("Mean rank of the truth, 0 to 1", 3),
    "unexplained": ("Spread left open by views", 3),
    "sampled": ("Spread of the samples", 3),
    "spread_ratio": ("Sampled spread / left open", 2),
    "spread_skill": ("Sampled spread / error", 2),
}
MEAN, NEAREST, TRUTH = "mean", "nearest", "truth"
FLOORS = {MEAN: "mean volume", NEAREST: "nearest case"}  # method → what pictures and sentences call it
REFERENCES = {**FLOORS, TRUTH: "truth"}  # what is no method under study
OVER = (*METRICS, "contrast_kept")  # metrics of which the difference from the mean volume is told
LEAST_TRAININGS = 3  # of a method at a setting, under which a study says that it shows nothing of methods
FACTS = ("run_id", "method", "dataset", "source", "preset", "seed")
WORDS = ("Method", "Seed", "Parameter", "Setting", "Split", "Metric")
HEADS = (*WORDS, "n", "Value", f"{LEVEL:.0%} interval", "Change", "Minus mean volume")
# of a number of a summary: its stat, and what the stats of its interval begin with
CHANGE, OVER_MEAN = ("change", "change_"), ("over_mean", "over_mean_")
UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Point:
    """One run at one setting of one parameter. The first point of a run, parameter and split is the reference."""

    facts: Mapping[str, str]  # by FACTS
    parameter: str  # with its unit
    setting: str
    values: Values
    split: str = "test"
    note: str = ""  # what was found, or why there are no values
    of_set: Mapping[str, Estimate] = field(default_factory=dict)  # metric → what is no mean over cases
    compared: bool = True  # with the reference; False where settings are not variants of one thing

    @property
    def measured(self) -> tuple[str, ...]:
        """The metrics it has."""
        return *self.values, *self.of_set


@dataclass(frozen=True)
class Summary:
    """One metric of one point, each number with its interval over cases; NaN where there is none."""

    method: str
    seed: str
    parameter: str
    setting: str
    split: str
    metric: str
    stat: str  # mean, or `value` for what is no mean over cases
    mean: Estimate
    change: Estimate = UNKNOWN  # from the reference, over the cases that both have
    over: Estimate = UNKNOWN  # the mean training volume at the same setting


@dataclass(frozen=True)
class Line:
    """One row of a study's CSV: a number of a summary (level set), of a case, or no number and a note that says why."""

    study: str
    run_id: str
    method: str
    dataset: str
    source: str
    preset: str
    seed: str
    split: str
    parameter: str
    setting: str
    metric: str = ""
    level: str = ""
    case: str = ""
    stat: str = ""
    value: float | None = None
    n: int | None = None
    note: str = ""

    @property
    def key(self) -> tuple[str, str, str, str, str, str]:
        """The first fields of the summary that it belongs to."""
        return self.method, self.seed, self.parameter, self.setting, self.split, self.metric


@dataclass(frozen=True)
class Recorded:
    """A study as its CSV tells it."""

    study: str
    facts: Mapping[str, str]  # data set, source and preset
    cases: int  # of the point that has most
    notes: tuple[str, ...]
    summaries: tuple[Summary, ...]

    @property
    def trainings(self) -> int:
        """The fewest trainings that a method was measured with."""
        trained = {(s.method, s.seed) for s in self.summaries if s.method not in REFERENCES}
        return min(Counter(method for method, _ in trained).values(), default=0)


def summarise(points: Sequence[Point]) -> list[Summary]:
    """Return all metrics of all points, in their order. Changes are paired over the cases that both have."""
    return [summary for _, summaries in _summarise(points) for summary in summaries]


def say_trainings(count: int) -> str:
    """Return what a study that trains shows of methods, with as many trainings of each at a setting."""
    many = f"{count} training{'' if count == 1 else 's'} of each method at a setting"
    if count >= LEAST_TRAININGS:
        return many
    return f"{many}: others may differ by more than the settings do; {LEAST_TRAININGS} are needed"


def label_of(metric: str) -> str:
    """Return what a metric is called, with its unit."""
    return OWN_METRICS[metric][0] if metric in OWN_METRICS else METRICS[metric].name


def draw_sheet(summaries: Sequence[Summary], metrics: Sequence[str]) -> Sheet:
    """Return the table of some metrics: one line a point and metric."""
    lines = []
    for s in (summary for summary in summaries if summary.metric in metrics):
        digits = OWN_METRICS[s.metric][1] if s.metric in OWN_METRICS else METRICS[s.metric].digits(s.mean.value)
        differences = (" ".join(_write(one, digits, "+")).strip() for one in (s.change, s.over))
        words = s.method, s.seed, s.parameter, s.setting, s.split, label_of(s.metric), str(s.mean.n)
        lines.append([*words, *_write(s.mean, digits), *differences])
    return Sheet(HEADS, lines, words=range(len(WORDS)), keys=len(WORDS))


def write_points(path: Path, study: str, points: Sequence[Point]) -> None:
    """Write a tidy CSV: of every point and metric the summary (level set), then the values (level case)."""
    lines = []
    for point, summaries in _summarise(points):
        shared: dict[str, Any] = {"study": study, **point.facts, "split": point.split, "parameter": point.parameter}
        shared |= {"setting": point.setting, "note": point.note}
        if not point.measured:
            lines.append(Line(**shared))
        for summary in summaries:
            for stat, value in _list_stats(summary).items():
                if math.isfinite(value):
                    of_set = {"metric": summary.metric, "level": "set", "n": summary.mean.n}
                    lines.append(Line(**shared | of_set, stat=stat, value=value))
        for metric, by_case in point.values.items():
            for case, value in by_case.items():
                known = value if math.isfinite(value) else None
                lines.append(Line(**shared, metric=metric, level="case", case=case, stat="value", value=known, n=1))
    write_rows(path, Line, lines)


def read_study(path: Path) -> Recorded:
    """Return what `write_points` wrote. Raises BenchError for a damaged or empty file, or an unknown metric."""
    lines = read_rows(path, Line)
    if not lines:
        raise BenchError(f"{path} has no rows")
    unknown = {line.metric for line in lines} - {"", *METRICS, *OWN_METRICS}
    if unknown:
        raise BenchError(f"{path} holds the unknown metric {min(unknown)}; run the study again")
    of_sets: dict[tuple[str, ...], dict[str, Line]] = {}
    for line in lines:
        if line.level == "set":
            of_sets.setdefault(line.key, {})[line.stat] = line
    summaries = []
    for stats in of_sets.values():
        stat = "value" if "value" in stats else "mean"
        mean, change, over = (_read_estimate(stats, *names) for names in ((stat, ""), CHANGE, OVER_MEAN))
        summaries.append(Summary(*next(iter(stats.values())).key, stat, mean, change, over))
    cases = Counter(line.key for line in lines if line.level == "case")
    noted = (line for line in lines if line.note and line.level != "case")
    notes = dict.fromkeys(f"{line.method}, {line.parameter} {line.setting}: {line.note}" for line in noted)
    facts = {name: getattr(lines[0], name) for name in ("dataset", "source", "preset")}
    return Recorded(lines[0].study, facts, max(cases.values(), default=0), tuple(notes), tuple(summaries))


def _summarise(points: Sequence[Point]) -> Iterator[tuple[Point, list[Summary]]]:
    references: dict[tuple[str, ...], Point] = {}
    means = {_where(point): point for point in points if point.facts["method"] == MEAN and point.measured}
    alone = {(p.parameter, p.split): p for p in means.values()} if len(means) == 1 else {}  # it stands for all settings
    for point in points:
        place = (point.facts["method"], point.facts["seed"], point.parameter, point.setting, point.split)
        reference = references.setdefault((*place[:3], point.split), point) if point.measured else point
        summaries = []
        for metric, by_case in point.values.items():
            mean, change, over = _estimate(by_case), UNKNOWN, UNKNOWN
            if point.compared and reference is not point:
                change = _differ(by_case, reference.values.get(metric, {}))
            floor = means.get(_where(point)) or alone.get((point.parameter, point.split), point)
            if metric in OVER and floor is not point:
                over = _differ(by_case, floor.values.get(metric, {}))
            summaries.append(Summary(*place, metric, "mean", mean, change, over))
        summaries += [Summary(*place, metric, "value", whole) for metric, whole in point.of_set.items()]
        yield point, summaries


def _where(point: Point) -> tuple[str, str, str]:
    return point.parameter, point.setting, point.split


def _differ(values: Mapping[str, float], others: Mapping[str, float]) -> Estimate:
    """Return the mean difference over the cases that both have."""
    return _estimate({case: value - others[case] for case, value in values.items() if case in others})


def _estimate(values: Mapping[str, float]) -> Estimate:
    """Return the mean over cases; unknown without any."""
    if not values:
        return UNKNOWN
    means = mean_intervals(np.array([[value] for value in values.values()]))
    return Estimate(float(means.mean[0]), float(means.low[0]), float(means.high[0]), int(means.n[0]))


def _list_stats(summary: Summary) -> dict[str, float]:
    """Return the numbers of a summary by their stat in a CSV."""
    stats: dict[str, float] = {}
    named = (summary.stat, "", summary.mean), (*CHANGE, summary.change), (*OVER_MEAN, summary.over)
    for stat, prefix, one in named:
        stats |= {stat: one.value, f"{prefix}ci_lo": one.low, f"{prefix}ci_hi": one.high}
    return stats


def _read_estimate(stats: Mapping[str, Line], stat: str, prefix: str) -> Estimate:
    """Return one number of a summary from its lines by their stat."""
    if stat not in stats:
        return UNKNOWN
    known = {name: line.value for name, line in stats.items() if line.value is not None}
    value, low, high = (known.get(name, math.nan) for name in (stat, f"{prefix}ci_lo", f"{prefix}ci_hi"))
    return Estimate(value, low, high, stats[stat].n or 0)


def _write(estimate: Estimate, digits: int, sign: str = "") -> tuple[str, str]:
    """Return a number and its interval as text, each empty where it is unknown."""
    value, low, high = (
        f"{number:{sign}.{digits}f}" if math.isfinite(number) else ""
        for number in (estimate.value, estimate.low, estimate.high)
    )
    return value, f"[{low}, {high}]" if low and high else ""
