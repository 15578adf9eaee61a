"""How seconds grow with the side of volumes, with tokens, cases and views: points, and the exponents fitted to them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.dataset import DatasetSpec
from bench.errors import UsageError
from bench.performance.hooks import growing
from bench.performance.rows import Row
from bench.performance.subjects import Subject, random_subject
from bench.performance.throughput import projection, reconstruction, scoring
from bench.performance.timing import Bench, Work
from bench.scoring.protocols import DEFAULT

SIDE, TOKENS, CASES, VIEWS = "volume side", "tokens", "cases", "views"
AMOUNTS = {SIDE: (32, 64, 128, 256), TOKENS: (64, 256, 1024, 4096), CASES: (1, 2, 4, 8, 16), VIEWS: (1, 2, 4, 8, 16)}
PROJECTED_SIDE = 48  # of the volume whose views are counted
FITTED = 3  # points an exponent is fitted to: the largest, where constant costs weigh least
ROOM = 12.0  # a further point is expected to cost at most so many times the last


@dataclass(frozen=True)
class Curve:
    """The points of one subject on one axis, and their exponent."""

    subject: str
    axis: str
    amounts: tuple[float, ...]
    seconds: tuple[float, ...]
    exponent: float
    error: float  # standard error of it; NaN for two points


def growth_rows(methods: Sequence[str], spec: DatasetSpec, preset: str, bench: Bench, largest: int) -> Iterator[Row]:
    """Points of all curves; a curve ends where the next point would take longer than `bench.seconds`."""
    curves: list[tuple[str, str, Callable[[int], Work | None]]] = [
        (f"project {spec.name}", SIDE, lambda amount: projection(spec, amount, 2)),
        (f"score {DEFAULT}", SIDE, scoring),
        (f"project {spec.name}", VIEWS, lambda amount: projection(spec, PROJECTED_SIDE, amount)),
    ]
    for name in methods:
        curves += [
            (name, SIDE, lambda amount, name=name: _at_side(name, spec, preset, bench, amount)),  # type: ignore[misc]
            (name, CASES, lambda amount, name=name: _with_cases(name, spec, preset, bench, amount)),  # type: ignore[misc]
            (name, TOKENS, lambda amount, name=name: growing(name, TOKENS, amount)),  # type: ignore[misc]
        ]
    for subject, axis, make in curves:
        amounts = [amount for amount in AMOUNTS[axis] if axis != SIDE or amount <= largest]
        yield from _points(subject, axis, amounts, make, bench)


def _points(
    subject: str, axis: str, amounts: Sequence[int], make: Callable[[int], Work | None], bench: Bench
) -> Iterator[Row]:
    for amount in amounts:
        try:
            work = make(amount)
        except UsageError:  # a size the method does not take
            continue
        if work is None:
            return
        row = bench.measure(f"growth/{subject}/{axis}/{amount}", work)
        yield row
        if (row.ours_s or 0.0) * ROOM > bench.seconds:
            return


def _at_side(name: str, spec: DatasetSpec, preset: str, bench: Bench, side: int) -> Work:
    return reconstruction(_ready(random_subject(name, spec, preset, side), bench), 1, bench.device)


def _with_cases(name: str, spec: DatasetSpec, preset: str, bench: Bench, cases: int) -> Work:
    return reconstruction(_ready(random_subject(name, spec, preset), bench), cases, bench.device)


def _ready(subject: Subject, bench: Bench) -> Subject:
    for stage in subject.method.stages():
        for network in stage.networks.values():
            network.to(bench.device).eval()
    return subject


def curves(rows: Iterable[Row]) -> list[Curve]:
    """The curves of two points or more among rows, each with its exponent."""
    points: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.kind == "growth" and row.ours_s:
            _, subject, axis, amount = row.item.split("/")
            points[subject, axis].append((float(amount), row.ours_s))
    found = []
    for (subject, axis), own in points.items():
        if len(own) > 1:
            amounts, seconds = zip(*sorted(own), strict=True)
            found.append(Curve(subject, axis, amounts, seconds, *exponent(amounts[-FITTED:], seconds[-FITTED:])))
    return found


def exponent(amounts: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Slope of log seconds over log amounts by least squares, and its standard error (NaN for two points)."""
    x, y = np.log(np.asarray(amounts, float)), np.log(np.asarray(seconds, float))
    x = x - x.mean()
    slope = float((x * y).sum() / (x * x).sum())
    residual = y - y.mean() - slope * x
    free = len(x) - 2
    error = float(np.sqrt((residual**2).sum() / free / (x * x).sum())) if free > 0 else float("nan")
    return slope, error
