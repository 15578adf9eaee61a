"""One picture for a page that is only read: of each dataset one case, the truth beside what every method made of it."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.figure import SubFigure

from bench.cases import Cases
from bench.errors import BenchError, UsageError
from bench.pictures.drawing import Picture, save_figure
from bench.pictures.preview import PANELS, panels
from bench.report.collect import Group, Subject
from bench.report.pictures import white_of
from bench.results.leaderboard import ENOUGH_METHODS

SHOWN = ("axial", "coronal", "sagittal")
INCHES = 1.25  # a side of a picture
GAP = 0.25  # of a picture, between X-rays, volumes and floors
HEAD, TITLES = 0.22, 0.48  # inches above the pictures of a group: its name, and the names of its columns
TITLE = 17  # characters of a line of a title
FONT = 7.5  # points; legible where a README shows the whole width
Found = tuple[Group, Cases, list[Subject]]
"""What can be drawn: a group, its cases, and what made something of them."""


def draw_gallery(path: Path, groups: Sequence[Group], index: int = 0) -> list[str]:
    """Write a PNG of one case of each data set that has runs on disk, and return the names of the cases drawn.

    It is case `index` of the group of the largest grid of which enough methods can be drawn; where none has enough, of
    the largest. Columns are the X-rays, the truth, the methods best first, and apart from them ceilings and floors, but
    for those that are there for their bits; rows are the slices of SHOWN. Raises UsageError when there is nothing to
    draw or no such case.
    """
    found: dict[str, list[Found]] = {}
    for group in groups:
        subjects = [one for one in group.subjects if one.folders]
        if group.cases and subjects:
            drawn = [one for one in subjects if one.entry.kind != "reference" and not one.entry.is_for_bits]
            found.setdefault(group.facts["dataset"], []).append((group, group.cases, drawn))
    if not found:
        reasons = "; ".join(f"{group.title}: {group.reason}" for group in groups if group.reason)
        raise UsageError(f"there is no run to draw{f' ({reasons})' if reasons else ''}; run `bench run` first")
    chosen = [max(of_dataset, key=_rate) for of_dataset in found.values()]  # of equals the first
    columns = 2 + max(len(subjects) for *_, subjects in chosen)
    height = len(SHOWN) * INCHES + HEAD + TITLES
    figure = Picture(figsize=((columns + 2 * GAP) * INCHES + 0.2, height * len(chosen)), dpi=110, facecolor="white")
    parts = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
    names = [_draw_group(part, *one, index, columns, height) for part, one in zip(parts, chosen, strict=True)]
    save_figure(figure, path)
    return names


def _rate(found: Found) -> tuple[bool, int]:
    """Return what makes a group worth drawing; unlike a block of the leaderboard it counts only what has volumes."""
    _, cases, subjects = found
    return sum(subject.entry.kind == "method" for subject in subjects) >= ENOUGH_METHODS, cases.card.size


def _draw_group(
    part: SubFigure, group: Group, cases: Cases, subjects: Sequence[Subject], index: int, columns: int, height: float
) -> str:
    if not 0 <= index < len(cases):
        raise UsageError(f"{group.title} has {len(cases)} cases; there is no case {index}")
    case = cases.names[index]
    truth = group.truth(case)
    white = white_of(truth)
    volumes = 1 + sum(subject.entry.kind == "method" for subject in subjects)
    widths = [1.0, GAP] + [1.0] * volumes + [GAP] + [1.0] * (columns - 1 - volumes)
    grid = {"wspace": 0.04, "hspace": 0.04, "width_ratios": widths}
    axes = part.subplots(len(SHOWN), len(widths), squeeze=False, gridspec_kw=grid)
    part.subplots_adjust(left=0.03, right=0.995, bottom=0.01, top=1 - (HEAD + TITLES) / height)
    heading = f"{group.heading} · {group.source} · {group.facts['preset']} · {case}"
    part.suptitle(heading, fontsize=FONT + 2, y=1 - 0.1 / height, va="top")
    for axis in axes.flat:
        axis.set_axis_off()
    views = [image.numpy() for image in cases.images([index])[0]]
    _draw_column(axes[:, 0], views[: len(SHOWN)], 1.0, "X-rays", bold=True)
    _draw_column(axes[:, 2], _slices(truth), white, "truth", bold=True)
    for column, subject in enumerate(subjects, start=1):
        try:
            volume = group.prediction(subject.folders[0], case)
        except BenchError as error:
            raise BenchError(f"{subject.entry.title} cannot be drawn: {error}") from error
        title = fill(subject.entry.title, TITLE, break_long_words=False, break_on_hyphens=False)
        error_db = 10 * np.log10(1 / max(float(np.mean((volume - truth) ** 2)), 1e-12))
        own = axes[:, column + (2 if column < volumes else 3)]
        _draw_column(own, _slices(volume), white, f"{title}\n{error_db:.1f} dB", bold=False)
    for axis, name in zip(axes[:, 2], SHOWN, strict=True):
        axis.text(-0.03, 0.5, name, rotation=90, ha="right", va="center", fontsize=FONT, transform=axis.transAxes)
    return case


def _slices(volume: np.ndarray) -> list[np.ndarray]:
    images = dict(zip(PANELS, panels(volume), strict=True))
    return [images[name] for name in SHOWN]


def _draw_column(axes: np.ndarray, images: Sequence[np.ndarray], white: float, title: str, *, bold: bool) -> None:
    for axis, image in zip(axes, images, strict=False):
        axis.imshow(image, cmap="gray", vmin=0.0, vmax=white, interpolation="nearest")
    axes[0].set_title(title, fontsize=FONT, fontweight="bold" if bold else "normal", pad=3)
