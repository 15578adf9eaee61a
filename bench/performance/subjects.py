"""The methods, stages, batches and cases that are measured."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from bench.cases import Cases
from bench.data.cases import load_dataset
from bench.dataset import DataConfig, DatasetCard, DatasetSpec, Split, is_mirrored
from bench.method import Batch, Method, Stage, Update
from bench.pipeline.microbatch import to_device
from bench.plugins.config import method_settings
from bench.plugins.registry import get_method

SEED = 0
TRAINING_CASES = 8


@dataclass(frozen=True)
class Subject:
    """A method as a preset makes it, untrained, and phantoms of the preset's size."""

    name: str
    preset: str
    method: Method
    cases: Mapping[Split, Cases]


def load_subject(name: str, spec: DatasetSpec, preset: str, device: torch.device, tests: int = 1) -> Subject:
    """A method and phantoms of a preset. Raises UsageError for a method that does not take its sizes."""
    plugin = get_method(name)
    settings = method_settings(plugin, preset, spec.name)
    cases = load_dataset(spec, sized(spec.presets[preset], None, tests), "phantom")
    torch.manual_seed(SEED)
    method = plugin.load()(settings, cases["test"].card)
    for stage in method.stages():
        for network in stage.networks.values():
            network.to(device).eval()
    return Subject(name, preset, method, cases)


def random_subject(name: str, spec: DatasetSpec, preset: str, size: int | None = None) -> Subject:
    """A method, and one case a split of random numbers: no phantom has to be drawn for it.

    `size` replaces the preset's volume side. Raises UsageError for a method that does not take it.
    """
    plugin, config = get_method(name), sized(spec.presets[preset], size)
    shape, random = (1, *(config.size,) * 3), np.random.default_rng(SEED)
    card = DatasetCard(
        name=spec.name,
        source="phantom",
        size=config.size,
        voxel_mm=spec.cube_mm / config.size,
        window=spec.window,
        image_size=config.image_size,
        angles=config.angles,
        mirrored=tuple(is_mirrored(angle) for angle in config.angles),
        geometry=spec.geometry,
        counts={"train": 1, "validation": 1, "test": 1},
        fingerprint="random",
    )
    cases: dict[Split, Cases] = {
        part: Cases(
            card,
            part,
            (f"random-{part}",),
            random.integers(-1000, 1000, shape, dtype=np.int16),
            random.random((1, len(config.angles), config.image_size, config.image_size), dtype=np.float32),
            np.eye(4)[None],
        )
        for part in ("train", "validation", "test")
    }
    torch.manual_seed(SEED)
    method = plugin.load()(method_settings(plugin, preset, spec.name), card)
    return Subject(name, preset, method, cases)


def sized(config: DataConfig, size: int | None, tests: int = 1) -> DataConfig:
    """A preset's data with few cases, and views twice as wide as volumes where `size` is given."""
    changes: dict[str, object] = {"phantoms": (TRAINING_CASES, 1, tests)}
    if size is not None:
        changes |= {"size": size, "image_size": 2 * size}
    return config.model_copy(update=changes)


@contextmanager
def prepared(subject: Subject, stage: Stage, device: torch.device) -> Iterator[Batch]:
    """A full batch of a stage, after its preparation; its folder lasts as long."""
    with TemporaryDirectory() as folder:
        torch.manual_seed(SEED)
        stage.prepare(subject.cases, Path(folder), device)
        yield to_device(batch_of(stage), device)


def batch_of(stage: Stage) -> Batch:
    """The first items of a stage's training data, again from the first where there are too few."""
    items = stage.batches("train")
    count = len(items)  # type: ignore[arg-type]
    return default_collate([items[index % count] for index in range(stage.loop.batch_size)])


def plain_update(stage: Stage) -> Update:
    """What a bare loop does with a loss: back-propagate, clip where the stage asks for it, step."""
    optimizers = stage.optimizers()

    def update(name: str, loss: torch.Tensor) -> None:
        optimizer = optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if stage.loop.gradient_clip is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, stage.loop.gradient_clip)
        optimizer.step()

    return update


def trained(stage: Stage) -> None:
    """Put a stage's networks into training mode."""
    for network in stage.networks.values():
        network.train()


def trained_stages(method: Method) -> Sequence[Stage]:
    """The stages that take steps."""
    return [stage for stage in method.stages() if isinstance(stage, Stage)]
