"""What one score is and what cannot be true of it, checked alike by who writes a run's scores and who reads them."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bench.errors import BenchError
from bench.metrics import METRICS, Space
from bench.runs.record import Count, RunLine
from bench.scoring.protocol import ReleasedCodediff, ReleasedX2ct
from bench.scoring.protocols import carry_hash, get_protocol
from bench.system.csv_files import columns_of, is_formula, parse_rows, read_cells, text_of_rows
from bench.system.files import digest_of, write_text
from bench.system.text import Line, drop_controls

SLACK = 1e-9  # relative rounding allowed in the invariants


class Score(BaseModel):
    """One number of a run. The fields from `protocol` to `stat`, but for hash and code, are its key within the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Line
    protocol_hash: Line
    code_version: Line  # of the code that scored it
    space: Space
    axis: Line  # all; d, h, w or mean of a projection; heldout or input of an X-ray image; the part of a time
    metric: Line
    level: Literal["case", "set", "run"]
    case: Line = ""  # empty unless level is case
    rep: Line = ""  # index of the encoder; of encoder and draw for a baseline
    stat: Literal["value", "mean", "sd", "ci_lo", "ci_hi"]
    value: float | None
    n: Count | None = None  # cases behind the value; steps behind a training time
    status: Literal["ok", "na", "error", "partial"] = "ok"
    note: Line = ""


COLUMNS = columns_of(Score)
NUMERIC = ("value", "n")
KEY = ("protocol", "space", "axis", "metric", "level", "case", "rep", "stat")
SINGLE_FILE = (  # the columns of the one scores.csv of all runs, before each run had a file of its own
    *("run_id", "protocol", "protocol_hash", "method", "origin", "dataset", "source", "split", "preset", "seed"),
    *("views", "space", "axis", "metric", "level", "case", "rep", "stat", "value", "n", "status", "note"),
    "code_version",
)


def write_scores(path: Path, scores: Sequence[Score]) -> str:
    """Write the scores of one run, sorted by key; return the SHA-256 of the file.

    Raises BenchError, naming the row, for scores that cannot be true; the file then stays as it was.
    """
    text = text_of_scores(scores)
    return write_text(path, text)


def text_of_scores(scores: Sequence[Score]) -> str:
    """Return the file of one run's scores, sorted by key. Raises BenchError for scores that cannot be true."""
    ordered = sorted(scores, key=score_key)
    check_scores(frame_of(ordered))
    return text_of_rows(Score, ordered)


def read_scores(path: Path, run: RunLine | None = None) -> list[Score]:
    """Return the scores of one run's file, none without it; a file with the facts of `run` in each row is read too.

    Scores under an earlier hash of a protocol that makes the same numbers have today's (bench.scoring.protocols).
    Raises BenchError, with the line, for what does not fit the schema, cannot be true, or is of another run.
    """
    if not path.exists():
        return []
    header, lines = read_cells(path)
    if tuple(header) == SINGLE_FILE:
        _check_run(path, lines, run)
        places = [header.index(name) for name in COLUMNS]
        lines = [[line[place] for place in places] for line in lines]
    elif tuple(header) != COLUMNS:
        raise BenchError(f"{path} has other columns than this version writes; move it away and score again")
    place = COLUMNS.index("protocol_hash")
    lines = [[*line[:place], carry_hash(line[place]), *line[place + 1 :]] for line in lines]
    scores = parse_rows(COLUMNS, lines, Score, str(path))
    check_scores(frame_of(scores), path)
    return scores


def score_key(score: Score) -> tuple[str, ...]:
    """Return what tells a score from all others of its run."""
    return tuple(getattr(score, name) for name in KEY)


def scope_of(score: Score) -> tuple[str, bool]:
    """Return what is replaced together: the scores of a protocol, or the times that were entered with them."""
    return score.protocol, score.space == "time"


def scores_sha256(scores: Sequence[Score]) -> str:
    """Return one hash of scores in any order."""
    return digest_of(sorted([str(value) for value in score.model_dump().values()] for score in scores))


def frame_of(scores: Sequence[Score]) -> pd.DataFrame:
    """Return scores as a table with typed columns: value and n are float64, all others text."""
    frame = pd.DataFrame([score.model_dump() for score in scores], columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(COLUMNS, "str") | dict.fromkeys(NUMERIC, "float64"))


