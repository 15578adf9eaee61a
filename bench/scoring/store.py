"""The results of all runs in a folder: two files a run, so that nothing which several runs share is ever rewritten.

results/scores/<run_id>.csv   one score a row: what varies within a run (bench.scoring.rows.Score)
results/runs/<run_id>.csv     one line: what is constant (bench.runs.record.RunLine); renamed last

Scores without the line of their run do not exist for a reader, so a run appears whole or not at all. A folder with the
one scores.csv and runs.csv of all runs, as they were once written, is read too; the next run that is added divides it.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals
from pydantic import ValidationError

from bench.errors import BenchError, describe_invalid
from bench.plugins.config import RUN_NAME
from bench.runs.record import RunLine
from bench.scoring.protocols import carry_hash
from bench.scoring.rows import (
    COLUMNS,
    NUMERIC,
    SINGLE_FILE,
    Score,
    check_scores,
    read_scores,
    scope_of,
    text_of_scores,
    write_scores,
)
from bench.system.csv_files import columns_of, read_cells, read_rows, text_of_rows, write_rows
from bench.system.files import locked, write_text

SCORES, RUNS = "scores", "runs"
VOLUMES = "volumes"  # of pictures (bench.report.kept): no score is made from what lies there
SINGLE_SCORES, SINGLE_RUNS = "scores.csv", "runs.csv"
LOCK = ".lock"
HEADER = (",".join(COLUMNS) + "\n").encode()
RUN_COLUMNS = tuple(name for name in columns_of(RunLine) if name not in (*SINGLE_FILE, "status"))  # beside the scores
BYTES_AT_ONCE = 2**24  # of files that are parsed together


def put_run(results_dir: Path, run: RunLine, scores: Sequence[Score]) -> None:
    """Enter a run and its scores; its earlier scores under the same protocols are replaced, others of it stay.

    Safe among processes. Raises BenchError, and leaves the folder as it was, for a name that is no file's, a score that
    cannot be true or a cell that a spreadsheet would compute.
    """
    scores_path, run_path = _paths(results_dir, run.run_id)
    with locked(results_dir / LOCK):
        _divide(results_dir)
        replaced = {scope_of(score) for score in scores}
        earlier = read_scores(scores_path) if run_path.exists() else []
        text = text_of_scores([*(score for score in earlier if scope_of(score) not in replaced), *scores])
        line = text_of_rows(RunLine, [run])
        if scores:
            write_text(scores_path, text)
        write_text(run_path, line)


def drop_run(results_dir: Path, run_id: str) -> None:
    """Remove a run and its scores; nothing happens where there is none."""
    scores_path, run_path = _paths(results_dir, run_id)
    if not results_dir.exists():
        return
    with locked(results_dir / LOCK):
        _divide(results_dir)
        for path in (run_path, scores_path):  # in this order: scores without a run do not exist
            path.unlink(missing_ok=True)


def read_run(results_dir: Path, run_id: str) -> tuple[RunLine, list[Score]] | None:
    """Return one run and its scores; None where the folder has no such run. Raises BenchError for a damaged file."""
    scores_path, run_path = _paths(results_dir, run_id)
    if run_path.exists():
        return _read_line(run_path), read_scores(scores_path)
    single = _read_single(results_dir).get(run_id)
    return None if single is None else (single[0], _scores_of(single[1]))


def load_results(results_dir: Path) -> pd.DataFrame:
    """Return every score of a folder as a row: the columns of the one file there once was, then those of its run.

    `value` and the numbers of a run are float64, NaN where unknown; `n` and `seed` Int64; all else is text, empty where
    unknown. Raises BenchError, naming file and row, for what does not fit the schema or cannot be true.
    """
    runs = [_read_line(path) for path in _run_paths(results_dir)]
    frames, counts = _read_divided([_paths(results_dir, run.run_id)[0] for run in runs])
    known = {run.run_id for run in runs}
    for run, frame in _read_single(results_dir).values():
        if run.run_id not in known:
            runs.append(run)
            frames.append(frame)
            counts.append(len(frame))
    index = np.repeat(np.arange(len(runs)), counts)
    columns: dict[str, Any] = {name: _join([frame[name] for frame in frames]) for name in COLUMNS}
    run_ids = pd.Categorical.from_codes(index, pd.Index([run.run_id for run in runs], dtype=str))
    scores = pd.DataFrame({"run_id": run_ids, **columns}, copy=False)
    try:
        check_scores(scores)
    except BenchError:
        for run in runs:
            read_scores(_paths(results_dir, run.run_id)[0])  # slower, and says which line
        raise
    lines = runs_frame(runs)
    for name in (*SINGLE_FILE, *RUN_COLUMNS):
        if name not in COLUMNS:
            columns[name] = lines[name].array.take(index)
        elif name not in NUMERIC:
            columns[name] = scores[name].astype("str")
    columns["n"] = scores["n"].astype("Int64")
    return pd.DataFrame({name: columns[name] for name in (*SINGLE_FILE, *RUN_COLUMNS)}, copy=False)


def load_runs(results_dir: Path) -> pd.DataFrame:
    """Return a row for each run of a folder, failed ones too, with the columns of RunLine, typed as `load_results`."""
    return runs_frame(read_runs(results_dir))


def read_runs(results_dir: Path) -> list[RunLine]:
    """Return the lines of all runs of a folder, failed ones too, by name. Raises BenchError for a damaged file."""
    runs = {run_id: run for run_id, (run, _) in _read_single(results_dir).items()}
    runs |= {run.run_id: run for run in (_read_line(path) for path in _run_paths(results_dir))}
    return [runs[run_id] for run_id in sorted(runs)]


def runs_frame(runs: Sequence[RunLine]) -> pd.DataFrame:
    """Return runs as a table: seed Int64, other numbers float64 with NaN where unknown, all else text."""
    frame = pd.DataFrame([run.model_dump() for run in runs], columns=list(columns_of(RunLine)))
    return frame.astype({name: _kind(name) for name in frame.columns})


def _kind(name: str) -> str:
    annotation = str(RunLine.model_fields[name].annotation)
    return "Int64" if name == "seed" else "float64" if "float" in annotation or "int" in annotation else "str"


def _paths(results_dir: Path, run_id: str) -> tuple[Path, Path]:
    """The files of a run's scores and of its line. Raises BenchError for an id that must name no file."""
    if not RUN_NAME.fullmatch(run_id):
        raise BenchError(f"'{run_id[:80]}' cannot name a run; use letters, digits and . _ + -")
    return results_dir / SCORES / f"{run_id}.csv", results_dir / RUNS / f"{run_id}.csv"


