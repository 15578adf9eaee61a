"""What the processes of a data-parallel run agree on; in a single process everything here is the value itself.

Processes are started by torchrun and joined by accelerate. All of them must make these calls alike, in one order.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, distributed, nn


def process_count() -> int:
    """Return how many processes share the run; 1 before accelerate has joined them."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_main() -> bool:
    """Return whether this is the first process, known from torchrun before accelerate has joined them."""
    return os.environ.get("RANK", "0") == "0"


def from_main(value: Any) -> Any:
    """Return what `value` is in the first process, in all of them."""
    held = [value]
    return broadcast_object_list(held)[0] if process_count() > 1 else value


def everywhere(holds: bool) -> bool:
    """Return whether it holds in all processes."""
    return all(gather_object([holds])) if process_count() > 1 else holds


def anywhere(holds: bool, device: torch.device) -> bool:
    """Return whether it holds in at least one process; cheap enough for every step."""
    return bool(mean_over_processes(torch.tensor(float(holds), device=device)) > 0) if process_count() > 1 else holds


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of `value`, a tensor of one shape in all processes and on the device that computes.

    A stage needs it for what it decides from a whole batch of which it sees one share.
    """
    if process_count() == 1:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / process_count()


def mean_numbers(values: Mapping[str, Tensor | float], device: torch.device) -> dict[str, float]:
    """The mean of each named number."""
    if process_count() == 1:
        return {name: float(value) for name, value in values.items()}
    numbers = torch.tensor([float(value) for value in values.values()], device=device)
    return dict(zip(values, mean_over_processes(numbers).tolist(), strict=True))


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace gradients by their means in one reduction; a process without one adds 0, as its share of the batch did.

    A parameter without a gradient in any process keeps none, so that its optimiser leaves it alone.
    """
    if process_count() == 1:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    present = gradients[0].new_tensor([p.grad is not None for p in parameters])
    flat = mean_over_processes(torch.cat([*(gradient.reshape(-1) for gradient in gradients), present]))
    *means, used = flat.split([*(gradient.numel() for gradient in gradients), len(parameters)])
    for parameter, gradient, mean, any_has in zip(parameters, gradients, means, used.tolist(), strict=True):
        # copied into a tensor of the parameter's own memory layout, which fused optimisers take for granted
        parameter.grad = gradient.copy_(mean.view_as(gradient)) if any_has else None


@torch.no_grad()
def average_buffers(networks: Iterable[nn.Module]) -> None:
    """Replace running statistics and the like by their means, so that all processes hold the same networks."""
    if process_count() == 1:
        return
    buffers = [buffer for network in networks for buffer in network.buffers() if buffer.is_floating_point()]
    if buffers:
        means = mean_over_processes(torch.cat([buffer.reshape(-1).float() for buffer in buffers]))
        for buffer, mean in zip(buffers, means.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))