def check_scores(frame: pd.DataFrame, path: Path | None = None) -> None:
    """Raise BenchError, naming the row, for scores of one or several runs that cannot be true.

    `frame` has the columns of Score and, of several runs, run_id; where its rows are those of a file, `path` lets the
    message name the line. Refused are an unknown word, metric or protocol, a repeated key, a value outside of its
    metric's range, a count below nothing, a missing or superfluous value, note or case, a cell that a spreadsheet would
    compute, values of one case that contradict each other, and a mean that is not that of its cases.
    """
    for index, reason in _find_faults(frame):
        row = frame.loc[index]
        raise BenchError(f"{path} line {int(index) + 2}: {reason}" if path else f"{_place(row)}: {reason}")


def _find_faults(frame: pd.DataFrame) -> Iterator[tuple[Any, str]]:
    """Yield the label of a row and what cannot be true of it; rules may rely on those before them."""
    for name in COLUMNS:
        if name not in NUMERIC:
            yield from _find_wrong_words(frame, name)
    value, metric, level, status = (frame[name] for name in ("value", "metric", "level", "status"))
    low, high = (metric.map(ends).astype("float64") for ends in _ranges())
    low = low.mask((frame["stat"] == "sd").to_numpy(), 0.0)
    high = high.mask((frame["stat"] == "sd").to_numpy(), np.nan)
    empty = status.isin(("na", "error")).to_numpy()
    named = (frame["case"] != "").to_numpy()
    for index, pair in frame.drop_duplicates(["metric", "space"]).iterrows():
        if pair["space"] not in METRICS[str(pair["metric"])].spaces:
            yield index, "its metric is not measured in this space"
    rules = (
        ((level == "case").to_numpy() != named, "a case belongs to rows of level case, and only to them"),
        (empty & (value.notna() | (frame["note"] == "")), "status na or error needs a note and no value"),
        (~empty & ~np.isfinite(value), "a value is missing or not finite, and the status is not na or error"),
        ((value < low) | (value > high * (1 + SLACK)), "the value is outside the range of its metric"),
        (frame["n"] < 0, "n is below nothing"),
        (frame.duplicated([*_run_column(frame), *KEY]), "two rows have the same key"),
    )
    for broken, reason in rules:
        if np.any(broken):
            yield frame.index[int(np.argmax(broken))], reason
    yield from _find_wrong_distances(frame)
    yield from _find_wrong_means(frame)


@cache
def _ranges() -> tuple[dict[str, float], dict[str, float]]:
    """Lowest and highest value by metric; NaN where it has no end."""
    low, high = ({name: entry.range[end] for name, entry in METRICS.items()} for end in (0, 1))
    return tuple({name: np.nan if end is None else end for name, end in ends.items()} for ends in (low, high))  # type: ignore[return-value]


@cache
def _word_adapter(name: str) -> TypeAdapter[Any]:
    kind: Any = Score.model_fields[name].annotation
    return TypeAdapter(list[kind])


def _find_wrong_words(frame: pd.DataFrame, name: str) -> Iterator[tuple[Any, str]]:
    """Yield a text that its column may not hold; each different text is looked at once."""
    words = [str(word) for word in frame[name].unique()]
    try:
        _word_adapter(name).validate_python(words)
        unknown = [word for word in words if word not in METRICS] if name == "metric" else []
        wrong = next(iter(unknown or [word for word in words if is_formula(word)]), None)
        reason = f"unknown metric {wrong!r:.42}" if unknown else f"a spreadsheet would compute the {name} {wrong!r:.42}"
        if wrong is None and (unclean := [word for word in words if drop_controls(word) != word]):
            wrong, reason = unclean[0], f"the {name} {unclean[0]!r:.42} holds control characters"
    except ValidationError as error:
        wrong = words[int(error.errors()[0]["loc"][0])]
        reason = f"{name} {wrong!r:.42}: {error.errors()[0]['msg']}"
    if wrong is not None:
        yield frame.index[int(np.argmax((frame[name] == wrong).to_numpy()))], reason


def _find_wrong_means(frame: pd.DataFrame) -> Iterator[tuple[Any, str]]:
    """Yield a mean over cases that is not the mean of the cases that stand beside it, or counts others."""
    place = [*_run_column(frame), "protocol", "space", "axis", "metric", "rep"]
    means = frame[((frame["level"] == "set") & (frame["stat"] == "mean")).to_numpy() & frame["value"].notna()]
    cases = frame[(frame["level"] == "case").to_numpy()]
    found = cases.groupby(place, observed=True, sort=False)["value"].agg(["mean", "count"])
    stated = means.reset_index().merge(found.reset_index(), on=place)
    wrong = (stated["n"] != stated["count"]) | ~np.isclose(stated["value"], stated["mean"], rtol=1e-6, atol=1e-12)
    for _, row in stated[wrong].head(1).iterrows():
        yield row["index"], f"the mean of its {row['count']:.0f} cases is {row['mean']:g}, not {row['value']:g}"


