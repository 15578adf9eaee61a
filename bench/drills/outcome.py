"""What drills find, as a table."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tabulate import tabulate

from bench.system.files import write_text

FAULTS = "faults.csv"


@dataclass(frozen=True)
class Outcome:
    """One fault, where it struck, how often it was tried, and what came of it."""

    fault: str
    where: str
    times: int
    outcome: str
    survived: bool


COLUMNS = tuple(field.name for field in fields(Outcome))
SHOWN = COLUMNS[:-1]


def write_outcomes(results_dir: Path, outcomes: Sequence[Outcome]) -> None:
    """Write all outcomes to faults.csv in place of earlier ones."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(outcome) for outcome in outcomes)
    write_text(results_dir / FAULTS, text.getvalue())


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table, one line for all places where a fault had one outcome; their number below it."""
    places: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        places.setdefault((outcome.fault, outcome.outcome), []).append(outcome)
    rows = [
        (fault, ", ".join(each.where for each in same), sum(each.times for each in same), outcome)
        for (fault, outcome), same in places.items()
    ]
    return f"{tabulate(rows, SHOWN, 'github')}\n\n{sum(outcome.times for outcome in outcomes)} faults in all."
