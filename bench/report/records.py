"""What stands on the page beside the groups: the studies, and how each run was made."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.report.pictures import png_uri
from bench.results.model import Results
from bench.results.renderers import Sheet
from bench.runs.folder import RunFolder
from bench.runs.record import RunLine
from bench.study.catalogue import STUDIES
from bench.study.points import draw_sheet, read_study
from bench.system.csv_files import cell_of

PNG = b"\x89PNG\r\n\x1a\n"
MOST_BYTES = 2 * 2**20  # of one picture
RUN_COLUMNS = {  # column of a run → head and format
    "status": ("Status", ""),
    "dataset": ("Data set", ""),
    "preset": ("Preset", ""),
    "seed": ("Seed", ""),
    "parameters": ("Parameters", ","),
    "steps": ("Steps", ","),
    "seconds_fit": ("Training, s", ".1f"),
    "seconds_predict": ("Inference, s", ".1f"),
    "peak_memory_mib": ("Memory, MiB", ",.0f"),
}
RUN_FACTS = {  # in the unfolded part
    "method": "Method",
    "origin": "Origin",
    "source": "Source",
    "trained_on": "Trained on",
    "device": "Device",
    "torch": "PyTorch",
    "precision": "Precision",
    "code_version": "Code",
    "protocols": "Protocols",
    "data_fingerprint": "Data, SHA-256",
    "config_sha256": "Configuration, SHA-256",
    "predictions_sha256": "Predictions, SHA-256",
    "finished": "Finished",
    "seconds_fit_cpu": "Training, CPU s",
    "error": "Error",
    "resampled": "Resampled",
}
FROM_RECORD = ("config", "provenance", "stages", "seconds")


@dataclass(frozen=True)
class StudyView:
    """One study: its question, its picture as a data: address, its numbers, notes of its settings, or a reason."""

    name: str
    question: str = ""
    facts: str = ""
    picture: str = ""
    sheet: Sheet | None = None
    notes: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class RunView:
    """One run: short facts in the order of RUN_COLUMNS, long ones by name, and its record as JSON text."""

    run_id: str
    cells: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    failed: bool
    record: str
    reason: str


def view_studies(results_dir: Path) -> Iterator[StudyView]:
    """Yield every CSV of results/studies, by name."""
    for path in sorted((results_dir / "studies").glob("*.csv")):
        try:
            yield _view_study(path)
        except BenchError as error:
            yield StudyView(path.stem, reason=str(error))


def view_runs(results: Results, folders: Mapping[str, RunFolder]) -> list[RunView]:
    """Return all runs, by their lines of the results and their folders; a damaged run.json is a reason."""
    pairs = results.rows[["run_id", "protocol"]].drop_duplicates()
    protocols = pairs.groupby("run_id", observed=True)["protocol"].agg(lambda own: "+".join(sorted(own))).to_dict()
    return [_view_run(run, protocols.get(run.run_id, ""), folders.get(run.run_id)) for run in results.runs]


def _view_study(path: Path) -> StudyView:
    recorded = read_study(path)
    study = STUDIES.get(recorded.study)
    shown = study.metrics if study else [summary.metric for summary in recorded.summaries]
    facts = "{dataset} · {source} data · {preset}".format(**recorded.facts)
    picture, reason = _read_picture(path.with_suffix(".png"))
    question, sheet = study.question if study else recorded.study, draw_sheet(recorded.summaries, shown)
    return StudyView(path.stem, question, facts, picture, sheet, recorded.notes, reason)


def _read_picture(path: Path) -> tuple[str, str]:
    """The data: address of a PNG, or why there is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return "", f"no picture: {path.name}: {error.strerror}"
    if not content.startswith(PNG):
        return "", f"no picture: {path.name} is no PNG"
    if len(content) > MOST_BYTES:
        return "", f"no picture: {path.name} is larger than {MOST_BYTES // 2**20} MiB"
    return png_uri(content), ""


def _view_run(run: RunLine, protocols: str, folder: RunFolder | None) -> RunView:
    record, reason = "", "no run.json in the folder of runs"
    if folder is not None and folder.run_json.exists():
        try:
            found = folder.record()
            shown = found.model_dump(mode="json", include=set(FROM_RECORD), exclude_none=True) if found else {}
            record, reason = json.dumps(shown, indent=2, sort_keys=True), ""
        except BenchError as error:
            reason = str(error)
    values = {**dict(run), "protocols": protocols}
    facts = tuple((head, cell_of(values[name])) for name, head in RUN_FACTS.items() if values[name])
    texts = ("" if values[name] is None else format(values[name], spec) for name, (_, spec) in RUN_COLUMNS.items())
    cells = tuple(text.replace(",", "\N{THIN SPACE}") for text in texts)  # between thousands
    return RunView(run.run_id, cells, facts, run.status == "failed", record, reason)
