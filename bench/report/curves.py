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
Points = list[tuple[float, float]]


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


def draw_training(subject: Subject) -> Training | None:
    """Return the curves of a method's runs; None of a method that trains nothing or lies nowhere."""
    found: dict[tuple[str, str], dict[str, Points]] = defaultdict(dict)
    reasons = []
    for folder in subject.folders:
        try:
            curves = read_curves(folder.train_csv) if folder.train_csv.exists() else {}
            for place, points in curves.items():
                found[place][folder.root.name] = points
        except BenchError as error:
            reasons.append(str(error))
    if not found and not reasons:
        return None
    drawn = {place: _draw_curve(subject, *place, found) for place in found if place[1] != VALIDATION}
    losses = tuple(curve for (_, name), curve in drawn.items() if curve.chart and name == LOSS)
    others = tuple(curve for (_, name), curve in drawn.items() if curve.chart and name != LOSS)
    return Training(subject, losses, others, "; ".join(reasons))


def read_curves(path: Path) -> dict[tuple[str, str], Points]:
    """Return (stage, name) → (step, value) in the order of the file.

    Raises BenchError, with the line, for a damaged file.
    """
    try:
        with path.open(newline="") as file:
            return _parse(path, csv.reader(file, strict=True))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise BenchError(f"{path} cannot be read as CSV: {error}") from error


def _parse(path: Path, lines: Iterator[list[str]]) -> dict[tuple[str, str], Points]:
    found: dict[tuple[str, str], Points] = defaultdict(list)
    header = next(lines, HEADER)
    if header != HEADER:
        raise BenchError(f"{path} has the columns {', '.join(header)}, not {', '.join(HEADER)}")
    for number, line in enumerate(lines, start=2):
        try:
            stage, step, name, value = line
            found[stage, name].append((float(step), float(value)))
        except ValueError as error:
            raise BenchError(f"{path} line {number} is not a step and a value of a stage: {error}") from error
    return dict(found)


def _draw_curve(subject: Subject, stage: str, name: str, found: dict[tuple[str, str], dict[str, Points]]) -> Curve:
    """One quantity of a stage, and beside a loss that of validation."""
    validation = found.get((stage, VALIDATION), {}) if name == LOSS else {}
    lines = [Line(f"{run}, {name}", subject.colour, _thin(points)) for run, points in found[stage, name].items()]
    lines += [Line(f"{run}, validation", subject.colour, _thin(p), dashed=True) for run, p in validation.items()]
    words = name.replace("_", " ")
    chart = line_chart(lines, "step", words, f"{subject.title}: {words} of stage {stage}")
    return Curve(f"{stage}: {words}", chart, bool(validation))


def _thin(points: Points) -> Points:
    every = -(-len(points) // MOST_POINTS)
    return points if every <= 1 else [*points[::every], points[-1]]
