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
NUMBERS = {  # stat of a line → field of Summary, beside the mean or value itself
    "ci_lo": "low",
    "ci_hi": "high",
    "change": "change",
    "change_ci_lo": "change_low",
    "change_ci_hi": "change_high",
    "over_mean": "over",
    "over_mean_ci_lo": "over_low",
    "over_mean_ci_hi": "over_high",
}
WORDS = ("Method", "Seed", "Parameter", "Setting", "Split", "Metric")
HEADS = (*WORDS, "n", "Value", f"{LEVEL:.0%} interval", "Change", "Minus mean volume")
NAN = float("nan")
Key = tuple[str, str, str, str, str, str]
"""Method, seed, parameter, setting, split, metric."""


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
    """One metric of one point: its mean over cases, its change from the reference, and what it is over the mean volume.

    Each with an interval over cases; NaN where there is none.
    """

    method: str
    seed: str
    parameter: str
    setting: str
    split: str
    metric: str
    stat: str  # mean, or `value` for what is no mean over cases
    n: int
    mean: float
    low: float = NAN
    high: float = NAN
    change: float = NAN  # NaN at the reference
    change_low: float = NAN
    change_high: float = NAN
    over: float = NAN  # less the mean training volume's at the same setting
    over_low: float = NAN
    over_high: float = NAN

    @property
    def series(self) -> tuple[str, str, str, str]:
        """The facts that the points of one line share."""
        return self.method, self.seed, self.parameter, self.split

    @property
    def label(self) -> str:
        """The name of its metric, with its unit."""
        return label_of(self.metric)

    @property
    def digits(self) -> int:
        """Digits shown after the point."""
        return OWN_METRICS[self.metric][1] if self.metric in OWN_METRICS else METRICS[self.metric].digits(self.mean)


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
    def key(self) -> Key:
        """The point and metric it is a number of."""
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
        seeds: dict[str, set[str]] = {}
        for summary in self.summaries:
            if summary.method not in REFERENCES:
                seeds.setdefault(summary.method, set()).add(summary.seed)
        return min(map(len, seeds.values()), default=0)


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
    lines = [
        [
            *(s.method, s.seed, s.parameter, s.setting, s.split, s.label, str(s.n), _write(s.mean, s.digits)),
            _write_interval(s.low, s.high, s.digits),
            *(
                f"{_write(value, s.digits, '+')} {_write_interval(low, high, s.digits, '+')}".strip()
                for value, low, high in (
                    (s.change, s.change_low, s.change_high),
                    (s.over, s.over_low, s.over_high),
                )
            ),
        ]
        for s in summaries
        if s.metric in metrics
    ]
    return Sheet(HEADS, lines, words=range(len(WORDS)), keys=len(WORDS))


def write_points(path: Path, study: str, points: Sequence[Point]) -> None:
    """Write a tidy CSV: of every point and metric the summary (level set), then the values (level case)."""
    write_rows(path, Line, _lines(study, points))


def read_study(path: Path) -> Recorded:
    """Return what `write_points` wrote. Raises BenchError for a damaged or empty file, or an unknown metric."""
    lines = read_rows(path, Line)
    if not lines:
        raise BenchError(f"{path} has no rows")
    unknown = {line.metric for line in lines} - {"", *METRICS, *OWN_METRICS}
    if unknown:
        raise BenchError(f"{path} holds the unknown metric {min(unknown)}; run the study again")
    of_sets: dict[Key, dict[str, Line]] = {}
    for line in lines:
        if line.level == "set":
            of_sets.setdefault(line.key, {})[line.stat] = line
    summaries = []
    for key, stats in of_sets.items():
        first = stats["value" if "value" in stats else "mean"]
        numbers = (NAN if stat not in stats else stats[stat].value for stat in (first.stat, *NUMBERS))
        summaries.append(Summary(*key, first.stat, first.n or 0, *(NAN if v is None else v for v in numbers)))
    cases = Counter(line.key for line in lines if line.level == "case")
    noted = (line for line in lines if line.note and line.level != "case")
    notes = dict.fromkeys(f"{line.method}, {line.parameter} {line.setting}: {line.note}" for line in noted)
    facts = {name: getattr(lines[0], name) for name in ("dataset", "source", "preset")}
    return Recorded(lines[0].study, facts, max(cases.values(), default=0), tuple(notes), tuple(summaries))


def _summarise(points: Sequence[Point]) -> Iterator[tuple[Point, list[Summary]]]:
    references: dict[tuple[str, ...], Point] = {}
    means = {_where(point): point for point in points if point.facts["method"] == MEAN and point.measured}
    for point in points:
        place = (point.facts["method"], point.facts["seed"], point.parameter, point.setting, point.split)
        series = (*place[:3], place[4])
        reference = references.setdefault(series, point) if point.measured else point
        summaries = []
        for metric, by_case in point.values.items():
            (n,), ends = _estimate(np.array([[value] for value in by_case.values()]))
            before = reference.values.get(metric, {}) if point.compared and reference is not point else {}
            floor = means.get(_where(point), point) if metric in OVER else point
            mean = floor.values.get(metric, {}) if floor is not point else {}
            apart = _differ(by_case, before), _differ(by_case, mean)
            summaries.append(Summary(*place, metric, "mean", int(n), *ends, *apart[0], *apart[1]))
        for metric, whole in point.of_set.items():
            summaries.append(Summary(*place, metric, "value", whole.n, whole.value, whole.low, whole.high))
        yield point, summaries


def _where(point: Point) -> tuple[str, str, str]:
    return point.parameter, point.setting, point.split


def _differ(values: Mapping[str, float], others: Mapping[str, float]) -> tuple[float, float, float]:
    """The mean difference over the cases that both have, with its interval; NaN without any."""
    both = np.array([[value - others[case]] for case, value in values.items() if case in others])
    return _estimate(both)[1] if len(both) else (NAN, NAN, NAN)


def _estimate(values: np.ndarray) -> tuple[np.ndarray, tuple[float, float, float]]:
    means = mean_intervals(values)
    return means.n, (float(means.mean[0]), float(means.low[0]), float(means.high[0]))


def _lines(study: str, points: Sequence[Point]) -> Iterator[Line]:
    for point, summaries in _summarise(points):
        shared: dict[str, Any] = {"study": study, **point.facts, "split": point.split, "parameter": point.parameter}
        shared |= {"setting": point.setting, "note": point.note}
        if not point.measured:
            yield Line(**shared)
        for summary in summaries:
            for stat, name in ((summary.stat, "mean"), *NUMBERS.items()):
                value = getattr(summary, name)
                if math.isfinite(value):
                    yield Line(**shared, metric=summary.metric, level="set", stat=stat, value=value, n=summary.n)
        for metric, by_case in point.values.items():
            for case, value in by_case.items():
                known = value if math.isfinite(value) else None
                yield Line(**shared, metric=metric, level="case", case=case, stat="value", value=known, n=1)


def _write(value: float, digits: int, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}" if math.isfinite(value) else ""


def _write_interval(low: float, high: float, digits: int, sign: str = "") -> str:
    ends = [_write(end, digits, sign) for end in (low, high)]
    return f"[{', '.join(ends)}]" if all(ends) else ""
