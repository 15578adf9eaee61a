"""The methods, stages and batches that are measured, and what methods offer for it.

A method may offer, each by itself, in a module `performance` in its folder:

  make_published_stages(method) -> {name: Stage}   twins of trained stages whose step is the published one: in float32,
                                                   with all the work the released code does; networks are copies
  make_sampler(method) -> Sampler | None           of a method that draws in steps
  make_work(axis, amount) -> function | None       work that grows on an axis of the method's own, such as "tokens"
  TARGETS                                          {item: ratio to be reached}, such as {"step/toy/net": 2.0}; of
                                                   "sampling/toy" the fastest number of steps that stays equal counts

The harness knows no method by name, and a twin's losses must equal ours, or it is refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from bench.cases import Cases, Views
from bench.dataset import DatasetCard, DatasetSpec, Split, is_mirrored
from bench.method import Batch, Method, Stage, Update
from bench.pipeline.fit import place_networks
from bench.pipeline.microbatch import to_device
from bench.plugins.config import method_settings
from bench.plugins.guard import build_method
from bench.plugins.registry import discover_methods, get_dataset, get_method, method_module
from bench.system.seeding import derive_seed

SEED = 0


class Sampler(Protocol):
    """A method that draws codes in steps."""

    steps: int  # of the published loop

    def context(self, views: Views) -> Tensor:
        """Return what is computed of the views once, before the first step of either way."""

    def published(self, context: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return codes (B, L) of the published loop."""

    def draw(self, context: Tensor, seeds: Sequence[int], steps: int) -> Tensor:
        """Return codes (B, L) of ours, in so many steps."""

    def decode(self, codes: Tensor) -> Tensor:
        """Return volumes (B, D, H, W) in [0, 1]."""

    def nats(self, codes: Tensor, context: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return a bound of −log p(codes | views) (B,) under the method's own model."""


def find_offer(method: str, name: str, default: Any) -> Any:
    """Return what the method called `method` offers under `name`; the default where it offers nothing."""
    return getattr(method_module(method, "performance"), name, default)


def list_methods() -> list[str]:
    """Return the names of all methods that are no floor, no ceiling and work here."""
    return sorted(name for name, plugin in discover_methods()[0].items() if plugin.card.kind == "method")


@dataclass(frozen=True)
class Subject:
    """A method as a preset makes it, untrained, and cases of the preset's size."""

    name: str
    preset: str
    method: Method
    cases: Mapping[Split, Cases]

    @property
    def stages(self) -> list[Stage]:
        """The stages that take steps."""
        return [stage for stage in self.method.stages() if isinstance(stage, Stage)]


@dataclass(frozen=True)
class Request:
    """What a user asks for."""

    only: tuple[str, ...] = ()  # items; empty takes all
    methods: tuple[str, ...] = ()
    dataset: str = "lidc"
    preset: str = "tiny"
    run: str = ""  # trained run whose samples are judged
    cases: int = 48  # test cases of it
    stages: tuple[str, ...] = ()  # that are measured; empty takes all
    batch: int = 0  # largest batch of a step; 0 takes the preset's
    steps: tuple[int, ...] = ()  # numbers of sampling steps; empty takes all and the powers of two below
    device: str = "auto"
    threads: int = 1
    seconds: float = 900.0
    runs_dir: Path = Path("runs")
    results_dir: Path = Path("results")

    def subjects(self, device: torch.device, preset: str = "") -> Iterator[Subject]:
        """Make every method in turn, by the preset that is asked for or another one."""
        spec = get_dataset(self.dataset)
        return (make_subject(name, spec, preset or self.preset, device) for name in self.methods)

    def takes(self, stage: Stage) -> bool:
        """Whether a stage is to be measured."""
        return not self.stages or stage.name in self.stages


def make_subject(name: str, spec: DatasetSpec, preset: str, device: torch.device, size: int | None = None) -> Subject:
    """Return a method, and one case a split of random numbers: no phantom has to be drawn for it.

    `size` replaces the preset's volume side; views then are twice as wide. Raises UsageError for a size that the
    method does not take.
    """
    plugin, config, random = get_method(name), spec.presets[preset], np.random.default_rng(SEED)
    side, image = (config.size, config.image_size) if size is None else (size, 2 * size)
    card = DatasetCard(
        name=spec.name,
        source="phantom",
        size=side,
        voxel_mm=spec.cube_mm / side,
        window=spec.window,
        image_size=image,
        angles=config.angles,
        mirrored=tuple(is_mirrored(angle) for angle in config.angles),
        geometry=spec.geometry,
        counts={"train": 1, "validation": 1, "test": 1},
        fingerprint="random",
    )
    volume = random.integers(-1000, 1000, (1, side, side, side), dtype=np.int16)
    views = random.random((1, len(config.angles), image, image), dtype=np.float32)
    splits: tuple[Split, ...] = ("train", "validation", "test")
    cases = {split: Cases(card, split, (f"random-{split}",), volume, views, np.eye(4)[None]) for split in splits}
    torch.manual_seed(SEED)
    method = build_method(plugin, method_settings(plugin, preset, spec.name), card)
    place_networks(method, device)
    return Subject(name, preset, method, cases)


def take_views(cases: Cases, group: Sequence[int], device: torch.device) -> tuple[Views, list[int]]:
    """Return views on a device, and a seed each, of a group of cases, again from the first where there are fewer."""
    views = cases.views([index % len(cases) for index in group])
    moved = Views(views.images.to(device), views.angles.to(device), views.mirrored, views.geometry)
    return moved, [derive_seed("performance", index) for index in group]


@contextmanager
def prepare_stage(subject: Subject, stage: Stage, device: torch.device) -> Iterator[Callable[[int], Batch]]:
    """Prepare a stage; yield a function that makes a batch of so many items, again from the first if there are fewer.

    The folder that holds what was prepared lasts as long.
    """
    with TemporaryDirectory() as folder:
        torch.manual_seed(SEED)
        stage.prepare(subject.cases, Path(folder), device)
        items = stage.batches("train")

        def make_batch(count: int) -> Batch:
            chosen = [items[index % len(items)] for index in range(count)]  # type: ignore[arg-type]
            return to_device(default_collate(chosen), device)

        yield make_batch


def make_update(stage: Stage) -> Update:
    """Return what a bare loop does with a loss: back-propagate, clip where the stage asks for it, step."""
    optimizers = stage.optimizers()

    def update(name: str, loss: Tensor) -> None:
        optimizer = optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if stage.loop.gradient_clip is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, stage.loop.gradient_clip)
        optimizer.step()

    return update


def set_training(stage: Stage) -> None:
    """Put a stage's networks into training mode."""
    for network in stage.networks.values():
        network.train()


def find_last_step(stage: Stage) -> int:
    """Return the number of a stage's last step, at which all parts of its training have begun."""
    return max(0, stage.loop.steps - 1)


@contextmanager
def without_dropout(stage: Stage) -> Iterator[None]:
    """While it lasts, no layer of the stage drops anything: masks need not be drawn alike, nor kept."""
    layers = [m for network in stage.networks.values() for m in network.modules() if isinstance(m, nn.Dropout)]
    chances = [layer.p for layer in layers]
    for layer in layers:
        layer.p = 0.0
    try:
        yield
    finally:
        for layer, chance in zip(layers, chances, strict=True):
            layer.p = chance
