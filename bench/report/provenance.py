"""How each run was made: its line of runs.csv, and what its run.json says beside it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.errors import BenchError
from bench.runs.folder import RunFolder
from bench.runs.record import RunLine
from bench.system.csv_files import cell_of

HEADS = {
    "status": "Status",
    "dataset": "Data set",
    "preset": "Preset",
    "seed": "Seed",
    "parameters": "Parameters",
    "steps": "Steps",
    "seconds_fit": "Training, s",
    "seconds_predict": "Inference, s",
    "peak_memory_mib": "Memory, MiB",
}
FACTS = {  # in the unfolded part
    "method": "Method",
    "origin": "Origin",
    "source": "Source",
    "device": "Device",
    "torch": "PyTorch",
    "code_version": "Code",
    "protocol": "Protocols",
    "data_fingerprint": "Data, SHA-256",
    "config_sha256": "Configuration, SHA-256",
    "predictions_sha256": "Predictions, SHA-256",
    "finished": "Finished",
    "error": "Error",
    "resampled": "Resampled",
}
FROM_RECORD = ("config", "provenance", "stages", "seconds")


@dataclass(frozen=True)
class RunView:
    """One run: short facts in the order of HEADS, long ones by name, and its record as JSON text."""

    run_id: str
    cells: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    failed: bool
    record: str
    reason: str


def view_runs(runs: Iterable[RunLine], folders: Mapping[str, RunFolder]) -> list[RunView]:
    """Return all runs, by their lines of the results and their folders; a damaged run.json is a reason."""
    return [_view({name: cell_of(value) for name, value in run}, folders.get(run.run_id)) for run in runs]


def _view(line: Mapping[str, str], folder: RunFolder | None) -> RunView:
    record, reason = "", "no run.json in the folder of runs"
    if folder is not None and folder.run_json.exists():
        try:
            found = folder.record()
            shown = found.model_dump(mode="json", include=set(FROM_RECORD), exclude_none=True) if found else {}
            record, reason = json.dumps(shown, indent=2, sort_keys=True), ""
        except BenchError as error:
            reason = str(error)
    facts = tuple((head, line[name]) for name, head in FACTS.items() if line.get(name))
    cells = tuple(_group_digits(line.get(name, "")) for name in HEADS)
    return RunView(line["run_id"], cells, facts, line.get("status") == "failed", record, reason)


def _group_digits(text: str) -> str:
    """A whole number with thin spaces between thousands; other text as it is."""
    return f"{int(text):,}".replace(",", "\N{THIN SPACE}") if text.isascii() and text.isdigit() else text
