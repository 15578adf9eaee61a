"""A sweep on this machine: a few jobs at a time, each a process of its own with its share of the processors."""

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue

import torch

from bench.sweep.grid import Grid, Job
from bench.sweep.state import judge_jobs, log_of
from bench.sweep.work import Work
from bench.system.progress import Progress

BEAT_SECONDS = 1.0  # between two looks at the jobs


def run_local(grid: Grid, jobs: Sequence[Job], workers: int, processes: int, progress: Progress) -> None:
    """Do all jobs, `workers` at a time; one that fails does not stop the others.

    When this process is asked to stop, so are the jobs: each leaves a checkpoint, and the same sweep goes on there.
    """
    slots: SimpleQueue[int] = SimpleQueue()
    for slot in range(workers):
        slots.put(slot)
    share = divide_machine(workers, processes, len(os.sched_getaffinity(0)), _list_gpus(grid.device))
    works = {}
    for job in jobs:
        folder = job.folder.root if job.folder is not None else Path()
        works[job.label] = Work(job.arguments, folder, log_of(grid, job), processes=processes, apart=True)

    def done(job: Job) -> Job:
        slot = slots.get()
        try:
            works[job.label].environment = share[slot]
            works[job.label]()
        finally:
            slots.put(slot)
        return job

    pool = ThreadPoolExecutor(workers)
    try:
        pending: set[Future[Job]] = {pool.submit(done, job) for job in jobs}
        with progress.task("sweep", len(jobs)) as task:
            shown = (0, 0)
            while pending:
                ended, pending = wait(pending, BEAT_SECONDS, FIRST_COMPLETED)
                for future in ended:
                    (state,) = judge_jobs(grid, [future.result()])
                    why = f": {state.why}" if state.why else ""
                    progress.say(f"{state.job.label} {state.name}{why}")
                alive = sum(work.child is not None and work.child.poll() is None for work in works.values())
                if shown != (len(pending), alive):
                    shown = (len(pending), alive)
                    task.advance(len(jobs) - len(pending), f"{alive} running")
    except BaseException:
        progress.say("stopping the jobs; each leaves a checkpoint")
        for work in works.values():
            work.halted = True
        with ThreadPoolExecutor(max(1, len(works))) as stoppers:  # each may take as long as a step does
            list(stoppers.map(Work.stop, works.values()))
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def divide_machine(workers: int, processes: int, processors: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """The environment of each worker: processors are divided evenly, GPUs in turn. What a person set is left alone."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, processors // (workers * processes)))
    result = []
    for worker in range(workers):
        mine = [gpus[(worker * processes + index) % len(gpus)] for index in range(processes)] if gpus else []
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(dict.fromkeys(mine))} if mine else {}
        result.append({"OMP_NUM_THREADS": threads, **visible})
    return result


def _list_gpus(device: str) -> list[str]:
    if device == "cpu" or not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
