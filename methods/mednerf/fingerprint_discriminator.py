"""The discriminators' part of the fingerprint."""

from typing import Any

import torch

from bench.fingerprint import ramp, remove_parametrizations

from .card import DiscriminatorConfig, PatchConfig
from .discriminator import GrafDiscriminator, MedNerfDiscriminator, exact_singular_values
from .field import COLOURS
from .fingerprint_filling import Network, fill_network, parameters, summary, with_shape

DISCRIMINATORS = {"mednerf": DiscriminatorConfig(), "graf_parent": DiscriminatorConfig(kind="graf")}
SIDE = PatchConfig().side


def config(kind: str) -> dict[str, int]:
    """Colours, width and side of patches."""
    return {"nc": COLOURS, "ndf": DISCRIMINATORS[kind].channels, "imsize": SIDE}


def settle(network: Network, norm: str, hash_: str | None) -> Network:
    """The filled network with exact spectral norms, or without them."""
    fill_network(network, hash_)
    if norm == "exact":
        exact_singular_values(network)
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


def graf_discriminator(norm: str, hash_: str | None) -> dict[str, Any]:
    """Logits of fixed patches, whose pixels are listed one after another with all their colours."""
    network = settle(GrafDiscriminator(DISCRIMINATORS["graf_parent"]), norm, hash_)
    images = ramp((2, SIDE, SIDE, 3), torch.float32).permute(0, 3, 1, 2)
    return with_shape(network(images))
