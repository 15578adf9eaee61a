"""Two ways of one piece of work timed in turns: ours, reference, reference, ours, … so that both meet the same load.

On a CPU seconds are those of the process (all its threads), which other processes do not lengthen by being scheduled,
only by sharing caches and memory; on a GPU they are those that passed, with the device waited for.
"""

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench.performance.rows import Row
from bench.system.device import device_name
from bench.system.provenance import code_version

Work = Callable[[], Any]


@dataclass(frozen=True)
class Bench:
    """Where and how long is measured."""

    device: torch.device
    threads: int
    seconds: float  # for one measurement, warm-up apart
    repeats: int = 15  # at most
    least: int = 3  # even where they take longer

    @property
    def clock(self) -> str:
        """What seconds are."""
        return "wall" if self.device.type == "cuda" else "cpu"

    def row(self, item: str, **values: Any) -> Row:
        """A row of this device."""
        facts = {"device": device_name(self.device), "threads": self.threads, "clock": self.clock}
        return Row(item, **{**facts, "code_version": code_version(), **values})

    def measure(self, item: str, ours: Work, reference: Work | None = None, per: float = 1.0, **values: Any) -> Row:
        """Seconds of ours, and of the reference beside it, divided by `per`; the memory is that of one call of ours.

        `values` are further fields of the row.
        """
        peak = peak_of(ours, self.device)
        mine: list[float] = []
        other: list[float] = []
        if reference is not None:
            reference()
        began = time.perf_counter()
        while len(mine) < self.least or (len(mine) < self.repeats and time.perf_counter() - began < self.seconds):
            turns = [(ours, mine)] if reference is None else [(ours, mine), (reference, other)]
            for work, times in turns if len(mine) % 2 == 0 else turns[::-1]:
                times.append(self.once(work))
        found = summary(np.array(mine) / per, np.array(other) / per)
        return self.row(item, n=len(mine), peak_mib=peak, **found, **values)

    def once(self, work: Work) -> float:
        """Seconds of one call."""
        clock = time.perf_counter if self.clock == "wall" else time.process_time
        gc.collect()
        synchronise(self.device)
        began = clock()
        work()
        synchronise(self.device)
        return float(clock() - began)


def summary(ours: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Medians (seconds) and half the interquartile range: of the ratios of pairs, or of ours (n,) alone."""
    found = {"ours_s": float(np.median(ours))}
    judged = ours
    if len(reference):
        judged = reference / ours
        found |= {"reference_s": float(np.median(reference)), "ratio": float(np.median(judged))}
    low, high = np.percentile(judged, [25, 75])
    return {**found, "spread": float(high - low) / 2}


def peak_of(work: Work, device: torch.device) -> float | None:
    """MiB that one call adds to what the process holds; None where the system does not tell. Warms up as well."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before: float = torch.cuda.memory_allocated(device)
        work()
        synchronise(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # memory that was let go but kept for later would hide what a call takes
        with open("/proc/self/clear_refs", "w") as control:
            control.write("5")  # sets the peak back to what is held now (proc(5))
        before = _status("VmHWM")
    except (OSError, KeyError, AttributeError):
        work()
        return None
    work()
    return _status("VmHWM") - before


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _status(name: str) -> float:
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines[name].split()[0]) / 2**10
