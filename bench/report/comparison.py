"""Methods beside each other on single cases: all values of a metric, and each method against the best floor."""

from dataclasses import dataclass

from markupsafe import Markup

from bench.metrics import METRICS
from bench.report.charts import Cloud, cloud_chart, pair_chart
from bench.report.collect import Group, Subject
from bench.results.inference import estimate_means
from bench.results.table_model import label_of

CHARTED = ("psnr", "ssim")  # of volumes, case by case


@dataclass(frozen=True)
class Pair:
    """One method against a reference on the same cases."""

    subject: Subject
    chart: Markup
    better: int
    n: int


def draw_clouds(group: Group) -> list[tuple[str, Markup]]:
    """Return name and chart of each metric that any case has a value of; floors and ceilings stand apart."""
    charts = []
    for metric in CHARTED:
        clouds = [(subject.kind, cloud) for subject in group.subjects if (cloud := _cloud(group, subject, metric))]
        apart = [[cloud for kind, cloud in clouds if (kind == "method") is wanted] for wanted in (True, False)]
        name, decimals = METRICS[metric].label, METRICS[metric].decimals
        chart = cloud_chart(apart, label_of(metric), decimals, f"{name} of single cases by method")
        charts += [(name, chart)] if chart else []
    return charts


def draw_pairs(group: Group, metric: str) -> tuple[str, list[Pair]]:
    """Return the floor that is best on average, and each method against it; nothing without a floor."""
    known = {subject: group.values(subject, metric) for subject in group.subjects}
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
    values = group.values(subject, metric)
    if not values:
        return None
    (mean,) = estimate_means(subject.entry, [("3d", metric)])
    return Cloud(subject.title, subject.colour, list(values.items()), mean.value, mean.low, mean.high)
