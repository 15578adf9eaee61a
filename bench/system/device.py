"""The device that computes: its model, its threads, its precision, and how much of its memory was needed."""

import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bench.errors import UsageError


def hardware(device: torch.device) -> dict[str, Any]:
    """Return the model of the device, the CPU threads and the version of CUDA, as they go into run.json."""
    return {"device": device_name(device), "cpu_threads": torch.get_num_threads(), "cuda": torch.version.cuda}


def device_name(device: torch.device) -> str:
    """Return the model of the GPU or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or device.type


@contextmanager
def set_precision(device: torch.device, precision: str) -> Iterator[None]:
    """Within it networks on a device compute in a precision of `bench.plugins.config.FitConfig`; afterwards as before.

    bf16: autocast takes bfloat16 where it deems that safe. tf32: convolutions and matrix products of float32 round
    their factors to 10 bits. Anything else is float32 throughout, cuDNN's convolutions included.
    """
    matrices, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        # without its cache: in older PyTorch weights that were cast while gradients were off got none when used again
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matrices)
        torch.backends.cudnn.allow_tf32 = convolutions


def choose_device(name: str) -> torch.device:
    """Return the device that is asked for; auto takes CUDA where there is one. From then on float32 is float32.

    cuDNN's convolutions are not, by default. Raises UsageError for CUDA where there is none, and another name.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device '{name}'; known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is visible; use `--device cpu` or install a CUDA build of torch")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def peak_memory_mib(device: torch.device) -> float:
    """Return the largest memory of this process so far in MiB: of the GPU when it uses one, resident otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
