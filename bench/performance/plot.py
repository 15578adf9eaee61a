"""The picture of how cost grows: one log-log panel an axis, with the fitted exponents."""

import io
from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.performance.growth import FITTED, Curve
from bench.pictures.drawing import colour_of, log_ticks, looks_of, marker_of
from bench.system.files import write_atomic

COLUMNS = 2


def draw(path: Path, curves: Sequence[Curve], title: str) -> None:
    """Write a PNG."""
    buffer = io.BytesIO()
    figure_of(curves, title).savefig(buffer, format="png")
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))


def figure_of(curves: Sequence[Curve], title: str) -> Figure:
    """The figure; the legend of a panel stands beside it, in the order in which its curves end."""
    axes_names = list(dict.fromkeys(curve.axis for curve in curves))
    lines = -(-len(axes_names) // COLUMNS)
    figure = Figure(figsize=(6.6 * COLUMNS, 3.8 * lines + 0.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
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
        x, y = curve.amounts[-FITTED:], curve.seconds[-FITTED:]
        centre = fmean(map(log, y)) - curve.exponent * fmean(map(log, x))
        panel.plot(x, [exp(centre) * amount**curve.exponent for amount in x], "--", color="0.35", linewidth=0.8)
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
