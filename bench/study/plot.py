"""The picture of a study: one panel a parameter and metric, one line a method and split, bands are intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.pictures.drawing import colour_of, looks_of, marker_of, save_figure
from bench.study.points import Point, Summary, label_of, summaries

WIDE = 16.0  # ratio of largest to smallest setting from which an axis is logarithmic
CROWDED = 52  # letters under an axis, beyond which words are slanted
LINES = {"test": "-", "train": "--"}


@dataclass(frozen=True)
class Panel:
    """What one panel shows."""

    parameter: str
    metric: str
    diagonal: bool = False  # draw y = x: what a calibrated method does
    ordered: bool = True  # False: the settings are no scale, and no line joins them
    line: float | None = None  # draw y = line: what chance, or a perfect method, gives
    limits: tuple[float, float] | None = None  # of the vertical axis


def draw(path: Path, title: str, panels: Sequence[Panel], points: Sequence[Point]) -> None:
    """Write a PNG."""
    save_figure(figure_of(title, panels, points), path)


def figure_of(title: str, panels: Sequence[Panel], points: Sequence[Point]) -> Figure:
    """The figure, with one legend for all panels."""
    found = summaries(points)
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.2 * rows + 0.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    looks = looks_of(point.facts["method"] for point in points)
    for axis, panel in zip(axes.flat, panels, strict=False):
        mine = [s for s in found if (s.point.parameter, s.metric) == (panel.parameter, panel.metric)]
        _draw_panel(axis, panel, mine, looks)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    lines, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    return figure


def _draw_panel(axis: Axes, panel: Panel, found: Sequence[Summary], looks: Mapping[str, int]) -> None:
    settings, numbers = _order(list(dict.fromkeys(summary.point.setting for summary in found)))
    places = dict(zip(settings, numbers or range(len(settings)), strict=True))
    if panel.diagonal and numbers:
        axis.plot([min(numbers), max(numbers)], [min(numbers), max(numbers)], color="0.6", linewidth=1, linestyle=":")
    if panel.line is not None:
        axis.axhline(panel.line, color="0.6", linewidth=1, linestyle=":")
    every = groupby(sorted(found, key=lambda s: s.point.series), key=lambda s: s.point.series)
    for index, ((method, seed, _, split), members) in enumerate(every):
        line = sorted(members, key=lambda s: places[s.point.setting])
        where = [places[s.point.setting] for s in line]
        means, low, high = ([getattr(s, name) for s in line] for name in ("mean", "low", "high"))
        colour, marker = colour_of(looks[method]), marker_of(looks[method])
        label = f"{method}, seed {seed}" + ("" if split == "test" else f", {split}")
        if panel.ordered and len(line) > 1:
            style = LINES.get(split, ":")
            axis.plot(where, means, linestyle=style, marker=marker, markersize=4, color=colour, label=label)
            axis.fill_between(where, low, high, color=colour, alpha=0.2, linewidth=0)
        else:
            below = [max(0.0, mean - end) for mean, end in zip(means, low, strict=True)]  # an interval need not hold it
            above = [max(0.0, end - mean) for mean, end in zip(means, high, strict=True)]
            apart = [place + (0.0 if panel.ordered else 0.12 * index) for place in where]
            axis.errorbar(apart, means, [below, above], fmt=marker, markersize=4, capsize=3, color=colour, label=label)
    if numbers is None:
        axis.set_xticks(range(len(settings)), settings, fontsize=8)
        if sum(map(len, settings)) > CROWDED:
            for tick in axis.get_xticklabels():
                tick.set(rotation=25, ha="right", rotation_mode="anchor")
    elif min(numbers) > 0 and max(numbers) / min(numbers) >= WIDE:
        axis.set_xscale("log", base=2)
        axis.set_xticks(numbers, settings, fontsize=8)
        axis.minorticks_off()
    else:
        axis.set_xticks(numbers, settings, fontsize=8)
    if panel.limits is not None:
        axis.set_ylim(*panel.limits)
    axis.set_xlabel(panel.parameter, fontsize=9)
    axis.set_ylabel(label_of(panel.metric), fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)


def _order(settings: Sequence[str]) -> tuple[list[str], list[float] | None]:
    """Numbers by size, then words as they came; and the numbers where there are no words."""
    numbers = sorted((setting for setting in settings if _is_number(setting)), key=float)
    words = [setting for setting in settings if not _is_number(setting)]
    return numbers + words, None if words else [float(setting) for setting in numbers]


def _is_number(setting: str) -> bool:
    try:
        float(setting)
    except ValueError:
        return False
    return True
