"""The weights and checkpoints of a run's stages, whose hashes say whether they are whole."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from bench.errors import BenchError
from bench.runs.folder import RunFolder
from bench.system.files import sha256_of, write_atomic

SHORT_HASH = 16  # hexadecimal digits of a checkpoint's SHA-256 in its file name


def save_weights(folder: RunFolder, stage: str, tensors: dict[str, Tensor]) -> str:
    """Write the tensors a stage leaves behind; return the SHA-256 of the file."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    return write_atomic(folder.weights(stage), lambda file: file.write(content))


def load_weights(folder: RunFolder, stage: str, sha256: str) -> dict[str, Tensor] | None:
    """The tensors of a finished stage; None when the file is missing or its hash is not `sha256`."""
    return load_file(folder.weights(stage)) if weights_intact(folder, stage, sha256) else None


def weights_intact(folder: RunFolder, stage: str, sha256: str) -> bool:
    """Return whether the weights of a finished stage are there and have this hash."""
    path = folder.weights(stage)
    return path.exists() and sha256_of(path) == sha256


def save_checkpoint(folder: RunFolder, stage: str, step: int, state: dict[str, Any]) -> None:
    """Write the state of a stage after `step` steps under a name that carries its hash; drop older ones."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    path = folder.checkpoints / f"{stage}.{step:09d}.{digest[:SHORT_HASH]}.pt"
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))
    for other in _checkpoints(folder, stage):
        if other != path:
            other.unlink(missing_ok=True)


def load_checkpoint(folder: RunFolder, stage: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest intact state of a stage, if any, and the names of damaged files that were passed over."""
    damaged: list[str] = []
    for path in reversed(_checkpoints(folder, stage)):
        if sha256_of(path)[:SHORT_HASH] == path.name.split(".")[-2]:
            return torch.load(path, map_location="cpu", weights_only=True), damaged
        damaged.append(path.name)
    return None, damaged


def load_published(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that was made elsewhere, by name; of one with a `state_dict` those in it.

    Nothing in it is run. Raises BenchError for a file that is damaged or holds anything but plain tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what damage raises depends on where it is
        raise BenchError(f"{path} is damaged, or no checkpoint of tensors alone; nothing of it was run") from error
    if isinstance(state, dict):
        state = state.get("state_dict", state)
    if not isinstance(state, dict) or not all(isinstance(name, str) and _is_plain(t) for name, t in state.items()):
        raise BenchError(f"{path} holds no tensors by name: it is no state_dict of PyTorch")
    return dict(state)


def _is_plain(tensor: Any) -> bool:
    """Return whether a value is a dense tensor of real numbers."""
    dense = isinstance(tensor, Tensor) and tensor.layout == torch.strided and tensor.device.type == "cpu"
    return dense and not (tensor.is_complex() or tensor.is_quantized)


def drop_checkpoints(folder: RunFolder, stage: str) -> None:
    """Remove the states of a stage that is finished."""
    for path in _checkpoints(folder, stage):
        path.unlink(missing_ok=True)


def _checkpoints(folder: RunFolder, stage: str) -> list[Path]:
    return sorted(folder.checkpoints.glob(f"{stage}.*.*.pt"))
