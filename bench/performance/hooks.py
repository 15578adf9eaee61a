"""What a method may offer `bench performance`, in a module `performance` in its folder; each function by itself.

  published_stages(method) -> {stage: Stage}     twins of trained stages whose step is the published one: in float32,
                                                 with all the work the released code does; networks are copies
  published_reconstruct(method) -> function      of (views, seeds), reconstructing as the released code does
  sampler(method) -> Sampler | None              of a method that draws in steps
  growing(axis, amount) -> function | None       work of `amount` on an axis of the method's own, such as "tokens"
  TARGETS                                        {item: ratio that is to be reached}, such as {"step/toy/net": 2.0};
                                                 of "sampling/toy" the fastest number of steps that stays equal counts

The harness knows no method by name, and a twin's losses must equal ours, or it is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

from torch import Tensor

from bench.cases import Views
from bench.method import Method, Stage
from bench.plugins.registry import method_module

Reconstruct = Callable[[Views, Sequence[int]], Tensor]


class Sampler(Protocol):
    """A method that draws codes in steps."""

    steps: int  # of the published loop

    def context(self, views: Views) -> Tensor:
        """What is computed of the views once, before the first step of either way."""

    def published(self, context: Tensor, seeds: Sequence[int]) -> Tensor:
        """Codes (B, L) of the published loop."""

    def draw(self, context: Tensor, seeds: Sequence[int], steps: int) -> Tensor:
        """Codes (B, L) of ours, in so many steps."""

    def decode(self, codes: Tensor) -> Tensor:
        """Volumes (B, D, H, W) in [0, 1]."""

    def nats(self, codes: Tensor, context: Tensor, seeds: Sequence[int]) -> Tensor:
        """Bound of −log p(codes | views) (B,) under the method's own model."""


def published_stages(method: Method) -> dict[str, Stage]:
    """Twins of a method's stages by name; none where it offers none."""
    return _call(method, "published_stages") or {}


def published_reconstruct(method: Method) -> Reconstruct | None:
    """The published reconstruction, where the method offers it."""
    return _call(method, "published_reconstruct")


def sampler(method: Method) -> Sampler | None:
    """The method's sampler, where it draws in steps."""
    return _call(method, "sampler")


def growing(name: str, axis: str, amount: int) -> Callable[[], Any] | None:
    """Work of `amount` on an axis of the method called `name`, where it has such an axis."""
    function = getattr(_module(name), "growing", None)
    return function(axis, amount) if function else None


def targets(name: str) -> Mapping[str, float]:
    """Ratios that the items of the method called `name` are to reach; none where it names none."""
    return getattr(_module(name), "TARGETS", {})


def _call(method: Method, name: str) -> Any:
    function = getattr(_module(method.card.name), name, None)
    return function(method) if function else None


def _module(name: str) -> ModuleType | None:
    return method_module(name, "performance")
