"""Runs of the smallest preset as a user types them, and changes of what they leave."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def places(home: Path, results: str = "results") -> list[str]:
    """Return the options that keep runs and results below a folder."""
    return ["--runs-dir", str(home / "runs"), "--results-dir", str(home / results)]


def run_arguments(
    home: Path, method: str, *more: str, phantoms: str = "8,2,7", results: str = "results", verb: str = "run"
) -> list[str]:
    """Return the command that runs a method on a few chest phantoms of the smoke preset below a folder."""
    data = ["--dataset", "lidc", "--preset", "smoke", "--set", f"data.phantoms=[{phantoms}]"]
    return [verb, *(["--method"] if verb == "run" else []), method, *data, *places(home, results), *more]


def change_json(file: Path, **values: Any) -> None:
    """Set keys of the object in a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **values}), encoding="utf-8")


def with_cells(text: str, wanted: Mapping[str, str], **cells: str) -> str:
    """Return a CSV text with other cells in the first row that has the wanted ones."""
    rows, changed = list(csv.DictReader(io.StringIO(text))), io.StringIO()
    next(row for row in rows if wanted.items() <= row.items()).update(cells)
    writer = csv.DictWriter(changed, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return changed.getvalue()
