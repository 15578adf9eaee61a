"""What `bench performance` can measure, in order, and the seconds each item may take."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.errors import BenchError, UsageError, unknown_name
from bench.performance.growth import AMOUNTS, SIDE, curves, growth_rows
from bench.performance.hooks import sampler
from bench.performance.loop import loop_rows
from bench.performance.memory import memory_rows
from bench.performance.plot import draw
from bench.performance.rows import Row, merge_rows
from bench.performance.sampling import sampling_rows
from bench.performance.steps import half_rows, step_rows
from bench.performance.subjects import load_subject, random_subject
from bench.performance.throughput import data_rows, reconstruct_rows
from bench.performance.timing import Bench
from bench.pipeline.fit import make_accelerator
from bench.plugins.registry import discover_methods, get_dataset
from bench.study.runs import StudyRequest, find_runs, limited
from bench.system.device import device_name
from bench.system.progress import Progress

PICTURE, TABLES = "performance.png", "performance.md"
LOOP_STEPS = 150
QUICK_LOOP_STEPS = 6
SHARE = 0.25  # of an item's seconds that one of its measurements may take


@dataclass(frozen=True)
class Request:
    """What a user asks for."""

    only: tuple[str, ...] = ()  # items; empty takes all
    methods: tuple[str, ...] = ()  # empty takes all that are no floors or ceilings
    dataset: str = "lidc"
    preset: str = "tiny"
    memory_preset: str = "paper"
    run: str = ""  # trained run whose samples are judged
    cases: int = 48  # test cases of it
    stages: tuple[str, ...] = ()  # whose steps and memory are measured; empty takes all
    batch: int = 0  # largest batch of a step; 0 takes the preset's. Cases are random numbers then
    steps: tuple[int, ...] = ()  # numbers of sampling steps; empty takes all and the powers of two below
    device: str = "auto"
    threads: int = 1
    seconds: float = 900.0
    quick: bool = False
    runs_dir: Path = Path("runs")
    results_dir: Path = Path("results")


def measure(request: Request, progress: Progress) -> list[Row]:
    """Measure the items in order, each within its share of what is left of the seconds; return all rows known.

    Rows are kept as they are made. Raises UsageError for an unknown item or method before anything is measured.
    """
    chosen = request.only or tuple(ITEMS)
    for item in chosen:
        if item not in ITEMS:
            raise unknown_name("item", item, list(ITEMS))
    methods = list(request.methods) or measured_methods()
    torch.set_num_threads(request.threads)
    device = make_accelerator(request.device).device
    known = merge_rows(request.results_dir, [])
    began = time.monotonic()
    for place, item in enumerate(chosen):
        left = request.seconds - (time.monotonic() - began)
        if left <= 0:
            progress.say(f"{request.seconds:.0f} seconds are over: {', '.join(chosen[place:])} not measured")
            break
        share = left / (len(chosen) - place)
        repeats = 3 if request.quick else 15
        bench = Bench(device, request.threads, share * SHARE / 4, repeats, least=2 if request.quick else 3)
        progress.say(f"{item}: up to about {share:.0f} s")
        ends = time.monotonic() + share
        for row in ITEMS[item](replace(request, methods=tuple(methods)), bench, progress):
            known = merge_rows(request.results_dir, [row])
            progress.say(f"  {line_of(row)}")
            if time.monotonic() > ends:
                progress.say(f"{item}: its share of the seconds is over; --only {item} measures all of it")
                break
    if found := curves(row for row in known if row.device == device_name(device) and row.threads == request.threads):
        title = f"{device_name(device)}, {request.threads} thread{'s' * (request.threads > 1)}, preset {request.preset}"
        draw(request.results_dir / PICTURE, found, title)
    return known


def measured_methods() -> list[str]:
    """All methods that are no floor, no ceiling and work here."""
    return sorted(name for name, plugin in discover_methods()[0].items() if plugin.card.kind == "method")


def line_of(row: Row) -> str:
    """A row for a terminal."""
    parts = [row.item, *([row.size] if row.size else [])]
    if row.ours_s is not None:
        parts.append(f"{row.ours_s:.4g} s")
    if row.ratio is not None:
        parts.append(f"reference {row.reference_s:.4g} s, ratio {row.ratio:.2f} ± {row.spread:.2f}")
    if row.peak_mib is not None:
        parts.append(f"{row.peak_mib:.0f} MiB")
    return ", ".join([*parts, row.note] if row.note else parts)


def _each(request: Request, bench: Bench, rows: Callable[..., Iterator[Row]], *extra: Any) -> Iterator[Row]:
    spec = get_dataset(request.dataset)
    for name in request.methods:
        yield from rows(load_subject(name, spec, request.preset, bench.device), bench, *extra)


def _loop(request: Request, bench: Bench, progress: Progress) -> Iterator[Row]:
    return _each(request, bench, loop_rows, QUICK_LOOP_STEPS if request.quick else LOOP_STEPS)


def _steps(request: Request, bench: Bench, progress: Progress) -> Iterator[Row]:
    rows = _each(request, bench, step_rows, request.stages) if not request.batch else _cut_steps(request, bench)
    found = False
    for row in rows:
        found = True
        yield row
    if request.stages and not found:
        raise UsageError(f"no stage {', '.join(request.stages)} of {', '.join(request.methods)} has a published step")


def _cut_steps(request: Request, bench: Bench) -> Iterator[Row]:
    for name in request.methods:
        subject = random_subject(name, get_dataset(request.dataset), request.preset)
        yield from step_rows(subject, bench, request.stages, request.batch)


def _half(request: Request, bench: Bench, progress: Progress) -> Iterator[Row]:
    return _each(request, bench, half_rows)


def _reconstruct(request: Request, bench: Bench, progress: Progress) -> Iterator[Row]:
    return _each(request, bench, reconstruct_rows)


def _sampling(request: Request, bench: Bench, progress: Progress) -> Iterator[Row]:
    if request.run:
        asked = StudyRequest(run_ids=(request.run,), device=request.device, runs_dir=request.runs_dir)
        (run,) = find_runs(asked, progress)
        if sampler(run.method) is None:
            raise UsageError(f"{run.config.method} does not draw in steps; --run takes a run of a method that does")
        cases = limited(run.cases["test"], 8 if request.quick else request.cases)
        yield from sampling_rows(run.config.method, run.method, cases, run.folder.root.name, bench, request.steps)
        return
    progress.say("sampling: without --run RUN the networks are untrained and quality is not judged")
    spec = get_dataset(request.dataset)
    for name in request.methods:
        subject = load_subject(name, spec, request.preset, bench.device, tests=8)
        yield from sampling_rows(name, subject.method, subject.cases["test"], "", bench, request.steps)


def _data(request: Request, bench: Bench, progress: Progress) -> Iterator[Row]:
    spec = get_dataset(request.dataset)
    return data_rows(spec, spec.presets[request.preset].size, bench)


def _growth(request: Request, bench: Bench, progress: Progress) -> Iterator[Row]:
    largest = 64 if request.quick else max(AMOUNTS[SIDE])
    return growth_rows(request.methods, get_dataset(request.dataset), request.preset, bench, largest)


def _memory(request: Request, bench: Bench, progress: Progress) -> Iterator[Row]:
    if bench.device.type != "cpu":
        raise BenchError("memory is estimated on the CPU; use --device cpu")
    spec = get_dataset(request.dataset)
    return memory_rows(request.methods, spec, request.memory_preset, bench, request.stages)


Item = Callable[[Request, Bench, Progress], Iterator[Row]]
ITEMS: dict[str, Item] = {
    "loop": _loop,
    "step": _steps,
    "bf16": _half,
    "sampling": _sampling,
    "reconstruct": _reconstruct,
    "data": _data,
    "growth": _growth,
    "memory": _memory,
}
