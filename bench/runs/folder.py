"""Where a run keeps its files, and its weights and checkpoints, whose hashes say whether they are whole.

runs/<dataset>/<method>/<run_id>/
  run.json          configuration, data, protocol, provenance, stages, timings, status
  train.csv         stage, step, name, value
  checkpoints/      <stage>.safetensors, and while a stage trains <stage>.<step>.<sha>.pt
  predictions/<split>/<case>.nii.gz, manifest.csv, likelihood.csv
  samples/<split>/<index>/<case>.nii.gz, manifest.csv, of a few cases after `bench study samples`
  previews/  scores.csv  cache/
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save
from torch import Tensor

from bench.errors import BenchError, UsageError
from bench.runs.record import RunRecord
from bench.system.files import drop_partial, locked, read_json, sha256_of, write_atomic, write_json

SHORT_HASH = 16  # hexadecimal digits of a checkpoint's SHA-256 in its file name


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
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "all of it"
            raise BenchError(f"{self.run_json} is damaged or of another version ({key}: {first['msg']})") from error

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


def save_weights(folder: RunFolder, stage: str, tensors: dict[str, Tensor]) -> str:
    """Write the tensors a stage leaves behind; return the SHA-256 of the file."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    return write_atomic(folder.weights(stage), lambda file: file.write(content))


def load_weights(folder: RunFolder, stage: str, sha256: str) -> dict[str, Tensor] | None:
    """The tensors of a finished stage; None when the file is missing or its hash is not `sha256`."""
    return load_file(folder.weights(stage)) if weights_intact(folder, stage, sha256) else None


def weights_intact(folder: RunFolder, stage: str, sha256: str) -> bool:
    """Whether the weights of a finished stage are there and have this hash."""
    path = folder.weights(stage)
    return path.exists() and sha256_of(path) == sha256


def save_checkpoint(folder: RunFolder, stage: str, step: int, state: dict[str, Any]) -> None:
    """Write the state of a stage after `step` steps under a name that carries its hash; drop older ones."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    path = folder.checkpoints / f"{stage}.{step:09d}.{digest[:SHORT_HASH]}.pt"
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))
    for other in _checkpoints(folder, stage):
        if other != path:
            other.unlink(missing_ok=True)


def load_checkpoint(folder: RunFolder, stage: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest intact state of a stage, if any, and the names of damaged files that were passed over."""
    damaged: list[str] = []
    for path in reversed(_checkpoints(folder, stage)):
        if sha256_of(path)[:SHORT_HASH] == path.name.split(".")[-2]:
            return torch.load(path, map_location="cpu", weights_only=True), damaged
        damaged.append(path.name)
    return None, damaged


def drop_checkpoints(folder: RunFolder, stage: str) -> None:
    """Remove the states of a stage that is finished."""
    for path in _checkpoints(folder, stage):
        path.unlink(missing_ok=True)


def _checkpoints(folder: RunFolder, stage: str) -> list[Path]:
    return sorted(folder.checkpoints.glob(f"{stage}.*.*.pt"))
