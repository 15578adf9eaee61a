"""Is a run what it says it is: its name, the hashes of weights and predictions, and its numbers, scored again."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench.errors import BenchError
from bench.metrics import FIDELITY
from bench.pipeline.reopen import find_laplace, open_stored
from bench.runs.folder import RunFolder
from bench.runs.manifest import MANIFEST, beside_sha256, find_intact, folder_sha256, read_manifest
from bench.runs.predictions import ENCODED_TRUTH, sample_folder, samples_sha256
from bench.runs.record import RunRecord, StageRecord
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
    target = folder.predictions(record.split)
    findings = [_check_name(record), *_check_weights(folder, record.stages)]
    findings += _check_predictions(target, record.predictions_sha256)
    if record.beside_sha256 not in (None, beside_sha256(target)):
        findings.append(Finding("beside the predictions", False, "not what was scored: images, truths or likelihoods"))
    if (target / ENCODED_TRUTH).is_dir():
        findings += _check_predictions(target / ENCODED_TRUTH, None)
    if record.samples > 1:
        findings += _check_samples(target, record)
    if (validation := folder.predictions("validation")) != target and validation.is_dir():
        findings += _check_predictions(validation, None)
    return findings


def check_scores(folder: RunFolder, progress: Progress, device: torch.device) -> list[Finding]:
    """Each protocol's rows of scores.csv against those that its predictions give now.

    No machine repeats a time: rows of time are compared with the seconds in run.json, which are those of the protocol
    that the run was made under last.
    """
    try:
        kept = read_scores(folder.scores_csv)
    except BenchError as error:
        return [Finding("scores", False, str(error))]
    try:
        run = open_stored(folder, progress)
    except BenchError as error:
        return [Finding("data", False, str(error))]
    findings = []
    for name, sha256 in run.record.scored.items():
        if not is_current(name, carry_hash(sha256)):
            findings.append(
                Finding(f"scores {name}", False, "this version does not have the protocol it was scored by")
            )
            continue
        protocol = PROTOCOLS[name]
        with progress.task(f"score {name}", len(run.cases[run.facts.split])) as task:
            again = score_predictions(
                run.facts_under(protocol),
                run.cases,
                run.predictions,
                protocol,
                on_progress=task.counted,
                laplace=find_laplace(folder, run.record, run.cases, protocol, again=True),
                device=device,
            )
        timed = name == run.record.protocol.id
        mine = [row for row in kept if row.protocol == name and (timed or row.space != "time")]
        by = run.record.scored_by.get(name)
        if wrong := [row for row in mine if row.code_version != (by or mine[0].code_version)]:
            stated = f"{by or mine[0].code_version} scored it, says {'run.json' if by else 'another row'}"
            findings.append(Finding(f"scores {name}", False, f"{_place(wrong[0])}: {wrong[0].code_version}; {stated}"))
            continue
        found = [row.model_copy(update={"code_version": mine[0].code_version}) for row in again if mine]
        findings.append(compare_rows(f"scores {name}", mine, found))
    return findings or [Finding("scores", False, "the run was never scored")]


def compare_rows(what: str, kept: list[Score], again: list[Score]) -> Finding:
    """Return whether two sets of rows have the same keys and values."""
    left, right = ({score_key(row): row for row in rows} for rows in (kept, again))
    alone = [*(left.keys() - right.keys()), *(right.keys() - left.keys())]
    if alone:
        row = left.get(alone[0]) or right[alone[0]]
        return Finding(what, False, f"{len(alone)} rows on one side only, e.g. {_place(row)}")
    wrong = {key: name for key in left if (name := _find_difference(left[key], right[key]))}
    if wrong:
        key, name = next(iter(wrong.items()))
        old, new = getattr(left[key], name), getattr(right[key], name)
        which = "" if name == "value" else f"{name} "
        text = (
            f"{len(wrong)} of {len(left)} rows differ, e.g. {_place(left[key])}: {which}{old} is stated, {new} is found"
        )
        return Finding(what, False, text)
    return Finding(what, True, f"{len(left)} rows repeated")


def _find_difference(old: Score, new: Score) -> str:
    """Return the name of the first field in which two rows of one key differ; empty where they are the same."""
    if not _same_value(old, new):
        return "value"
    differ = (name for name in ("status", "n", "code_version") if getattr(old, name) != getattr(new, name))
    return next(differ, "" if _same_note(old.note, new.note) else "note")


def _same_value(old: Score, new: Score) -> bool:
    if old.value is None or new.value is None:
        return old.value is None and new.value is None
    if old.metric.startswith(FIDELITY):
        return abs(old.value - new.value) <= SAME_SHARE * max(1.0, abs(old.value))
    return abs(old.value - new.value) <= SAME * max(abs(old.value), 1e-3)


def _same_note(old: str, new: str) -> bool:
    """Return whether two notes have the same words, and numbers as near as another machine makes them."""
    words, numbers = ([NUMBER.sub("#", note) for note in (old, new)], [NUMBER.findall(note) for note in (old, new)])
    return words[0] == words[1] and all(
        abs(float(one) - float(other)) <= SAME_IN_NOTE * abs(float(one)) for one, other in zip(*numbers, strict=True)
    )


def _check_name(record: RunRecord) -> Finding:
    expected = record.expected_run_id
    if record.run_id != expected or record.config.sha256() != record.config_sha256:
        return Finding("name", False, f"run.json calls itself {record.run_id}; what it says makes it {expected}")
    return Finding("name", True, f"{expected} follows from configuration, data and seed")


def _check_weights(folder: RunFolder, stages: Mapping[str, StageRecord]) -> list[Finding]:
    findings = []
    for stage, record in stages.items():
        good = weights_intact(folder, stage, record.sha256)
        text = "as stated" if good else "missing or not the file that run.json describes"
        findings.append(Finding(f"weights {stage}", good, text))
    return findings


def _check_predictions(folder: Path, stated: str | None) -> list[Finding]:
    what = f"predictions {folder.name}"
    try:
        manifest = read_manifest(folder)
    except BenchError as error:
        return [Finding(what, False, str(error))]
    bad = sorted(manifest.keys() - find_intact(folder).keys())
    known = {entry.file for entry in manifest.values()} | {MANIFEST}
    extra = sorted(p.name for p in folder.glob("*.nii*") if p.name not in known)
    if not manifest or bad or extra:
        names = ", ".join((bad or extra)[:5])
        reason = f"not as the manifest describes them: {names}" if manifest else f"{folder / MANIFEST} is missing"
        return [Finding(what, False, reason)]
    if stated is not None and folder_sha256(folder) != stated:
        return [Finding(what, False, "the manifest is not the one that was scored")]
    return [Finding(what, True, f"{len(manifest)} files as stated")]


def _check_samples(folder: Path, record: RunRecord) -> list[Finding]:
    findings = []
    for index in range(1, record.samples):
        found = _check_predictions(sample_folder(folder, index), None)
        findings += [replace(finding, what=f"sample {index + 1}") for finding in found]
    if all(finding.good for finding in findings) and record.samples_sha256 is not None:
        good = samples_sha256(folder, record.samples) == record.samples_sha256
        text = f"{record.samples - 1} beside the first" if good else "they are not those that were scored"
        findings.append(Finding("samples", good, text))
    return findings


def _check_results(folder: RunFolder, results_dir: Path) -> Finding:
    """Return whether the scores in the results are those of the run's own scores.csv."""
    shown = read_run(results_dir, folder.root.name)
    if shown is None:
        return Finding(f"{results_dir}", True, "holds no row of this run")
    record = folder.record()
    line = record.line if record else shown[0]
    for name in FACTS:
        if getattr(line, name) != getattr(shown[0], name):
            return Finding(f"{results_dir}", False, f"its {name} of this run is {getattr(shown[0], name)!r}")
    return compare_rows(f"{results_dir}", read_scores(folder.scores_csv), shown[1])


def _check_kept(folder: RunFolder, results_dir: Path) -> Iterator[Finding]:
    """Yield whether the volumes that the results keep for pictures are those of the run, in whole HU."""
    kept = RunFolder(results_dir / VOLUMES / folder.root.name)
    for path in sorted(kept.root.glob("predictions/*/*.nii.gz")):
        try:
            made = read_volume(folder.predictions(path.parent.name) / path.name)
            same = np.allclose(read_volume(path), made, rtol=0, atol=1)
        except (BenchError, ValueError) as error:
            yield Finding(str(path), False, str(error))
            return
        if not same:
            yield Finding(str(path), False, "not the prediction of the run")
            return
    if kept.root.is_dir():
        yield Finding(str(kept.root), True, "for pictures alone: nothing is scored from it")


def _place(row: Score) -> str:
    return f"{row.metric} of {row.case or row.level} ({row.space}/{row.axis}, {row.stat})"
