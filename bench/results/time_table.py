"""Table 4: what each part of a method takes to train and to apply, per device."""

from collections.abc import Mapping

import pandas as pd

from bench.results.published import PRINTED_TITLES, Published, of_table
from bench.results.table_model import Block, Cell, Row, Table
from bench.results.tables import NO_RUN, TIME_TABLE, title_and_kind

STEPS = 100_000  # the paper states training times for this many
METRICS_SHOWN = ("train_hours", "infer_seconds")
COLUMNS = ("Training, h per 100k steps", "Inference, s a case")
CAPTION = (
    "Cells: ours (published: one A100, 100k steps; data set and batch size not stated). Training hours of ours are "
    "measured on the steps of the run and scaled to 100k; inference seconds are the mean over cases. All is wall time "
    "as it passed, whatever else the machine did meanwhile. ± is the standard deviation over seeds. Times are compared "
    "with nothing but the same device."
)
BLOCK_KEYS = ("dataset", "source", "preset", "views", "device", "data_fingerprint")


def build_time_table(scores: pd.DataFrame) -> Table:
    """The table of times, from rows of scores.csv joined with runs.csv; parts keep the order of the paper."""
    printed = of_table(TIME_TABLE)
    times = scores[(scores["space"] == "time") & scores["metric"].isin(METRICS_SHOWN)]
    times = times.drop_duplicates(["run_id", "axis", "metric"])  # once a run, whatever the protocols it was scored by
    blocks = [
        _block(dict(zip(BLOCK_KEYS, map(str, key), strict=True)), rows, printed)
        for key, rows in times.groupby(list(BLOCK_KEYS), sort=True)
    ]
    if not blocks:
        blocks = [Block({}, NO_RUN, tuple(_row(part, None, printed) for part in _parts(printed)))]
    title = "Training and inference time"
    return Table(TIME_TABLE, title, COLUMNS, tuple(blocks), (), caption=CAPTION, name_column="Component")


def _block(facts: dict[str, str], rows: pd.DataFrame, printed: Mapping[tuple[str, str], Published]) -> Block:
    parts = rows["method"] + "/" + rows["axis"]
    order = _parts(printed)
    names = [*order, *sorted(set(parts) - set(order))]
    device = facts["device"] or "device not recorded"
    data = f"{facts['dataset']}, {facts['source']} data, preset {facts['preset']}, views {facts['views']}"
    return Block(facts, f"{device} · {data}", tuple(_row(part, rows[parts == part], printed) for part in names))


def _row(part: str, rows: pd.DataFrame | None, printed: Mapping[tuple[str, str], Published]) -> Row:
    method, _, component = part.partition("/")
    title = f"{title_and_kind(method)[0]}: {PRINTED_TITLES.get(part, component)}"
    cells = []
    for metric in METRICS_SHOWN:
        text = printed[part, metric].text if (part, metric) in printed else ""
        mine = rows[rows["metric"] == metric] if rows is not None else None
        if mine is None or not len(mine):
            cells.append(Cell(metric, "not_run", published=text))
            continue
        values = mine["value"]
        if metric == "train_hours":
            values = (values * STEPS / mine["n"].astype(float))[mine["n"].fillna(0) > 0]
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        value = float(values.mean()) if len(values) else None
        cells.append(Cell(metric, "value" if len(values) else "not_run", value=value, sd=sd, published=text))
    seeds = 0 if rows is None else rows["run_id"].nunique()
    return Row(part, title, "method", "", seeds, tuple(cells))


def _parts(printed: Mapping[tuple[str, str], Published]) -> list[str]:
    return list(dict.fromkeys(part for part, _ in printed))
