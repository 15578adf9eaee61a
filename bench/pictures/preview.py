"""Pictures: for one case the input views and, as middle slices and projections, truth, reconstruction, difference."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from bench.metrics.distortion import psnr
from bench.pictures.drawing import Picture, save_figure

if TYPE_CHECKING:
    from bench.cases import Cases

PANELS = ("axial", "coronal", "sagittal", "MIP along D", "MIP along H", "MIP along W")
DIFFERENCE_RANGE = 0.25  # of the unit window, at either end of the colour scale
INCHES = 2.0  # a side of the square that a picture stands in with its title; of it are …
TITLE, MARGIN = 0.14, 0.02  # … a title of two lines, and the space around the picture
BAR = 0.42  # of a square, for the scale beside a row and its HU
HEAD = 0.15  # of a square, for the title of all


def preview_run(path: Path, cases: "Cases", index: int, reconstruction: np.ndarray, title: str) -> None:
    """Write a PNG of case `index` as `draw_run` draws it."""
    save_figure(draw_run(cases, index, reconstruction, title), path)


def draw_run(cases: "Cases", index: int, reconstruction: np.ndarray, title: str) -> Picture:
    """Draw case `index`: views, then truth, reconstruction (D, H, W) in [0, 1], and their difference.

    PSNR stands above them, and beside each row the HU of its black and white or of its colours.
    """
    exact, window = cases.truth(cases.names[index]), cases.card.window
    value = psnr(exact, reconstruction, data_range=1.0)
    reached = "equal to the truth" if value is None else f"PSNR {value:.1f} dB"
    truth, made = panels(exact), panels(reconstruction)
    figure, sheet = _sheet(4, len(PANELS), f"{title} · {cases.names[index]} · {reached}", BAR)
    views = zip(cases.card.angles, cases.images([index])[0].numpy(), strict=True)
    for column, (angle, image) in enumerate(list(views)[: len(PANELS)]):
        _draw(sheet, 0, column, f"view at {angle:g}°", image)
    for column, panel in enumerate(PANELS):
        names = ("truth: ", "reconstruction: ", "reconstruction − truth: ") if column == 0 else ("", "", "")
        _draw(sheet, 1, column, names[0] + panel, truth[column])
        _draw(sheet, 2, column, names[1] + panel, made[column])
        _draw(sheet, 3, column, names[2] + panel, made[column] - truth[column], difference=True)
    reach = DIFFERENCE_RANGE * (window[1] - window[0])
    for row, ends in ((1, window), (2, window), (3, (-reach, reach))):
        _draw_bar(sheet, row, len(PANELS), "RdBu_r" if row == 3 else "gray", ends)
    return figure


def draw_volume(volume: np.ndarray, title: str, window: tuple[float, float] | None) -> Picture:
    """Draw the panels of a volume (D, H, W) in [0, 1] in a row; with a window beside them the HU of black and white."""
    figure, sheet = _sheet(1, len(PANELS), title, BAR if window else 0.0)
    for column, (panel, image) in enumerate(zip(PANELS, panels(volume), strict=True)):
        _draw(sheet, 0, column, panel, image)
    if window:
        _draw_bar(sheet, 0, len(PANELS), "gray", window)
    return figure


def overlay_predictions(path: Path, cases: "Cases", made: Mapping[str, np.ndarray]) -> None:
    """Write a PNG of some volumes (D, H, W) in [0, 1] over the truth of their cases, a row a case.

    The prediction is drawn in red, the truth in cyan: grey where they agree, in colours where one is turned or shifted.
    """
    figure, sheet = _sheet(len(made), len(PANELS), f"{cases.card.name}, {cases.split}: red prediction, cyan truth")
    for row, (case, volume) in enumerate(made.items()):
        pictures = zip(PANELS, panels(volume), panels(cases.truth(case)), strict=True)
        for column, (panel, own, truth) in enumerate(pictures):
            title = f"{case}\n{panel}" if column == 0 else panel
            _draw(sheet, row, column, title, np.stack([own, truth, truth], axis=-1).clip(0, 1))
    save_figure(figure, path)


def preview_cases(path: Path, groups: Sequence["Cases"], count: int) -> None:
    """Write a PNG of the first cases of some groups, such as real ones and phantoms, as a method sees them.

    Each group has a half of the width (or all of it), each of its cases two rows: views, axial and coronal slice, then
    the sagittal slice and the projections. More than two views take more columns.
    """
    pictures = [[_pictures(cases, index) for index in range(min(count, len(cases)))] for cases in groups]
    columns = max(-(-len(one) // 2) for group in pictures for one in group)
    rows = 2 * max(map(len, pictures))
    sources = " beside ".join(f"{cases.card.source} ({cases.split})" for cases in groups)
    figure, sheet = _sheet(rows, columns * len(groups), f"{groups[0].card.name}: {sources}")
    for number, group in enumerate(pictures):
        if number:
            sheet.vlines(number * columns, 0, rows, colors="black", linewidth=1)
        for index, one in enumerate(group):
            for place, (title, image) in enumerate(one):
                row, column = divmod(place, columns)
                _draw(sheet, 2 * index + row, number * columns + column, title, image)
    save_figure(figure, path)


def _pictures(cases: "Cases", index: int) -> list[tuple[str, np.ndarray]]:
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


def _sheet(rows: int, columns: int, title: str, beside: float = 0.0) -> tuple[Picture, Axes]:
    """Return a figure and axes that fill it: a unit square a picture, x to the right and y down.

    One for all pictures, because axes take most of the time that a picture takes. `beside` is room to their right.
    """
    width = columns + beside
    figure = Picture(figsize=(INCHES * width, INCHES * (rows + HEAD)), dpi=100)
    sheet = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(rows, -HEAD), autoscale_on=False)
    sheet.set_axis_off()
    sheet.text(columns / 2, -HEAD / 2, title, fontsize=10, ha="center", va="center")
    return figure, sheet


def _draw_bar(sheet: Axes, row: int, column: int, colours: str, ends: tuple[float, float]) -> None:
    """Draw the scale of a row of pictures right of them, with the HU of its ends and of the middle."""
    top, bottom, left, right = row + TITLE, row + 1 - MARGIN, column + 0.02, column + 0.1
    ramp = np.linspace(1, 0, 64)[:, None]
    sheet.imshow(ramp, colours, extent=(left, right, bottom, top), aspect="auto", interpolation="nearest")
    places = ((top, ends[1], "top"), ((top + bottom) / 2, sum(ends) / 2, "center"), (bottom, ends[0], "bottom"))
    for place, value, side in places:
        text = f"{value:.0f}".replace("-", "−")
        sheet.text(right + 0.03, place, f"{text} HU", fontsize=7, ha="left", va=side)


def _draw(sheet: Axes, row: int, column: int, title: str, image: np.ndarray, difference: bool = False) -> None:
    """Draw `image` (h, w), or (h, w, 3) in colours, below its title into one square of the sheet, as large as fits.

    Without colours of its own it is drawn in grey, or as differences.
    """
    top, side = row + TITLE, 1 - TITLE - MARGIN
    height, width = (side * pixels / max(image.shape[:2]) for pixels in image.shape[:2])
    extent = (column + 0.5 - width / 2, column + 0.5 + width / 2, top + height, top)
    low, high, colours = (-DIFFERENCE_RANGE, DIFFERENCE_RANGE, "RdBu_r") if difference else (0.0, 1.0, "gray")
    sheet.imshow(image, colours, vmin=low, vmax=high, extent=extent, aspect="auto", interpolation="nearest")
    sheet.text(column + 0.5, top - MARGIN / 2, title, fontsize=8, ha="center", va="bottom")
