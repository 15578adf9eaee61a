"""Results as tidy CSV: one number a row in scores.csv, one run a row in runs.csv, merged as each run ends.

Rows are checked before they are written: what cannot be true of its metric does not enter a results folder.
"""

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bench.errors import BenchError
from bench.metrics import METRICS, Space
from bench.scoring.protocol import ReleasedCodediff, ReleasedX2ct
from bench.scoring.protocols import carry_hash, get_protocol
from bench.system.files import digest_of, locked, write_text

SCORES, RUNS = "scores.csv", "runs.csv"
SLACK = 1e-9  # relative rounding allowed in the invariants
FORMULA = re.compile(r"[=+\-@\t\r|%]")  # what makes a spreadsheet compute a cell
NUMBERS = re.compile(r"[+-]?(nan|inf|[\d.]+(e[+-]?\d+)?)([+-][\d.]+)*", re.IGNORECASE)  # 1e-5, or views 270+0


class ScoreRow(BaseModel):
    """One number. The fields up to `stat` are the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    protocol: str
    protocol_hash: str
    method: str
    origin: Literal["builtin", "plugin", "pretrained", "external"]
    dataset: str
    source: Literal["real", "phantom"]
    split: str
    preset: str
    seed: int | None
    views: str  # gantry angles in degrees, joined by +
    space: Space
    axis: str  # all; d, h, w or mean of a projection; heldout or input of an X-ray image; the part of a time
    metric: str
    level: Literal["case", "set", "run"]
    case: str = ""  # empty unless level is case
    rep: str = ""  # index of the encoder; of encoder and draw for a baseline
    stat: Literal["value", "mean", "sd", "ci_lo", "ci_hi"]
    value: float | None
    n: int | None = None  # cases behind the value; steps behind a training time
    status: Literal["ok", "na", "error", "partial"] = "ok"
    note: str = ""
    code_version: str


COLUMNS = tuple(ScoreRow.model_fields)
KEY = COLUMNS[: COLUMNS.index("stat") + 1]
NUMERIC = {"seed": "Int64", "value": "float64", "n": "Int64"}  # columns of a table; an empty cell is unknown
KINDS = {  # what a whole column must be
    name: TypeAdapter(list[field.annotation])  # type: ignore[name-defined]
    for name, field in ScoreRow.model_fields.items()
}
RUN_COLUMNS = (  # the first columns of runs.csv, in this order; any others follow by name
    *("run_id", "status", "method", "origin", "dataset", "source", "split", "preset", "seed", "views", "protocol"),
    *("size", "voxel_mm", "window_low", "window_high", "data_fingerprint", "config_sha256", "code_version"),
    *("parameters", "steps", "seconds_fit", "seconds_predict", "seconds_score", "peak_memory_mib", "device", "torch"),
    *("finished", "predictions_sha256", "pretrained_of", "pretrained_sha256", "resampled", "remark", "error"),
)
RUN_NUMBERS = {  # of those columns, where they are not empty
    **dict.fromkeys(("seed", "size", "parameters", "steps"), int),
    **dict.fromkeys(("voxel_mm", "window_low", "window_high"), float),
    **dict.fromkeys(("seconds_fit", "seconds_predict", "seconds_score", "peak_memory_mib"), float),
}


def merge_rows(results_dir: Path, rows: Sequence[ScoreRow]) -> None:
    """Put a run's rows into scores.csv: sorted, unique, atomically, safe among processes.

    Earlier rows of the same run, protocol and split are replaced; its times and its scores apart, for they are written
    apart. Raises BenchError when a row breaks an invariant or the file is not ours; the file then stays as it was.
    """
    check_rows(rows)
    new = [_as_text(row) for row in rows]
    replaced = {_scope(line) for line in new}
    _merge(
        results_dir / SCORES,
        COLUMNS,
        lambda old: [*(line for line in old if _scope(line) not in replaced), *new],
        itemgetter(*KEY),
    )


def merge_run(results_dir: Path, record: Mapping[str, Any]) -> None:
    """Put one run's record into runs.csv in place of an earlier one of the same `run_id`; None becomes empty."""
    new = {name: "" if value is None else " ".join(str(value).split()) for name, value in record.items()}
    if not new.get("run_id"):
        raise BenchError("a run's record needs a run_id")
    _check_cells(new, f"the record of run {new['run_id']}")
    _merge(
        results_dir / RUNS,
        None,
        lambda old: [*(line for line in old if line["run_id"] != new["run_id"]), new],
        itemgetter("run_id"),
    )


def drop_run(results_dir: Path, run_id: str) -> None:
    """Remove all rows of a run from scores.csv and runs.csv; nothing happens where there are none."""
    for name, columns, key in ((SCORES, COLUMNS, KEY), (RUNS, None, RUN_COLUMNS[:1])):
        path = results_dir / name
        if any(line["run_id"] == run_id for line in _lines(path, columns)):
            _merge(
                path,
                columns,
                lambda old: [line for line in old if line["run_id"] != run_id],
                itemgetter(*key),
            )


