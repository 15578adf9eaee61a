"""One training step in as many parts as memory asks for: gradients add up, and every optimiser steps once.

Each part of the batch passes the whole step; an optimiser steps in the last. So where a step updates one network and
then uses it, only the last part sees it updated. Layers that look at the whole batch see a part of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import find_batch_size, recursively_apply, slice_tensors
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.distributed import average_gradients
from bench.errors import BenchError
from bench.method import Batch, Stage
from bench.system.device import set_precision
from bench.system.progress import Progress


@dataclass
class Steps:
    """Runs the steps of one stage. When memory runs out the batch is taken in twice as many parts from then on."""

    stage: Stage
    optimizers: Mapping[str, torch.optim.Optimizer]
    accelerator: Accelerator
    precision: str
    progress: Progress
    parts: int  # the batch stays what it is; larger parts were too much for the memory when this has grown

    def run(self, batch: Batch, step: int, reseed: Callable[[], Any]) -> dict[str, Tensor | float]:
        """One step on a batch; the values to log. Raises BenchError when one case alone does not fit."""
        stepped: set[str] = set()
        kept = self.stage.state()
        while True:
            try:
                return self._run(batch, step, stepped)
            except torch.OutOfMemoryError as error:
                reason = str(error).partition(". ")[0]
            # not in the handler: while the error lives, so does what filled the memory
            self._shrink(find_batch_size(batch), step, reason)
            self.stage.load_state(kept)
            reseed()

    def _run(self, batch: Batch, step: int, stepped: set[str]) -> dict[str, Tensor | float]:
        parts, total = split(batch, self.parts), find_batch_size(batch)
        values: dict[str, Tensor | float] = {}
        for index, part in enumerate(parts):
            share = find_batch_size(part) / total
            update = partial(self._update, stepped, share, index == 0, index == len(parts) - 1)
            with set_precision(self.accelerator.device, self.precision):
                found = self.stage.step(to_device(part, self.accelerator.device), update, step)
            if len(parts) == 1:
                return found
            values = {name: values.get(name, 0.0) + share * value for name, value in found.items()}
        return values

    def _update(self, stepped: set[str], share: float, first: bool, last: bool, name: str, loss: Tensor) -> None:
        if name in stepped:  # before memory ran out in this very step
            return
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        if first:
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.accelerator.device.type, enabled=False):
            if first and last:
                self.accelerator.backward(loss)
            else:  # gradients that other losses leave in these parameters would stay until the last part
                self.accelerator.backward(loss * share, inputs=parameters)
        if not last:
            return
        average_gradients(parameters)
        if self.stage.loop.gradient_clip is not None:
            self.accelerator.clip_grad_norm_(parameters, self.stage.loop.gradient_clip)
        optimizer.step()
        stepped.add(name)

    def _shrink(self, cases: int, step: int, reason: str) -> None:
        if self.accelerator.num_processes > 1 or self.parts >= cases:
            hint = "set its loop.accumulate" if self.parts < cases else "set its loop.checkpoint_activations=true"
            raise BenchError(f"stage {self.stage.name} ran out of memory at step {step} ({reason}); {hint}")
        self.parts = min(2 * self.parts, cases)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        if self.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        self.progress.say(
            f"{self.stage.name}: out of memory at step {step}; batches of {cases} go on in {self.parts} parts"
        )


@contextmanager
def recompute(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """While it lasts, the blocks keep their inputs alone; what happens inside is computed again on the way back."""
    changed = list(blocks)
    for block in changed:
        vars(block)["forward"] = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in changed:
            del vars(block)["forward"]


def split(batch: Batch, parts: int) -> list[Batch]:
    """Return a batch in at most so many parts along its first axis, as equal as can be."""
    if parts == 1:
        return [batch]
    places = torch.arange(find_batch_size(batch)).tensor_split(min(parts, find_batch_size(batch)))
    return [slice_tensors(batch, slice(int(part[0]), int(part[-1]) + 1)) for part in places]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return a batch with its tensors on a device; a GPU fetches them from pinned memory while it computes."""

    def move(tensor: Tensor) -> Tensor:
        here = tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor
        return here.to(device, non_blocking=True)

    return recursively_apply(move, batch)
