"""Work that is shared out among processes, which end with the command however that ends."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.resource_tracker import ensure_running
from os import _exit  # as it is, whatever a plug-in is given in its place
from typing import TypeVar

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from bench.errors import BenchError
from bench.system.signals import end_workers, interrupts_held_back

Job = TypeVar("Job")
Result = TypeVar("Result")


def map_in_workers(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, fewer: str = "LOKY_MAX_CPU_COUNT=1"
) -> Iterator[Result]:
    """Yield what `work` makes of each job, in their order, in so many processes; with one worker in this process.

    Raises BenchError when a process died, which names what makes them `fewer`.
    """
    if workers <= 1:
        yield from map(work, jobs)
        return
    start = Parallel(workers, return_as="generator", initializer=_end_with, initargs=(os.getpid(),))
    ensure_running()  # multiprocessing's tracker: who starts it lets interrupts through again
    try:
        with interrupts_held_back():
            results = start(delayed(work)(job) for job in jobs)
        yield from results
    except TerminatedWorkerError as error:
        raise BenchError(f"a worker process died, likely out of memory; run again with {fewer}") from error
    except BaseException:
        end_workers()
        raise


def _end_with(parent: int) -> None:
    """Let this worker end when its parent was killed; it would finish its work, or wait for more for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        _exit(1)

    threading.Thread(target=watch, daemon=True).start()
