"""The networks' part of the fingerprint: weights and inputs by rule, parameter counts, and outputs.

Rule A is a sine, rule B seeded noise. Under rule A instance norms with the statistics of their sample amplify rounding
until nothing is left of the numbers; rule B keeps them.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.fingerprint import UnknownEntry, Weights, count, fill, golden_value, rule, statistics

from .alignment import FRONTAL, LATERAL, Order, to_local
from .card import GeneratorConfig, Statistics, TrainingConfig
from .generator import BiplanarGenerator, Branch, SingleViewGenerator, build_generator
from .parts import PatchDiscriminator

SEEDS = {"view1": 1, "view2": 2, "discriminator": 3, "volume": 4}  # of the inputs under rule B
DIGITS = 1e-5  # the golden numbers have six
Network = SingleViewGenerator | BiplanarGenerator | PatchDiscriminator
ORDERS: dict[str, tuple[Order, ...]] = {"multiview": (FRONTAL, LATERAL), "singleview": (FRONTAL,)}
ABLATIONS: dict[str, dict[str, Any]] = {
    "denseUNetNoFuse_transposed": {"feedback": False},
    "denseUNetFuse_transposed": {},
    "denseUNetFuse_transposed_withoutskip": {"skips": False},
    "denseUNetFuse_transposed_withoutconnect": {"main_skips": False},
    "denseUNetFuse_transposed_withoutconnectAndskip": {"skips": False, "main_skips": False},
}


def noise(shape: tuple[int, ...], phase: float = 0.0) -> np.ndarray:
    """Rule B's weights: standard normal values from a fresh generator, times the root of 2 over a row's length."""
    size = math.prod(shape)
    return np.random.default_rng(12345).standard_normal(size).reshape(shape) * np.sqrt(2 * shape[0] / size)


WEIGHTS: dict[str, Weights] = {"A": rule, "B": noise}


def fixed_input(kind: str, rule: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The input of this shape: of rule A sin(0.01·k), cos for the second view; of rule B uniform in [0, 1)."""
    if rule == "B":
        values = np.random.default_rng(SEEDS[kind]).random(shape)
    else:
        wave = np.cos if kind == "view2" else np.sin
        values = wave(0.01 * np.arange(math.prod(shape))).reshape(shape)
    return torch.from_numpy(values).to(dtype)


def summary(tensor: Tensor) -> dict[str, Any]:
    """What the golden files of X2CT-GAN and CCX-rayNet say of a tensor."""
    return statistics(tensor, ("shape", "mean", "std", "min", "max", "l2", "first8", "mid8"))


def shapes(model: nn.Module) -> dict[str, Any]:
    """Return how many parameters of each shape, and the first 16 digits of the hash of that table."""
    counts = Counter(str(list(parameter.shape)) for parameter in model.parameters())
    table = sorted(f"{shape} x{number}" for shape, number in counts.items())
    digest = hashlib.sha256("\n".join(table).encode()).hexdigest()
    return {
        "n_tensors": sum(counts.values()),
        "distinct_shapes": len(table),
        "sha256_16": digest[:16],
        "table": table,
    }


