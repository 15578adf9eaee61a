"""Pictures: for one case the input views and, as middle slices and projections, truth, reconstruction, difference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.cases import Cases
from bench.pictures.drawing import save_figure

PANELS = ("axial", "coronal", "sagittal", "MIP along D", "MIP along H", "MIP along W")
TITLE: dict[str, Any] = {"fontsize": 8, "y": 1.0}  # without y half the time goes into room for ticks that are not drawn
DIFFERENCE_RANGE = 0.25  # of the unit window, at either end of the colour scale


def preview_run(path: Path, cases: Cases, index: int, reconstruction: np.ndarray, title: str) -> None:
    """Write a PNG of case `index`: views, then truth, reconstruction (D, H, W) in [0, 1], and their difference."""
    truth = cases.truth(cases.names[index])
    figure, axes = _canvas(rows=4, title=f"{title} · {cases.names[index]}")
    _draw_views(axes[0], cases, index)
    for row, (name, volume) in enumerate((("truth", truth), ("reconstruction", reconstruction)), start=1):
        _draw_row(axes[row], panels(volume), name, cmap="gray", low=0.0, high=1.0)
    differences = [a - b for a, b in zip(panels(reconstruction), panels(truth), strict=True)]
    _draw_row(axes[3], differences, "reconstruction − truth", "RdBu_r", -DIFFERENCE_RANGE, DIFFERENCE_RANGE)
    save_figure(figure, path)


def preview_cases(path: Path, groups: Sequence[Cases], count: int) -> None:
    """Write a PNG of the first cases of some groups, such as real ones and phantoms, as a method sees them.

    Each group has a half of the width (or all of it), each of its cases two rows: views, axial and coronal slice, then
    the sagittal slice and the projections. More than two views take more columns.
    """
    pictures = [[_pictures(cases, index) for index in range(min(count, len(cases)))] for cases in groups]
    columns = max(-(-len(one) // 2) for group in pictures for one in group)
    rows = 2 * max(map(len, pictures))
    sources = " beside ".join(f"{cases.card.source} ({cases.split})" for cases in groups)
    figure, axes = _canvas(rows, f"{groups[0].card.name}: {sources}", columns * len(groups))
    for number in range(1, len(groups)):
        figure.add_artist(Line2D([number / len(groups)] * 2, [0, 0.96], color="black", linewidth=1))
    for number, group in enumerate(pictures):
        for index, one in enumerate(group):
            part = axes[2 * index : 2 * index + 2, number * columns : (number + 1) * columns]
            for axis, (title, image) in zip(part.flat, one, strict=False):
                axis.imshow(image, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
                axis.set_title(title, **TITLE)
    save_figure(figure, path)


def _pictures(cases: Cases, index: int) -> list[tuple[str, np.ndarray]]:
    """Title and image of each picture of a case, its name in the first title."""
    volume = cases.truth(cases.names[index])
    views = zip((f"view at {angle:g}°" for angle in cases.card.angles), cases.images([index])[0].numpy(), strict=True)
    pictures = [*views, *zip(PANELS, panels(volume), strict=True)]
    title, first = pictures[0]
    return [(f"{cases.names[index]}\n{title}", first), *pictures[1:]]


def panels(volume: np.ndarray) -> list[np.ndarray]:
    """The pictures of PANELS of a volume (D, H, W): middle slices and projections, rows from the top or the front."""
    middle = [side // 2 for side in volume.shape]
    slices = [volume[middle[0]], volume[:, middle[1]], volume[:, :, middle[2]]]
    return slices + [volume.max(axis) for axis in range(3)]


def _canvas(rows: int, title: str, columns: int = len(PANELS)) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(1.9 * columns, 2.0 * rows + 0.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw={"xticks": [], "yticks": []})  # ticks cost most
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=10)
    return figure, axes


def _draw_views(axes: np.ndarray, cases: Cases, index: int) -> None:
    images = cases.images([index])[0].numpy()
    for axis, image, angle in zip(axes, images, cases.card.angles, strict=False):
        axis.imshow(image, cmap="gray", vmin=0.0, vmax=1.0)
        axis.set_title(f"view at {angle:g}°", **TITLE)


def _draw_row(axes: np.ndarray, images: Sequence[np.ndarray], name: str, cmap: str, low: float, high: float) -> None:
    for axis, image, panel in zip(axes, images, PANELS, strict=True):
        axis.imshow(image, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(panel if axis is not axes[0] else f"{name}: {panel}", **TITLE)
