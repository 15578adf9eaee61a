"""The paper's tables with our numbers beside the printed ones, from scores.csv and runs.csv.

Rows share a block only if they share protocol, data set, source, split, preset, views and data fingerprint. Printed
numbers stand beside ours and are never ranked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.errors import UsageError, unknown_name
from bench.metrics import BASELINE_SUFFIX, BLURRED_SUFFIX, METRICS, Space
from bench.plugins.registry import find_installed_dataset, method_card
from bench.results.published import NLL, PRINTED_TITLES, Published, doubts, of_table
from bench.results.table_model import Block, Cell, Footnotes, Kind, Row, Table, label_of, ranked
from bench.scoring.protocol import TRUTH_CT, TRUTH_ENCODED
from bench.scoring.protocols import PROTOCOLS, say_version
from bench.scoring.store import load_results

VOLUME_METRICS = (NLL, "density", "coverage", "ssim", "psnr", "mse", "mae")
MIP_METRICS = ("density", "coverage", "ssim", "psnr")
DRR_METRICS = ("ssim", "psnr", "mse", "mae")
AXIS_OF: dict[Space, str] = {"3d": "all", "mip": "mean", "drr": "heldout"}  # what a table shows of each space
ORACLE_SUFFIX = "-oracle"  # a method's own encoding of the truth: its ceiling
NO_RUN = "no run yet; published numbers alone"
BLOCK_KEYS = ("protocol", "protocol_hash", "dataset", "source", "split", "preset", "views", "data_fingerprint")


@dataclass(frozen=True)
class TableSpec:
    """What a table shows."""

    id: str
    title: str
    dataset: str  # with its variants: lidc-x2ct belongs to lidc
    space: Space
    metrics: tuple[str, ...]


SPECS = (
    TableSpec("1", "3-D fidelity and distortion, baggage", "baggage", "3d", VOLUME_METRICS),
    TableSpec("2", "3-D fidelity and distortion, chest (LIDC-IDRI)", "lidc", "3d", VOLUME_METRICS),
    TableSpec("3a", "Maximum-intensity projections, baggage", "baggage", "mip", MIP_METRICS),
    TableSpec("3b", "Maximum-intensity projections, chest (LIDC-IDRI)", "lidc", "mip", MIP_METRICS),
    TableSpec("5a", "X-ray images at angles not given, baggage (not in the paper)", "baggage", "drr", DRR_METRICS),
    TableSpec("5b", "X-ray images at angles not given, chest (not in the paper)", "lidc", "drr", DRR_METRICS),
)
TIME_TABLE = "4"
GROUPS = {"3": ("3a", "3b"), "5": ("5a", "5b"), "all": (*(spec.id for spec in SPECS), TIME_TABLE)}


@dataclass(frozen=True)
class Filters:
    """Which results are shown; None shows all."""

    dataset: str | None = None
    protocol: str | None = None
    preset: str | None = None
    source: str | None = None
    split: str | None = None

    @property
    def asked(self) -> dict[str, str]:
        """The columns that are restricted."""
        return {column: wanted for column, wanted in vars(self).items() if wanted is not None}


def build_tables(which: str, results_dir: Path, filters: Filters | None = None) -> list[Table]:
    """The tables called `which`: 1, 2, 3a, 3b, 4, 5a, 5b, 3 or 5 for both, or all.

    All include those of data sets the paper does not have.

    Raises UsageError for an unknown table or filters that nothing passes, BenchError for a damaged results file.
    """
    from bench.results.time_table import build_time_table

    filters = filters or Filters()
    known = [spec.id for spec in SPECS] + [TIME_TABLE, *GROUPS]
    if which not in known:
        raise unknown_name("table", which, known)
    wanted = GROUPS.get(which, (which,))
    scores = filtered(load_results(results_dir), filters, str(results_dir))
    specs = [spec for spec in SPECS if spec.id in wanted]
    if filters.dataset is not None:
        specs = [spec for spec in specs if belongs(filters.dataset, spec.dataset)]
    if which == "all":
        specs += _other_specs(scores)
    tables = [build_table(spec, scores) for spec in specs]
    if which == "all":  # what is neither measured nor printed is not worth a title
        tables = [table for table in tables if any(block.methods or block.references for block in table.blocks)]
    if TIME_TABLE in wanted:
        tables.append(build_time_table(scores))
    return sorted(tables, key=lambda table: table.id)


def build_table(spec: TableSpec, scores: pd.DataFrame) -> Table:
    """One table of means over cases, from rows of scores.csv joined with runs.csv; the largest grid first."""
    notes = Footnotes()
    printed = of_table(spec.id)
    axis = AXIS_OF[spec.space]
    means = scores[(scores["level"] == "set") & (scores["stat"] == "mean") & (scores["axis"] == axis)]
    datasets = [name for name in scores["dataset"].unique() if belongs(name, spec.dataset)]
    means = means[(means["space"] == spec.space) & means["dataset"].isin(datasets)]
    groups = [
        (dict(zip(BLOCK_KEYS, map(str, key), strict=True)), rows)
        for key, rows in means.groupby(list(BLOCK_KEYS), sort=True)
    ]
    groups.sort(key=lambda group: (group[0]["protocol"], -(_grid_and_window(group[0], group[1].iloc[0])[0] or 0)))
    blocks = [_block(spec, facts, rows, printed, notes) for facts, rows in groups]
    if not blocks:
        methods = tuple(_row(spec, method, None, printed, notes) for method in _methods_of(printed))
        blocks = [Block({}, NO_RUN, methods)]
    columns = tuple(label_of(metric) for metric in spec.metrics)
    return Table(spec.id, spec.title, columns, tuple(blocks), tuple(notes.texts))


def belongs(dataset: str, base: str) -> bool:
    """Whether a data set is `base` or a variant of it, as lidc-x2ct is of lidc."""
    return dataset == base or dataset.startswith(f"{base}-")


def title_and_kind(method: str) -> tuple[str, Kind]:
    """How a method is called in tables, and whether it is ranked."""
    card = method_card(method)
    if card is not None:
        return card.title, card.kind
    if method.endswith(ORACLE_SUFFIX):
        return f"{title_and_kind(method.removesuffix(ORACLE_SUFFIX))[0]}, its own encoding of the truth", "ceiling"
    return PRINTED_TITLES.get(method, method), "method"


def header_of(facts: Mapping[str, str], rows: pd.DataFrame) -> str:
    """One line of what all rows of a block share."""
    size, window = _grid_and_window(facts, rows.iloc[0])
    parts = [
        f"{facts['protocol']} ({facts['protocol_hash'][:8]})",
        f"{facts['dataset']}, {facts['source']} data",
        f"preset {facts['preset']}" + (f", grid {size}³" if size else ""),
        f"{facts['split']} n={rows['n'].max()}",
        f"views {facts['views']}",
        f"window {window} HU" if window else "",
        _fidelity_text(facts, size),
        f"data {facts['data_fingerprint'][:8]}" if facts["data_fingerprint"] else "",
    ]
    return " · ".join(part for part in parts if part)


def _grid_and_window(facts: Mapping[str, str], run: pd.Series) -> tuple[int | None, str]:
    """Voxels a side and HU window, from the run's record, else from the data set's own description."""
    size = None if pd.isna(run["size"]) else int(run["size"])
    window = "" if pd.isna(run["window_low"]) else f"[{run['window_low']:g}, {run['window_high']:g}]"
    spec = find_installed_dataset(facts["dataset"])
    if spec is None:
        return size, window
    preset = spec.presets.get(facts["preset"])
    return size or (preset.size if preset else None), window or f"[{spec.window[0]:g}, {spec.window[1]:g}]"


def _fidelity_text(facts: Mapping[str, str], size: int | None) -> str:
    if version := say_version(facts["protocol"], facts["protocol_hash"]):
        return version
    protocol = PROTOCOLS[facts["protocol"]]
    if protocol.fidelity is None:
        return ""
    side = f" at {protocol.fidelity.side(size)}³" if size else ""
    encoders, batch = len(protocol.fidelity.encoder_seeds), protocol.fidelity.batch
    many = f"{encoders} encoder" + ("s" if encoders > 1 else "")
    return f"k={protocol.fidelity.nearest_k}, {many}{side}" + (f", batches of {batch}" if batch else "")


def filtered(scores: pd.DataFrame, filters: Filters, whose: str) -> pd.DataFrame:
    """The rows that pass. Raises UsageError, saying `whose` they are and what there is, where none does."""
    shown = scores
    for column, wanted in filters.asked.items():
        shown = shown[shown[column] == wanted]
    if len(scores) and not len(shown):
        asked = ", ".join(f"{column} {wanted}" for column, wanted in filters.asked.items())
        offers = "; ".join(f"{column} {', '.join(sorted(scores[column].unique()))}" for column in filters.asked)
        raise UsageError(f"{whose} has no rows of {asked}; it has {offers}")
    return shown


def _other_specs(scores: pd.DataFrame) -> Iterator[TableSpec]:
    for dataset in sorted(scores["dataset"].unique()):
        if not any(belongs(dataset, spec.dataset) for spec in SPECS):
            yield TableSpec(f"{dataset}-3d", f"3-D fidelity and distortion, {dataset}", dataset, "3d", VOLUME_METRICS)
            yield TableSpec(f"{dataset}-mip", f"Maximum-intensity projections, {dataset}", dataset, "mip", MIP_METRICS)
            yield TableSpec(
                f"{dataset}-drr", f"X-ray images at angles not given, {dataset}", dataset, "drr", DRR_METRICS
            )


def _block(
    spec: TableSpec,
    facts: dict[str, str],
    rows: pd.DataFrame,
    printed: Mapping[tuple[str, str], Published],
    notes: Footnotes,
) -> Block:
    variants = rows.assign(variant=rows["run_id"].map(variant_of))
    made = []
    for _, of_method in variants.groupby(["method", "origin"], sort=True):
        names = _variant_names(of_method)
        for variant, runs in of_method.groupby("variant", sort=True):
            row = _row(spec, runs["method"].iloc[0], runs, printed, notes)
            made.append(replace(row, title=f"{row.title} · {names[str(variant)]}") if len(names) > 1 else row)
    order = _methods_of(printed)
    present = {row.method for row in made if row.origin != "external"}
    made += [_row(spec, method, None, printed, notes) for method in order if method not in present]
    made.sort(key=lambda row: order.index(row.method) if row.method in order else len(order))
    references = sorted((row for row in made if row.kind != "method"), key=lambda row: (row.kind != "floor", row.title))
    methods = ranked([row for row in made if row.kind == "method"])
    controls = [_control_row(spec, rows, "real training cases", BASELINE_SUFFIX)]
    blurred = rows.loc[(rows["metric"] == f"density{BLURRED_SUFFIX}") & rows["value"].notna(), "note"].unique()
    controls += [_control_row(spec, rows, str(note), BLURRED_SUFFIX) for note in blurred[:1]]
    controls = [row for row in controls if any(cell.value is not None for cell in row.cells)]
    return Block(facts, header_of(facts, rows), methods, (*references, *controls))


def _methods_of(printed: Mapping[tuple[str, str], Published]) -> list[str]:
    return list(dict.fromkeys(method for method, _ in printed))


def variant_of(run_id: str) -> str:
    """The part of a run's name that seeds share: the hash of its configuration, data and split."""
    return run_id.rpartition("-")[2]


