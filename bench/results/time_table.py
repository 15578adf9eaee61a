"""Table 4: what each part of a method takes to train and to apply, per device."""

from collections.abc import Mapping

import pandas as pd

from bench.metrics import METRICS
from bench.results.model import title_and_kind
from bench.results.published import PRINTED_TITLES, Published, methods_of, of_table
from bench.results.table_model import Cell, Row, Table, TableBlock

TIME_TABLE = "4"
NO_RUN = "no run yet; published numbers alone"
STEPS = 100_000  # the paper states training times for this many
COLUMNS = {"train_hours": "Training, h per 100k steps", "infer_seconds": "Inference, s a case"}
CAPTION = (
    "Cells: ours (published: one A100, 100k steps; data set and batch size not stated). Training hours of ours are "
    "measured on the steps of the run and scaled to 100k; inference seconds are the mean over cases. All is wall time "
    "as it passed, whatever else the machine did meanwhile. ± is the standard deviation over seeds. Times are compared "
    "with nothing but the same device."
)
KEYS = ("dataset", "source", "preset", "views", "device", "data_fingerprint")  # what must be equal


def build_time_table(rows: pd.DataFrame) -> Table:
    """Return the table of times from the rows of a model; parts keep the order of the paper."""
    printed = of_table(TIME_TABLE)
    times = rows[(rows["space"] == "time") & rows["metric"].isin(COLUMNS)]
    times = times.drop_duplicates(["run_id", "axis", "metric"])  # once a run, whatever the protocols it was scored by
    times = times.assign(part=times["method"].astype(str) + "/" + times["axis"].astype(str))
    blocks = [
        _build_block(dict(zip(KEYS, map(str, key), strict=True)), own, printed)
        for key, own in times.groupby(list(KEYS), sort=True, observed=True)
    ]
    if not blocks:
        blocks = [TableBlock({}, NO_RUN, tuple(_build_row(part, times, printed) for part in methods_of(printed)))]
    columns = tuple(COLUMNS.values())
    title = "Training and inference time"
    return Table(TIME_TABLE, title, columns, tuple(blocks), caption=CAPTION, name_column="Component")


def _build_block(
    facts: dict[str, str], times: pd.DataFrame, printed: Mapping[tuple[str, str], Published]
) -> TableBlock:
    order = methods_of(printed)
    parts = [*order, *sorted(set(times["part"]) - set(order))]
    device = facts["device"] or "device not recorded"
    data = f"{facts['dataset']}, {facts['source']} data, preset {facts['preset']}, views {facts['views']}"
    return TableBlock(facts, f"{device} · {data}", tuple(_build_row(part, times, printed) for part in parts))


def _build_row(part: str, times: pd.DataFrame, printed: Mapping[tuple[str, str], Published]) -> Row:
    method, _, component = part.partition("/")
    title = f"{title_and_kind(method)[0]}: {PRINTED_TITLES.get(part, component)}"
    mine = times[times["part"] == part]
    cells = []
    for metric in COLUMNS:
        rows = mine[mine["metric"] == metric]
        values = rows["value"]
        if METRICS[metric].unit == "h":  # of training, whose n are its steps
            values = (values * STEPS / rows["n"].astype(float))[rows["n"].fillna(0) > 0]
        text = printed[part, metric].text if (part, metric) in printed else ""
        if not len(values):
            cells.append(Cell(metric, "not_run", published=text))
            continue
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        cells.append(Cell(metric, "value", value=float(values.mean()), sd=sd, published=text))
    return Row(title, "method", tuple(cells), part, seeds=mine["run_id"].nunique())
