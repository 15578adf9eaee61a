"""Proof that a network is the published one: fill it by rule, run a fixed input, compare with golden numbers.

The golden numbers were taken from the official code. A method with a module `fingerprint` in its folder offers
  GOLDEN          path of its golden numbers, nested JSON
  COMPUTED        patterns of entries and the functions that compute them from the pattern's named groups, without
                  autograd; an entry is a path of keys joined by "/", and need not be in the file
  tolerance(entry, key)  largest allowed deviation of a value; None where rounding decides and nothing can be said
  LEFT_OUT        names of golden keys that describe the recording (seconds, remarks) and are not computed
  SLOW            entries that `--fast` leaves out
and this module knows nothing of any method.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.errors import UsageError
from bench.system.files import read_json

Weights = Callable[[tuple[int, ...], float], np.ndarray]
"""Float64 values of a tensor of this shape, shifted by a phase where the rule has one."""
Computed = Sequence[tuple[str, Callable[..., Any]]]
"""Patterns of entries, and the functions that compute them from the pattern's named groups."""


class UnknownEntry(LookupError):  # noqa: N818 - it is a question's answer, caught by `compute_path`
    """An entry is of no kind the method computes."""


class Fingerprint(Protocol):
    """The module of a method, as described above."""

    GOLDEN: Path
    LEFT_OUT: frozenset[str]
    COMPUTED: Computed
    SLOW: frozenset[str]

    def tolerance(self, entry: str, key: str) -> float | None: ...


@dataclass(frozen=True)
class Comparison:
    """One computed value beside its golden one."""

    entry: str
    key: str  # path inside the entry; empty when the entry is a single value
    value: Any
    golden: Any
    deviation: float  # largest absolute difference over the scale of the numbers
    tolerance: float | None  # None: shown, not judged

    @property
    def ok(self) -> bool:
        """Whether the value may stand for the golden one."""
        return self.tolerance is None or self.deviation <= self.tolerance

    @property
    def strain(self) -> float:
        """The deviation as a share of what is allowed."""
        return -1.0 if self.tolerance is None else self.deviation / self.tolerance


def rule(shape: tuple[int, ...], phase: float = 0.0) -> np.ndarray:
    """sin(0.1·k + phase) over the square root of a row's length, k counting elements in C order; rank 2."""
    size = math.prod(shape)
    return (np.sin(0.1 * np.arange(size) + phase) / np.sqrt(size / shape[0])).reshape(shape)


def chirp(shape: tuple[int, ...], phase: float = 0.0) -> np.ndarray:
    """Row i, column j: sin(0.7·i² + 1.3·j·(i+1) + phase) over the square root of a row's length; full rank.

    A learned table of shape (1, N, W) has N rows.
    """
    rows = shape[1] if len(shape) == 3 and shape[0] == 1 else shape[0]
    columns = math.prod(shape) // rows
    i, j = np.arange(rows)[:, None], np.arange(columns)[None, :]
    return (np.sin(0.7 * i * i + 1.3 * j * (i + 1) + phase) / np.sqrt(columns)).reshape(shape)


def bias_wave(length: int) -> np.ndarray:
    """The rule of biases: 0.01·cos(0.1·k)."""
    return 0.01 * np.cos(0.1 * np.arange(length))


def fill(
    tensors: Iterable[tuple[str, Tensor]],
    weights: Weights,
    phase: Callable[[str], float] = lambda name: 0.0,
    biases: Callable[[int], np.ndarray] = bias_wave,
) -> None:
    """Overwrite named tensors, laid out as in the official network: weights and biases by rule, scales of norms 1.

    A one-dimensional tensor called `weight` is the scale of a norm; any other one-dimensional one is a bias.
    """
    with torch.no_grad():
        for name, tensor in tensors:
            if tensor.ndim >= 2:
                values = weights(tuple(tensor.shape), phase(name))
            else:
                scale = name.rpartition(".")[2] == "weight"
                values = np.ones(tensor.shape) if scale else biases(tensor.numel()).reshape(tensor.shape)
            tensor.copy_(torch.from_numpy(values))