def _run_paths(results_dir: Path) -> list[Path]:
    return sorted((results_dir / RUNS).glob("[!.]*.csv"))


def _read_line(path: Path) -> RunLine:
    runs = read_rows(path, RunLine)
    if len(runs) != 1 or runs[0].run_id != path.stem:
        raise BenchError(f"{path} does not hold the one line of the run it is named after; score that run again")
    return runs[0]


def _read_divided(paths: Sequence[Path]) -> tuple[list[pd.DataFrame], list[int]]:
    """Tables of the scores of all files in order, many files in a table, and how many scores each file has."""
    frames: list[pd.DataFrame] = []
    counts: list[int] = []
    texts: list[bytes] = []
    for path in paths:
        text = path.read_bytes() if path.exists() else HEADER
        if not text.startswith(HEADER):
            read_scores(path)  # says what is wrong, or takes a file in which each row names its run
            raise BenchError(f"{path} has other columns than this version writes; move it away and score again")
        texts.append(text.removeprefix(HEADER))
        counts.append(texts[-1].count(b"\n"))
        if sum(map(len, texts)) > BYTES_AT_ONCE:
            frames.append(_parse_together(texts, paths[len(counts) - len(texts) : len(counts)]))
            texts = []
    frames.append(_parse_together(texts, paths[len(counts) - len(texts) : len(counts)]))
    return frames, counts


def _parse_together(texts: Sequence[bytes], paths: Sequence[Path]) -> pd.DataFrame:
    """One table of several files without their headers. Raises BenchError, naming the file, for one that is damaged."""
    try:
        return _parse(b"".join(texts), COLUMNS)
    except ValueError as error:
        for path in paths:
            read_scores(path)  # slower, and says which line
        raise BenchError(f"{paths[0].parent} cannot be read: {error}") from error


