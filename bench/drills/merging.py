"""Many processes that write into one results folder at once, some of them killed while they do."""

import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from bench.drills.doomed import ready_processes
from bench.drills.outcome import Outcome
from bench.scoring.protocols import DEFAULT
from bench.scoring.rows import SCORES, ScoreRow, merge_rows, merge_run, read_runs, read_scores

PROCESSES = 8
RUNS = 6  # that each process merges, one after the other
CASES = 5  # rows of each run
KILLED = 3  # of the processes, in the second round


def merging_drill(folder: Path, chance: random.Random) -> list[Outcome]:
    """Eight processes merge their runs into one scores.csv: all live; then some are killed at random moments."""
    began = time.monotonic()
    all_live = _merged(folder / "live", [None] * PROCESSES)
    seconds = (time.monotonic() - began) / 2
    delays = [chance.random() * seconds if index < KILLED else None for index in range(PROCESSES)]
    some_killed = _merged(folder / "killed", delays)
    return [
        Outcome("8 processes merge", SCORES, PROCESSES * RUNS, *all_live),
        Outcome("kill -9 while 8 merge", SCORES, KILLED, *some_killed),
    ]


def _merged(folder: Path, delays: list[float | None]) -> tuple[str, bool]:
    context = ready_processes()
    workers = [context.Process(target=_merge, args=(folder, index, delay)) for index, delay in enumerate(delays)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wrong = [w.exitcode for w, delay in zip(workers, delays, strict=True) if delay is None and w.exitcode]
    if wrong:
        return f"processes ended with {wrong}", False
    cases = Counter(read_scores(folder)["run_id"])
    runs = Counter(read_runs(folder)["run_id"])
    living = {f"run-{i}-{n}" for i, delay in enumerate(delays) if delay is None for n in range(RUNS)}
    lost = [run for run in living if cases[run] != CASES or runs[run] != 1]
    torn = [run for run, count in cases.items() if count != CASES] + [run for run, count in runs.items() if count != 1]
    if lost or torn:
        return f"lost {lost}, torn or doubled {torn}", False
    return "no row lost, none doubled", True


def _merge(folder: Path, index: int, delay: float | None) -> None:
    if delay is not None:
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    for number in range(RUNS):
        name = f"run-{index}-{number}"
        merge_rows(folder, [_row(name, f"case-{case}") for case in range(CASES)])
        merge_run(folder, {"run_id": name, "steps": number})


def _row(run_id: str, case: str) -> ScoreRow:
    return ScoreRow(
        run_id=run_id,
        protocol=DEFAULT,
        protocol_hash="0",
        method="drill",
        origin="external",
        dataset="drill",
        source="phantom",
        split="test",
        preset="drill",
        seed=0,
        views="270+0",
        space="3d",
        axis="all",
        metric="ssim",
        level="case",
        case=case,
        stat="value",
        value=0.5,
        n=1,
        code_version="0",
    )
