"""How long a piece of work spends in products: convolutions, matrix products and attention, which no step can spare."""

import time
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from bench.performance.timing import Work

PARTS = ("convolution", "scaled_dot_product")
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv")
REPEATS = 2


def product_seconds(work: Work) -> float:
    """CPU seconds of one call that pass within products, forwards and backwards; the least of some calls.

    What a product does beside multiplying counts too: a bias, a copy to another layout, the softmax of fused attention.
    """
    found = []
    for _ in range(REPEATS):
        with _Clock() as clock:
            work()
        found.append(clock.seconds)
    return min(found)


def is_product(name: str) -> bool:
    """Whether the operation of this name, such as "addmm" or "convolution_backward", multiplies or convolves."""
    return name in PRODUCTS or any(part in name for part in PARTS)


class _Clock(TorchDispatchMode):
    """Adds up the seconds of products."""

    seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not is_product(func.overloadpacket.__name__):
            return func(*args, **(kwargs or {}))
        began = time.process_time()
        result = func(*args, **(kwargs or {}))
        self.seconds += time.process_time() - began
        return result
