"""The picture of a study: one panel a parameter and metric, one line a method and split, bands are intervals."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from bench.pictures.drawing import Picture, colour_of, looks_of, marker_of
from bench.results.model import title_and_kind
from bench.study.points import MEAN, NEAREST, REFERENCES, TRUTH, Summary, label_of

WIDE = 16.0  # ratio of largest to smallest setting from which an axis is logarithmic
MANY = 8  # settings of a scale, beyond which an axis has marks of its own
WRAPPED = 14  # letters a line of a setting in words
CROWDED = 52  # letters under an axis, beyond which words are slanted
LINES = {"test": "-", "train": "--"}
REFERENCE_LINES = {MEAN: "--", NEAREST: "-.", TRUTH: "-"}
REFERENCE: dict[str, Any] = {"color": "0.45", "linewidth": 1.2}
GUIDE: dict[str, Any] = {"color": "0.6", "linewidth": 1, "linestyle": ":"}  # what a line has that no method drew


@dataclass(frozen=True)
class Panel:
    """What one panel shows."""

    parameter: str
    metric: str
    diagonal: bool = False  # draw y = x: what a calibrated method does
    ordered: bool = True  # False: the settings are no scale, and no line joins them
    line: float | None = None  # draw y = line: what chance, or a perfect method, gives
    limits: tuple[float, float] | None = None  # of the vertical axis


def make_figure(title: str, panels: Sequence[Panel], summaries: Sequence[Summary]) -> Picture:
    """Return the figure, with one legend for all panels."""
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Picture(figsize=(4.4 * columns, 3.2 * rows + 0.9), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    looks = looks_of(summary.method for summary in summaries if summary.method not in REFERENCES)
    for axis, panel in zip(axes.flat, panels, strict=False):
        mine = [s for s in summaries if (s.parameter, s.metric) == (panel.parameter, panel.metric)]
        _draw_panel(axis, panel, mine, looks)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    lines, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    return figure


def _draw_panel(axis: Axes, panel: Panel, summaries: Sequence[Summary], looks: Mapping[str, int]) -> None:
    numbers = {s.setting: number for s in summaries if (number := _number(s.setting)) is not None}
    words = dict.fromkeys(s.setting for s in summaries if s.setting not in numbers)
    settings = [*sorted(numbers, key=lambda setting: numbers[setting]), *words]  # numbers by size, words as they came
    places = {setting: float(place) for place, setting in enumerate(settings)} if words else numbers
    if panel.diagonal and not words:
        ends = [min(numbers.values()), max(numbers.values())]
        axis.plot(ends, ends, **GUIDE)
    if panel.line is not None:
        axis.axhline(panel.line, **GUIDE)
    ordered = sorted(summaries, key=lambda s: (s.method, s.seed, s.split, places[s.setting]))
    every = groupby(ordered, key=lambda s: (s.method, s.seed, s.split))
    for index, ((method, seed, split), members) in enumerate(every):
        line = list(members)
        where, means = [places[s.setting] for s in line], [s.mean.value for s in line]
        if method in REFERENCES:
            if split == "test":
                _draw_reference(axis, panel, where, means, method)
            continue
        look: dict[str, Any] = {"color": colour_of(looks[method]), "marker": marker_of(looks[method]), "markersize": 4}
        look["label"] = f"{title_and_kind(method)[0]}, seed {seed}" + ("" if split == "test" else f", {split}")
        low, high = [s.mean.low for s in line], [s.mean.high for s in line]
        if panel.ordered and len(line) > 1:
            axis.plot(where, means, linestyle=LINES.get(split, ":"), **look)
            axis.fill_between(where, low, high, color=look["color"], alpha=0.2, linewidth=0)
        else:
            spans = np.fmax(0.0, [np.subtract(means, low), np.subtract(high, means)])
            apart = [place + (0.0 if panel.ordered else 0.12 * index) for place in where]
            axis.errorbar(apart, means, spans, linestyle="", capsize=3, **look)
    if not words and min(numbers.values()) > 0 and max(numbers.values()) / min(numbers.values()) >= WIDE:
        axis.set_xscale("log", base=2)
        axis.minorticks_off()
    crowded = words and sum(map(len, settings)) > CROWDED
    shown = settings if crowded else [fill(setting, WRAPPED) for setting in settings]
    if words or len(numbers) <= MANY:
        axis.set_xticks([places[setting] for setting in settings], shown, fontsize=8)
    else:
        axis.xaxis.set_major_formatter(ScalarFormatter())
    if crowded:
        for tick in axis.get_xticklabels():
            tick.set(rotation=25, ha="right", rotation_mode="anchor")
    if panel.limits is not None:
        axis.set_ylim(*panel.limits)
    axis.set_xlabel(panel.parameter, fontsize=9)
    axis.set_ylabel(label_of(panel.metric), fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)


def _draw_reference(axis: Axes, panel: Panel, where: Sequence[float], means: Sequence[float], method: str) -> None:
    label = REFERENCES[method]
    if panel.ordered and len(where) == 1:  # measured once for all settings
        axis.axhline(means[0], linestyle=REFERENCE_LINES[method], label=label, **REFERENCE)
    elif panel.ordered:
        axis.plot(where, means, REFERENCE_LINES[method], label=label, **REFERENCE)
    else:  # settings that are no scale: a short line at each
        for index, (place, mean) in enumerate(zip(where, means, strict=True)):
            named = {"label": None if index else label, **REFERENCE}
            axis.plot([place - 0.4, place + 0.4], [mean, mean], REFERENCE_LINES[method], **named)


def _number(setting: str) -> float | None:
    with suppress(ValueError):
        return float(setting)
    return None
