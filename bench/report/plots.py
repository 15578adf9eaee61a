"""What is charted: values of single cases, methods against the best floor, training curves, numbers of papers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bench.errors import BenchError
from bench.metrics import METRICS
from bench.pipeline.trainlog import TrainRow
from bench.report.charts import Cloud, Line, draw_cloud_chart, draw_line_chart, draw_pair_chart
from bench.report.collect import CHARTED, Group, Subject
from bench.results.inference import estimate_means
from bench.results.literature import NOTE, draw_ours, draw_reports, read_literature, say_method
from bench.results.model import Results
from bench.results.renderers import Sheet
from bench.results.table_model import label_of
from bench.system.csv_files import read_rows

LOSS, VALIDATION = "loss", "validation_loss"
MOST_POINTS = 400  # of a line; more are thinned evenly
HERE = "measured here, by protocol and data"
Points = list[tuple[float, float]]
Dots = list[tuple[str, float]]


@dataclass(frozen=True)
class Pair:
    """One method against a reference on the same cases."""

    subject: Subject
    chart: Markup
    better: int
    n: int


@dataclass(frozen=True)
class Extremes:
    """The cases that a method is worst and best at, and its value there."""

    subject: Subject
    worst: tuple[str, float]
    best: tuple[str, float]


@dataclass(frozen=True)
class Curve:
    """One chart: what it shows and its SVG."""

    title: str
    chart: Markup
    validated: bool


@dataclass(frozen=True)
class Training:
    """The curves of one method: of its losses, and of everything else its stages log."""

    subject: Subject
    losses: Sequence[Curve]
    others: Sequence[Curve]
    reason: str  # why a run has none; empty when all have


@dataclass(frozen=True)
class Literature:
    """What papers report: a plot, what its colours mean, in the order of its parts, and the lines behind it."""

    chart: Markup
    legend: tuple[tuple[int, str], ...]  # colour, definition; 0 is what was measured here
    sheets: tuple[Sheet, ...]
    note: str


def draw_clouds(group: Group) -> list[tuple[str, Markup]]:
    """Return name and chart of each metric that any case has a value of; floors and ceilings stand apart.

    References are left out: a lossless coder is 140 dB away from all that is to be seen.
    """
    charts = []
    for metric in CHARTED:
        methods: list[Cloud] = []
        others: list[Cloud] = []
        for subject in group.subjects:
            if subject.entry.kind != "reference" and (cloud := _cloud(group, subject, metric)):
                (methods if subject.entry.kind == "method" else others).append(cloud)
        name, decimals = METRICS[metric].label, METRICS[metric].decimals
        chart = draw_cloud_chart([methods, others], label_of(metric), decimals, f"{name} of single cases by method")
        charts += [(name, chart)] if chart else []
    return charts


def draw_pairs(group: Group, metric: str) -> tuple[str, list[Pair]]:
    """Return the floor that is best on average, and each method against it; nothing without a floor."""
    known = {subject: group.values(subject, metric) for subject in group.subjects}
    floors = [subject for subject, values in known.items() if subject.entry.kind == "floor" and values]
    if not floors:
        return "", []
    best = max(floors, key=lambda subject: sum(known[subject].values()) / len(known[subject]))
    shared = {
        subject: both
        for subject, values in known.items()
        if subject.entry.kind == "method"
        and (both := [(case, known[best][case], value) for case, value in values.items() if case in known[best]])
    }
    span = [value for both in shared.values() for _, *two in both for value in two]  # of all panels alike
    pairs = []
    for subject, both in shared.items():
        chart = draw_pair_chart(both, span, subject.colour, best.entry.title, subject.entry.title)
        pairs.append(Pair(subject, chart, sum(own > floor for _, floor, own in both), len(both)))
    return best.entry.title, pairs


def find_extremes(group: Group, metric: str) -> list[Extremes]:
    """Return the worst and the best case of each method, in the order of the tables; none of a single case."""
    better = -1 if METRICS[metric].direction == "down" else 1
    found = []
    for subject in group.subjects:
        values = sorted(group.values(subject, metric).items(), key=lambda item: (better * item[1], item[0]))
        if subject.entry.kind == "method" and len(values) > 1:
            found.append(Extremes(subject, values[0], values[-1]))
    return found


def draw_training(subject: Subject) -> Training | None:
    """Return the curves of a method's runs; None of a method that trains nothing or lies nowhere."""
    found: dict[tuple[str, str], dict[str, Points]] = defaultdict(dict)
    reasons = []
    for folder in subject.folders:
        try:
            for place, points in read_curves(folder.train_csv).items():
                found[place][folder.root.name] = points
        except BenchError as error:
            reasons.append(str(error))
    if not found and not reasons:
        return None
    losses: list[Curve] = []
    others: list[Curve] = []
    for stage, name in found:
        if name != VALIDATION and (curve := _draw_curve(subject, stage, name, found)).chart:
            (losses if name == LOSS else others).append(curve)
    return Training(subject, losses, others, "; ".join(reasons))


