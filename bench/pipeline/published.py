"""Weights from elsewhere, in the layout of the official code, laid into a method's networks in place of training.

A method whose published weights can be had offers a module `published` in its folder:
  official_layout(method)  of a built method: stage → official name → the part of its networks that the tensor fills
  UNUSED                   a pattern of names that official files hold beside, and that no prediction needs
  WINDOW                   lowest and highest HU of the volumes that the networks learned; None: of each by itself
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.cases import Views
from bench.errors import BenchError, UsageError
from bench.method import FittedStage, Method, Stage
from bench.plugins.published_weights import Published
from bench.plugins.registry import method_module
from bench.runs.weights import load_published

LISTED = 3  # tensors that a message names


class Given(FittedStage):
    """A stage whose networks hold their weights already."""

    def __init__(self, stage: Stage | FittedStage) -> None:
        self.name, self.networks = stage.name, stage.networks

    def fit(self, cases: Mapping, cache: Path) -> None:
        pass


def fill_networks(published: Published, method: Method) -> list[Stage | FittedStage]:
    """Lay checkpoints into a method's networks; return its stages, of which those with a file train nothing.

    A file's stage is the one that shares most tensors with it. Raises UsageError, naming the tensors, for a file that
    is not of these networks, and for a stage without a file.
    """
    module = method_module(published.method, "published")
    assert module is not None
    layout: dict[str, dict[str, Tensor]] = module.official_layout(method)
    taken: dict[str, Path] = {}
    for file in published.files:
        state = load_published(file)
        shared = {stage: len(_forms(state) & _forms(tensors)) for stage, tensors in layout.items()}
        stage = max(shared, key=lambda name: shared[name])
        if not shared[stage]:
            raise UsageError(f"{file} holds no tensor of {published.method} in the layout of its official code")
        if stage in taken:
            raise UsageError(f"{file} and {taken[stage]} are both of {stage}; give one file a stage")
        used = {name: tensor for name, tensor in state.items() if not module.UNUSED.fullmatch(name)}
        _check(used | {name: state[name] for name in state.keys() & layout[stage].keys()}, layout[stage], file, stage)
        for name, part in layout[stage].items():
            part.copy_(state[name].reshape(part.shape))
        taken[stage] = file
    if missing := [stage for stage in layout if stage not in taken]:
        raise UsageError(f"no file is of {', '.join(missing)}; give all of {', '.join(layout)}, a file each")
    return [Given(stage) if stage.name in taken else stage for stage in method.stages()]


def map_window(reference: str, method: Method, window: tuple[float, float]) -> None:
    """Let a method with published weights return volumes in the dataset's window, not in the one it learned."""
    theirs = getattr(method_module(reference, "published"), "WINDOW", None)
    if theirs is None or theirs == window:
        return
    (low, high), (bottom, top), reconstruct = theirs, window, method.reconstruct

    def reconstruct_mapped(views: Views, *, seeds: Sequence[int]) -> Tensor:
        hounsfield = low + (high - low) * reconstruct(views, seeds=seeds)
        return ((hounsfield - bottom) / (top - bottom)).clamp(0.0, 1.0)

    object.__setattr__(method, "reconstruct", reconstruct_mapped)


def _form(tensor: Tensor) -> tuple[int, ...]:
    """Return a shape without its sides of 1: a 1-convolution of the official code may be a linear layer here."""
    return tuple(side for side in tensor.shape if side != 1)


def _forms(tensors: Mapping[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, _form(tensor)) for name, tensor in tensors.items()}


def _check(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path, stage: str) -> None:
    both = [name for name in wanted if name in state]
    faults = {
        "missing": [name for name in wanted if name not in state],
        "superfluous": [name for name in state if name not in wanted],
        "of another shape": [
            f"{name} {_show(state[name])} instead of {_show(wanted[name])}"
            for name in both
            if _form(state[name]) != _form(wanted[name])
        ],
    }
    told = [
        f"{len(names)} {what} ({', '.join(names[:LISTED])}{', …' if len(names) > LISTED else ''})"
        for what, names in faults.items()
        if names
    ]
    if told:
        raise UsageError(f"{file} is not of {stage} at this preset and these settings: tensors {'; '.join(told)}")
    if broken := [name for name in both if not torch.isfinite(state[name]).all()]:
        raise BenchError(f"{file} holds weights that are not finite: {', '.join(broken[:LISTED])}")


def _show(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
