"""What `bench performance` can measure, in order, and the seconds each item may take."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from bench.errors import unknown_name
from bench.performance.comparisons import measure_loops, measure_sampling, measure_steps
from bench.performance.estimate import estimate_memory, estimate_training
from bench.performance.growth import measure_growth
from bench.performance.measuring import Bench, Row, merge_rows
from bench.performance.report import format_cells
from bench.performance.subjects import Request, list_methods
from bench.pipeline.fit import make_accelerator
from bench.system.progress import Progress

SHARE = 1 / 16  # of an item's seconds that one of its measurements may take
ITEMS: dict[str, Callable[[Request, Bench], Iterator[Row]]] = {
    "loop": measure_loops,
    "step": measure_steps,
    "sampling": measure_sampling,
    "growth": measure_growth,
    "estimate": estimate_training,
    "memory": estimate_memory,
}


def measure(request: Request, progress: Progress) -> None:
    """Measure the items in order, each within its share of what is left of the seconds; keep rows as they are made.

    Raises UsageError for an unknown item or method before anything is measured.
    """
    chosen = request.only or tuple(ITEMS)
    for item in chosen:
        if item not in ITEMS:
            raise unknown_name("item", item, list(ITEMS))
    request = replace(request, methods=request.methods or tuple(list_methods()))
    torch.set_num_threads(request.threads)
    device = make_accelerator(request.device).device
    began = time.monotonic()
    for place, item in enumerate(chosen):
        share = (request.seconds - (time.monotonic() - began)) / (len(chosen) - place)
        if share <= 0:
            progress.say(f"{request.seconds:.0f} seconds are over: {', '.join(chosen[place:])} not measured")
            break
        progress.say(f"{item}: up to about {share:.0f} s")
        ends = time.monotonic() + share
        for row in ITEMS[item](request, Bench(device, request.threads, share * SHARE)):
            merge_rows(request.results_dir, [row])
            progress.say(f"  {row.kind}/{' | '.join(cell for cell in format_cells(row) if cell)}")
            if time.monotonic() > ends:
                progress.say(f"{item}: its share of the seconds is over; --only {item} measures all of it")
                break
