"""Methods beside each other on single cases: all values of a metric, and each method against the best floor."""

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from bench.metrics import METRICS
from bench.metrics.stats import mean_intervals
from bench.report.charts import Cloud, cloud_chart, pair_chart
from bench.report.collect import Group, Subject
from bench.results.entries import Entry
from bench.results.table_model import label_of

CHARTED = ("psnr", "ssim")  # of volumes, case by case


@dataclass(frozen=True)
class Pair:
    """One method against a reference on the same cases."""

    subject: Subject
    chart: Markup
    better: int
    n: int


def clouds_of(group: Group) -> list[tuple[str, Markup]]:
    """Name and chart of each metric that any case has a value of; floors and ceilings stand apart."""
    charts = []
    for metric in CHARTED:
        clouds = [
            (subject.kind == "method", cloud) for subject in group.subjects if (cloud := _cloud(group, subject, metric))
        ]
        made = [[cloud for is_method, cloud in clouds if is_method is wanted] for wanted in (True, False)]
        name = METRICS[metric].label
        chart = cloud_chart(made, label_of(metric), METRICS[metric].decimals, f"{name} of single cases by method")
        charts += [(name, chart)] if chart else []
    return charts


def pairs_of(group: Group, metric: str) -> tuple[str, list[Pair]]:
    """The floor that is best on average, and each method against it; no name and no pairs without a floor."""
    known = {subject: dict(_values(group.entries.get(subject.run_ids), metric)) for subject in group.subjects}
    floors = [subject for subject, values in known.items() if subject.kind == "floor" and values]
    if not floors:
        return "", []
    best = max(floors, key=lambda subject: sum(known[subject].values()) / len(known[subject]))
    pairs = []
    for subject, values in known.items():
        both = [(case, known[best][case], value) for case, value in values.items() if case in known[best]]
        if subject.kind == "method" and both:
            chart = pair_chart(both, subject.colour, best.title, subject.title)
            pairs.append(Pair(subject, chart, sum(own > floor for _, floor, own in both), len(both)))
    return best.title, pairs


def _cloud(group: Group, subject: Subject, metric: str) -> Cloud | None:
    values = _values(group.entries.get(subject.run_ids), metric)
    if not values:
        return None
    means = mean_intervals(np.array([[value] for _, value in values]))
    return Cloud(subject.title, subject.colour, values, float(means.mean[0]), float(means.low[0]), float(means.high[0]))


def _values(entry: Entry | None, metric: str) -> list[tuple[str, float]]:
    if entry is None:
        return []
    column = entry.values[("3d", metric)].dropna()
    return [(str(case), float(value)) for case, value in column.items() if math.isfinite(value)]
