"""Pictures: for one case the input views and, as middle slices and projections, truth, reconstruction, difference."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.dataset import Cases, to_unit
from bench.files import write_atomic

PANELS = ("axial", "coronal", "sagittal", "MIP along D", "MIP along H", "MIP along W")
DIFFERENCE_RANGE = 0.25  # of the unit window, at either end of the colour scale


def preview_run(path: Path, cases: Cases, index: int, reconstruction: np.ndarray, title: str) -> None:
    """Write a PNG of case `index`: views, then truth, reconstruction (D, H, W) in [0, 1], and their difference."""
    truth = to_unit(np.asarray(cases.hounsfield[index], dtype=np.float32), cases.card.window)
    figure, axes = _canvas(rows=4, title=f"{title} · {cases.names[index]}")
    _draw_views(axes[0], cases, index)
    for row, (name, volume) in enumerate((("truth", truth), ("reconstruction", reconstruction)), start=1):
        _draw_row(axes[row], _panels(volume), name, cmap="gray", low=0.0, high=1.0)
    differences = [a - b for a, b in zip(_panels(reconstruction), _panels(truth), strict=True)]
    _draw_row(axes[3], differences, "reconstruction − truth", "RdBu_r", -DIFFERENCE_RANGE, DIFFERENCE_RANGE)
    _save(figure, path)


def preview_cases(path: Path, cases: Cases, indices: Sequence[int]) -> None:
    """Write a PNG of some cases as a method sees them: one row a case, views first."""
    views = cases.card.views
    figure, axes = _canvas(rows=len(indices), columns=views + len(PANELS), title=f"{cases.card.name}, {cases.split}")
    for row, index in zip(axes, indices, strict=True):
        volume = to_unit(np.asarray(cases.hounsfield[index], dtype=np.float32), cases.card.window)
        _draw_views(row[:views], cases, index)
        _draw_row(row[views:], _panels(volume), cases.names[index], "gray", 0.0, 1.0)
    _save(figure, path)


def _panels(volume: np.ndarray) -> list[np.ndarray]:
    middle = [side // 2 for side in volume.shape]
    slices = [volume[middle[0]], volume[:, middle[1]], volume[:, :, middle[2]]]
    return slices + [volume.max(axis) for axis in range(3)]


def _canvas(rows: int, title: str, columns: int = len(PANELS)) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(1.9 * columns, 2.0 * rows + 0.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=10)
    return figure, axes


def _draw_views(axes: np.ndarray, cases: Cases, index: int) -> None:
    images = cases.images([index])[0].numpy()
    for axis, image, angle in zip(axes, images, cases.card.angles, strict=False):
        axis.imshow(image, cmap="gray", vmin=0.0, vmax=1.0)
        axis.set_title(f"view at {angle:g}°", fontsize=8)


def _draw_row(axes: np.ndarray, images: Sequence[np.ndarray], name: str, cmap: str, low: float, high: float) -> None:
    for axis, image, panel in zip(axes, images, PANELS, strict=True):
        axis.imshow(image, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(panel if axis is not axes[0] else f"{name}: {panel}", fontsize=8)


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))
