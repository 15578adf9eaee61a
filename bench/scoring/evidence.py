"""How far the rows of a run from elsewhere were checked: results/evidence.csv, one line a run.

A run without a line was made where the results are kept. `bench import` enters the others: `self-reported` where their
data were not there, `re-scored` where its predictions gave its numbers. `re-run` is for a person to write, once its
weights or code were run again and gave its predictions.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bench.system.csv_files import escape_cell, read_rows, write_rows
from bench.system.files import locked
from bench.system.text import Line

FILE_NAME = "evidence.csv"
Level = Literal["self-reported", "re-scored", "re-run"]
LEVELS: dict[str, str] = {
    "self-reported": "numbers as they were sent; nobody else has scored the predictions",
    "re-scored": "the predictions were sent too, and were scored again with the same numbers",
    "re-run": "weights or code were run again and gave these predictions",
    "run here": "trained, reconstructed or scored where these results are kept",
}


class Evidence(BaseModel):
    """One line: of which predictions it holds, and who sent them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: Line
    level: Level
    predictions_sha256: Line = ""
    submitter: Line = ""
    code: Line = ""
    note: Line = ""


def read_evidence(results_dir: Path) -> dict[str, Evidence]:
    """Return run id → line; empty without the file. Raises BenchError, naming the line, for another level."""
    return {line.run_id: line for line in read_rows(results_dir / FILE_NAME, Evidence)}


def put_evidence(results_dir: Path, line: Evidence) -> None:
    """Enter how far a run was checked, in place of what was said of it before."""
    said = {name: escape_cell(getattr(line, name)) for name in ("submitter", "code", "note")}
    path = results_dir / FILE_NAME
    with locked(results_dir / ".lock"):
        lines = read_evidence(results_dir) | {line.run_id: line.model_copy(update=said)}
        write_rows(path, Evidence, [lines[run_id] for run_id in sorted(lines)])


def level_of(evidence: Evidence | None, predictions_sha256: str) -> str:
    """Return the level that a run's rows have: what was checked of other predictions than theirs counts for nothing."""
    if evidence is None:
        return "run here"
    return evidence.level if evidence.predictions_sha256 == predictions_sha256 else "self-reported"