def _parse(content: bytes, columns: Sequence[str]) -> pd.DataFrame:
    """A table of CSV lines: numbers as float64, the rest as categories. Raises ValueError for a line that was cut.

    pandas fills up such a line, so commas are counted: between the cells, and within them.
    """
    kinds = {name: "float64" if name in NUMERIC else "category" for name in columns}
    first = ",".join("" if name in NUMERIC else "text" for name in columns)  # so that no column is taken for numbers
    frame = pd.read_csv(
        io.BytesIO(f"{first}\n".encode() + content),
        names=list(columns),
        dtype=kinds,
        keep_default_na=False,
        na_values={name: [""] for name in NUMERIC},
        index_col=False,
        low_memory=False,
    )
    within = 0
    for name in kinds.keys() - set(NUMERIC):
        text = frame[name].cat
        within += int(np.bincount(text.codes, minlength=len(text.categories)) @ text.categories.str.count(","))
    if content.count(b",") != (len(frame) - 1) * (len(columns) - 1) + within or content.count(b"\n") != len(frame) - 1:
        raise ValueError("a line was cut or edited")
    frame["protocol_hash"] = frame["protocol_hash"].map(carry_hash).astype("category")
    return frame.iloc[1:].reset_index(drop=True)


def _join(parts: Sequence[pd.Series]) -> Any:
    """One column from those of several tables."""
    categories = isinstance(parts[0].dtype, pd.CategoricalDtype)
    return union_categoricals(list(parts)) if categories else pd.concat(parts, ignore_index=True)


def _scores_of(frame: pd.DataFrame) -> list[Score]:
    lines = frame.astype(object).where(frame.notna(), None)[list(COLUMNS)]
    return [Score.model_validate(dict(zip(COLUMNS, line, strict=True))) for line in lines.to_numpy()]


def _divide(results_dir: Path) -> None:
    """Give each run of the one scores.csv that there once was files of its own, then remove it."""
    for run, frame in _read_single(results_dir).values():
        scores_path, run_path = _paths(results_dir, run.run_id)
        if not run_path.exists():  # what is there is newer
            if len(frame):
                write_scores(scores_path, _scores_of(frame))
            write_rows(run_path, RunLine, [run])
    if (results_dir / SINGLE_SCORES).exists():
        (results_dir / SINGLE_RUNS).unlink(missing_ok=True)
        (results_dir / SINGLE_SCORES).unlink()


def _read_single(results_dir: Path) -> dict[str, tuple[RunLine, pd.DataFrame]]:
    """The runs of the one scores.csv that there once was and of the runs.csv beside it; none without the former."""
    path = results_dir / SINGLE_SCORES
    if not path.exists():
        return {}
    header, _, content = path.read_bytes().partition(b"\n")
    if header.decode(errors="replace").strip() != ",".join(SINGLE_FILE):
        raise BenchError(f"{path} has other columns than any version wrote; move it away and score again")
    try:
        frame = _parse(content, SINGLE_FILE)
    except ValueError as error:
        read_cells(path)  # says which line
        raise BenchError(f"{path} cannot be read: {error}") from error
    lines = _single_lines(results_dir / SINGLE_RUNS)
    shared = [name for name in SINGLE_FILE if name not in COLUMNS]
    runs: dict[str, tuple[RunLine, pd.DataFrame]] = {}
    for run_id, rows in frame.groupby("run_id", observed=True, sort=True):
        facts = {name: str(rows[name].iloc[0]) for name in shared}
        if (rows[shared] != rows[shared].iloc[0]).any(axis=None):
            raise BenchError(f"{path}: the rows of run {run_id} differ in what a run has once; score it again")
        run = _line_of({**lines.pop(str(run_id), {}), **facts}, path)
        runs[run.run_id] = run, rows[list(COLUMNS)].reset_index(drop=True)
    nothing = frame[list(COLUMNS)].iloc[:0]
    for line in lines.values():  # failed, and without scores
        run = _line_of(line, results_dir / SINGLE_RUNS)
        runs[run.run_id] = run, nothing
    return runs


def _single_lines(path: Path) -> dict[str, dict[str, str]]:
    """run_id → the cells of its line in the one runs.csv that there once was; empty without the file."""
    if not path.exists():
        return {}
    header, lines = read_cells(path)
    if "run_id" not in header:
        raise BenchError(f"{path} has no column run_id; move it away and score again")
    found = (dict(zip(header, line, strict=True)) for line in lines)
    return {line["run_id"]: line for line in found}


def _line_of(cells: dict[str, str], path: Path) -> RunLine:
    """A run from the cells that say something; the columns of other versions are passed over."""
    known = {name: cell for name, cell in cells.items() if cell and name in RunLine.model_fields}
    try:
        return RunLine.model_validate(known)
    except ValidationError as error:
        raise BenchError(f"{path}, run {cells['run_id']}, column {describe_invalid(error)}") from error
