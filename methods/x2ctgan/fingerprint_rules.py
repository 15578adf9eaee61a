"""How the golden numbers of X2CT-GAN's networks were taken: weights and inputs by rule, and what is said of a tensor.

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

from bench.fingerprint import Weights, golden_value, rule, statistics

SEEDS = {"view1": 1, "view2": 2, "discriminator": 3, "volume": 4}  # of the inputs under rule B
DIGITS = 1e-5  # the golden numbers have six


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
    """Shape, mean, population standard deviation, extremes, Euclidean norm, first 8 and middle 8 elements."""
    values = statistics(tensor)
    del values["last4"]
    flat = tensor.detach().double().flatten()
    middle = flat.numel() // 2
    first = values.pop("first8")
    return {**values, "l2": flat.norm().item(), "first8": first, "mid8": flat[middle : middle + 8].tolist()}


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
