"""What one prediction, or one run, scores under every protocol; and which printed numbers cannot be.

The point is the spread: nothing differs between the columns but the definition.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from bench.cases import Cases
from bench.errors import BenchError
from bench.metrics import BASELINE_SUFFIX, BLURRED_SUFFIX, METRICS, Space
from bench.results.published import NLL, PRINTED_TITLES, Published, doubts, read_published
from bench.runs.predictions import Unit, encoded_truth, find_predictions, read_prediction
from bench.scoring.cases import score_case
from bench.scoring.protocol import TRUTH_ENCODED, CaseVolumes
from bench.scoring.protocols import PROTOCOLS
from bench.scoring.rows import Score
from bench.system import files

Place = tuple[Space, str, str]
"""Space, axis and metric of a number."""
OF_SPACE: dict[Space, str] = {"3d": "", "mip": ", projections"}
IN_3D = (
    *("psnr", "psnr_volume", "psnr_slices", "ssim", "mse", "mae", "mse_x4", "mae_x2", "mse_int", "mae_int", "cosine"),
    *("l1_sample", NLL),
    *(f"{name}{suffix}" for name in ("density", "coverage") for suffix in ("", BASELINE_SUFFIX, BLURRED_SUFFIX)),
)
IN_PROJECTIONS = ("psnr", "ssim", "density", "coverage")
LINES: tuple[Place, ...] = (
    *(("3d", "all", metric) for metric in IN_3D),
    *(("mip", "mean", metric) for metric in IN_PROJECTIONS),
)
UNDEFINED, NOTHING = "na", "–"  # defined but without a value here; not part of the protocol
TABLE_WITH_DISTORTION = ("1", "2")
START, END = "<!-- audit -->", "<!-- /audit -->"


@dataclass(frozen=True)
class Sheet:
    """A table of text: a title, heads of columns, lines."""

    title: str
    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def side_by_side(title: str, rows_of: Mapping[str, Sequence[Score]]) -> Sheet:
    """The means of one scored set under several protocols; `rows_of` is protocol id → its rows."""
    values: dict[str, dict[Place, float | None]] = {}
    truths: dict[str, str] = {}
    for protocol, rows in rows_of.items():
        means = [row for row in rows if row.level == "set" and row.stat == "mean"]
        values[protocol] = {(row.space, row.axis, row.metric): row.value for row in means}
        truths[protocol] = _truth_of(row.note for row in means)
    return _sheet(title, values, truths)


def side_by_side_of_case(title: str, volumes: CaseVolumes) -> Sheet:
    """The numbers of one prediction under every protocol; those of whole sets have none."""
    values: dict[str, dict[Place, float | None]] = {}
    truths: dict[str, str] = {}
    for protocol in PROTOCOLS.values():
        scores = score_case(volumes, protocol)
        values[protocol.id] = {(score.space, score.axis, score.metric): score.value for score in scores}
        truths[protocol.id] = _truth_of(score.note for score in scores)
    return _sheet(title, values, truths)


def read_case(folder: Path, cases: Cases, name: str, unit: Unit = "hu") -> CaseVolumes:
    """One case of a folder of predictions. Raises UsageError for an unknown name, BenchError as `read_prediction`."""
    truth = cases.truth(name)
    files = find_predictions(folder, cases.names, allow_missing=True)
    if name not in files:
        raise BenchError(f"{folder}: no prediction of {name}")
    encoded = encoded_truth(folder, cases, [name]).get(name)
    return CaseVolumes(
        truth,
        read_prediction(files[name], cases, name, unit)[0],
        read_prediction(encoded, cases, name)[0] if encoded else None,
    )


def doubtful_prints() -> Sheet:
    """The printed cells that are impossible, of another quantity, or in bold without being the best, and why."""
    cells = read_published()
    lines = []
    for table in dict.fromkeys(cell.table for cell in cells):
        of_table = {(cell.method, cell.metric): cell for cell in cells if cell.table == table}
        for cell in of_table.values():
            printed = (table, _title(cell), "NLL" if cell.metric == NLL else _label(cell.metric), cell.text)
            lines += [(*printed, reason) for reason in doubts(of_table, cell.method, cell.metric)]
    return Sheet(
        "Published numbers that cannot stand as printed", ("Table", "Method", "Metric", "Printed", "Why"), tuple(lines)
    )


def printed_psnr_and_mse() -> Sheet:
    """Printed PSNR beside what the printed MSE gives on [0, 1] and on [-1, 1]: no one definition fits the rows."""
    cells = {(cell.table, cell.method, cell.metric): cell for cell in read_published()}
    lines = []
    for (table, method, metric), cell in cells.items():
        mse = cells.get((table, method, "mse"))
        if metric != "psnr" or table not in TABLE_WITH_DISTORTION or mse is None or not mse.value or cell.value is None:
            continue
        narrow = -10 * np.log10(mse.value)
        wide = narrow + 20 * np.log10(2)
        gaps = (f"{implied:.2f} ({cell.value - implied:+.2f})" for implied in (narrow, wide))
        lines.append((table, _title(cell), cell.text, mse.text, *gaps))
    heads = ("Table", "Method", "PSNR, dB", "MSE", "dB of that MSE on [0, 1]", "on [-1, 1]")
    return Sheet("Printed PSNR beside what the printed MSE gives (and by how much it is off)", heads, tuple(lines))


def markdown(sheet: Sheet) -> str:
    """A sheet as a Markdown table under its title."""
    align = ("left", *("right" for _ in sheet.heads[1:]))
    lines = [tuple(text.replace("|", "\\|") for text in line) for line in sheet.lines]
    drawn = tabulate(lines, sheet.heads, tablefmt="pipe", colalign=align, disable_numparse=True)
    return f"{sheet.title}\n\n{drawn}\n"


def replace_block(path: Path, text: str) -> None:
    """Put `text` between the marks of a file. Raises UsageError where it does not hold each mark once, in order."""
    files.replace_block(path, "audit", text)


def _sheet(title: str, values: Mapping[str, Mapping[Place, float | None]], truths: Mapping[str, str]) -> Sheet:
    heads = ("", *(f"{name} ({PROTOCOLS[name].sha256()[:8]})" for name in values))
    lines = [("scored against", *truths.values())]
    for line in LINES:
        if any(line in of_protocol for of_protocol in values.values()):
            lines.append((_label(line[2]) + OF_SPACE[line[0]], *(_text(line, own) for own in values.values())))
    return Sheet(title, heads, tuple(lines))


def _text(line: Place, values: Mapping[Place, float | None]) -> str:
    if line not in values:
        return NOTHING
    value = values[line]
    return UNDEFINED if value is None else f"{value:.{METRICS[line[2]].decimals}f}"


def _truth_of(notes: Iterable[str]) -> str:
    return "its own encoding of the CT" if any(TRUTH_ENCODED in note for note in notes) else "the CT"


def _label(metric: str) -> str:
    entry = METRICS[metric]
    return entry.label + (f", {entry.unit}" if entry.unit else "")


def _title(cell: Published) -> str:
    return PRINTED_TITLES.get(cell.method, cell.method)
