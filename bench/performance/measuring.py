"""Seconds and memory of a piece of work, and results/performance.csv, which holds one measurement a row.

Two ways of one piece of work are timed in turns (ours, reference, reference, ours, …), so that both meet the same load.
On a CPU seconds are those of the process (all its threads), which other processes do not lengthen by being scheduled,
only by sharing caches and memory; on a GPU they are those that passed, with the device waited for.
"""

import ctypes
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict

from bench.system.csv_files import read_rows as read_csv
from bench.system.csv_files import write_rows as write_csv
from bench.system.device import device_name
from bench.system.provenance import code_version

FILE_NAME = "performance.csv"
REPEATS, LEAST = 15, 3  # of one measurement, at most and even where they take longer than they should
Work = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One measurement; None where there is nothing to say."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    item: str  # kind/subject/…, e.g. step/METHOD/STAGE
    device: str
    threads: int
    clock: str  # cpu: seconds of all threads of this process; wall: seconds that passed
    ours_s: float | None = None  # median
    reference_s: float | None = None  # median of what it is compared with
    ratio: float | None = None  # reference over ours, median of the pairs
    n: int = 0  # pairs, or repetitions
    spread: float | None = None  # half the interquartile range of the ratio, or of ours where it stands alone
    peak_mib: float | None = None  # memory that one call adds; of rows memory/…, an estimate
    size: str = ""  # preset, volumes, batch
    equal: bool | None = None  # whether what came out is as good as the reference's; None where nobody judged
    note: str = ""
    code_version: str = ""

    @property
    def kind(self) -> str:
        """The first part of the item."""
        return self.item.partition("/")[0]


def read_rows(folder: Path) -> list[Row]:
    """Return all rows in a folder; none where there is no file. Raises BenchError for a damaged file."""
    return read_csv(folder / FILE_NAME, Row)


def merge_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Write rows, each in place of an older one of its item, device and threads or after all others."""
    merged = {(row.item, row.device, row.threads): row for row in read_rows(folder)}
    for row in rows:
        numbers = asdict(row).items()  # at as many digits as mean much
        meant: dict[str, Any] = {k: float(f"{v:.5g}") for k, v in numbers if isinstance(v, float)}
        merged[row.item, row.device, row.threads] = replace(row, **meant)
    write_csv(folder / FILE_NAME, Row, merged.values())


@dataclass(frozen=True)
class Bench:
    """Where and how long is measured."""

    device: torch.device
    threads: int
    seconds: float  # for one measurement, warm-up apart

    @property
    def clock(self) -> str:
        """What seconds are."""
        return "wall" if self.device.type == "cuda" else "cpu"

    def row(self, item: str, **values: Any) -> Row:
        """Return a row of this device."""
        facts = {"device": device_name(self.device), "threads": self.threads, "clock": self.clock}
        return Row(item, **{**facts, "code_version": code_version(), **values})

    def measure(self, item: str, ours: Work, reference: Work | None = None, per: float = 1.0, **values: Any) -> Row:
        """Return seconds of ours, and of the reference beside it, divided by `per`, and the memory of a call of ours.

        `values` are further fields of the row.
        """
        peak = measure_peak(ours, self.device)
        mine: list[float] = []
        other: list[float] = []
        if reference is not None:
            reference()
        began = time.perf_counter()
        while len(mine) < LEAST or (len(mine) < REPEATS and time.perf_counter() - began < self.seconds):
            turns = [(ours, mine)] if reference is None else [(ours, mine), (reference, other)]
            for work, times in turns if len(mine) % 2 == 0 else turns[::-1]:
                times.append(self.once(work))
        numbers = summarise(np.array(mine) / per, np.array(other) / per)
        return self.row(item, n=len(mine), peak_mib=peak, **numbers, **values)

    def once(self, work: Work, clock: str = "") -> float:
        """Return the seconds of one call, by this device's clock or the one that is named."""
        read = time.perf_counter if (clock or self.clock) == "wall" else time.process_time
        gc.collect()
        self._wait()
        began = read()
        work()
        self._wait()
        return float(read() - began)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def summarise(ours: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return medians (seconds) and half the interquartile range: of the ratios of pairs, or of ours (n,) alone."""
    numbers, judged = {"ours_s": float(np.median(ours))}, ours
    if len(reference):
        judged = reference / ours
        numbers |= {"reference_s": float(np.median(reference)), "ratio": float(np.median(judged))}
    low, high = np.percentile(judged, [25, 75])
    return {**numbers, "spread": float(high - low) / 2}


def measure_peak(work: Work, device: torch.device) -> float | None:
    """Return the MiB that one call adds to what is held; None where the system does not tell. Warms up as well."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before: float = torch.cuda.memory_allocated(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # memory that was let go but kept for later would hide what a call takes
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # sets the peak to what is held now: proc(5)
        before = read_memory("self/status", "VmHWM")
    except (OSError, KeyError, AttributeError):
        work()
        return None
    work()
    return read_memory("self/status", "VmHWM") - before


def read_memory(file: str, name: str) -> float:
    """Return the MiB that a file below /proc names. Raises OSError or KeyError where the system does not tell."""
    lines = dict(line.split(":", 1) for line in Path("/proc", file).read_text(encoding="utf-8").splitlines())
    return int(lines[name].split()[0]) / 2**10
