"""What training will take, before it is begun: the memory of a step, counted, and the hours of a preset.

Weights, gradients, the optimisers' state and the moving average are counted from the tensors themselves. Activations
are what autograd keeps: one step runs in float32 on a single case under hooks that see every tensor saved for the way
back and when it is let go; the largest sum at a time, weights apart, is multiplied by the batch. Not counted are
workspaces of convolutions and what the allocator wastes. Dropout is left out, with which a CPU would keep the matrices
of attention that a GPU's fused kernel does not keep; its masks, a byte an element of what it drops, are not counted.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from statistics import median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.errors import UsageError
from bench.method import Batch, Stage
from bench.performance.measuring import Bench, Row, read_memory
from bench.performance.subjects import SEED, Request, find_last_step, prepare_stage, set_training, without_dropout
from bench.pipeline.fit import make_accelerator
from bench.pipeline.microbatch import Steps, recompute
from bench.plugins.registry import get_dataset
from bench.system.progress import Progress

LIMIT_GIB = 12.0  # of the GPU that the paper names
PUBLISHED = "paper"  # the preset whose memory stands beside it
REPEATS = 3  # steps that are timed, after one that warms up
MIB, GIB = 2**20, 2**30


@dataclass
class Saved:
    """Counts the bytes of storages that autograd keeps, now and at most."""

    exempt: set[int]  # storages of weights, which are there anyhow
    live: dict[int, int] = field(default_factory=dict)  # storage → references
    now: int = 0
    most: int = 0

    def pack(self, tensor: Tensor) -> "_Kept":
        """Called by autograd for a tensor it saves."""
        kept, storage = _Kept(tensor), tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if place not in self.exempt and size > 0:
            self.live[place] = self.live.get(place, 0) + 1
            if self.live[place] == 1:
                self.now += size
                self.most = max(self.most, self.now)
            weakref.finalize(kept, self._drop, place, size)
        return kept

    def _drop(self, place: int, size: int) -> None:
        self.live[place] -= 1
        if self.live[place] == 0:
            del self.live[place]
            self.now -= size


class _Kept:
    """A saved tensor; it dies when autograd lets it go."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@dataclass(frozen=True)
class Memory:
    """Bytes of one stage's training; `activations` are those of one case."""

    weights: int
    gradients: int
    optimisers: int
    average: int
    activations: int

    def total(self, cases: int) -> int:
        """Bytes for so many cases at once."""
        return self.weights + self.gradients + self.optimisers + self.average + cases * self.activations

    def largest(self, limit: float) -> int:
        """Cases that fit into `limit` bytes."""
        return max(0, int((limit - self.total(0)) // max(1, self.activations)))


def count_memory(stage: Stage, one: Batch) -> Memory:
    """Return what training on `one` case keeps; the weights are moved by it."""
    set_training(stage)
    optimizers = stage.optimizers()
    weights = [t for net in stage.networks.values() for t in [*net.parameters(), *net.buffers()]]
    saved = Saved({tensor.untyped_storage().data_ptr() for tensor in weights})
    gradients = 0

    def update(name: str, loss: Tensor) -> None:
        nonlocal gradients
        optimizer = optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients += _count_bytes(p.grad for group in optimizer.param_groups for p in group["params"])
        optimizer.step()

    torch.manual_seed(SEED)
    hooks = torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda kept: kept.tensor)
    with without_dropout(stage), hooks:
        stage.step(one, update, find_last_step(stage))
    states = [state for optimizer in optimizers.values() for state in optimizer.state.values()]
    averaged = [stage.networks[name] for name in stage.averaged] if stage.loop.average_decay is not None else []
    return Memory(
        weights=_count_bytes(weights),
        gradients=gradients,
        optimisers=_count_bytes(value for state in states for value in state.values()),
        average=_count_bytes(p for network in averaged for p in network.parameters()),
        activations=saved.most,
    )


def _count_bytes(values: Iterable[object]) -> int:
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))


def estimate_memory(request: Request, bench: Bench) -> Iterator[Row]:
    """Yield a row for each stage at the published size, and one for its activations computed again on the way back.

    Each states the memory of the stage's batch, and what fits into 12 GiB.
    """
    for label, stage, make_batch in _prepare_stages(request, bench, PUBLISHED):
        yield _make_memory_row(f"memory/{label}", stage, count_memory(stage, make_batch(1)), bench)
        try:
            blocks = list(stage.recomputable())
        except UsageError:
            continue
        with recompute(blocks):
            spared = count_memory(stage, make_batch(1))
        yield _make_memory_row(f"memory/{label}, activations again", stage, spared, bench)


def _make_memory_row(item: str, stage: Stage, memory: Memory, bench: Bench) -> Row:
    parts = ", ".join(f"{name} {size / MIB:.0f}" for name, size in asdict(memory).items())
    note = f"{parts} MiB a case; batch 1 takes {memory.total(1) / GIB:.1f} GiB; "
    note += f"{memory.largest(LIMIT_GIB * GIB)} cases at once fit into {LIMIT_GIB:g} GiB"
    batch = stage.loop.batch_size
    size = f"{PUBLISHED}, float32, batch {batch}"
    return bench.row(item, n=1, peak_mib=memory.total(batch) / MIB, size=size, note=note)


