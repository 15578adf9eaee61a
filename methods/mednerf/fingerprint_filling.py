"""How the fingerprint fills networks and sums up what they give."""

import math
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.fingerprint import fill, rule

Network = TypeVar("Network", bound=nn.Module)
OFFICIAL_NAMES = (  # of our modules
    (r"^trunk\.", "pts_linears."),
    (r"^colour_trunk\.", "views_linears."),
    (r"^feature\.", "feature_linear."),
    (r"^density_head\.", "alpha_linear."),
    (r"^colour_head\.", "rgb_linear."),
    (r"^stem\.", "down_from_big."),
    (r"^down_half\.", "down_4."),
    (r"^down_quarter\.", "down_8."),
    (r"^(down_\d)\.strided\.", r"\1.main."),
    (r"^(down_\d)\.pooled\.", r"\1.direct."),
    (r"^head_trunk\.", "dag_heads.0."),
    (r"^heads\.(\d)\.", r"dag_heads.\1.3."),
    (r"^gate_half\.", "se_2_16.main."),
    (r"^gate_quarter\.", "se_4_32.main."),
    (r"^decode_whole\.", "decoder_big.main."),
    (r"^decode_part\.", "decoder_part.main."),
    (r"^layers\.", "main."),
    (r"\.parametrizations\.weight\.original$", ".weight_orig"),
)


def hash_numbers(shape: tuple[int, ...]) -> np.ndarray:
    """A multiplicative hash of each element's number in C order, in [−1, 1): tells any two orders apart."""
    h = (np.arange(math.prod(shape), dtype=np.uint64) * 2654435761) % 2**32
    h ^= h >> np.uint64(16)
    h = (h * 2246822519) % 2**32
    h ^= h >> np.uint64(13)
    return (h / 2**31 - 1).reshape(shape)


def fill_hashed(tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Overwrite named tensors with `hash_numbers` at the scale of an initialisation; scales of norms become 1."""
    with torch.no_grad():
        for name, tensor in tensors:
            values = hash_numbers(tuple(tensor.shape))
            if tensor.ndim >= 2:
                values = values * math.sqrt(6 * tensor.shape[0] / tensor.numel())
            else:
                values = np.ones(tensor.shape) if name.endswith("weight") else 0.1 * values
            tensor.copy_(torch.from_numpy(values))


def fill_network(network: Network, hash_: str | None) -> Network:
    """The network in evaluation mode, its parameters set by one of the two rules."""
    if hash_:
        fill_hashed(network.named_parameters())
    else:
        fill(network.named_parameters(), rule)
    return network.eval()


def summary(values: Tensor) -> dict[str, Any]:
    """Count, mean, sample standard deviation, extremes, sum of absolute values and first elements."""
    flat = values.detach().double().flatten()
    return {
        "n": flat.numel(),
        "mean": flat.mean().item(),
        "std_unbiased": flat.std().item(),
        "min": flat.min().item(),
        "max": flat.max().item(),
        "abs_sum": flat.abs().sum().item(),
        "first8": flat[:8].tolist(),
    }


def parameters(network: nn.Module) -> dict[str, Any]:
    """Counts of parameters in all and by part, and every tensor's shape, under the official names."""
    tensors: list[tuple[str, Tensor]] = []
    for name, parameter in network.named_parameters():
        for pattern, official in OFFICIAL_NAMES:
            name = re.sub(pattern, official, name)
        tensors.append((name, parameter))
    parts: dict[str, int] = {}
    for name, tensor in tensors:
        part = name.partition(".")[0]
        parts[part] = parts.get(part, 0) + tensor.numel()
    return {
        "total_unique": sum(parts.values()),
        "per_child_(shared tensors counted in each child)": parts,
        "unique_params_per_submodule": parts,
        "tensors": [[name, list(tensor.shape)] for name, tensor in tensors],
    }


def with_shape(values: Tensor) -> dict[str, Any]:
    return {"shape": list(values.shape), **summary(values)}
