"""The picture of how cost grows: one log-log panel an axis, with the fitted exponents."""

import io
from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.files import write_atomic
from bench.performance.growth import FITTED, Curve

COLUMNS = 2


def draw(path: Path, curves: Sequence[Curve], title: str) -> None:
    """Write a PNG."""
    axes_names = list(dict.fromkeys(curve.axis for curve in curves))
    lines = -(-len(axes_names) // COLUMNS)
    figure = Figure(figsize=(5.2 * COLUMNS, 3.8 * lines + 0.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, COLUMNS, squeeze=False)
    subjects = list(dict.fromkeys(curve.subject for curve in curves))
    for panel, axis in zip(panels.flat, axes_names, strict=False):
        for curve in curves:
            if curve.axis != axis:
                continue
            colour = f"C{subjects.index(curve.subject)}"
            label = f"{curve.subject}, exponent {curve.exponent:.2f}"
            panel.plot(curve.amounts, curve.seconds, "o", color=colour, markersize=4, label=label)
            x, y = curve.amounts[-FITTED:], curve.seconds[-FITTED:]
            centre = fmean(map(log, y)) - curve.exponent * fmean(map(log, x))
            fitted = [exp(centre) * amount**curve.exponent for amount in x]
            panel.plot(x, fitted, "-", color=colour, linewidth=1)
            panel.plot(curve.amounts, curve.seconds, ":", color=colour, linewidth=0.8)
        ticks = sorted({amount for curve in curves if curve.axis == axis for amount in curve.amounts})
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        panel.set_xlabel(axis)
        panel.set_ylabel("seconds")
        panel.grid(alpha=0.25)
        panel.legend(fontsize=7, frameon=False)
    for panel in panels.flat[len(axes_names) :]:
        panel.set_axis_off()
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))
