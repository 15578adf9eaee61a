"""Training curves from the train.csv of runs: one chart a stage, one line a seed and quantity."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bench.errors import BenchError
from bench.report.charts import Line, line_chart
from bench.report.collect import Subject

LOSS, VALIDATION = "loss", "validation_loss"
HEADER = ["stage", "step", "name", "value"]
MOST_POINTS = 400  # of a line; more are thinned evenly


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
    losses: tuple[Curve, ...]
    others: tuple[Curve, ...]
    reason: str  # why a run has none; empty when all have


Points = list[tuple[float, float]]


def training_of(subject: Subject) -> Training | None:
    """The curves of a method's runs; None of a method that trains nothing or lies nowhere."""
    found: dict[tuple[str, str], dict[str, Points]] = defaultdict(dict)
    reasons = []
    for folder in subject.folders:
        if not folder.train_csv.exists():
            continue
        try:
            for place, points in read_curves(folder.train_csv).items():
                found[place][folder.root.name] = points
        except BenchError as error:
            reasons.append(str(error))
    if not found and not reasons:
        return None
    stages = list(dict.fromkeys(stage for stage, _ in found))
    losses = [
        _curve(subject, stage, LOSS, found[stage, LOSS], found.get((stage, VALIDATION), {}))
        for stage in stages
        if (stage, LOSS) in found
    ]
    others = [
        _curve(subject, stage, name, runs, {})
        for (stage, name), runs in found.items()
        if name not in (LOSS, VALIDATION)
    ]
    return Training(subject, _drawn(losses), _drawn(others), "; ".join(reasons))


def read_curves(path: Path) -> dict[tuple[str, str], Points]:
    """(stage, name) → (step, value) in the order of the file. Raises BenchError, with the line, for a damaged file."""
    try:
        with path.open(newline="") as file:
            return _parsed(path, csv.reader(file, strict=True))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise BenchError(f"{path} cannot be read as CSV: {error}") from error


def _parsed(path: Path, lines: Iterator[list[str]]) -> dict[tuple[str, str], Points]:
    found: dict[tuple[str, str], Points] = defaultdict(list)
    for number, line in enumerate(lines, start=1):
        if number == 1:
            if line != HEADER:
                raise BenchError(f"{path} has the columns {', '.join(line)}, not {', '.join(HEADER)}")
            continue
        try:
            stage, step, name, value = line
            found[stage, name].append((float(step), float(value)))
        except ValueError as error:
            raise BenchError(f"{path} line {number} is not a step and a value of a stage: {error}") from error
    return dict(found)


def _curve(subject: Subject, stage: str, name: str, runs: dict[str, Points], validation: dict[str, Points]) -> Curve:
    lines = [Line(f"{run}, {name}", subject.colour, _thinned(points)) for run, points in runs.items()]
    lines += [Line(f"{run}, validation", subject.colour, _thinned(p), dashed=True) for run, p in validation.items()]
    words = name.replace("_", " ")
    title = f"{subject.title}: {words} of stage {stage}"
    return Curve(f"{stage}: {words}", line_chart(lines, "step", words, title), bool(validation))


def _thinned(points: Points) -> Points:
    every = -(-len(points) // MOST_POINTS)
    return points if every <= 1 else [*points[::every], points[-1]]


def _drawn(curves: list[Curve]) -> tuple[Curve, ...]:
    return tuple(curve for curve in curves if curve.chart)
