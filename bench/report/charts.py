"""Charts as inline SVG: lines, values of single cases by method, and pairs. Colours are classes of style.css.

Every text is escaped on its way into an element.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from bench.pictures.drawing import log_ticks

WIDTH = 560.0
LOG_FROM = 30.0  # ratio of largest to smallest value from which an axis is logarithmic
TEXT_WIDTH = 7.0  # average width of a character at the size of labels, generously


@dataclass(frozen=True)
class Line:
    """A curve; equal labels share a colour and one entry of the legend."""

    label: str
    colour: int
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True)
class Cloud:
    """The values of single cases of one method, and their mean with its interval."""

    label: str
    colour: int  # 0: not ranked
    values: Sequence[tuple[str, float]]  # case, value
    mean: float | None  # None where the values may not be averaged
    interval: tuple[float, float] | None  # None for too few cases


@dataclass(frozen=True)
class Axis:
    """A scale from values to places in the drawing."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Round values inside, with their texts."""
        if self.log:
            return [(v, f"{v:g}") for v in log_ticks(self.low, self.high)]
        margin = 1e-9 * (self.high - self.low)
        chosen = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
        places = [float(v) for v in chosen.tick_values(self.low, self.high)]
        return [(v, f"{v:g}") for v in places if self.low - margin <= v <= self.high + margin]


def fit_axis(values: Sequence[float], start: float, end: float, *, log: bool = False) -> Axis:
    """Return an axis over finite `values` with some room at both ends."""
    low, high = min(values), max(values)
    if log and low > 0 and high / low >= LOG_FROM:
        return Axis(10 ** (math.log10(low) - 0.05), 10 ** (math.log10(high) + 0.05), start, end, True)
    room = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis(low - room, high + room, start, end)


def draw_line_chart(lines: Sequence[Line], x_label: str, y_label: str, title: str) -> Markup:
    """Draw curves over steps; points that are not finite are left out. Empty without any."""
    finite = (replace(line, points=[p for p in line.points if all(map(math.isfinite, p))]) for line in lines)
    kept = [line for line in finite if line.points]
    if not kept:
        return Markup()
    height, left, right, top, bottom = 250.0, 62.0, 14.0, 14.0, 40.0
    x = fit_axis([a for line in kept for a, _ in line.points], left, WIDTH - right)
    y = fit_axis([b for line in kept for _, b in line.points], height - bottom, top, log=True)
    parts = [_frame(x, y, x_label, y_label)]
    for line in kept:
        path = "M" + "L".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line.points)
        curve = _tag("path", _tag("title", line.label), class_="line dashed" if line.dashed else "line", d=path)
        parts.append(_tag("g", curve, class_=f"c{line.colour}"))
    return _svg(WIDTH, height, title, parts)


def draw_cloud_chart(groups: Sequence[Sequence[Cloud]], label: str, decimals: int, title: str) -> Markup:
    """Draw a line a method with a dot a case, mean and interval; a rule parts the groups. Empty without values."""
    groups = [group for group in groups if group]
    clouds = [cloud for group in groups for cloud in group]
    if not clouds:
        return Markup()
    row, gap, top, bottom, right = 34.0, 14.0, 8.0, 42.0, 16.0
    left = 26 + TEXT_WIDTH * max(len(line) for cloud in clouds for line in _wrapped(cloud.label))
    floor = top + row * len(clouds) + gap * (len(groups) - 1)
    shown = [value for cloud in clouds for value in (*(v for _, v in cloud.values), *(cloud.interval or ()))]
    x = fit_axis(shown, left, WIDTH - right)
    parts = _columns(x, top, floor)
    parts.append(_tag("text", label, class_="axis", x=(left + WIDTH - right) / 2, y=floor + 36, text_anchor="middle"))
    centre = top + row / 2
    for number, group in enumerate(groups):
        if number:
            between = centre - row / 2 + gap / 2
            parts.append(_tag("line", class_="rule", x1=0.0, x2=WIDTH, y1=between, y2=between))
            centre += gap
        for cloud in group:
            parts.append(_cloud(cloud, x, centre, left, decimals))
            centre += row
    return _svg(WIDTH, floor + bottom, title, parts)


