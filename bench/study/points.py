"""What a study measured: values by case at every setting, their means with intervals, the change from the reference."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.metrics import METRICS
from bench.metrics.stats import Estimate, mean_intervals
from bench.system.files import write_text

Values = dict[str, dict[str, float]]
"""Metric → case → value; NaN where it is undefined."""

OWN_METRICS = {  # beside those of scores.csv: label, digits after the point
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
    "inside_factors": ("Share of factors inside", 3),
    "excess": ("Cases inside − stated share", 3),
    "rank": ("Mean rank of the truth, 0 to 1", 3),
    "unexplained": ("Spread left open by views", 3),
    "sampled": ("Spread of the samples", 3),
    "spread_ratio": ("Sampled spread / left open", 2),
    "spread_skill": ("Sampled spread / error", 2),
}
FACTS = ("run_id", "method", "dataset", "source", "preset", "seed")
COLUMNS = ("study", *FACTS, "split", "parameter", "setting", "metric", "level", "case", "stat", "value", "n", "note")


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
    def series(self) -> tuple[str, str, str, str]:
        """What the points of one line share: method, seed, parameter, split."""
        return self.facts["method"], self.facts["seed"], self.parameter, self.split

    @property
    def measured(self) -> tuple[str, ...]:
        """The metrics it has."""
        return *self.values, *self.of_set


@dataclass(frozen=True)
class Summary:
    """One metric of one point: the mean over cases and its change from the reference, each with an interval."""

    point: Point
    metric: str
    n: int
    mean: float
    low: float
    high: float
    change: float | None  # None at the reference
    change_low: float | None
    change_high: float | None
    stat: str = "mean"  # `value` for what is no mean over cases


def summaries(points: Sequence[Point]) -> list[Summary]:
    """All metrics of all points, in their order. Changes are paired over the cases that both have."""
    references: dict[tuple[str, ...], Point] = {}
    result = []
    for point in points:
        if not point.measured:
            continue
        reference = references.setdefault(point.series, point)
        for metric, by_case in point.values.items():
            known = _matrix([by_case], list(by_case))
            means = mean_intervals(known)
            change: tuple[float | None, float | None, float | None] = (None, None, None)
            before = reference.values.get(metric, {})
            common = [case for case in by_case if case in before]
            if point.compared and reference is not point and common:
                pair = _matrix([by_case, before], common)
                changes = mean_intervals(pair[:, :1] - pair[:, 1:])
                change = float(changes.mean[0]), float(changes.low[0]), float(changes.high[0])
            ends = float(means.mean[0]), float(means.low[0]), float(means.high[0])
            result.append(Summary(point, metric, int(means.n[0]), *ends, *change))
        for metric, found in point.of_set.items():
            interval = found.value, found.low, found.high
            result.append(
                Summary(point, metric, found.n, *interval, change=None, change_low=None, change_high=None, stat="value")
            )
    return result


def label_of(metric: str) -> str:
    """Return how a metric is called, with its unit."""
    if metric in OWN_METRICS:
        return OWN_METRICS[metric][0]
    return METRICS[metric].label + (f", {METRICS[metric].unit}" if METRICS[metric].unit else "")


def digits_of(metric: str) -> int:
    """Digits shown after the point."""
    return OWN_METRICS[metric][1] if metric in OWN_METRICS else METRICS[metric].decimals


def write_points(path: Path, study: str, points: Sequence[Point]) -> None:
    """Write a tidy CSV: of every point and metric the summary (level set), then the values (level case)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    found = summaries(points)
    for point in points:
        shared = {"study": study, **point.facts, "split": point.split}
        shared |= {"parameter": point.parameter, "setting": point.setting, "note": point.note}
        if not point.measured:
            writer.writerow(shared)
        for summary in (entry for entry in found if entry.point is point):
            for stat, value in _stats(summary):
                if value is not None and math.isfinite(value):
                    row = {"metric": summary.metric, "level": "set", "stat": stat, "value": value, "n": summary.n}
                    writer.writerow({**shared, **row})
        for metric, by_case in point.values.items():
            for case, value in by_case.items():
                known = value if math.isfinite(value) else ""
                row = {"metric": metric, "level": "case", "case": case, "stat": "value", "value": known, "n": 1}
                writer.writerow({**shared, **row})
    write_text(path, text.getvalue())


def read_lines(path: Path) -> list[dict[str, str]]:
    """The lines of a study's CSV by COLUMNS. Raises BenchError for a file without any or with other columns."""
    try:
        with path.open(newline="") as file:
            header, *lines = csv.reader(file, strict=True)
    except (OSError, csv.Error, ValueError) as error:
        raise BenchError(f"{path} cannot be read as CSV: {error}") from error
    if header != list(COLUMNS) or any(len(line) != len(header) for line in lines):
        raise BenchError(f"{path} has other columns than `bench study` writes; run the study again")
    if not lines:
        raise BenchError(f"{path} has no rows")
    return [dict(zip(header, line, strict=True)) for line in lines]


def points_of(lines: Sequence[Mapping[str, str]]) -> list[Point]:
    """The points that `write_points` wrote, in their order; what they were compared with is not known any more.

    Raises ValueError for a value that is no number.
    """
    found: dict[tuple[str, ...], Point] = {}
    sets: dict[tuple[tuple[str, ...], str], dict[str, str]] = {}
    for line in lines:
        facts = {name: line[name] for name in FACTS}
        key = (*facts.values(), line["split"], line["parameter"], line["setting"])
        made = Point(facts, line["parameter"], line["setting"], {}, line["split"], line["note"], compared=False)
        point = found.setdefault(key, made)
        if line["level"] == "case":
            point.values.setdefault(line["metric"], {})[line["case"]] = float(line["value"] or "nan")
        elif line["level"] == "set":
            sets.setdefault((key, line["metric"]), {"n": line["n"]})[line["stat"]] = line["value"]
    for (key, metric), stats in sets.items():
        if "value" in stats:
            value, low, high = (float(stats.get(name, "nan")) for name in ("value", "ci_lo", "ci_hi"))
            known = {**found[key].of_set, metric: Estimate(value, low, high, int(stats["n"]))}
            found[key] = replace(found[key], of_set=known)
    return list(found.values())


def as_lines(points: Sequence[Point], metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the table that is shown: one line a point and metric."""
    heads = ["Method", "Seed", "Parameter", "Setting", "Split", "Metric", "n", "Mean", "95% interval", "Change"]
    lines = []
    for entry in summaries(points):
        if entry.metric not in metrics:
            continue
        digits, point = digits_of(entry.metric), entry.point
        change = ""
        if entry.change is not None and entry.change_low is not None and entry.change_high is not None:
            change = f"{entry.change:+.{digits}f} [{entry.change_low:+.{digits}f}, {entry.change_high:+.{digits}f}]"
        lines.append(
            [
                *(point.facts["method"], point.facts["seed"], point.parameter, point.setting, point.split),
                *(label_of(entry.metric), str(entry.n), f"{entry.mean:.{digits}f}"),
                *(f"[{entry.low:.{digits}f}, {entry.high:.{digits}f}]", change),
            ]
        )
    return heads, lines


def _stats(summary: Summary) -> Iterator[tuple[str, Any]]:
    yield summary.stat, summary.mean
    yield "ci_lo", summary.low
    yield "ci_hi", summary.high
    yield "change", summary.change
    yield "change_ci_lo", summary.change_low
    yield "change_ci_hi", summary.change_high


def _matrix(columns: Sequence[Mapping[str, float]], cases: Sequence[str]) -> np.ndarray:
    return np.array([[column[case] for column in columns] for case in cases], dtype=np.float64)
