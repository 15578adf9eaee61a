"""Weights that come with a method, made of a finished run, and laid into the folder of a run in place of training."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bench.errors import BenchError, UsageError, describe_invalid
from bench.method import FittedStage, Stage
from bench.pipeline.fit import after_stage, load_networks
from bench.plugins.shipped_weights import GREY_SCALE, Pretrained
from bench.runs.folder import RunFolder
from bench.runs.record import StageRecord
from bench.runs.weights import load_weights, save_weights
from bench.scoring.laplace import FILE_NAME, LaplaceFit, read_fit
from bench.system.files import write_atomic

LAPLACE = "laplace"  # where a file of weights keeps the distribution around its predictions
ROUNDING = 1e-3  # of a tensor's largest value; what half precision would change by more stays as it is


def place_pretrained(weights: Pretrained, folder: RunFolder, stages: Sequence[str]) -> dict[str, StageRecord]:
    """Write the weights of all stages into a run's folder; return what run.json says of the stages.

    Raises BenchError for a damaged file or one that lacks a stage.
    """
    steps = json.loads(weights.facts["steps"])
    records: dict[str, StageRecord] = {}
    after = ""
    for stage, tensors in _read_pretrained(weights, stages).items():
        sha256 = save_weights(folder, stage, tensors)
        records[stage] = StageRecord(sha256=sha256, after=after, steps=steps[stage])
        after = after_stage(after, sha256)
    return records


def fill_pretrained(weights: Pretrained, stages: Sequence[Stage | FittedStage]) -> None:
    """Fill the networks of all stages from a file of weights; nothing is written.

    Raises BenchError for a damaged file or one that lacks a stage.
    """
    filled = _read_pretrained(weights, [stage.name for stage in stages])
    for stage in stages:
        load_networks(stage, filled[stage.name])


def _read_pretrained(weights: Pretrained, stages: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each stage by name, in single precision where they were halved."""
    try:
        with safe_open(weights.path, "pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise BenchError(f"{weights.path} is damaged: {error}") from error
    steps = json.loads(weights.facts["steps"])
    for stage in stages:
        if stage not in steps:
            raise BenchError(f"{weights.path} lacks stage {stage}: it was made by another version; train instead")
    return {
        stage: {
            name.removeprefix(f"{stage}/"): tensor.float() if tensor.dtype == torch.float16 else tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{stage}/")
        }
        for stage in stages
    }


def copy_weights(trained: RunFolder, folder: RunFolder) -> dict[str, StageRecord]:
    """Write the weights of a trained run into another folder; return what its run.json says of the stages.

    Raises BenchError where they are missing or damaged.
    """
    record = trained.record()
    stages = record.stages if record else {}
    for stage, stated in stages.items():
        save_weights(folder, stage, _read_weights(trained, stage, stated))
    return stages


def read_pretrained_fit(weights: Pretrained) -> LaplaceFit | None:
    """Return the distribution around its predictions that goes with the weights; None where they bring none.

    Raises BenchError for a damaged one.
    """
    text = weights.facts.get(LAPLACE)
    try:
        return LaplaceFit.model_validate_json(text) if text else None
    except ValidationError as error:
        raise BenchError(f"{weights.path} is damaged: {describe_invalid(error)}") from error


def write_pretrained(folder: RunFolder, out: Path) -> int:
    """Write the weights of a finished run to `out`; return the size in bytes.

    Raises UsageError for a run that is not finished or was itself made of such a file, BenchError for damaged weights.
    """
    record = folder.finished_record()
    if record.pretrained_sha256:
        raise UsageError(f"{folder.root.name} was not trained here: its weights are those of {record.pretrained_of}")
    tensors: dict[str, Tensor] = {}
    for stage, stated in record.stages.items():
        loaded = _read_weights(folder, stage, stated)
        tensors |= {f"{stage}/{name}": _halve(tensor) for name, tensor in loaded.items()}
    facts = {
        "run_id": record.run_id,
        "config_sha256": record.config_sha256,
        "data_fingerprint": record.data.fingerprint,
        "dataset": record.config.dataset,
        "source": record.data.source,
        "preset": record.config.preset,
        "seed": str(record.seed),
        "steps": json.dumps({stage: stated.steps for stage, stated in record.stages.items()}),
    }
    if record.data.grey_scale is not None:
        facts[GREY_SCALE] = repr(record.data.grey_scale)
    if fit := read_fit(folder.predictions(record.split) / FILE_NAME):
        facts[LAPLACE] = fit.model_dump_json()
    content = save(tensors, metadata=facts)
    write_atomic(out, lambda file: file.write(content))
    return len(content)


def _read_weights(folder: RunFolder, stage: str, stated: StageRecord) -> dict[str, Tensor]:
    loaded = load_weights(folder, stage, stated.sha256)
    if loaded is None:
        raise BenchError(f"{folder.weights(stage)} is missing or damaged; run it again")
    return loaded


def _halve(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float32 or not tensor.numel():
        return tensor
    half = tensor.half()
    largest = tensor.abs().max()
    return half if (half.float() - tensor).abs().max() <= ROUNDING * largest else tensor
