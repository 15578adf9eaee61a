"""A finished run as its files tell it: opened again to score its predictions under any protocol.

The method is not built and nothing of it runs; only run.json, the predictions and the data are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.cases import Cases
from bench.data.cases import load_dataset
from bench.dataset import TRANSFER, Split
from bench.errors import BenchError, UsageError
from bench.pipeline.finished import check_predictions
from bench.plugins.registry import find_installed_dataset, get_dataset, method_card
from bench.runs.folder import RunFolder
from bench.runs.record import RunRecord
from bench.scoring.laplace import NO_FIT, SEES_TRUTH, LaplaceFit, fit_for
from bench.scoring.protocol import Protocol
from bench.scoring.rows import Score
from bench.scoring.score import RunFacts, score_predictions
from bench.system.progress import Progress
from bench.system.provenance import code_version

PREDICTED = ("done", "predicted")  # status of runs whose predictions are all there


@dataclass(frozen=True)
class StoredRun:
    """A run, its data, and what its rows say of it."""

    folder: RunFolder
    record: RunRecord
    facts: RunFacts
    cases: Mapping[Split, Cases]

    @property
    def predictions(self) -> Path:
        """The folder of the predictions of its split."""
        return self.folder.predictions(self.facts.split)

    def facts_under(self, protocol: Protocol) -> RunFacts:
        """Return what scores say of the run; rows of the protocol it was made under alone hold the recorded times."""
        made_under = protocol.id == self.record.protocol.id
        return self.facts if made_under else replace(self.facts, stages={}, infer_seconds={})

    def score(self, protocol: Protocol, progress: Progress, device: torch.device) -> list[Score]:
        """All rows under a protocol; they are kept in the run's scores.csv, and those that are there are reused."""
        with progress.task(f"score {protocol.id}", len(self.cases[self.facts.split])) as task:
            return score_predictions(
                self.facts_under(protocol),
                self.cases,
                self.predictions,
                protocol,
                self.folder.scores_csv,
                task.counted,
                laplace=find_laplace(self.folder, self.record, self.cases, protocol),
                device=device,
            )


def open_stored(folder: RunFolder, progress: Progress, dataset: str | None = None) -> StoredRun:
    """Load what a run's predictions are scored from; `dataset` is the file of its dataset where it is no known one.

    Raises UsageError for a run without all its predictions or of another dataset, BenchError where run.json is damaged
    or the predictions or the prepared data are no longer those it was made of.
    """
    record = folder.record()
    if record is None or record.status not in PREDICTED:
        raise UsageError(f"{folder.root} is {folder.status}; finish it with `bench run` first")
    config, split = record.config, record.split
    if dataset is None and find_installed_dataset(config.dataset) is None:
        raise UsageError(
            f"{folder.root.name} was made on the dataset {config.dataset}, which is not installed; "
            f"if it stands in a file of yours: bench score {folder.root.name} --dataset FILE.py"
        )
    check_predictions(folder, record)
    spec = get_dataset(dataset or config.dataset)
    if spec.name != config.dataset:
        raise UsageError(f"{folder.root.name} was made on the dataset {config.dataset}, not on {spec.name}")
    with progress.task(f"prepare {spec.name}", 1) as task:
        cases = load_dataset(
            spec, config.data, TRANSFER if record.data.trained_on else record.data.source, task.counted
        )
    if cases[split].card.fingerprint != record.data.fingerprint:
        raise BenchError(
            f"{folder.root.name} was made of other {spec.name} data ({record.data.fingerprint[:8]}) than are prepared "
            f"now ({cases[split].card.fingerprint[:8]}); prepare the same data, or run it again"
        )
    return StoredRun(folder, record, facts_of(record), cases)


def mark_scored(record: RunRecord, protocol: Protocol) -> RunRecord:
    """Return the record of a run that the code at hand has scored under a protocol."""
    scored, by = {**record.scored, protocol.id: protocol.sha256()}, {**record.scored_by, protocol.id: code_version()}
    return record.model_copy(update={"scored": scored, "scored_by": by})


def find_laplace(
    folder: RunFolder, record: RunRecord, cases: Mapping[Split, Cases], protocol: Protocol, *, again: bool = False
) -> LaplaceFit | str:
    """Return the distribution around a run's predictions, or why there is none; `again` as `fit_for` has it."""
    card = method_card(record.config.method)
    if card is not None and card.sees_truth:
        return SEES_TRUTH
    if protocol.laplace is None or record.split == "validation":
        return NO_FIT
    predictions, validation = folder.predictions(record.split), folder.predictions("validation")
    return fit_for(predictions, validation, cases["validation"], protocol.laplace, again=again)


def facts_of(record: RunRecord) -> RunFacts:
    """Return what scores say of a run, as the code at hand scores it."""
    return RunFacts(
        run_id=record.run_id,
        method=record.config.method,
        origin=record.origin,
        preset=record.config.preset,
        seed=record.seed,
        code_version=code_version(),
        split=record.split,
        stages=record.stages,
        infer_seconds=record.infer_seconds,
        samples=record.samples,
        draws=record.draws,
    )