def draw_pair_chart(
    pairs: Sequence[tuple[str, float, float]], span: Sequence[float], colour: int, x_label: str, y_label: str
) -> Markup:
    """Draw a dot a case, (case, x, y), with the line y = x; both axes hold the values of `span`."""
    side, left, bottom, top, right = 240.0, 50.0, 40.0, 10.0, 10.0
    x, y = fit_axis(span, left, side - right), fit_axis(span, side - bottom, top)
    frame = _frame(x, y, *(label if len(label) <= 30 else f"{label[:29]}…" for label in (x_label, y_label)))
    diagonal = _tag("line", class_="diagonal", x1=x(x.low), y1=y(y.low), x2=x(x.high), y2=y(y.high))
    dots = Markup().join(_dot(x(a), y(b), 3.2, f"{case}: {a:.4g}, {b:.4g}") for case, a, b in pairs)
    drawn = [frame, diagonal, _tag("g", dots, class_=f"c{colour}")]
    return _svg(side, side, f"{y_label} against {x_label}, one dot a case", drawn)


def _cloud(cloud: Cloud, x: Axis, centre: float, left: float, decimals: int) -> Markup:
    lines = _wrapped(cloud.label)
    places = (centre + 4.5 + (index - (len(lines) - 1) / 2) * 14 for index in range(len(lines)))
    name = Markup().join(
        _tag("text", line, class_="label", x=left - 12, y=place, text_anchor="end")
        for line, place in zip(lines, places, strict=True)
    )
    apart = [((index * 0.618034) % 1.0 - 0.5) * 16 for index in range(len(cloud.values))]  # so that dots do not overlap
    dots = [
        _dot(x(value), centre + offset, 2.6, f"{case}: {value:.{decimals}f}")
        for (case, value), offset in zip(cloud.values, apart, strict=True)
    ]
    if cloud.mean is None:
        return name + _tag("g", Markup().join(dots), class_=f"c{cloud.colour}")
    words = f"{cloud.label}: mean {cloud.mean:.{decimals}f}"
    summary = [_tag("line", class_="mean", x1=x(cloud.mean), x2=x(cloud.mean), y1=centre - 11, y2=centre + 11)]
    if cloud.interval:
        low, high = cloud.interval
        words += f" [{low:.{decimals}f}, {high:.{decimals}f}]"
        summary.append(_tag("line", class_="interval", x1=x(low), x2=x(high), y1=centre, y2=centre))
    over = _tag("g", Markup().join((_tag("title", words), *summary)))
    return name + _tag("g", Markup().join((*dots, over)), class_=f"c{cloud.colour}")


def _dot(x: float, y: float, radius: float, words: str) -> Markup:
    return _tag("circle", _tag("title", words), class_="dot", cx=x, cy=y, r=radius)


def _frame(x: Axis, y: Axis, x_label: str, y_label: str) -> Markup:
    parts = _columns(x, y.end, y.start)
    for value, text in y.ticks:
        parts.append(_tag("line", class_="grid", x1=x.start, x2=x.end, y1=y(value), y2=y(value)))
        parts.append(_tag("text", text, class_="tick", x=x.start - 7, y=y(value) + 4, text_anchor="end"))
    middle = f"translate(12 {(y.start + y.end) / 2:.1f}) rotate(-90)"
    parts.append(_tag("text", x_label, class_="axis", x=(x.start + x.end) / 2, y=y.start + 34, text_anchor="middle"))
    parts.append(_tag("text", y_label, class_="axis", transform=middle, text_anchor="middle"))
    return Markup().join(parts)


def _columns(x: Axis, top: float, bottom: float) -> list[Markup]:
    lines = [_tag("line", class_="grid", x1=x(v), x2=x(v), y1=top, y2=bottom) for v, _ in x.ticks]
    return lines + [
        _tag("text", text, class_="tick", x=x(v), y=bottom + 16, text_anchor="middle") for v, text in x.ticks
    ]


def _svg(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    box = f"0 0 {width:g} {height:g}"
    return _tag("svg", Markup().join(parts), viewBox=box, role="img", aria_label=title)


def _tag(name: str, content: str = "", **attributes: str | float) -> Markup:
    """An element; an underscore stands for the hyphen in the name of an attribute, one at its end for nothing."""
    texts = {key: f"{value:.1f}" if isinstance(value, float) else value for key, value in attributes.items()}
    named = ((key.rstrip("_").replace("_", "-"), text) for key, text in texts.items())
    given = Markup().join(Markup(' {}="{}"').format(*pair) for pair in named)
    return Markup("<{0}{1}>{2}</{0}>").format(name, given, content)


def _wrapped(label: str) -> list[str]:
    """At most two lines; the whole label is in the summary one sees over the mean."""
    return wrap(label, 22, max_lines=2, placeholder="…") or [""]
