"""The paper's tables with our numbers beside the printed ones.

Rows share a block only if they share protocol, data set, source of the test cases and of the training cases, split,
preset, views and data fingerprint. Printed numbers stand beside ours and are never ranked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from bench.errors import UsageError, unknown_name
from bench.metrics import (
    BASELINE_SUFFIX,
    BLURRED_SUFFIX,
    LAPLACE,
    LIKELIHOODS,
    METRICS,
    OTHER_SUFFIX,
    TRUTH_SUFFIX,
    Space,
    metrics_shown,
)
from bench.results.model import (
    SPACES,
    Block,
    Column,
    Entry,
    Results,
    Summary,
    belongs,
    can_measure,
    draws,
    say_source,
    title_and_kind,
    truth_of,
)
from bench.results.published import PRINTED_TITLES, Published, find_doubts, list_methods, read_table
from bench.results.table_model import CAPTION, Cell, Footnotes, Row, Table, TableBlock, label_of, rank_rows
from bench.scoring import DEFAULT
from bench.scoring.protocol import PHANTOM_TRAINING
from bench.scoring.protocols import PROTOCOLS, say_version

ONE_SAMPLE: Column = ("3d", "psnr")
NOT_TRAINED_HERE = {  # origin → what is said of the weights
    "pretrained": "rounded to be stored; no training of its own",
    "published": "trained elsewhere on data prepared otherwise, perhaps on cases that are tested here",
}
UNFAIR = (
    "PSNR of one sample of many; that of the mean of several, which compares with methods that draw nothing, was not "
    "measured (`bench run --samples K`)"
)
ALONE = "; no other method is scored against it, so not ranked"
CONTROLS = {  # suffix → what stands in place of predictions; nothing where the note of the numbers says it
    BASELINE_SUFFIX: "real training cases",
    BLURRED_SUFFIX: "",
    TRUTH_SUFFIX: "the truth, projected as the predictions are",
    OTHER_SUFFIX: "the views of another case",
}
TIME_TABLE = "4"
NO_RUN = "no run yet; published numbers alone"
TIME_STEPS = 100_000  # the paper states training times for this many
TIME_COLUMNS = {
    "train_hours": "Training, h per 100k steps",
    "train_cpu_hours": "CPU h",
    "infer_seconds": "Inference, s a case",
}
TIME_CAPTION = (
    "Cells: ours (published: one A100, 100k steps; data set and batch size not stated). Training hours of ours are "
    "measured on the steps of the run and scaled to 100k; inference seconds are the mean over cases. Both are wall "
    "time as it passed, whatever else the machine did meanwhile; CPU hours are those of the first process, all threads "
    "together, for the same 100k steps: look at them where the machine was shared. ± is the standard deviation over "
    "seeds. Times are compared with nothing but the same device."
)
LIKELIHOOD_CAPTION = (
    "Bits in bins of 1 HU; ± is the standard deviation over seeds. NLL is a method's own −log2 p(volume | views), or "
    "its bound, codes and all; of a coder, the length of its code. The Laplace distribution is put around a method's "
    "predictions, its width by predicted HU fitted on those of validation cases: another quantity, compared with "
    "nothing but itself. N/A: there is none; —: not run."
)
TIME_KEYS = ("dataset", "source", "trained_on", "preset", "views", "device", "data_fingerprint")  # what must be equal


@dataclass(frozen=True)
class TableSpec:
    """What a table shows."""

    id: str
    title: str
    dataset: str  # with its variants: lidc-x2ct belongs to lidc
    space: Space
    by: str = ""  # the metric that comes first
    of_samples: bool = False  # whether something has metrics of several samples
    without: frozenset[str] = frozenset()  # metrics of the space that nothing was measured of
    likelihoods: bool = False  # show those in place of what tables of the space show

    @property
    def metrics(self) -> tuple[str, ...]:
        """The columns."""
        if self.likelihoods:
            return LIKELIHOODS
        columns = (self.by, *metrics_shown(self.space, of_samples=self.of_samples))
        return tuple(dict.fromkeys(metric for metric in columns if metric and metric not in self.without))

    def column(self, metric: str) -> Column:
        """Return where a metric is measured: in the space of the table, or in the only one it has."""
        spaces = METRICS[metric].spaces
        return (self.space if self.space in spaces else spaces[0], metric)

    @cached_property
    def printed(self) -> dict[tuple[str, str], Published]:
        """(method, metric) → the cell of the paper."""
        return read_table(self.id)


def _spec(id: str, dataset: str, space: Space, of: str) -> TableSpec:
    return TableSpec(id, f"{SPACES[space].title}, {of}", dataset, space)


BAGS, CHESTS = "baggage (not in the paper)", "chest (not in the paper)"
MORE: dict[int, Space] = {5: "drr", 6: "anatomy", 7: "tissue"}  # tables that the paper lacks
SPECS = (
    _spec("1", "baggage", "3d", "baggage"),
    _spec("2", "lidc", "3d", "chest (LIDC-IDRI)"),
    _spec("3a", "baggage", "mip", "baggage"),
    _spec("3b", "lidc", "mip", "chest (LIDC-IDRI)"),
    *(
        _spec(f"{number}{letter}", dataset, space, of)
        for number, space in MORE.items()
        for letter, dataset, of in (("a", "baggage", BAGS), ("b", "lidc", CHESTS))
    ),
    TableSpec("8a", f"Likelihood, {BAGS}", "baggage", "3d", likelihoods=True),
    TableSpec("8b", f"Likelihood, {CHESTS}", "lidc", "3d", likelihoods=True),
)
PAIRS = {number: (f"{number}a", f"{number}b") for number in "35678"}  # bags and chests
GROUPS = {**PAIRS, "all": (*(spec.id for spec in SPECS), TIME_TABLE)}


def build_tables(which: str, results: Results, **asked: str | None) -> list[Table]:
    """Return the tables called `which`: 1, 2, 4, 3a, 3b and so on up to 8b, 3, 5, 6, 7 or 8 for both, or all.

    All include those of data sets the paper does not have, and none that has nothing measured or printed. Raises
    UsageError for an unknown table, or where no row has what is asked for.
    """
    known = [spec.id for spec in SPECS] + [TIME_TABLE, *GROUPS]
    if which not in known:
        raise unknown_name("table", which, known)
    results = results.only(**asked)
    datasets = sorted(results.rows["dataset"].unique())
    wanted = GROUPS.get(which, (which,))
    of_dataset = (spec for spec in SPECS if belongs(asked.get("dataset") or spec.dataset, spec.dataset))
    tables = [build_table(spec, results) for spec in of_dataset if spec.id in wanted]
    if which == "all":
        others = (name for name in datasets if not any(belongs(name, spec.dataset) for spec in SPECS))
        specs = (_spec(f"{name}-{space}", name, space, name) for name in others for space in SPACES)
        tables += [build_table(spec, results) for spec in specs]
        tables = [table for table in tables if table.has_rows]
    lacking = [table for table in tables if table.space and SPACES[table.space].sparse and not table.has_rows]
    if lacking and len(lacking) == len(tables):
        told = f"type bench score RUN --protocol {DEFAULT}"
        raise UsageError(f"{results.whose} has no numbers of table {which}, which {DEFAULT} has: {told}")
    tables = [table for table in tables if table not in lacking]
    if TIME_TABLE in wanted:
        tables.append(build_time_table(results.rows))
    return sorted(tables, key=lambda table: table.id)


def build_table(spec: TableSpec, results: Results) -> Table:
    """Return one table of means over cases, the largest grid first."""
    notes, spec = Footnotes(), narrow(spec, results)
    mine = (block for block in results.blocks if belongs(block.facts["dataset"], spec.dataset))
    blocks = [made for block in mine if (made := _build_block(spec, notes, block))]
    if not blocks:
        rows = (_build_row(spec, notes, method, None) for method in list_methods(spec.printed))
        blocks = [TableBlock({}, NO_RUN, tuple(rows))]
    columns = tuple(label_of(metric) for metric in spec.metrics)
    caption = LIKELIHOOD_CAPTION if spec.likelihoods else CAPTION
    return Table(spec.id, spec.title, columns, tuple(blocks), tuple(notes.texts), caption, space=spec.space)


def narrow(spec: TableSpec, results: Results) -> TableSpec:
    """Return a spec with metrics of several samples where something has them.

    In a space where not every data set has all metrics it is without those that have no value.
    """
    mine = (block for block in results.blocks if belongs(block.facts["dataset"], spec.dataset))
    entries = [entry for block in mine for entry in block.entries]
    spec = replace(spec, of_samples=any(max(entry.samples, default=1) > 1 for entry in entries))
    if not SPACES[spec.space].sparse:
        return spec
    measured = {
        metric
        for entry in entries
        for (space, metric), found in entry.summaries.items()
        if space == spec.space and any(summary.known for summary in found)
    }
    return replace(spec, without=frozenset(spec.metrics) - measured)


def build_time_table(rows: pd.DataFrame) -> Table:
    """Return the table of times from the rows of a model; parts keep the order of the paper."""
    printed = read_table(TIME_TABLE)
    times = rows[(rows["space"] == "time") & rows["metric"].isin(TIME_COLUMNS)]
    times = times.drop_duplicates(["run_id", "axis", "metric"])  # once a run, whatever the protocols it was scored by
    times = times.assign(part=times["method"].astype(str) + "/" + times["axis"].astype(str))
    blocks = [
        _build_times(dict(zip(TIME_KEYS, map(str, key), strict=True)), own, printed)
        for key, own in times.groupby(list(TIME_KEYS), sort=True, observed=True)
    ]
    if not blocks:
        blocks = [TableBlock({}, NO_RUN, tuple(_build_part(part, times, printed) for part in list_methods(printed)))]
    columns = tuple(TIME_COLUMNS.values())
    title = "Training and inference time"
    return Table(TIME_TABLE, title, columns, tuple(blocks), caption=TIME_CAPTION, name_column="Component")


def _build_block(spec: TableSpec, notes: Footnotes, block: Block) -> TableBlock | None:
    """Return what was measured in the space of a table; None where nothing was.

    A protocol that has no likelihood but CodeDiff3D's has no table of them.
    """
    if spec.likelihoods and not any(("3d", LAPLACE) in entry.summaries for entry in block.entries):
        return None
    measured = {entry: cases for entry in block.entries if (cases := entry.cases_in(spec.space)) is not None}
    if not measured:
        return None
    rows = [_build_row(spec, notes, entry.method, entry) for entry in measured]
    order = list_methods(spec.printed)
    present = {entry.method for entry in measured if entry.origin != "external"}
    rows += [_build_row(spec, notes, method, None) for method in order if method not in present]
    rows.sort(key=lambda row: order.index(row.method) if row.method in order else len(order))
    references = [row for row in rows if row.kind != "method"]
    references.sort(key=lambda row: (row.kind != "floor", row.title))
    methods = rank_rows([row for row in rows if row.kind == "method"])
    references += _build_controls(spec, block)
    return TableBlock(block.facts, _describe(block, max(measured.values())), methods, tuple(references))


def _build_row(spec: TableSpec, notes: Footnotes, method: str, entry: Entry | None) -> Row:
    """Return the row of one entry, or of the paper alone when `entry` is None."""
    cells = [_build_cell(spec, notes, method, metric, entry) for metric in spec.metrics]
    if {"error"} <= {cell.state for cell in cells} <= {"error", "not_run", "cannot"}:  # it failed as a whole
        cells = [replace(cell, state="error") if cell.state == "not_run" else cell for cell in cells]
    if entry is None:
        return Row(*title_and_kind(method), tuple(cells), method)
    remarks = [f"{entry.name}: {remark}" for remark in entry.runs["remark"].unique() if remark]
    remarks += [remark for remark in entry.runs["data_remark"].unique() if remark]
    if entry.origin in NOT_TRAINED_HERE:
        cells = [replace(cell, comparable=False) for cell in cells]
        whose = ", ".join(sorted(set(entry.runs["pretrained_of"]) - {""})) or "another run"
        remarks.append(f"{entry.name}: weights of {whose}, {NOT_TRAINED_HERE[entry.origin]}, not ranked")
    cells[0] = replace(cells[0], marks=cells[0].marks + notes.mark(*remarks))
    return Row(entry.title, entry.kind, tuple(cells), method, entry, len(entry.run_ids))


def _build_cell(spec: TableSpec, notes: Footnotes, method: str, metric: str, entry: Entry | None) -> Cell:
    """Return what was measured, beside what is printed."""
    measured = entry and entry.summaries.get(spec.column(metric))
    if entry and measured:
        cell = _summarise(spec.column(metric), measured, entry, notes)
        if (spec.space, metric) == ONE_SAMPLE and draws(method) and not entry.samples:
            cell = replace(cell, marks=cell.marks + notes.mark(f"{entry.name}: {UNFAIR}"))
    else:
        cell = Cell(metric, "not_run" if can_measure(method, metric) else "cannot")
    if (method, metric) not in spec.printed or (entry and entry.origin == "external"):
        return cell
    marks = cell.marks + notes.mark(*find_doubts(spec.printed, method, metric))
    return replace(cell, published=spec.printed[method, metric].text, marks=marks)


def _summarise(column: Column, summaries: Sequence[Summary], entry: Entry, notes: Footnotes) -> Cell:
    """Return the mean over seeds, or why there is none."""
    metric = METRICS[column[1]]
    said = [note for note in dict.fromkeys(summary.note for summary in summaries) if note]
    alone = {note: ALONE if truth_of(note) == "encoded" else "" for note in said}
    failed = all(summary.status == "error" for summary in summaries)
    remarks = [f"{entry.name}: {note}{more}" if failed or truth_of(note) else note for note, more in alone.items()]
    known = [summary for summary in summaries if summary.known]
    if failed:
        return Cell(metric.key, "error", marks=notes.mark(*remarks))
    if not known:  # that most methods lack a likelihood needs no note
        silent = metric.family == "likelihood" and metric.key != LAPLACE
        return Cell(metric.key, "cannot", marks=() if silent else notes.mark(*remarks))
    values, fewest = [summary.value for summary in known], min(summary.n for summary in known)
    whole = all(summary.status == "ok" for summary in known)
    shared_truth = not any(alone.values())
    if not whole:
        remarks = [f"{entry.name}: {fewest} {known[0].note}; not ranked"]
    return Cell(
        metric.key,
        "value",
        value=float(np.mean(values)),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        n=fewest,
        comparable=whole and shared_truth,
        own_truth=not shared_truth,
        distance=entry.distance(column) if metric.direction == "toward_baseline" else None,
        marks=notes.mark(*remarks),
    )


def _build_controls(spec: TableSpec, block: Block) -> Iterator[Row]:
    """Yield what known sets score in the place of predictions."""
    for suffix, title in CONTROLS.items():
        found = {metric: block.control((spec.space, metric), suffix) for metric in spec.metrics}
        known = [control for control in found.values() if control]
        if known:
            cells = (Cell(metric, "value", c.value) if c else Cell(metric, "blank") for metric, c in found.items())
            of_phantoms = known[0].note.startswith(PHANTOM_TRAINING)
            yield Row(PHANTOM_TRAINING if of_phantoms else title or known[0].note, "ceiling", tuple(cells))


def _describe(block: Block, cases: int) -> str:
    """Return one line of what all rows of a block share."""
    facts, size, window = block.facts, block.size, block.window
    parts = [
        f"{facts['protocol']} ({facts['protocol_hash'][:8]})",
        f"{facts['dataset']}, {say_source(facts)}",
        f"preset {facts['preset']}" + (f", grid {size}³" if size else ""),
        f"{facts['split']} n={cases}",
        f"views {facts['views']}",
        f"window [{window[0]:g}, {window[1]:g}] HU" if window else "",
        _describe_fidelity(facts, size),
        f"data {facts['data_fingerprint'][:8]}" if facts["data_fingerprint"] else "",
    ]
    return " · ".join(part for part in parts if part)


def _describe_fidelity(facts: Mapping[str, str], size: int) -> str:
    if version := say_version(facts["protocol"], facts["protocol_hash"]):
        return version
    protocol = PROTOCOLS[facts["protocol"]]
    if protocol.fidelity is None:
        return ""
    side = f" at {protocol.fidelity.side(size)}³" if size else ""
    encoders, batch = len(protocol.fidelity.encoder_seeds), protocol.fidelity.batch
    many = f"{encoders} encoder" + ("s" if encoders > 1 else "")
    return f"k={protocol.fidelity.nearest_k}, {many}{side}" + (f", batches of {batch}" if batch else "")


def _build_times(
    facts: dict[str, str], times: pd.DataFrame, printed: Mapping[tuple[str, str], Published]
) -> TableBlock:
    order = list_methods(printed)
    parts = [*order, *sorted(set(times["part"]) - set(order))]
    device = facts["device"] or "device not recorded"
    data = f"{facts['dataset']}, {say_source(facts)}, preset {facts['preset']}, views {facts['views']}"
    return TableBlock(facts, f"{device} · {data}", tuple(_build_part(part, times, printed) for part in parts))


def _build_part(part: str, times: pd.DataFrame, printed: Mapping[tuple[str, str], Published]) -> Row:
    method, _, component = part.partition("/")
    title = f"{title_and_kind(method)[0]}: {PRINTED_TITLES.get(part, component)}"
    mine = times[times["part"] == part]
    cells = []
    for metric in TIME_COLUMNS:
        rows = mine[mine["metric"] == metric]
        values = rows["value"]
        if METRICS[metric].unit == "h":  # of training, whose n are its steps
            values = (values * TIME_STEPS / rows["n"].astype(float))[rows["n"].fillna(0) > 0]
        text = printed[part, metric].text if (part, metric) in printed else ""
        if not len(values):
            cells.append(Cell(metric, "not_run", published=text))
            continue
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        cells.append(Cell(metric, "value", value=float(values.mean()), sd=sd, published=text))
    return Row(title, "method", tuple(cells), part, seeds=mine["run_id"].nunique())