def write_scores(path: Path, rows: Sequence[ScoreRow]) -> str:
    """Write rows alone to `path`, sorted; return the SHA-256 of the file. Raises BenchError as `merge_rows`."""
    check_rows(rows)
    lines = sorted((_as_text(row) for row in rows), key=itemgetter(*KEY))
    return write_text(path, _csv(COLUMNS, lines))


def read_score_rows(path: Path) -> list[ScoreRow]:
    """The rows of one file; empty without it. Raises BenchError, with the line, for what does not fit the schema."""
    columns = _columns(path)
    cells = zip(*columns.values(), strict=True)
    return [ScoreRow.model_construct(**dict(zip(columns, row, strict=True))) for row in cells]  # checked by column


def read_scores(results_dir: Path) -> pd.DataFrame:
    """scores.csv with typed columns: value float64, n and seed Int64, text otherwise; no rows without the file.

    Protocols have the hash of today's definition where the numbers are the same (`carry_hash`). Raises BenchError, with
    the line, for a file that does not fit the schema.
    """
    path = results_dir / SCORES
    state = path.stat() if path.exists() else None
    return _frame(path, state and (state.st_ino, state.st_mtime_ns, state.st_size)).copy()


@lru_cache(maxsize=1)
def _frame(path: Path, _: tuple[int, int, int] | None) -> pd.DataFrame:
    """A file in one state, checked once: tables and findings ask for it many times."""
    rows = pd.DataFrame(_columns(path)).astype(dict.fromkeys(COLUMNS, "str") | NUMERIC)
    return rows.assign(protocol_hash=rows["protocol_hash"].map(carry_hash))


def read_runs(results_dir: Path) -> pd.DataFrame:
    """runs.csv, all columns text and empty where unknown; no rows without the file.

    Raises BenchError, with the line, for a file that cannot be read or a number that is none.
    """
    path = results_dir / RUNS
    lines = _lines(path, None)
    for number, line in enumerate(lines, start=2):
        for name, kind in RUN_NUMBERS.items():
            _check_number(line.get(name, ""), kind, f"{path} line {number}, column {name}")
    columns = dict.fromkeys([*RUN_COLUMNS, *(name for line in lines for name in line)])
    return pd.DataFrame(lines, columns=list(columns), dtype=str).fillna("")


def rows_sha256(rows: Iterable[ScoreRow]) -> str:
    """One hash of rows in any order, as they are written."""
    return digest_of(sorted(list(_as_text(row).values()) for row in rows))


def check_rows(rows: Sequence[ScoreRow]) -> None:
    """Raise BenchError for a repeated key, an unknown metric, an impossible value, or values that contradict."""
    seen = set()
    together: dict[tuple, dict[str, float]] = defaultdict(dict)
    for row in rows:
        key = tuple(getattr(row, name) for name in KEY)
        if key in seen:
            raise BenchError(f"{_where(row)}: two rows have the same key")
        seen.add(key)
        _check_row(row)
        if row.value is not None and row.stat in ("value", "mean"):
            together[tuple(getattr(row, name) for name in KEY if name != "metric")][row.metric] = row.value
    for key, values in together.items():
        _check_distances(dict(zip((name for name in KEY if name != "metric"), key, strict=True)), values)


def is_computed(cell: str) -> bool:
    """Whether a spreadsheet that opens the file would take a cell for a formula."""
    return bool(FORMULA.match(cell)) and not NUMBERS.fullmatch(cell)


def as_cell(text: str) -> str:
    """A text that was not made here, so that no spreadsheet computes it."""
    return f"'{text}" if is_computed(text) else text


def _check_cells(line: Mapping[str, str], where: str) -> None:
    for name, cell in line.items():
        if is_computed(cell) or is_computed(name):
            raise BenchError(f"{where}: a spreadsheet would compute the {name} {cell[:40]!r}; give it another name")


def _check_number(cell: str, kind: type[int] | type[float], where: str) -> None:
    try:
        finite = cell == "" or math.isfinite(kind(cell))
    except ValueError:
        finite = False
    if not finite:
        raise BenchError(f"{where}: {cell[:40]!r} is not a {'whole' if kind is int else 'finite'} number")


def _check_row(row: ScoreRow) -> None:
    _check_cells(_as_text(row), _where(row))
    if row.metric not in METRICS:
        raise BenchError(f"{_where(row)}: unknown metric")
    if row.space not in METRICS[row.metric].spaces:
        raise BenchError(f"{_where(row)}: {row.metric} has no space {row.space}")
    if (row.level == "case") != bool(row.case):
        raise BenchError(f"{_where(row)}: a case belongs to rows of level case, and only to them")
    if row.status in ("na", "error"):
        if row.value is not None or not row.note:
            raise BenchError(f"{_where(row)}: status {row.status} needs a note and no value")
        return
    if row.value is None or not math.isfinite(row.value):
        raise BenchError(f"{_where(row)}: value {row.value} with status {row.status}")
    low, high = (0.0, None) if row.stat == "sd" else METRICS[row.metric].range
    if (low is not None and row.value < low) or (high is not None and row.value > high * (1 + SLACK)):
        raise BenchError(f"{_where(row)}: {row.value} is outside the range of {row.metric}, {low}..{high}")