def read_curves(path: Path) -> dict[tuple[str, str], Points]:
    """Return (stage, name) → (step, value) in the order of the file; raises BenchError for a damaged one."""
    found: dict[tuple[str, str], Points] = defaultdict(list)
    for row in read_rows(path, TrainRow):
        try:
            found[row.stage, row.name].append((row.step, float(row.value)))
        except ValueError as error:
            raise BenchError(f"{path} holds {row.value[:40]!r} as {row.name} of stage {row.stage}") from error
    return dict(found)


def view_literature(results: Results) -> Literature:
    """Return the plot of all reports, a part a definition, and of the data sets they are of, what was measured here.

    Raises BenchError for a file of reports that was edited or cut.
    """
    reports = read_literature()
    dots: dict[str, dict[str, Dots]] = defaultdict(lambda: defaultdict(list))
    for one in reports:
        if one.psnr_db:
            dots[one.psnr_definition][say_method(one)].append((one.reported_by, float(one.psnr_db)))
    ours, here = draw_ours(results, reports), defaultdict[str, Dots](list)
    for title, psnr, _, protocol, data in ours.lines:
        if psnr != "–":
            here[title].append((f"{protocol}, {data}", float(psnr)))
    parts = [(name, dots[name]) for name in sorted(dots, key=lambda name: (-len(dots[name]), name))]
    coloured = [*enumerate(parts, start=1), (0, (HERE, here))]
    groups = [
        [Cloud(method, colour, values, None, None) for method, values in sorted(own.items())]
        for colour, (_, own) in coloured
    ]
    chart = draw_cloud_chart(groups, METRICS["psnr"].name, 2, "PSNR that papers report, by method and definition")
    legend = tuple((colour, name) for colour, (name, own) in coloured if own)
    return Literature(chart, legend, (draw_reports(reports), *([ours] if ours.lines else [])), NOTE)


def _cloud(group: Group, subject: Subject, metric: str) -> Cloud | None:
    values = group.values(subject, metric)
    (mean,) = estimate_means(subject.entry, [("3d", metric)])
    if not values or mean.value is None:
        return None
    return Cloud(subject.entry.title, subject.colour, list(values.items()), mean.value, mean.interval)


def _draw_curve(subject: Subject, stage: str, name: str, found: dict[tuple[str, str], dict[str, Points]]) -> Curve:
    """One quantity of a stage, and beside a loss that of validation."""
    validation = found.get((stage, VALIDATION), {}) if name == LOSS else {}
    lines = [Line(f"{run}, {name}", subject.colour, _thin(points)) for run, points in found[stage, name].items()]
    lines += [Line(f"{run}, validation", subject.colour, _thin(p), dashed=True) for run, p in validation.items()]
    words = name.replace("_", " ")
    chart = draw_line_chart(lines, "step", words, f"{subject.entry.title}: {words} of stage {stage}")
    return Curve(f"{stage}: {words}", chart, bool(validation))


def _thin(points: Points) -> Points:
    every = -(-len(points) // MOST_POINTS)
    return points if every <= 1 else [*points[::every], points[-1]]
