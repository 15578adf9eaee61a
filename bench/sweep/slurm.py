"""A sweep handed to Slurm through submitit: one array of jobs, so many at a time, queued again when they must give way.

Before time is up, or when another job takes the machine, Slurm warns a job; it then leaves a checkpoint, is queued
again, and goes on there. Which job of Slurm does what is all that is kept here.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bench.errors import BenchError, UsageError
from bench.sweep.grid import Grid, Job
from bench.sweep.state import log_of
from bench.sweep.work import Work
from bench.system.files import read_json, write_json
from bench.system.progress import Progress

POLL_SECONDS = 5.0
REQUEUES = 1000  # after running out of time: each time a run gets further


@dataclass(frozen=True)
class SlurmOptions:
    """What each job asks of Slurm."""

    minutes: int = 60
    at_once: int = 1
    partition: str = ""
    gpus: int = 0
    cpus: int = 0  # 0: as many as Slurm gives by itself
    processes: int = 1
    others: tuple[str, ...] = ()  # key=value, as submitit names them without its `slurm_`


@dataclass
class SlurmWork:
    """A job inside Slurm."""

    work: Work

    def __call__(self) -> None:
        """Do it. Raises BenchError when it fails, so that Slurm knows."""
        threads = int(os.environ.get("SLURM_CPUS_PER_TASK", "1")) // self.work.processes
        self.work.environment = {"OMP_NUM_THREADS": str(max(1, threads))}
        code = self.work()
        if code != 0:
            raise BenchError(f"bench run ended with {code}; see {self.work.log}")

    def checkpoint(self) -> Any:
        """Stop the run at a checkpoint and return what to queue again; submitit calls this when Slurm warns."""
        from submitit.helpers import DelayedSubmission

        self.work.stop()
        return DelayedSubmission(SlurmWork(replace(self.work, halted=False, child=None)))


def submit(grid: Grid, jobs: Sequence[Job], options: SlurmOptions) -> dict[str, str]:
    """Queue the jobs as one array; return label → job id. Raises UsageError where Slurm or submitit is missing."""
    executor = _make_executor(grid, options)
    works = [
        SlurmWork(Work(job.arguments, job.folder.root, log_of(grid, job), processes=options.processes))
        for job in jobs
        if job.folder is not None
    ]
    try:
        with executor.batch():
            submitted = [executor.submit(work) for work in works]
    except (subprocess.SubprocessError, RuntimeError) as error:
        raise BenchError(f"Slurm took no job: {' '.join(str(error).split())}") from error
    ids = {job.label: made.job_id for job, made in zip(jobs, submitted, strict=True)}
    write_json(_ids_file(grid), {**_read_ids(grid), **ids})
    return ids


def queue(grid: Grid) -> dict[str, str]:
    """Label → job id and Slurm's word for its state, of the jobs that Slurm still holds; empty without Slurm."""
    ids = _read_ids(grid)
    if not ids or shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--noheader", "--array", "--me", "--format", "%i|%T|%r"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (subprocess.SubprocessError, OSError) as error:
        raise BenchError(f"squeue does not answer ({' '.join(str(error).split())}); try again") from error
    held = {}
    for job_id, word, why in (line.split("|", 2) for line in told.splitlines()):
        held[job_id] = f"Slurm {job_id}: {word.lower()}, {why}"
    return {label: held[job_id] for label, job_id in ids.items() if job_id in held}


def wait_for_queue(grid: Grid, labels: Sequence[str], progress: Progress) -> None:
    """Return when Slurm holds none of these jobs any more."""
    with progress.task("sweep", len(labels)) as task:
        while left := [label for label in queue(grid) if label in labels]:
            task.advance(len(labels) - len(left))
            time.sleep(POLL_SECONDS)
        task.advance(len(labels))


def _make_executor(grid: Grid, options: SlurmOptions) -> Any:
    if shutil.which("sbatch") is None:
        raise UsageError("there is no sbatch here; go to a machine that submits to Slurm, or use --launcher local")
    try:
        from submitit import SlurmExecutor
    except ImportError as error:
        raise UsageError("--launcher slurm needs submitit: pip install 'ct-from-views-bench[cluster]'") from error
    wanted: dict[str, Any] = {
        "job_name": grid.name,
        "time": options.minutes,
        "array_parallelism": options.at_once,
        "additional_parameters": {"requeue": True},
    }
    chosen = {"partition": options.partition, "gpus_per_node": options.gpus, "cpus_per_task": options.cpus}
    wanted |= {name: value for name, value in chosen.items() if value}
    executor = SlurmExecutor((grid.folder / "slurm").resolve(), max_num_timeout=REQUEUES)
    try:
        executor.update_parameters(**wanted, **_parse_others(options.others))
    except (ValueError, TypeError) as error:
        raise UsageError(f"--slurm: {str(error).splitlines()[0]}; see submitit's SlurmExecutor") from error
    return executor


def _parse_others(texts: Sequence[str]) -> Mapping[str, str]:
    chosen = {}
    for text in texts:
        key, equals, chosen[key] = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--slurm takes key=value, e.g. account=me, not '{text}'")
    return chosen


def _ids_file(grid: Grid) -> Path:
    return grid.folder / "submitted.json"


def _read_ids(grid: Grid) -> dict[str, str]:
    path = _ids_file(grid)
    try:
        return TypeAdapter(dict[str, str]).validate_python(read_json(path)) if path.exists() else {}
    except ValidationError as error:
        raise BenchError(f"{path} is damaged; delete it and submit again") from error