def _prepare_stages(
    request: Request, bench: Bench, preset: str = ""
) -> Iterator[tuple[str, Stage, Callable[[int], Batch]]]:
    """The stages that are asked for, each with its label and a function that makes its batches."""
    for subject in request.subjects(bench.device, preset):
        for stage in filter(request.takes, subject.stages):
            with prepare_stage(subject, stage, bench.device) as make_batch:
                yield f"{subject.name}/{stage.name}", stage, make_batch


def estimate_training(request: Request, bench: Bench) -> Iterator[Row]:
    """Yield seconds of a step as they pass, steps, hours and memory of each stage at the preset's own sizes.

    Steps are those of a run, at the end of the stage's training, when all its parts have begun. A whole batch is
    measured where it fits into memory and a step into `bench.seconds`; elsewhere two cases are, and as many as do, and
    a straight line leads to the batch. Preparing data, validation, averages and checkpoints are left out. A row before
    them tells what the data and the predictions of a run take on disk.
    """
    yield _estimate_disk(request, bench)
    for label, stage, make_batch in _prepare_stages(request, bench):
        batch, steps = stage.loop.batch_size, stage.loop.steps
        counter = FlopCounterMode(display=False)
        with recompute(stage.recomputable()) if stage.loop.checkpoint_activations else nullcontext():
            with counter:
                memory = count_memory(stage, make_batch(1))
            seconds, n, how = _estimate_step(stage, make_batch, memory, bench)
        hours = seconds * steps / 3600
        yield bench.row(
            f"estimate/{label}, {request.preset}",
            clock="wall",
            ours_s=seconds,
            n=n,
            peak_mib=memory.total(-(-batch // stage.loop.accumulate)) / MIB,
            size=f"{request.preset}, batch {batch}",
            note=f"{steps:,} steps take {hours:{',.0f' if hours >= 100 else '.2g'}} h; seconds {how}; memory counted "
            f"in float32; {batch * counter.get_total_flops() / 1e12:.3g} TFLOP a step, of products of matrices and "
            "convolutions",
        )


def _estimate_disk(request: Request, bench: Bench) -> Row:
    config = get_dataset(request.dataset).presets[request.preset]
    voxels, pixels = config.size**3, config.image_size**2
    count, tested = sum(config.phantoms), config.phantoms[2]
    cases = count * (2 * voxels + 4 * pixels * len(config.angles))  # int16 and float32
    note = f"{count:,} cases take {cases / GIB:.1f} GiB of disk, once for all methods and runs; a run's predictions of "
    note += f"{tested} cases take {4 * tested * voxels / GIB:.1f} GiB at most"
    return bench.row(f"estimate/{request.dataset}/disk, {request.preset}", size=request.preset, note=note)


def _estimate_step(
    stage: Stage, make_batch: Callable[[int], Batch], memory: Memory, bench: Bench
) -> tuple[float, int, str]:
    """Seconds of a step on a whole batch, how many were timed, and what of it was measured and what extrapolated."""
    whole, parts = stage.loop.batch_size, stage.loop.accumulate
    cases, free = whole, _find_free_bytes(bench.device)
    few = min(whole, 2 if memory.total(-(-2 // parts)) <= free else 1)  # of one alone, 3-D convolutions of a CPU crawl
    times = _time_steps(stage, make_batch(few), bench)
    least = median(times)
    while cases > few and (least / few * cases > bench.seconds or memory.total(-(-cases // parts)) > free):
        cases //= 2
    if few == whole:
        return least, len(times), "measured"
    how = f"extrapolated from {least:.3g} s for {few} case{'s' * (few > 1)}"
    if cases <= few:
        return least * whole / few, len(times), how
    times = _time_steps(stage, make_batch(cases), bench)
    many = median(times)
    if cases == whole:
        return many, len(times), "measured"
    seconds = many + (whole - cases) * max(0.0, (many - least) / (cases - few))
    return seconds, len(times), f"{how} and {many:.3g} s for {cases}"


def _time_steps(stage: Stage, batch: Batch, bench: Bench) -> list[float]:
    """Seconds, as they pass, of a run's own steps on a batch; of the first alone where it takes too long."""
    accelerator = make_accelerator(bench.device.type)
    steps = Steps(stage, stage.optimizers(), accelerator, "fp32", Progress(), stage.loop.accumulate)
    set_training(stage)
    times: list[float] = []
    while len(times) <= REPEATS and sum(times) < bench.seconds:
        times.append(bench.once(lambda: steps.run(batch, find_last_step(stage), lambda: None), "wall"))
    return times[1:] or times  # the first warms up


def _find_free_bytes(device: torch.device) -> float:
    """Bytes that are free; infinity where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return read_memory("meminfo", "MemAvailable") * MIB
    except (OSError, KeyError):
        return float("inf")