def _variant_names(runs: pd.DataFrame) -> dict[str, str]:
    """How rows tell the configurations of one method apart; the one that finished last says so."""
    finished = runs.groupby("variant")["finished"].max()
    known = finished[finished != ""].sort_values()
    newest = known.index[-1] if len(known) > 1 else None
    return {str(variant): f"{variant}, newest" if variant == newest else str(variant) for variant in finished.index}


def _row(
    spec: TableSpec,
    method: str,
    runs: pd.DataFrame | None,
    printed: Mapping[tuple[str, str], Published],
    notes: Footnotes,
) -> Row:
    """The row of one method: of all seeds of one configuration, or of the paper alone when `runs` is None."""
    title, kind = title_and_kind(method)
    origin = "" if runs is None else str(runs["origin"].iloc[0])
    if origin == "external":
        title, printed = f"{title} (outside predictions)", {}
    if origin == "pretrained":
        title = f"{title} (pretrained weights)"
    cells = []
    for metric in spec.metrics:
        cell = _cell(metric, method, runs, title, notes)
        if (method, metric) in printed:
            marks = tuple(notes.mark(text) for text in doubts(printed, method, metric))
            cell = replace(cell, published=printed[method, metric].text, marks=cell.marks + marks)
        cells.append(cell)
    if {"error"} <= {cell.state for cell in cells} <= {"error", "not_run", "cannot"}:  # it failed as a whole
        cells = [replace(cell, state="error") if cell.state == "not_run" else cell for cell in cells]
    remarks = [] if runs is None else [f"{title}: {remark}" for remark in runs["remark"].unique() if remark]
    if origin == "pretrained" and runs is not None:
        cells = [replace(cell, comparable=False) for cell in cells]
        whose = ", ".join(sorted(set(runs["pretrained_of"]) - {""})) or "another run"
        remarks.append(f"{title}: weights of {whose}, rounded to be stored; no training of its own, not ranked")
    cells[0] = replace(cells[0], marks=cells[0].marks + tuple(notes.mark(remark) for remark in remarks))
    run_ids = () if runs is None else tuple(sorted(runs["run_id"].unique()))
    return Row(method, title, kind, origin, len(run_ids), tuple(cells), run_ids)