def _find_wrong_distances(frame: pd.DataFrame) -> Iterator[tuple[Any, str]]:
    """Yield a row unless MAE² ≤ MSE ≤ peak·MAE, and a case's PSNR is that of its MSE.

    A PSNR that is a mean over slices, axes or angles is at least that of the mean MSE (Jensen's inequality); a cap on
    the PSNR of slices without error caps what is asked of it.
    """
    known = frame[frame["value"].notna() & frame["stat"].isin(("value", "mean")) & frame["metric"].isin(_DISTANCES)]
    if not len(known):
        return
    keys = [*_run_column(frame), *(name for name in KEY if name != "metric")]
    place = known.groupby(keys, observed=True, sort=False).ngroup().to_numpy()
    rows = known.iloc[np.unique(place, return_index=True)[1]]  # one of each place
    values = {name: np.full(len(rows), np.nan) for name in _DISTANCES}
    for name, column in values.items():
        chosen = (known["metric"] == name).to_numpy()
        column[place[chosen]] = known["value"].to_numpy()[chosen]
    for protocol_id in rows["protocol"].unique():
        protocol = get_protocol(str(protocol_id))
        own = (rows["protocol"] == protocol_id) & (rows["protocol_hash"] == protocol.sha256())
        of_protocol = own.to_numpy()  # another version of it may define a number otherwise
        mse, mae, psnr, mse_int = (values[name][of_protocol] for name in _DISTANCES)
        mine, rules = rows[of_protocol], protocol.distortion
        impossible = ~np.isnan(mae) & ((mae**2 * (1 - SLACK) > mse) | (mse > rules.peak * mae * (1 + SLACK)))
        in_3d, peak = (mine["space"] == "3d").to_numpy(), np.full(len(mine), rules.peak)
        if isinstance(rules, ReleasedX2ct) and rules.psnr == "integers":
            mse, peak = np.where(in_3d, mse_int, mse), np.where(in_3d, rules.integer_peak, peak)
        with np.errstate(divide="ignore", invalid="ignore"):
            implied = 20 * np.log10(peak) - 10 * np.log10(mse)
        mixed, least = mine["axis"].isin(("mean", "heldout", "input")).to_numpy(), implied
        if isinstance(rules, ReleasedCodediff):
            mixed, least = mixed | in_3d, np.where(in_3d, np.minimum(implied, rules.exact_db), implied)
        told = ~np.isnan(psnr) & (mse > 0) & (mine["level"] == "case").to_numpy()
        off = told & ((psnr < least - 1e-6) | ((psnr > implied + 1e-6) & ~mixed))
        for broken, text in ((impossible, "MSE and MAE cannot both be of values in"), (off, "PSNR is not that of MSE")):
            if broken.any():
                index = int(np.argmax(broken))
                what = f"{text} [0, {rules.peak:g}]" if broken is impossible else text
                numbers = f"MSE {mse[index]:g}, MAE {mae[index]:g}, PSNR {psnr[index]:g}"
                yield mine.index[index], f"{what} ({numbers})"


_DISTANCES = ("mse", "mae", "psnr", "mse_int")


def _run_column(frame: pd.DataFrame) -> list[str]:
    return ["run_id"] if "run_id" in frame else []


def _place(row: pd.Series) -> str:
    """A row in words, for a message."""
    whose = f"run {row['run_id']}, " if "run_id" in row else ""
    place = f"{row['space']}/{row['axis']} {row['metric']} of {row['case'] or row['level']}"
    return f"{whose}{row['protocol']} {place} ({row['stat']})"


def _check_run(path: Path, lines: Sequence[Sequence[str]], run: RunLine | None) -> None:
    """Raise BenchError where rows that name a run, as all did once, are not of the run at hand."""
    shared = [name for name in SINGLE_FILE if name not in COLUMNS]
    stated = {tuple(line[SINGLE_FILE.index(name)] for name in shared) for line in lines}
    if len(stated) > 1:
        raise BenchError(f"{path} holds rows of several runs")
    if run is not None and stated:
        expected = tuple("" if (value := getattr(run, name)) is None else str(value) for name in shared)
        wrong = [name for name, mine, other in zip(shared, expected, next(iter(stated)), strict=True) if mine != other]
        if wrong:
            raise BenchError(f"{path} holds rows of another run than {run.run_id}: {wrong[0]} differs")