@contextmanager
def summaries(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Any]]:
    """Name → summary of what each module puts out while the context is open."""
    seen: dict[str, Any] = {}

    def observer(name: str) -> Callable[..., None]:
        def observe(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = summary(output)

        return observe

    hooks = [module.register_forward_hook(observer(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def allowed_deviation(golden: Path, entry: str, key: str, overall: float, element: float) -> float:
    """The tolerance of one number of a summary over its largest element, as `bench.fingerprint.compare` measures it.

    `overall` is that of mean, deviation and, over itself, the norm; `element` that of single elements and the extremes.
    """
    name = key.rpartition("/")[2]
    if name in ("mean", "std"):
        return overall
    if name != "l2":
        return element
    values = golden_value(golden, f"{entry}/{key}".rpartition("/")[0])
    return overall * values["l2"] / max(abs(values["min"]), abs(values["max"]))


def generator_of(views: str, size: str, **options: Any) -> SingleViewGenerator | BiplanarGenerator:
    """The published generator for inputs of this size. Raises UsageError for a size it cannot take."""
    config = GeneratorConfig(**options)
    check_size(config, size)
    return build_generator(config, int(size), ORDERS[views])


def check_size(config: GeneratorConfig, size: str) -> None:
    """Raise UsageError for a size that no generator of this shape can take."""
    pixels = 1 if config.statistics == "running" else 2  # that a norm needs
    if int(size) % config.reduction or int(size) < pixels * config.reduction:
        raise UsageError(f"a generator's size is a multiple of {config.reduction} and at least 64, not {size}")


def discriminator_of(views: str, statistics: Statistics = "sample") -> PatchDiscriminator:
    """The published discriminator beside that generator."""
    return PatchDiscriminator(len(ORDERS[views]) + 1, TrainingConfig().discriminator, statistics)


def branch_modules(branch: Branch) -> dict[str, nn.Module]:
    """The modules of a branch whose outputs were recorded, by their names in the official code."""
    decoder, last = branch.decoder, len(branch.links) - 1
    modules: dict[str, nn.Module] = {"encoder_layer": branch.encoder.stem, "base_link": branch.bridge.layers}
    modules |= {f"encoder_layer{i}": stage for i, stage in enumerate(branch.encoder.stages)}
    modules |= {f"linker_layer{i}": link for i, link in enumerate(branch.links)}
    modules |= {f"decoder_compress_layer{i - 1}": half for i, half in enumerate(decoder.compress)}
    modules |= {f"decoder_layer{i - 1}": half for i, half in enumerate(decoder.expand)}
    return {**modules, f"decoder_layer{last}": decoder.top, "decoder_layer": decoder.head}


def main_modules(generator: BiplanarGenerator) -> dict[str, nn.Module]:
    """The modules of the main decoder, by their names in the official code."""
    main = generator.main
    modules = {f"decoder_layer{i - 1}": level for i, level in enumerate(main.levels)}
    return {**modules, f"decoder_layer{len(main.levels) - 1}": main.top, "decoder_layer": main.head}


def list_recorded_modules(model: Network) -> dict[str, nn.Module]:
    """The modules whose outputs the golden file has, by their names there."""
    if isinstance(model, PatchDiscriminator):
        layers = dict(enumerate(model.layers))
        return {f"model.{i}": layer for i, layer in layers.items() if isinstance(layer, nn.Conv3d) and i + 1 in layers}
    if isinstance(model, SingleViewGenerator):
        modules = {n: module for n, module in branch_modules(model.branch).items() if "compress" not in n}
    else:
        modules = main_modules(model)
        first = branch_modules(model.first)
        del first["decoder_layer"]
        modules |= {f"view1Model.{name}": module for name, module in first.items()}
        modules["view2Model.base_link"] = model.second.bridge.layers
    del modules["decoder_layer"]
    head = model.branch.decoder.head if isinstance(model, SingleViewGenerator) else model.main.head
    return {**modules, "decoder_layer.0": head[0]}


def generator_counts(views: str, size: str, key: str) -> Any:
    """Parameters of a generator: their number, that of each part, or the table of their shapes."""
    with torch.device("meta"):  # counted, never computed with
        generator = generator_of(views, size)
    return count_by_part(generator, key, branch_modules)


def count_by_part(
    generator: SingleViewGenerator | BiplanarGenerator, key: str, parts_of: Callable[[Branch], dict[str, nn.Module]]
) -> Any:
    """Parameters of a generator as a golden file has them under a key; `parts_of` are those of a branch by name."""
    if key in ("n_params", "shapes"):
        return count(generator) if key == "n_params" else shapes(generator)
    if isinstance(generator, BiplanarGenerator):
        if key == "view1_sub_modules":
            return {name: count(module) for name, module in parts_of(generator.first).items()}
        parts = {f"view{i}Model": count(branch) for i, branch in enumerate(generator.branches, start=1)}
        parts |= {name: count(module) for name, module in main_modules(generator).items()}
        return parts | ({"transposed_layer": count(generator.fusion)} if count(generator.fusion) else {})
    if key == "view1_sub_modules":
        raise UnknownEntry(key)
    parts = {}
    for name, module in parts_of(generator.branch).items():
        whole = name.replace("compress_", "")  # one module with the rest of its level
        parts[whole] = parts.get(whole, 0) + count(module)
    return parts


def discriminator_counts(views: str, size: str, key: str) -> Any:
    """Parameters of a discriminator, which do not depend on the size."""
    with torch.device("meta"):
        model = discriminator_of(views)
    return count(model) if key == "n_params" else shapes(model)


def inputs(network: str, views: str, size: str, rule: str) -> list[dict[str, Any]]:
    """The inputs that were drawn for a network; of a generator always those of both views."""
    drawn = network_inputs(network, "multiview" if network == "generator" else views, int(size), rule, torch.float32)
    return [summary(tensor) for tensor in drawn]


def network_inputs(network: str, views: str, size: int, rule: str, dtype: torch.dtype) -> list[Tensor]:
    """One (1, 1, s, s) for each view of a generator, or the (1, V + 1, s, s, s) of a discriminator."""
    number = len(ORDERS[views])
    if network == "discriminator":
        return [fixed_input("discriminator", rule, (1, number + 1, *(size,) * 3), dtype)]
    return [fixed_input(f"view{i + 1}", rule, (1, 1, size, size), dtype) for i in range(number)]


@torch.no_grad()
def run(network: str, views: str, size: str, rule: str, mode: str, double: str | None) -> dict[str, Any]:
    """Everything that a network makes of the fixed inputs; between its layers where the golden file has it."""
    statistics: Statistics = "running" if mode == "running" else "sample"
    dtype = torch.float64 if double else torch.float32
    given = network_inputs(network, views, int(size), rule, dtype)
    model: Network
    if network == "discriminator":
        if int(size) < 2:
            raise UsageError(f"a discriminator's size is at least 2, not {size}")
        model = discriminator_of(views, statistics)
    else:
        model = generator_of(views, size, statistics=statistics)
    model = model.to(dtype).eval()
    fill(model.named_parameters(), WEIGHTS[rule])
    traced = (rule, mode) in (("A", "running"), ("B", "instance")) and not double
    with summaries(list_recorded_modules(model) if traced else {}) as between:
        result = outputs(model, given)
    return {**result, "intermediates": between} if traced else result


def outputs(model: Network, given: list[Tensor]) -> dict[str, Any]:
    """Return what the official network returns; volumes of single views are in the view's own order."""
    if isinstance(model, BiplanarGenerator):
        volume, branches = model.forward_with_branches(given)
        names = ("out_view1", "out_view2", "out_fused")
        return {name: summary(tensor) for name, tensor in zip(names, (*branches, volume), strict=True)}
    if isinstance(model, SingleViewGenerator):
        return {"out": summary(to_local(model(given), model.orders[0]))}
    return {"out": summary(model(given[0]))}


def ablation(variant: str) -> int:
    """Parameters at 128 of a generator with something left out, and of the links the released one keeps unused."""
    options = ABLATIONS[variant]
    with torch.device("meta"):
        generator = generator_of("multiview", "128", **options)
        whole = generator_of("multiview", "128")
    assert isinstance(whole, BiplanarGenerator)
    unused = [] if options.get("skips", True) else [branch.links for branch in whole.branches]
    return count(generator, *unused)
