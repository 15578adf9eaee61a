"""One picture for a page that is only read: of each dataset one case, the truth beside what every method made of it."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.figure import SubFigure

from bench.errors import BenchError, UsageError
from bench.pictures.drawing import Picture, save_figure
from bench.pictures.preview import PANELS, panels
from bench.report.collect import Group, Subject
from bench.report.pictures import white_of

SHOWN = ("axial", "coronal", "MIP along H")
INCHES = 1.25  # a side of a picture
TITLE = 17  # characters of a line of a title
WHITE = "white"


def draw_gallery(path: Path, groups: Sequence[Group], index: int = 0) -> list[str]:
    """Write a PNG of the case `index` of every group that has runs on disk, and return the names of the cases drawn.

    Rows are the pictures of SHOWN, columns the truth, the methods best first, then floors and ceilings. Raises
    UsageError when there is nothing to draw or no such case.
    """
    with_runs = [(group, [subject for subject in group.subjects if subject.folders]) for group in groups]
    drawn = [(group, subjects) for group, subjects in with_runs if group.cases is not None and subjects]
    if not drawn:
        reasons = "; ".join(f"{group.title}: {group.reason}" for group in groups if group.reason)
        raise UsageError(f"there is no run to draw{f' ({reasons})' if reasons else ''}; run `bench run` first")
    columns = 1 + max(len(subjects) for _, subjects in drawn)
    height = len(SHOWN) * INCHES + 0.75
    figure = Picture(figsize=(columns * INCHES + 0.2, height * len(drawn)), dpi=110, facecolor=WHITE)
    parts = figure.subfigures(len(drawn), 1, squeeze=False)[:, 0]
    names = [_draw_group(part, *one, index, columns) for part, one in zip(parts, drawn, strict=True)]
    save_figure(figure, path)
    return names


def _draw_group(part: SubFigure, group: Group, subjects: Sequence[Subject], index: int, columns: int) -> str:
    assert group.cases is not None
    if not 0 <= index < len(group.cases):
        raise UsageError(f"{group.title} has {len(group.cases)} cases; there is no case {index}")
    case = group.cases.names[index]
    truth = group.truth(case)
    white = white_of(truth)
    axes = part.subplots(len(SHOWN), columns, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    part.subplots_adjust(left=0.03, right=0.995, bottom=0.01, top=0.80)
    part.suptitle(f"{group.heading} · {group.source} · {group.facts['preset']} · {case}", fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    _draw_column(axes[:, 0], truth, white, "truth", bold=True)
    for column, subject in enumerate(subjects, start=1):
        try:
            volume = group.prediction(subject.folders[0], case)
        except BenchError as error:
            raise BenchError(f"{subject.entry.title} cannot be drawn: {error}") from error
        title = fill(subject.entry.title, TITLE, break_long_words=False, break_on_hyphens=False)
        error_db = 10 * np.log10(1 / max(float(np.mean((volume - truth) ** 2)), 1e-12))
        _draw_column(axes[:, column], volume, white, f"{title}\n{error_db:.1f} dB", bold=False)
    for axis, name in zip(axes[:, 0], SHOWN, strict=True):
        axis.text(-0.06, 0.5, name, rotation=90, ha="right", va="center", fontsize=6, transform=axis.transAxes)
    return case


def _draw_column(axes: np.ndarray, volume: np.ndarray, white: float, title: str, *, bold: bool) -> None:
    images = dict(zip(PANELS, panels(volume), strict=True))
    for axis, name in zip(axes, SHOWN, strict=True):
        axis.imshow(images[name], cmap="gray", vmin=0.0, vmax=white, interpolation="nearest")
    axes[0].set_title(title, fontsize=6.5, fontweight="bold" if bold else "normal", pad=3)
