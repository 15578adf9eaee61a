"""Pictures for notebooks: `bench.plot`. Each function returns a Matplotlib figure, which a notebook shows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.errors import UsageError, unknown_name
from bench.metrics import METRICS
from bench.pictures.drawing import PALETTE, Picture, colour_of, looks_of
from bench.pictures.preview import draw_run, draw_volume
from bench.plugins.registry import method_card

if TYPE_CHECKING:
    from bench.cases import Cases

__all__ = ["case", "scores", "volume"]
ROW_INCHES = 0.45  # of a method in a plot of scores


def case(cases: "Cases", name: str, prediction: np.ndarray | None = None, title: str = "") -> Picture:
    """Draw a case: its X-ray views, middle slices and projections of the truth, and of a reconstruction of it.

    `prediction` is (D, H, W) in [0, 1] over the window of the data set. Raises UsageError for an unknown case and for
    another shape.
    """
    index = cases.index(name)
    if prediction is None:
        return draw_volume(cases.truth(name), title or f"{cases.card.name} · {name}", cases.card.window)
    if prediction.shape != cases.hounsfield.shape[1:]:
        raise UsageError(f"the reconstruction has shape {prediction.shape}, not {cases.hounsfield.shape[1:]}")
    return draw_run(cases, index, np.asarray(prediction, dtype=np.float64), title or cases.card.name)


def volume(values: np.ndarray, window: tuple[float, float] = (-1000.0, 1000.0), title: str = "") -> Picture:
    """Draw middle slices and projections of a volume (D, H, W) in HU, black at the lower end of `window`.

    Raises UsageError for what is no volume and for a window that does not rise.
    """
    if values.ndim != 3 or not window[0] < window[1]:
        raise UsageError(f"a volume (D, H, W) and a window that rises are needed, not {values.shape} and {window}")
    shown = (np.asarray(values, dtype=np.float64) - window[0]) / (window[1] - window[0])
    return draw_volume(shown.clip(0, 1), title, window)


def scores(
    results: pd.DataFrame, metric: str = "psnr", *, space: str = "3d", methods: Sequence[str] | None = None
) -> Picture:
    """Draw a dot a case and an upright bar at the mean, a row a method, of a table of `bench.load_results`.

    Values of several seeds are averaged by case. The table must be of one data set, preset, split and protocol: select
    its rows first. Raises UsageError for a table of several, and for a metric without values of single cases.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, sorted(METRICS))
    rows = results[(results["level"] == "case") & (results["space"] == space) & (results["metric"] == metric)]
    rows = rows[rows["value"].notna() & (rows["rep"] == "") & (rows["axis"].isin(["all", "mean", "heldout"]))]
    rows = rows if methods is None else rows[rows["method"].isin(list(methods))]
    if not len(rows):
        raise UsageError(f"the table has no values of {metric} of single cases in the space {space}")
    for name in ("dataset", "source", "trained_on", "preset", "split", "protocol", "data_fingerprint"):
        if rows[name].nunique() > 1:
            raise UsageError(f"the table is of several: {name} {', '.join(sorted(map(str, rows[name].unique())))}")
    by_case = rows.groupby(["method", "case"], observed=True)["value"].mean()
    means = by_case.groupby(level="method").mean().sort_values(ascending=METRICS[metric].direction != "down")
    looks, figure = looks_of(means.index), Picture(figsize=(7, 1 + ROW_INCHES * len(means)), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(means.index):
        values, floor = by_case.loc[name].to_numpy(), (card := method_card(name)) is not None and card.kind != "method"
        colour = "#888888" if floor else colour_of(looks.get(name, len(PALETTE) - 1))
        spread = ((np.arange(len(values)) * 0.618034) % 1.0 - 0.5) * 0.5  # so that dots do not overlap
        axes.plot(values, place + spread, "o", color=colour, markersize=4, alpha=0.7, markeredgewidth=0)
        axes.vlines(means[name], place - 0.35, place + 0.35, colors=colour, linewidth=2)
    titles = [card.title if (card := method_card(name)) else name for name in means.index]
    axes.set_yticks(range(len(means)), titles)
    axes.set_xlabel(METRICS[metric].name)
    axes.grid(axis="x", alpha=0.3)
    return figure
