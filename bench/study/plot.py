"""The picture of a study: one panel a parameter and metric, one line a method and split, bands are intervals."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.files import write_atomic
from bench.study.points import Point, Summary, label_of, summaries

WIDE = 16.0  # ratio of largest to smallest setting from which an axis is logarithmic
LINES = {"test": "-", "train": "--"}


@dataclass(frozen=True)
class Panel:
    """What one panel shows."""

    parameter: str
    metric: str
    diagonal: bool = False  # draw y = x: what a calibrated method does


def draw(path: Path, title: str, panels: Sequence[Panel], points: Sequence[Point]) -> None:
    """Write a PNG."""
    found = summaries(points)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.2 * rows + 0.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    names = list(dict.fromkeys(point.facts["method"] for point in points))
    for axis, panel in zip(axes.flat, panels, strict=False):
        mine = [s for s in found if (s.point.parameter, s.metric) == (panel.parameter, panel.metric)]
        _draw_panel(axis, panel, mine, names)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    lines, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))


def _draw_panel(axis: Axes, panel: Panel, found: Sequence[Summary], names: Sequence[str]) -> None:
    settings = list(dict.fromkeys(summary.point.setting for summary in found))
    numbers = _numbers(settings)
    places = dict(zip(settings, numbers or range(len(settings)), strict=True))
    if panel.diagonal and numbers:
        axis.plot([min(numbers), max(numbers)], [min(numbers), max(numbers)], color="0.6", linewidth=1, linestyle=":")
    for series, members in groupby(sorted(found, key=lambda s: s.point.series), key=lambda s: s.point.series):
        line = sorted(members, key=lambda s: places[s.point.setting])
        where = [places[s.point.setting] for s in line]
        method, seed, _, split = series
        colour = f"C{names.index(method)}"
        label = f"{method}, seed {seed}" + ("" if split == "test" else f", {split}")
        joined = LINES.get(split, ":") if numbers or len(settings) > 2 else "none"
        axis.plot(where, [s.mean for s in line], marker="o", markersize=3, linestyle=joined, color=colour, label=label)
        axis.fill_between(where, [s.low for s in line], [s.high for s in line], color=colour, alpha=0.2, linewidth=0)
    if numbers is None:
        axis.set_xticks(range(len(settings)), settings, fontsize=8)
    elif min(numbers) > 0 and max(numbers) / min(numbers) >= WIDE:
        axis.set_xscale("log", base=2)
        axis.set_xticks(numbers, settings, fontsize=8)
        axis.minorticks_off()
    axis.set_xlabel(panel.parameter, fontsize=9)
    axis.set_ylabel(label_of(panel.metric), fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)


def _numbers(settings: Sequence[str]) -> list[float] | None:
    """The settings as numbers; None where one is a word."""
    try:
        return [float(setting) for setting in settings]
    except ValueError:
        return None
