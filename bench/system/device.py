"""The device that computes: its model, its threads, and how much of its memory was needed."""

import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch


def hardware(device: torch.device) -> dict[str, Any]:
    """Return the model of the device, the CPU threads and the version of CUDA, as they go into run.json."""
    return {
        "device": device_name(device),
        "cpu_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
    }


def device_name(device: torch.device) -> str:
    """Return the model of the GPU or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or device.type


def peak_memory_mib(device: torch.device) -> float:
    """Return the largest memory of this process so far in MiB: of the GPU when it uses one, resident otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
