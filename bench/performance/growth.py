"""How seconds grow with the side of volumes, with tokens, cases and views: points, exponents, and their picture."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from scipy.stats import linregress

from bench.dataset import DatasetSpec
from bench.errors import UsageError
from bench.performance.measuring import Bench, Row, Work
from bench.performance.subjects import Request, Subject, find_offer, make_subject, take_views
from bench.pictures.drawing import Picture, colour_of, log_ticks, looks_of, marker_of
from bench.plugins.registry import get_dataset
from bench.projector import project
from bench.scoring import DEFAULT
from bench.scoring.cases import score_case
from bench.scoring.protocol import CaseVolumes
from bench.scoring.protocols import get_protocol

SIDE, TOKENS, CASES, VIEWS = "volume side", "tokens", "cases", "views"
AMOUNTS = {SIDE: (32, 64, 128, 256), TOKENS: (64, 256, 1024, 4096), CASES: (1, 2, 4, 8, 16), VIEWS: (1, 2, 4, 8, 16)}
PROJECTED_SIDE = 48  # of the volume whose views are counted
FITTED = 3  # points an exponent is fitted to: the largest, where constant costs weigh least
ROOM = 12.0  # a further point is expected to cost at most so many times the last
COLUMNS = 2  # of the picture


@dataclass(frozen=True)
class Curve:
    """The points of one subject on one axis, and their exponent."""

    subject: str
    axis: str
    amounts: tuple[float, ...]
    seconds: tuple[float, ...]
    exponent: float
    error: float  # standard error of it; NaN for two points


def measure_growth(request: Request, bench: Bench) -> Iterator[Row]:
    """Yield the points of all curves; one ends where the next point would take longer than `bench.seconds`."""
    spec = get_dataset(request.dataset)
    curves: list[tuple[str, str, Callable[[int], Work | None]]] = [
        (f"project {spec.name}", SIDE, lambda side: _project(spec, side, 2)),
        (f"score {DEFAULT}", SIDE, _score),
        (f"project {spec.name}", VIEWS, lambda views: _project(spec, PROJECTED_SIDE, views)),
    ]
    for name in request.methods:
        make = partial(make_subject, name, spec, request.preset, bench.device)
        curves += [
            (name, SIDE, lambda side, make=make: _reconstruct(make(side), 1, bench)),  # type: ignore[misc]
            (name, CASES, lambda cases, make=make: _reconstruct(make(), cases, bench)),  # type: ignore[misc]
            (name, TOKENS, partial(find_offer(name, "make_work", lambda axis, amount: None), TOKENS)),
        ]
    for subject, axis, work_of in curves:
        for amount in AMOUNTS[axis]:
            try:
                work = work_of(amount)
            except UsageError:  # a size the method does not take
                continue
            if work is None:
                break
            row = bench.measure(f"growth/{subject}/{axis}/{amount}", work, size=request.preset)
            yield row
            if (row.ours_s or 0.0) * ROOM > bench.seconds:
                break


def _reconstruct(subject: Subject, cases: int, bench: Bench) -> Work:
    """The reconstruction of so many cases at once."""
    views, seeds = take_views(subject.cases["test"], range(cases), bench.device)
    return lambda: subject.method.reconstruct(views, seeds=seeds)


def _project(spec: DatasetSpec, side: int, views: int) -> Work:
    """The projection of one volume of a side to views as wide as it."""
    volume = torch.from_numpy(_make_volume(side)).mul_(2000).sub_(1000)[None]
    angles = [270.0 + 360.0 * view / views for view in range(views)]
    place = volume, spec.cube_mm / side, spec.geometry, angles, side
    return torch.inference_mode()(partial(project, *place, mirrored=[False] * views))


def _score(side: int) -> Work:
    """All per-case numbers of the default protocol, for a volume and one that is a voxel off."""
    truth = _make_volume(side).astype(np.float64)
    return partial(score_case, CaseVolumes(truth, np.roll(truth, 1, 0)), get_protocol())


def _make_volume(side: int) -> np.ndarray:
    """A volume (side, side, side) in [0, 1]."""
    line = np.sin(np.linspace(0, 6, side, dtype=np.float32))
    return (3 + line[:, None, None] + line[:, None] * line + line) / 7


def fit_curves(rows: Iterable[Row]) -> list[Curve]:
    """Return the curves of two points or more among rows, each with its exponent."""
    points: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.kind == "growth" and row.ours_s:
            _, subject, axis, amount = row.item.split("/")
            points[subject, axis].append((float(amount), row.ours_s))
    curves = []
    for (subject, axis), own in points.items():
        if len(own) > 1:
            amounts, seconds = zip(*sorted(own), strict=True)
            curves.append(Curve(subject, axis, amounts, seconds, *fit_exponent(amounts[-FITTED:], seconds[-FITTED:])))
    return curves


def fit_exponent(amounts: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Return the slope of log seconds over log amounts by least squares, and its standard error (NaN for two)."""
    line = linregress(np.log(amounts), np.log(seconds))
    return float(line.slope), float(line.stderr) if len(amounts) > 2 else math.nan


def draw_growth(curves: Sequence[Curve], title: str) -> Picture:
    """Return one log-log panel an axis; its legend stands beside it, in the order in which its curves end."""
    axes_names = list(dict.fromkeys(curve.axis for curve in curves))
    lines = -(-len(axes_names) // COLUMNS)
    figure = Picture(figsize=(6.6 * COLUMNS, 3.8 * lines + 0.5), dpi=110, layout="constrained")
    panels = figure.subplots(lines, COLUMNS, squeeze=False)
    looks = looks_of(curve.subject for curve in curves)
    for panel, axis in zip(panels.flat, axes_names, strict=False):
        _draw_panel(panel, axis, [curve for curve in curves if curve.axis == axis], looks)
    for panel in panels.flat[len(axes_names) :]:
        panel.set_axis_off()
    figure.suptitle(f"{title}; dashed: what the exponent says", fontsize=10)
    return figure


def _draw_panel(panel: Axes, axis: str, curves: Sequence[Curve], looks: dict[str, int]) -> None:
    for curve in sorted(curves, key=lambda curve: curve.seconds[-1], reverse=True):
        look = looks[curve.subject]
        style: dict[str, Any] = {"color": colour_of(look), "marker": marker_of(look), "markersize": 5.5}
        label = f"{curve.subject}\nexponent {curve.exponent:.2f}"
        panel.plot(curve.amounts, curve.seconds, "-", linewidth=1.2, label=label, **style)
        x, y = (np.log(values[-FITTED:]) for values in (curve.amounts, curve.seconds))
        panel.plot(np.exp(x), np.exp(y.mean() + curve.exponent * (x - x.mean())), "--", color="0.35", linewidth=0.8)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    amounts = sorted({amount for curve in curves for amount in curve.amounts})
    panel.set_xticks(amounts, [f"{amount:g}" for amount in amounts])
    seconds = log_ticks(*panel.get_ylim())
    panel.set_yticks(seconds, [f"{second:g}" for second in seconds])
    panel.minorticks_off()
    panel.set_xlabel(axis)
    panel.set_ylabel("seconds")
    panel.grid(alpha=0.25)
    panel.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
