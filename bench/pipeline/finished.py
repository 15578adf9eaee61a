"""Whether a run is finished: scored under a protocol, whole on disk, and whole in the results."""

from pathlib import Path

from bench.errors import BenchError
from bench.runs.folder import RunFolder
from bench.runs.manifest import beside_sha256, find_intact, folder_sha256, read_manifest
from bench.runs.predictions import sample_folder, samples_sha256
from bench.runs.record import RunRecord
from bench.runs.weights import weights_intact
from bench.scoring.protocol import Protocol
from bench.scoring.protocols import carry_hash
from bench.scoring.rows import read_scores, scores_sha256
from bench.scoring.store import read_run


def is_finished(folder: RunFolder, protocol: Protocol, results_dir: Path, samples: int = 1) -> bool:
    """Return whether a run is done, its files are what they were, and the results hold all its rows of the protocol.

    Of a method that draws, with so many `samples` a case.
    """
    record = folder.record()
    if record is None or record.status != "done" or (record.draws and record.samples < samples):
        return False
    if carry_hash(record.scored.get(protocol.id, "")) != protocol.sha256():
        return False
    weights = all(weights_intact(folder, name, stage.sha256) for name, stage in record.stages.items())
    return weights and _predictions_intact(folder, record) and _in_results(folder, protocol, results_dir)


def check_predictions(folder: RunFolder, record: RunRecord) -> None:
    """Raise BenchError where the manifest of a run's predictions is not the one that its record names.

    A manifest agrees with predictions that were exchanged together with it. A folder that was emptied is filled again.
    """
    target = folder.predictions(record.split)
    if record.predictions_sha256 is None or not read_manifest(target):
        return
    wrong = folder_sha256(target) != record.predictions_sha256
    wrong |= record.beside_sha256 not in (None, beside_sha256(target))
    wrong |= record.samples_sha256 not in (None, samples_sha256(target, record.samples))
    if wrong:
        raise BenchError(
            f"{target} holds other predictions than run.json names; put back what was there, or delete the folder and "
            "run again"
        )


def _predictions_intact(folder: RunFolder, record: RunRecord) -> bool:
    target = folder.predictions(record.split)
    check_predictions(folder, record)
    folders = [sample_folder(target, index) for index in range(record.samples)]
    manifests = [(read_manifest(one), find_intact(one)) for one in folders]
    return all(manifest and intact.keys() == manifest.keys() for manifest, intact in manifests)


def _in_results(folder: RunFolder, protocol: Protocol, results_dir: Path) -> bool:
    shown = read_run(results_dir, folder.root.name)
    if shown is None:
        return False
    try:
        scores = read_scores(folder.scores_csv)
    except BenchError:  # scored again
        return False
    own, there = ([row for row in rows if row.protocol == protocol.id] for rows in (scores, shown[1]))
    return bool(own) and scores_sha256(own) == scores_sha256(there)