def ramp(shape: tuple[int, ...], dtype: torch.dtype, step: float = 0.01) -> Tensor:
    """The fixed input: sin(step·k) in C order, computed in float64."""
    return torch.from_numpy(np.sin(step * np.arange(math.prod(shape))).reshape(shape)).to(dtype)


def count(*modules: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def remove_parametrizations(network: nn.Module) -> None:
    """Take what computes weights, such as a spectral norm, off a network; what it was computed from stays."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def settle_spectral_norms(network: nn.Module) -> None:
    """Put the true singular vectors in place of those that the power iterations of spectral norms have reached."""
    for module in network.modules():
        if parametrize.is_parametrized(module):
            weight: Any = module.parametrizations["weight"]  # type: ignore[index]
            left, _, right = torch.linalg.svd(weight.original.double().flatten(1), full_matrices=False)
            weight[0]._u.copy_(left[:, 0])
            weight[0]._v.copy_(right[0])


def statistics(
    tensor: Tensor, keys: Sequence[str] = ("shape", "mean", "std", "min", "max", "first8", "last4")
) -> dict[str, Any]:
    """Return by key what is said of a tensor, whose elements are taken in C order: by default what most files have.

    Other keys: `n` elements, `std_unbiased` of the sample, Euclidean norm `l2`, `abs_sum`, the middle elements `mid8`.
    """
    flat = tensor.detach().double().flatten()
    middle = flat.numel() // 2
    said: dict[str, Callable[[], Any]] = {
        "n": flat.numel,
        "shape": lambda: list(tensor.shape),
        "mean": lambda: flat.mean().item(),
        "std": lambda: flat.std(correction=0).item(),
        "std_unbiased": lambda: flat.std().item(),
        "min": lambda: flat.min().item(),
        "max": lambda: flat.max().item(),
        "l2": lambda: flat.norm().item(),
        "abs_sum": lambda: flat.abs().sum().item(),
        "first8": lambda: flat[:8].tolist(),
        "mid8": lambda: flat[middle : middle + 8].tolist(),
        "last4": lambda: flat[-4:].tolist(),
    }
    return {key: said[key]() for key in keys}


def entries(method: Fingerprint) -> list[str]:
    """All entries of the golden file that the method computes, in the file's order."""
    return list_recorded(method.GOLDEN, method.COMPUTED)


def list_recorded(golden: Path, computed: Computed) -> list[str]:
    """The entries of a golden file that fit a pattern; what lies below one is a part of it."""
    found: list[str] = []

    def walk(node: Any, path: str) -> None:
        if any(re.fullmatch(pattern, path) for pattern, _ in computed):
            found.append(path)
        elif isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{path}/{key}" if path else key)

    walk(read_json(golden), "")
    return found


def compute(method: Fingerprint, entry: str) -> Any:
    """The values of an entry, keyed as in the golden file. Raises UnknownEntry for one of no known kind."""
    for pattern, function in method.COMPUTED:
        if match := re.fullmatch(pattern, entry):
            with torch.no_grad():
                return function(**match.groupdict())
    raise UnknownEntry(entry)


def compute_path(method: Fingerprint, path: str) -> Any:
    """The values under any path: an entry, a part of one, or all entries below. UsageError for an unknown one."""
    path = path.strip("/")
    known = entries(method)
    below = [entry for entry in known if entry.startswith(f"{path}/")]
    if below and path not in known:
        return _nest({entry.removeprefix(f"{path}/"): compute(method, entry) for entry in below})
    parts = path.split("/")
    for length in range(len(parts), 0, -1):
        try:
            value = compute(method, "/".join(parts[:length]))
        except UnknownEntry:
            continue
        return _at(value, parts[length:], path)
    near = get_close_matches(path, known, n=3) or sorted({entry.partition("/")[0] for entry in known})
    raise UsageError(f"no entry '{path}'; nearest: {', '.join(near)}")


def compute_all(method: Fingerprint, fast: bool = False) -> dict[str, Any]:
    """The values of all entries, nested as in the golden file."""
    return _nest({entry: compute(method, entry) for entry, _ in select(method, None, fast)})


def select(method: Fingerprint, path: str | None, fast: bool = False) -> list[tuple[str, str]]:
    """Entries with golden numbers at or below a path, each with the part of it that is meant ("" for all of it)."""
    known = [entry for entry in entries(method) if not (fast and entry in method.SLOW)]
    if path is None:
        return [(entry, "") for entry in known]
    path = path.strip("/")
    below = [(entry, "") for entry in known if entry == path or entry.startswith(f"{path}/")]
    above = [(entry, path.removeprefix(f"{entry}/") + "/") for entry in known if path.startswith(f"{entry}/")]
    if not below and not above:
        raise UsageError(f"there are no golden numbers of '{path}'; add --json to compute it without comparing")
    return below or above


def compare(method: Fingerprint, entry: str) -> list[Comparison]:
    """Compute an entry and set every golden value of it beside its own.

    A golden value that was not computed counts as infinitely far off.
    """
    golden = golden_value(method.GOLDEN, entry)
    computed = compute(method, entry)
    rows = []
    for key, wanted, scale in _leaves(golden, "", None, method.LEFT_OUT):
        try:
            value = _at(computed, key.split("/") if key else [], entry)
        except UsageError:
            value = None
        deviation = deviation_of(value, wanted, scale)
        rows.append(Comparison(entry, key, value, wanted, deviation, method.tolerance(entry, key)))
    return rows


def worst_of_each(rows: Sequence[Comparison]) -> list[Comparison]:
    """Return of each entry the value that is nearest to its tolerance, and all that differ."""
    worst: dict[str, Comparison] = {}
    for row in rows:
        if row.entry not in worst or row.strain > worst[row.entry].strain:
            worst[row.entry] = row
    return [row for row in rows if not row.ok or row is worst[row.entry]]


def deviation_of(value: Any, golden: Any, scale: float | None = None) -> float:
    """Largest difference of two values or equally nested lists, over `scale` or the golden one's own size.

    Whole numbers, strings and shapes must be equal: 0 or infinity.
    """
    if isinstance(golden, list):
        if not isinstance(value, list) or len(value) != len(golden):
            return math.inf
        if scale is None:
            scale = max((abs(number) for number in golden if isinstance(number, float)), default=None)
        return max((deviation_of(v, g, scale) for v, g in zip(value, golden, strict=True)), default=0.0)
    if isinstance(golden, float) and isinstance(value, int | float) and not isinstance(value, bool):
        size = abs(golden) if scale is None else scale
        difference = abs(value - golden)
        if math.isnan(difference):
            return math.inf
        return difference / size if size > 0 else difference
    return 0.0 if value == golden else math.inf


def _leaves(
    golden: Any, path: str, scale: float | None, left_out: frozenset[str]
) -> Iterator[tuple[str, Any, float | None]]:
    if isinstance(golden, list) and golden and all(isinstance(element, dict) for element in golden):
        golden = {str(index): element for index, element in enumerate(golden)}
    if not isinstance(golden, dict):
        yield path, golden, scale
        return
    if {"min", "max", "mean"} <= golden.keys():
        scale = max(abs(golden["min"]), abs(golden["max"]))
    for key, value in golden.items():
        if key not in left_out:
            yield from _leaves(value, f"{path}/{key}" if path else key, scale, left_out)


def golden_value(golden: Path, path: str) -> Any:
    """Return what a golden file holds at a path of keys and places in lists, as in ae3d/run64_f32/output/0."""
    return _at(read_json(golden), path.split("/"), path)


def _at(values: Any, parts: list[str], path: str) -> Any:
    for part in parts:
        if isinstance(values, list):
            values = {str(index): element for index, element in enumerate(values)}
        if not isinstance(values, dict) or part not in values:
            raise UsageError(f"'{path}' has no '{part}'")
        values = values[part]
    return values


def _nest(values: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for entry, value in values.items():
        *folders, last = entry.split("/")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return nested
