"""The networks' part of the fingerprint: how they are filled, what is said of tensors, and the discriminators."""

import math
import re
from collections import Counter
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.fingerprint import fill, ramp, remove_parametrizations, rule, settle_spectral_norms, statistics

from .card import DiscriminatorConfig, PatchConfig
from .discriminator import GrafDiscriminator, MedNerfDiscriminator
from .field import COLOURS

Network = TypeVar("Network", bound=nn.Module)
DISCRIMINATORS = {"mednerf": DiscriminatorConfig(), "graf_parent": DiscriminatorConfig(kind="graf")}
SIDE = PatchConfig().side
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


def hash_weights(shape: tuple[int, ...], phase: float = 0.0) -> np.ndarray:
    """`hash_numbers` at the scale of an initialisation."""
    return hash_numbers(shape) * math.sqrt(6 * shape[0] / math.prod(shape))


def fill_network(network: Network, hash_: str | None) -> Network:
    """The network in evaluation mode, its parameters set by one of the two rules."""
    if hash_:
        fill(network.named_parameters(), hash_weights, biases=lambda length: 0.1 * hash_numbers((length,)))
    else:
        fill(network.named_parameters(), rule)
    return network.eval()


def summary(values: Tensor) -> dict[str, Any]:
    """What the golden file says of a tensor."""
    return statistics(values, ("n", "mean", "std_unbiased", "min", "max", "abs_sum", "first8"))


def parameters(network: nn.Module) -> dict[str, Any]:
    """Counts of parameters in all and by part, and every tensor's shape, under the official names."""
    tensors: list[tuple[str, Tensor]] = []
    for name, parameter in network.named_parameters():
        for pattern, official in OFFICIAL_NAMES:
            name = re.sub(pattern, official, name)
        tensors.append((name, parameter))
    parts: Counter[str] = Counter()
    for name, tensor in tensors:
        parts[name.partition(".")[0]] += tensor.numel()
    return {
        "total_unique": sum(parts.values()),
        "per_child_(shared tensors counted in each child)": parts,
        "unique_params_per_submodule": parts,
        "tensors": [[name, list(tensor.shape)] for name, tensor in tensors],
    }


def with_shape(values: Tensor) -> dict[str, Any]:
    return {"shape": list(values.shape), **summary(values)}


def config(kind: str) -> dict[str, int]:
    """Colours, width and side of patches."""
    return {"nc": COLOURS, "ndf": DISCRIMINATORS[kind].channels, "imsize": SIDE}


def settle(network: Network, norm: str, hash_: str | None) -> Network:
    """The filled network with exact spectral norms, or without them."""
    fill_network(network, hash_)
    if norm == "exact":
        settle_spectral_norms(network)
        return network
    remove_parametrizations(network)
    return fill_network(network, hash_)  # the power iteration had scaled them


def mednerf_parameters() -> dict[str, Any]:
    network = MedNerfDiscriminator(DISCRIMINATORS["mednerf"])
    shared = len(list(network.head_trunk.parameters()))
    return {**parameters(network), "dag_heads_tensors_shared_between_heads": shared}


def mednerf_discriminator(norm: str, hash_: str | None) -> dict[str, Any]:
    """Features, logits of each head and drawings of fixed patches."""
    network = settle(MedNerfDiscriminator(DISCRIMINATORS["mednerf"]), norm, hash_)
    features = network.features(ramp((2, 3, SIDE, SIDE), torch.float32))
    heads = [network.logits(features, head) for head in range(len(network.heads))]
    drawn = [network.redraw(features, part) for part in range(4)]
    maps = {
        "down_from_big": features.full,
        "down_4": features.half,
        "se_2_16": features.gated_half,
        "down_8": features.quarter,
        "se_4_32(last)": features.gated_quarter,
    }
    return {
        "feature_shapes": {name: list(values.shape) for name, values in maps.items()},
        "features": {"se_2_16": summary(features.gated_half), "last": summary(features.gated_quarter)},
        "heads": [summary(head) for head in heads],
        "head_shape_flat": list(heads[0].shape),
        "head_means": [head.mean().item() for head in heads],
        "decoder_big": with_shape(drawn[0].whole),
        **{f"decoder_part_{part}": with_shape(both.part) for part, both in enumerate(drawn)},
    }


def graf_parameters() -> dict[str, Any]:
    return parameters(GrafDiscriminator(DISCRIMINATORS["graf_parent"]))


def graf_discriminator(norm: str, hash_: str | None) -> dict[str, Any]:
    """Logits of fixed patches, whose pixels are listed one after another with all their colours."""
    network = settle(GrafDiscriminator(DISCRIMINATORS["graf_parent"]), norm, hash_)
    images = ramp((2, SIDE, SIDE, 3), torch.float32).permute(0, 3, 1, 2)
    return with_shape(network(images))
