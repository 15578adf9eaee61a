"""Where a run keeps its files.

runs/<dataset>/<method>/<run_id>/
  run.json          configuration, data, protocol, provenance, stages, timings, status
  train.csv         stage, step, name, value
  checkpoints/      <stage>.safetensors, and while a stage trains <stage>.<step>.<sha>.pt
  predictions/<split>/<case>.nii.gz, manifest.csv, likelihood.csv, laplace.json
  predictions/<split>/samples/<index>/<case>.nii.gz, manifest.csv, of further samples of all cases
  samples/<split>/<index>/<case>.nii.gz, manifest.csv, of a few cases after `bench study samples`
  previews/  scores.csv  cache/
  submission.json   what is said of it by who sends it
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import BenchError, UsageError, describe_invalid, unknown_name
from bench.runs.record import RunRecord
from bench.system.files import drop_partial, locked, read_json, write_json


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    root: Path

    @property
    def run_json(self) -> Path:
        return self.root / "run.json"

    @property
    def train_csv(self) -> Path:
        return self.root / "train.csv"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def previews(self) -> Path:
        return self.root / "previews"

    @property
    def scores_csv(self) -> Path:
        return self.root / "scores.csv"

    def predictions(self, split: str) -> Path:
        return self.root / "predictions" / split

    def samples(self, split: str, index: int) -> Path:
        """Where draw `index` of some cases lies, as predictions do; `bench study samples` keeps them."""
        return self.root / "samples" / split / f"{index:03d}"

    def weights(self, stage: str) -> Path:
        return self.checkpoints / f"{stage}.safetensors"

    def record(self) -> RunRecord | None:
        """Return what run.json holds; None before the first write. Raises BenchError when it is damaged."""
        if not self.run_json.exists():
            return None
        try:
            return RunRecord.model_validate(read_json(self.run_json))
        except ValidationError as error:
            reason = describe_invalid(error)
            raise BenchError(f"{self.run_json} is damaged or of another version ({reason})") from error

    @property
    def status(self) -> str:
        """How far the run is: a Status, or `empty` without a record."""
        record = self.record()
        return "empty" if record is None else record.status

    def finished_record(self) -> RunRecord:
        """Return the record of a finished run. Raises UsageError for any other."""
        record = self.record()
        if record is None or record.status != "done":
            raise UsageError(f"{self.root} is {self.status}; finish it with `bench run` first")
        return record

    def write(self, record: RunRecord) -> RunRecord:
        """Write run.json; return the record."""
        write_json(self.run_json, record.model_dump(mode="json", exclude_none=True))
        return record

    def update(self, **changes: Any) -> RunRecord:
        """Lay changes over the record and write it; return the result. Raises BenchError without a record."""
        record = self.record()
        if record is None:
            raise BenchError(f"{self.run_json} is missing; run it again")
        return self.write(RunRecord.model_validate({**dict(record), **changes}))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process, and drop what a killed one left half written.

        Raises BusyError when another process has it, BenchError where the folder cannot be written.
        """
        with locked(self.root / ".lock", f"run {self.root.name} is in use by another process; wait for it to end"):
            for folder in (self.root, *(path for path in self.root.rglob("*") if path.is_dir())):
                drop_partial(folder)
            yield


def find_run(reference: str, runs_dir: Path) -> RunFolder | None:
    """The run whose folder or id `reference` is; None when there is none."""
    if (Path(reference) / "run.json").is_file():
        return RunFolder(Path(reference).resolve())
    found = [file.parent for file in runs_dir.glob("*/*/*/run.json") if file.parent.name == reference]
    return RunFolder(found[0]) if found else None


def require_run(reference: str, runs_dir: Path) -> RunFolder:
    """Return the run whose folder or id `reference` is. Raises UsageError when there is none."""
    folder = find_run(reference, runs_dir)
    if folder is None:
        known = [file.parent.name for file in runs_dir.glob("*/*/*/run.json")]
        if not known:
            raise UsageError(f"unknown run '{reference}'; there is none in {runs_dir}, `bench run` makes one")
        raise unknown_name("run", reference, known)
    return folder
