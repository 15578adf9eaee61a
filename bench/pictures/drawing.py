"""What all pictures share: the look that a method has everywhere, ticks of logarithmic axes, and how they are saved."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from bench.plugins.registry import discover_methods
from bench.system.files import write_atomic

PALETTE = (  # on white and on black: Okabe and Ito, Color Universal Design, 2008, without yellow, which white swallows
    ("#0072b2", "#0072b2"),
    ("#d55e00", "#d55e00"),
    ("#009e73", "#009e73"),
    ("#e69f00", "#e69f00"),
    ("#cc79a7", "#cc79a7"),
    ("#56b4e9", "#56b4e9"),
    ("#000000", "#e8e6e1"),
)
MARKERS = "os^DvP*X"  # one more than colours, so that names beyond the last colour differ by their marker
LEAST_TICKS = 3
mpl.rcParams["text.parse_math"] = False  # a $ in a title of the user's is a $


class Picture(Figure):
    """A figure that a notebook shows, and a file takes, without Matplotlib's own interface."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def looks_of(names: Iterable[str]) -> dict[str, int]:
    """Return the number of each name's look, from 0: of the harness's methods the place among them, then the others.

    The former is the same in every picture; the latter, in the order of names, as long as the others are.
    """
    methods = discover_methods()[0]
    fixed = sorted(name for name, plugin in methods.items() if plugin.card.kind == "method" and plugin.builtin)
    others = sorted(set(names) - set(fixed))
    return {name: place for place, name in enumerate((*fixed, *others))}


def colour_of(look: int) -> str:
    """Return the colour on white paper of a number of `looks_of`, as #rrggbb."""
    return PALETTE[look % len(PALETTE)][0]


def marker_of(look: int) -> str:
    """Return the marker of a number of `looks_of`, as Matplotlib calls it."""
    return MARKERS[look % len(MARKERS)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round values in [low, high], 0 < low < high, for a logarithmic axis: two or more, best powers of ten."""
    for steps in ((1.0,), (1.0, 2.0, 5.0)):
        places = LogLocator(subs=steps, numticks=8).tick_values(low, high)
        inside = [float(place) for place in places if low <= place <= high]
        if len(inside) >= LEAST_TICKS:
            return inside
    places = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(place) for place in places if low <= place <= high]


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, whole or not at all. Raises BenchError when the disk is full or read-only."""
    write_atomic(path, lambda file: figure.savefig(file, format="png"))