def _cell(metric: str, method: str, runs: pd.DataFrame | None, title: str, notes: Footnotes) -> Cell:
    mine = runs[runs["metric"] == metric] if runs is not None else None
    if mine is None or not len(mine):
        return Cell(metric, "cannot" if _lacks(method, metric) else "not_run")
    remarks = [
        f"{title}: {note}" if note in (TRUTH_CT, TRUTH_ENCODED) else f"{title}, {METRICS[metric].label}: {note}"
        for note in mine["note"].unique()
        if note
    ]
    known = mine[mine["status"].isin(("ok", "partial"))]
    if (mine["status"] == "error").all():
        return Cell(metric, "error", marks=tuple(notes.mark(text) for text in remarks))
    if not len(known):
        return Cell(metric, "cannot", marks=() if metric == NLL else tuple(notes.mark(text) for text in remarks))
    whole = not (known["status"] == "partial").any()
    if not whole:
        remarks = [f"{title}: {known['n'].min()} {known['note'].iloc[0]}; not ranked"]
    return Cell(
        metric,
        "value",
        value=float(known["value"].mean()),
        sd=float(known["value"].std(ddof=1)) if len(known) > 1 else None,
        n=int(known["n"].min()),
        comparable=whole,
        distance=_distance(metric, known, runs),
        marks=tuple(notes.mark(text) for text in remarks),
    )


def _lacks(method: str, metric: str) -> bool:
    card = method_card(method)
    return metric == NLL and card is not None and "likelihood" not in card.capabilities


def _distance(metric: str, mine: pd.DataFrame, runs: pd.DataFrame | None) -> float | None:
    """Mean over runs of the value less the same run's baseline; None without one."""
    if METRICS[metric].direction != "toward_baseline" or runs is None:
        return None
    baseline = runs[runs["metric"] == metric + BASELINE_SUFFIX].set_index("run_id")["value"]
    difference = (mine.set_index("run_id")["value"] - baseline).dropna()
    return float(difference.mean()) if len(difference) else None


def _control_row(spec: TableSpec, rows: pd.DataFrame, title: str, suffix: str) -> Row:
    """What a known set scores in the place of predictions."""
    cells = []
    for metric in spec.metrics:
        values = rows.loc[rows["metric"] == metric + suffix, "value"].dropna()
        value = float(values.mean()) if len(values) else None
        cells.append(Cell(metric, "blank" if value is None else "value", value=value))
    return Row("", title, "ceiling", "", 0, tuple(cells))
