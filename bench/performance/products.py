"""Which share of a piece of work is products: convolutions, matrix products and attention, which no step can spare."""

from torch.profiler import ProfilerActivity, profile

from bench.performance.timing import Work

PARTS = ("convolution", "conv2d", "conv3d", "scaled_dot_product", "efficient_attention", "flash_attention")
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv")


def product_share(work: Work) -> float:
    """Share in [0, 1] of one call's time on the CPU that its products take by themselves, as PyTorch's profiler has it.

    Copies and sums that a product asks for count as other work. A kernel of fused attention counts wholly, with its
    softmax; where attention is written out, its softmax is other work.
    """
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()
    events = seen.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    return sum(event.self_cpu_time_total for event in events if is_product(event.key)) / total if total else 0.0


def is_product(name: str) -> bool:
    """Whether an operation of this name multiplies matrices or convolves."""
    base = name.removeprefix("aten::").strip("_")
    return name.startswith("aten::") and (base in PRODUCTS or any(part in base for part in PARTS))
