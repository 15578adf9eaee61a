"""Is a run what it says it is: its name, the hashes of weights and predictions, and its numbers, scored again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from bench.errors import BenchError
from bench.metrics import FIDELITY
from bench.pipeline.reopen import open_stored
from bench.plugins.config import RunConfig
from bench.runs.folder import RunFolder, weights_intact
from bench.runs.predictions import ENCODED_TRUTH, MANIFEST, intact, read_manifest
from bench.runs.record import folder_sha256, name_of_record
from bench.scoring.protocols import PROTOCOLS, carry_hash, is_current
from bench.scoring.rows import KEY, ScoreRow, read_score_rows
from bench.scoring.score import score_predictions
from bench.system.progress import Progress

SAME = 1e-5  # relative difference that other hardware may make
SAME_SHARE = 0.02  # difference of a share of neighbours (density, coverage), which flips case by case


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    good: bool
    text: str


def verify_run(folder: RunFolder, results_dir: Path, progress: Progress, device: torch.device) -> list[Finding]:
    """Everything that can be checked of a finished run, the rows in `results_dir` included.

    Numbers are scored again only from files whose hashes are right. Raises BenchError for an unreadable run.json.
    """
    findings = check_files(folder)
    if all(finding.good for finding in findings):
        findings += check_scores(folder, progress, device)
        findings.append(_check_results(folder, results_dir))
    return findings


def check_files(folder: RunFolder) -> list[Finding]:
    """The name that follows from configuration, data and seed, and the hashes of weights and predictions."""
    record = folder.record()
    try:
        findings = [_check_name(record), *_check_weights(folder, record.get("stages", {}))]
        target = folder.predictions(record["split"])
        findings += _check_predictions(target, record.get("predictions_sha256"))
    except (KeyError, TypeError, ValidationError) as error:
        return [Finding("run.json", False, f"damaged or of another version: {type(error).__name__} {error}")]
    if (target / ENCODED_TRUTH).is_dir():
        findings += _check_predictions(target / ENCODED_TRUTH, None)
    return findings


def check_scores(folder: RunFolder, progress: Progress, device: torch.device) -> list[Finding]:
    """Each protocol's rows of scores.csv against those that its predictions give now; times are not repeated."""
    try:
        kept = [row for row in read_score_rows(folder.scores_csv) if row.space != "time"]
    except BenchError as error:
        return [Finding("scores", False, str(error))]
    try:
        run = open_stored(folder, progress)
    except BenchError as error:
        return [Finding("data", False, str(error))]
    findings = []
    for name, sha256 in folder.record()["scored"].items():
        if not is_current(name, carry_hash(sha256)):
            findings.append(
                Finding(f"scores {name}", False, "this version does not have the protocol it was scored by")
            )
            continue
        protocol = PROTOCOLS[name]
        with progress.task(f"score {name}", len(run.cases[run.facts.split])) as task:
            again = score_predictions(
                run.facts, run.cases, run.predictions, protocol, on_progress=task.counted, device=device
            )
        mine = [row for row in kept if row.protocol == name]
        findings.append(compare_rows(f"scores {name}", mine, [row for row in again if row.space != "time"]))
    return findings or [Finding("scores", False, "the run was never scored")]


def compare_rows(what: str, kept: list[ScoreRow], again: list[ScoreRow]) -> Finding:
    """Whether two sets of rows have the same keys and values."""
    left, right = ({_key(row): row for row in rows} for rows in (kept, again))
    alone = [*(left.keys() - right.keys()), *(right.keys() - left.keys())]
    if alone:
        row = left.get(alone[0]) or right[alone[0]]
        return Finding(what, False, f"{len(alone)} rows on one side only, e.g. {_place(row)}")
    wrong = [key for key in left if not _same(left[key], right[key])]
    if wrong:
        old, new = left[wrong[0]], right[wrong[0]]
        text = (
            f"{len(wrong)} of {len(left)} rows differ, e.g. {_place(old)}: {old.value} is stated, {new.value} is found"
        )
        return Finding(what, False, text)
    return Finding(what, True, f"{len(left)} rows repeated")


def _key(row: ScoreRow) -> tuple[Any, ...]:
    """Return what tells a row from all others of its run, its protocol by the hash that it is shown under."""
    own = {name: getattr(row, name) for name in KEY}
    return tuple({**own, "protocol_hash": carry_hash(row.protocol_hash)}.values())


def _same(old: ScoreRow, new: ScoreRow) -> bool:
    if old.value is None or new.value is None:
        return old.value is None and new.value is None and old.status == new.status
    if old.metric.startswith(FIDELITY):
        return abs(old.value - new.value) <= SAME_SHARE * max(1.0, abs(old.value))
    return abs(old.value - new.value) <= SAME * max(abs(old.value), 1e-3)


def _check_name(record: Mapping[str, Any]) -> Finding:
    expected = name_of_record(record)
    if record["run_id"] != expected or RunConfig.model_validate(record["config"]).sha256() != record["config_sha256"]:
        return Finding("name", False, f"run.json calls itself {record['run_id']}; what it says makes it {expected}")
    return Finding("name", True, f"{expected} follows from configuration, data and seed")


def _check_weights(folder: RunFolder, stages: Mapping[str, Any]) -> list[Finding]:
    findings = []
    for stage, record in stages.items():
        good = weights_intact(folder, stage, record["sha256"])
        found = "as stated" if good else "missing or not the file that run.json describes"
        findings.append(Finding(f"weights {stage}", good, found))
    return findings


def _check_predictions(folder: Path, stated: str | None) -> list[Finding]:
    what = f"predictions {folder.name}"
    try:
        manifest = read_manifest(folder)
    except BenchError as error:
        return [Finding(what, False, str(error))]
    bad = sorted(manifest.keys() - intact(folder).keys())
    known = {entry.file for entry in manifest.values()} | {MANIFEST}
    extra = sorted(p.name for p in folder.glob("*.nii*") if p.name not in known)
    if not manifest or bad or extra:
        names = ", ".join((bad or extra)[:5])
        reason = f"not as the manifest describes them: {names}" if manifest else f"{folder / MANIFEST} is missing"
        return [Finding(what, False, reason)]
    if stated is not None and folder_sha256(folder) != stated:
        return [Finding(what, False, "the manifest is not the one that was scored")]
    return [Finding(what, True, f"{len(manifest)} files as stated")]


def _check_results(folder: RunFolder, results_dir: Path) -> Finding:
    """Whether the rows of the results table are those of the run's own scores.csv."""
    own = read_score_rows(folder.scores_csv)
    shown = [row for row in read_score_rows(results_dir / "scores.csv") if row.run_id == folder.record()["run_id"]]
    if not shown:
        return Finding(f"{results_dir}", True, "holds no row of this run")
    return compare_rows(f"{results_dir}", own, shown)


def _place(row: ScoreRow) -> str:
    return f"{row.metric} of {row.case or row.level} ({row.space}/{row.axis}, {row.stat})"
