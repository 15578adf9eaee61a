"""How far each job of a sweep is: read from the folders of the runs, their locks, the logs and the scheduler's queue.

Nothing is kept beside them that could contradict them.
"""

import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from bench.errors import BenchError
from bench.pipeline.finished import is_finished as is_finished_run
from bench.pipeline.plan import RunRequest
from bench.runs.folder import RunFolder
from bench.runs.manifest import read_manifest
from bench.runs.record import RunRecord
from bench.scoring.protocols import carry_hash, get_protocol, is_current
from bench.sweep.grid import Grid, Job
from bench.sweep.work import STOPPED, in_use, is_alive, last_attempt

Name = Literal["done", "running", "queued", "waiting", "stopped", "killed", "failed"]
STATES: tuple[Name, ...] = get_args(Name)
AGAIN: tuple[Name, ...] = ("stopped", "killed", "failed")  # what a person may want to run again


@dataclass(frozen=True)
class State:
    """How far a job is, and why."""

    job: Job
    name: Name
    why: str = ""


def judge_jobs(grid: Grid, jobs: Sequence[Job], queue: Mapping[str, str] | None = None) -> list[State]:
    """The state of each job; `queue` says what a scheduler holds: label → its word for it."""
    return [_judge(grid, job, (queue or {}).get(job.label)) for job in jobs]


def is_finished(job: Job) -> bool:
    """Return whether a job is done, whole on disk and whole in the results, so that it need not be run."""
    if job.folder is None:
        return False
    asked = job.request
    with suppress(BenchError):  # its own run says what is damaged
        return is_finished_run(job.folder, get_protocol(asked.protocol), asked.results_dir, asked.samples)
    return False


def describe_counts(found: Sequence[State]) -> str:
    """Return how many jobs are in which state, in words."""
    counts = Counter(state.name for state in found)
    return ", ".join(f"{counts[name]} {name}" for name in STATES if counts[name])


def _judge(grid: Grid, job: Job, queued: str | None) -> State:
    if job.folder is None:
        return State(job, "failed", job.problem)
    log = log_of(grid, job)
    if is_alive(log) or in_use(job.folder.root):
        return State(job, "running", _describe_progress(job.folder))
    record = job.folder.record()
    if _is_scored(record, job.request):
        return State(job, "done")
    if queued is not None:
        return State(job, "queued", queued)
    status = None if record is None else record.status
    code, said = last_attempt(log)
    if record is not None and status == "failed":
        return State(job, "failed", record.error or said)
    if code is not None and code not in (0, *STOPPED):  # before it could write down that it began
        return State(job, "failed", said) if code > 0 else State(job, "killed", f"by {signal.Signals(-code).name}")
    if status == "stopped" or code in STOPPED:
        return State(job, "stopped", said or "goes on where it was")
    if status == "running" or (code is None and log.exists()):
        return State(job, "killed", f"ended without a word; it last said: {said or 'nothing'}")
    return State(job, "waiting")


def log_of(grid: Grid, job: Job) -> Path:
    """Where the output of a job goes."""
    return grid.folder / "logs" / f"{job.label}.log"


def _is_scored(record: RunRecord | None, request: RunRequest) -> bool:
    if record is None or record.status != "done" or (record.draws and record.samples < request.samples):
        return False
    protocol_id = request.protocol
    return is_current(protocol_id, carry_hash(record.scored.get(protocol_id, "")))


def _describe_progress(folder: RunFolder) -> str:
    """Return what a running job has behind it."""
    record = folder.record()
    stages = record.stages if record else {}
    cases = len(read_manifest(folder.predictions(record.split))) if record else 0
    if not stages and not cases:
        return "began to train" if folder.train_csv.exists() else "began"
    return f"trained {', '.join(stages)}" + (f"; {cases} cases reconstructed" if cases else "")
