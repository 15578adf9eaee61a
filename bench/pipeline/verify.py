"""Is a run what it says it is: its name, the hashes of weights and predictions, and its numbers, scored again."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench.errors import BenchError
from bench.metrics import FIDELITY
from bench.pipeline.reopen import StoredRun, find_laplace, open_stored
from bench.runs.folder import RunFolder
from bench.runs.manifest import MANIFEST, beside_sha256, find_intact, folder_sha256, read_manifest
from bench.runs.predictions import ENCODED_TRUTH, sample_folder, samples_sha256
from bench.runs.record import RunRecord
from bench.runs.volume_files import read_volume
from bench.runs.weights import weights_intact
from bench.scoring.protocols import PROTOCOLS, carry_hash, is_current
from bench.scoring.rows import Score, read_scores, score_key
from bench.scoring.score import score_predictions
from bench.scoring.store import VOLUMES, read_run
from bench.system.progress import Progress

SAME = 1e-5  # relative difference that other hardware may make
SAME_IN_NOTE = 0.02  # relative difference of a number in a note, which has three digits
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
SAME_SHARE = 0.02  # difference of a share of neighbours (density, coverage), which flips case by case
FACTS = (  # of a run that its line in the results must agree in
    *("method", "origin", "dataset", "source", "split", "preset", "seed", "views", "size", "window_low", "window_high"),
    *("trained_on", "data_fingerprint", "config_sha256", "predictions_sha256", "pretrained_sha256"),
)


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
        findings += [_check_results(folder, results_dir), *_check_kept(folder, results_dir)]
    return findings


def check_files(folder: RunFolder) -> list[Finding]:
    """Return what the name that follows from the record, and the hashes of weights and predictions, come to."""
    try:
        record = folder.record()
    except BenchError as error:
        return [Finding("run.json", False, str(error))]
    if record is None:
        return [Finding("run.json", False, f"{folder.run_json} is missing")]
    target, validation = folder.predictions(record.split), folder.predictions("validation")
    findings = [_check_name(record)]
    for stage, stated in record.stages.items():
        good = weights_intact(folder, stage, stated.sha256)
        text = "as stated" if good else "missing or not the file that run.json describes"
        findings.append(Finding(f"weights {stage}", good, text))
    findings.append(_check_predictions(target, record.predictions_sha256))
    if record.beside_sha256 not in (None, beside_sha256(target)):
        findings.append(Finding("beside the predictions", False, "not what was scored: images, truths or likelihoods"))
    if (target / ENCODED_TRUTH).is_dir():
        findings.append(_check_predictions(target / ENCODED_TRUTH))
    if record.samples > 1:
        findings += _check_samples(target, record)
    if validation != target and validation.is_dir():
        findings.append(_check_predictions(validation))
    return findings


def check_scores(folder: RunFolder, progress: Progress, device: torch.device) -> list[Finding]:
    """Each protocol's rows of scores.csv against those that its predictions give now.

    No machine repeats a time: rows of time are compared with the seconds in run.json, which are those of the protocol
    that the run was made under last.
    """
    what = "scores"
    try:
        kept = read_scores(folder.scores_csv)
        what = "data"
        run = open_stored(folder, progress)
    except BenchError as error:
        return [Finding(what, False, str(error))]
    findings = [_score_again(run, name, kept, progress, device) for name in run.record.scored]
    return findings or [Finding("scores", False, "the run was never scored")]


def _score_again(run: StoredRun, name: str, kept: Sequence[Score], progress: Progress, device: torch.device) -> Finding:
    """Return whether the kept rows of a protocol are those that the predictions give now."""
    what, record = f"scores {name}", run.record
    if not is_current(name, carry_hash(record.scored[name])):
        return Finding(what, False, "this version does not have the protocol it was scored by")
    mine = [row for row in kept if row.protocol == name and (name == record.protocol.id or row.space != "time")]
    by = record.scored_by.get(name)
    if wrong := [row for row in mine if row.code_version != (by or mine[0].code_version)]:
        stated = f"{by or mine[0].code_version} scored it, says {'run.json' if by else 'another row'}"
        return Finding(what, False, f"{_place(wrong[0])}: {wrong[0].code_version}; {stated}")
    with progress.task(f"score {name}", len(run.cases[run.facts.split])) as task:
        again = score_predictions(
            run.facts_under(PROTOCOLS[name]),
            run.cases,
            run.predictions,
            PROTOCOLS[name],
            on_progress=task.counted,
            laplace=find_laplace(run.folder, record, run.cases, PROTOCOLS[name], again=True),
            device=device,
        )
    times = {row.metric for row in mine if row.space == "time"}  # an earlier version wrote fewer
    found = [row for row in again if mine and (row.space != "time" or row.metric in times)]
    return compare_rows(what, mine, [row.model_copy(update={"code_version": mine[0].code_version}) for row in found])


def compare_rows(what: str, kept: Sequence[Score], again: Sequence[Score]) -> Finding:
    """Return whether two sets of rows have the same keys and values."""
    left, right = ({score_key(row): row for row in rows} for rows in (kept, again))
    if alone := left.keys() ^ right.keys():
        row = (left | right)[min(alone)]
        return Finding(what, False, f"{len(alone)} rows on one side only, e.g. {_place(row)}")
    wrong = [(old, right[key], name) for key, old in left.items() if (name := _find_difference(old, right[key]))]
    if not wrong:
        return Finding(what, True, f"{len(left)} rows repeated")
    old, new, name = wrong[0]
    values = f"{getattr(old, name)} is stated, {getattr(new, name)} is found"
    which = "" if name == "value" else f"{name} "
    return Finding(what, False, f"{len(wrong)} of {len(left)} rows differ, e.g. {_place(old)}: {which}{values}")


def _find_difference(old: Score, new: Score) -> str:
    """Return the name of the first field in which two rows of one key differ; empty where they are the same."""
    if not _same_value(old, new):
        return "value"
    differ = (name for name in ("status", "n", "code_version") if getattr(old, name) != getattr(new, name))
    return next(differ, "" if _same_note(old.note, new.note) else "note")


def _same_value(old: Score, new: Score) -> bool:
    if old.value is None or new.value is None:
        return old.value == new.value
    size = abs(old.value)
    slack = SAME_SHARE * max(1.0, size) if old.metric.startswith(FIDELITY) else SAME * max(size, 1e-3)
    return abs(old.value - new.value) <= slack


def _same_note(old: str, new: str) -> bool:
    """Return whether two notes have the same words, and numbers as near as another machine makes them."""
    if NUMBER.sub("#", old) != NUMBER.sub("#", new):
        return False
    one, other = (np.array(NUMBER.findall(note), dtype=float) for note in (old, new))
    return bool((np.abs(one - other) <= SAME_IN_NOTE * one).all())


def _check_name(record: RunRecord) -> Finding:
    expected = record.expected_run_id
    if record.run_id != expected or record.config.sha256() != record.config_sha256:
        return Finding("name", False, f"run.json calls itself {record.run_id}; what it says makes it {expected}")
    return Finding("name", True, f"{expected} follows from configuration, data and seed")


def _check_predictions(folder: Path, stated: str | None = None) -> Finding:
    what = f"predictions {folder.name}"
    try:
        manifest = read_manifest(folder)
    except BenchError as error:
        return Finding(what, False, str(error))
    if not manifest:
        return Finding(what, False, f"{folder / MANIFEST} is missing")
    bad = sorted(manifest.keys() - find_intact(folder).keys())
    extra = sorted({path.name for path in folder.glob("*.nii*")} - {entry.file for entry in manifest.values()})
    if bad or extra:
        return Finding(what, False, f"not as the manifest describes them: {', '.join((bad or extra)[:5])}")
    if stated is not None and folder_sha256(folder) != stated:
        return Finding(what, False, "the manifest is not the one that was scored")
    return Finding(what, True, f"{len(manifest)} files as stated")


def _check_samples(folder: Path, record: RunRecord) -> list[Finding]:
    findings = [
        replace(_check_predictions(sample_folder(folder, index)), what=f"sample {index + 1}")
        for index in range(1, record.samples)
    ]
    if all(finding.good for finding in findings) and record.samples_sha256 is not None:
        good = samples_sha256(folder, record.samples) == record.samples_sha256
        text = f"{record.samples - 1} beside the first" if good else "they are not those that were scored"
        findings.append(Finding("samples", good, text))
    return findings


def _check_results(folder: RunFolder, results_dir: Path) -> Finding:
    """Return whether the scores in the results are those of the run's own scores.csv."""
    shown, record, what = read_run(results_dir, folder.root.name), folder.record(), str(results_dir)
    if shown is None or record is None:
        return Finding(what, True, "holds no row of this run")
    for name in FACTS:
        if getattr(record.line, name) != getattr(shown[0], name):
            return Finding(what, False, f"its {name} of this run is {getattr(shown[0], name)!r}")
    return compare_rows(what, read_scores(folder.scores_csv), shown[1])


def _check_kept(folder: RunFolder, results_dir: Path) -> Iterator[Finding]:
    """Yield whether the volumes that the results keep for pictures are those of the run, in whole HU."""
    kept = results_dir / VOLUMES / folder.root.name
    for path in sorted(kept.glob("predictions/*/*.nii.gz")):
        try:
            made = read_volume(folder.predictions(path.parent.name) / path.name)
            wrong = "" if np.allclose(read_volume(path), made, rtol=0, atol=1) else "not the prediction of the run"
        except (BenchError, ValueError) as error:
            wrong = str(error)
        if wrong:
            yield Finding(str(path), False, wrong)
            return
    if kept.is_dir():
        yield Finding(str(kept), True, "for pictures alone: nothing is scored from it")


def _place(row: Score) -> str:
    return f"{row.metric} of {row.case or row.level} ({row.space}/{row.axis}, {row.stat})"
