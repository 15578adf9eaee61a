"""How much memory a training step of the published size takes, counted without a GPU.

Weights, gradients, the optimisers' state and the moving average are counted from the tensors themselves. Activations
are what autograd keeps: one step runs on a single case under hooks that see every tensor saved for the way back and
when it is let go; the largest sum at a time, weights apart, is multiplied by the batch. Not counted are workspaces of
convolutions and what the allocator wastes. Dropout is left out, with which a CPU would keep the matrices of attention
that a GPU's fused kernel does not keep; its masks, a byte an element of what it drops, are not counted.
"""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.dataset import DatasetSpec
from bench.errors import UsageError
from bench.method import Stage
from bench.performance.rows import Row
from bench.performance.steps import late_step, undropped
from bench.performance.subjects import SEED, prepared, random_subject, trained, trained_stages
from bench.performance.timing import Bench
from bench.pipeline.microbatch import recomputed, split

LIMIT_GIB = 12.0  # of the GPU that the paper names


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
class Estimate:
    """Bytes of one stage's training; `activations` are those of one case."""

    weights: int
    gradients: int
    optimisers: int
    average: int
    activations: int

    @property
    def fixed(self) -> int:
        """Bytes that do not depend on the batch."""
        return self.weights + self.gradients + self.optimisers + self.average

    def total(self, cases: int) -> int:
        """Bytes for so many cases at once."""
        return self.fixed + cases * self.activations

    def largest(self, limit: float) -> int:
        """Cases that fit into `limit` bytes."""
        return max(0, int((limit - self.fixed) // max(1, self.activations)))


def memory_rows(
    names: Sequence[str], spec: DatasetSpec, preset: str, bench: Bench, stages: Sequence[str] = ()
) -> Iterator[Row]:
    """A row for each trained stage, or for those named: the estimate for its batch, and what fits into 12 GiB."""
    for name in names:
        subject = random_subject(name, spec, preset)
        for stage in trained_stages(subject.method):
            if stages and stage.name not in stages:
                continue
            with prepared(subject, stage, torch.device("cpu")) as batch:
                one = split(batch, stage.loop.batch_size)[0]
                plain = estimate(stage, one)
                yield bench.row(f"memory/{name}/{stage.name}", **_described(stage, preset, plain), n=1)
                try:
                    blocks = list(stage.recomputable())
                except UsageError:
                    continue
                with recomputed(blocks):
                    spared = estimate(stage, one)
                item = f"memory/{name}/{stage.name}, activations again"
                yield bench.row(item, **_described(stage, preset, spared), n=1)


def estimate(stage: Stage, one: object) -> Estimate:
    """What training on `one` case keeps; the weights are moved by it."""
    trained(stage)
    optimizers = stage.optimizers()
    networks = [*stage.networks.values()]
    saved = Saved({t.untyped_storage().data_ptr() for net in networks for t in [*net.parameters(), *net.buffers()]})
    gradients = 0

    def update(name: str, loss: Tensor) -> None:
        nonlocal gradients
        optimizer = optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients += sum(_bytes(p.grad) for g in optimizer.param_groups for p in g["params"] if p.grad is not None)
        optimizer.step()

    torch.manual_seed(SEED)
    hooks = torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda kept: kept.tensor)
    with undropped(stage), hooks:
        stage.step(one, update, late_step(stage))
    states = [value for o in optimizers.values() for state in o.state.values() for value in state.values()]
    averaged = [stage.networks[name] for name in stage.averaged] if stage.loop.average_decay is not None else []
    return Estimate(
        weights=sum(_bytes(t) for net in networks for t in [*net.parameters(), *net.buffers()]),
        gradients=gradients,
        optimisers=sum(_bytes(value) for value in states if isinstance(value, Tensor)),
        average=sum(_bytes(p) for net in averaged for p in net.parameters()),
        activations=saved.most,
    )


def _described(stage: Stage, preset: str, found: Estimate) -> dict[str, object]:
    batch, mib, gib = stage.loop.batch_size, 2**20, 2**30
    note = (
        f"weights {found.weights / mib:.0f}, gradients "
        f"{found.gradients / mib:.0f}, optimisers {found.optimisers / mib:.0f}, average {found.average / mib:.0f}, "
        f"activations {found.activations / mib:.0f} MiB a case; batch 1 takes {found.total(1) / gib:.1f} GiB; "
        f"{found.largest(LIMIT_GIB * gib)} cases at once fit into {LIMIT_GIB:g} GiB"
    )
    return {"peak_mib": found.total(batch) / mib, "size": f"{preset}, float32, batch {batch}", "note": note}


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