def _check_distances(key: dict[str, Any], values: dict[str, float]) -> None:
    """MAE² ≤ MSE ≤ peak·MAE; and a case's PSNR is that of its MSE, of a mean over slices or axes at least that.

    The latter is Jensen's inequality; a cap on the PSNR of slices without error caps what it demands.
    """
    rules = get_protocol(key["protocol"]).distortion
    where = f"run {key['run_id']} {key['space']}/{key['axis']} {key['case'] or key['level']}"
    mse, mae, psnr = (values.get(name) for name in ("mse", "mae", "psnr"))
    if mse is None:
        return
    if mae is not None and not (mae**2 * (1 - SLACK) <= mse <= rules.peak * mae * (1 + SLACK)):
        raise BenchError(f"{where}: MSE {mse} and MAE {mae} cannot both be of values in [0, {rules.peak:g}]")
    peak, in_3d = rules.peak, key["space"] == "3d"
    if in_3d and isinstance(rules, ReleasedX2ct) and rules.psnr == "integers":
        mse, peak = values.get("mse_int", 0.0), rules.integer_peak
    if psnr is None or mse == 0 or key["level"] != "case":
        return
    implied = 20 * math.log10(peak) - 10 * math.log10(mse)
    of_slices = rules if in_3d and isinstance(rules, ReleasedCodediff) else None
    mixed = of_slices is not None or key["axis"] in ("mean", "heldout", "input")  # a mean of several PSNRs
    least = min(implied, of_slices.exact_db) if of_slices else implied
    if psnr < least - 1e-6 or (psnr > implied + 1e-6 and not mixed):
        raise BenchError(f"{where}: PSNR {psnr} is not that of MSE {mse}, {implied}")


def _where(row: ScoreRow) -> str:
    return f"run {row.run_id} {row.space}/{row.axis} {row.metric} {row.case or row.level} {row.stat}".strip()


def _scope(line: Mapping[str, str]) -> tuple[str, ...]:
    return (line["run_id"], line["protocol"], line["split"], "time" if line["space"] == "time" else "scores")


def _as_text(row: ScoreRow) -> dict[str, str]:
    text = {name: "" if value is None else value for name, value in row.model_dump().items()}
    return {name: repr(v) if isinstance(v, float) else " ".join(str(v).split()) for name, v in text.items()}


def _columns(path: Path) -> dict[str, list[Any]]:
    """The cells of a file of scores by column, each column checked as a whole: many times as fast as row by row."""
    header, rows = _table(path, COLUMNS)
    columns: dict[str, list[Any]] = {}
    cells_of = zip(*rows, strict=True) if rows else [()] * len(header)
    for name, cells in zip(header, cells_of, strict=True):
        known = [cell or None for cell in cells] if name in NUMERIC else list(cells)
        try:
            columns[name] = KINDS[name].validate_python(known)
        except ValidationError as error:
            first = error.errors()[0]
            raise BenchError(f"{path} line {int(first['loc'][0]) + 2}, column {name}: {first['msg']}") from error
    return columns


def _merge(
    path: Path,
    columns: Sequence[str] | None,
    combine: Callable[[list[dict[str, str]]], list[dict[str, str]]],
    order: Callable[[dict[str, str]], Any],
) -> None:
    """Replace a CSV by `combine(its lines)` under a lock; with `columns` None they are those of runs.csv and others."""
    with locked(path.with_name(f".{path.name}.lock")):
        lines = sorted(combine(_lines(path, columns)), key=order)
        if columns is None:
            others = {name for line in lines for name in line} - set(RUN_COLUMNS)
            columns = [*RUN_COLUMNS, *sorted(others)]
            lines = [dict.fromkeys(columns, "") | line for line in lines]
        write_text(path, _csv(columns, lines))


def _lines(path: Path, columns: Sequence[str] | None) -> list[dict[str, str]]:
    """A CSV as text, so that what is kept stays as it was written, digit by digit."""
    header, rows = _table(path, columns)
    return [dict(zip(header, row, strict=True)) for row in rows]


def _table(path: Path, columns: Sequence[str] | None) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV, which are as long as it; `columns` and no rows without the file."""
    if not path.exists():
        return list(columns or ()), []
    try:
        with path.open(newline="") as file:
            header, *rows = csv.reader(file, strict=True)
    except (csv.Error, ValueError, OSError) as error:
        raise BenchError(f"{path} cannot be read as CSV: {error}") from error
    if (columns is not None and header != list(columns)) or "run_id" not in header:
        raise BenchError(f"{path} has other columns than this version writes; move it away and score again")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise BenchError(f"{path} line {number} has {len(row)} fields, not {len(header)}; it was cut or edited")
    return header, rows


def _csv(columns: Sequence[str], lines: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(itemgetter(*columns), lines))  # 120,000 lines: several times as fast as csv.DictWriter
    if "\r" in text.getvalue():  # the writer does not quote it, and readers would end the line there
        raise BenchError("a cell or column of the results holds a carriage return; take it out and try again")
    return text.getvalue()
