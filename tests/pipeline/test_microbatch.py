"""Batches taken in parts: the gradients of the whole batch, one step of each optimiser, also after memory ran out."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.card import Loop
from bench.errors import BenchError, UsageError
from bench.method import Items, Stage, Update
from bench.pipeline.fit import fit_stages
from bench.pipeline.microbatch import Steps, recompute, split
from bench.system.progress import Progress

from ..helpers.toy_runs import toy_run


class Pair(Stage):
    """Two networks that are updated one after the other; the second loss also reaches the first network."""

    name = "pair"

    def __init__(self, loop: Loop, before: Callable[[str, int], None] = lambda network, items: None) -> None:
        torch.manual_seed(0)
        self.loop, self.before = loop, before
        self.networks = {"first": nn.Linear(3, 3).double(), "second": nn.Linear(3, 1).double()}
        self.optimizer_steps = {"first": 0, "second": 0}

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        items = torch.randn(11, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        return Items(len(items), lambda i: items[i])

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {name: Counted(network, name, self.optimizer_steps) for name, network in self.networks.items()}

    def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
        first, second = self.networks["first"], self.networks["second"]
        self.before("first", len(batch))
        own = first(batch).square().mean()
        hidden = first(batch)  # taken before the first network is updated, so that parts do not differ
        update("second", (second(hidden.detach()) - 1).square().mean())
        self.before("second", len(batch))
        update("first", own)
        return {"loss": own.detach()}

    def recomputable(self) -> list[nn.Module]:
        return [self.networks["first"]]


class Counted(torch.optim.SGD):
    def __init__(self, network: nn.Module, name: str, counts: dict[str, int]) -> None:
        super().__init__(network.parameters(), 0.1, momentum=0.9)
        self.name, self.counts = name, counts

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self.counts[self.name] += 1
        super().step(closure)


LOOP = Loop(steps=6, batch_size=7)


def fit(stage: Stage, folder: Path) -> dict:
    return fit_stages([stage], toy_run(folder, seed=3))


def weights(stage: Stage) -> Tensor:
    return torch.cat([p.detach().flatten() for network in stage.networks.values() for p in network.parameters()])


@pytest.fixture
def whole(tmp_path: Path) -> Pair:
    """A stage that was trained on whole batches."""
    stage = Pair(LOOP)
    fit(stage, tmp_path / "whole")
    return stage


def limit_memory(most: int, where: tuple[str, ...] = ("first", "second")) -> Callable[[str, int], None]:
    """Return what lets memory run out where more than so many items reach one of these networks."""

    def before(network: str, items: int) -> None:
        if network in where and items > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    return before


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_a_batch_in_parts_trains_as_the_whole_one(parts: int, whole: Pair, tmp_path: Path) -> None:
    divided = Pair(LOOP.model_copy(update={"accumulate": parts}))
    record = fit(divided, tmp_path / "parts")
    assert torch.allclose(weights(whole), weights(divided), rtol=1e-12, atol=1e-14)
    assert divided.optimizer_steps == {"first": 6, "second": 6}
    assert record["pair"].parts == parts
    logged = [(tmp_path / name / "train.csv").read_text() for name in ("whole", "parts")]
    assert logged[0] == logged[1]


@pytest.mark.parametrize("where", ["first", "second"])
def test_when_memory_runs_out_the_batch_goes_on_in_parts_and_no_optimiser_steps_twice(
    where: str, whole: Pair, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    narrow = Pair(LOOP, limit_memory(2, (where,)))
    record = fit(narrow, tmp_path / "narrow")
    assert torch.allclose(weights(whole), weights(narrow), rtol=1e-12, atol=1e-14)
    assert narrow.optimizer_steps == {"first": 6, "second": 6}
    assert record["pair"].parts == 4
    assert "batches of 7 go on in 4 parts" in capsys.readouterr().out


def test_a_resumed_run_takes_batches_in_as_many_parts_as_before(tmp_path: Path) -> None:
    seen: list[int] = []

    def least(network: str, items: int) -> None:
        seen.append(items)
        limit_memory(4)(network, items)
        if len(seen) == 17:
            raise KeyboardInterrupt

    loop = LOOP.model_copy(update={"checkpoint_every": 2})
    with pytest.raises(KeyboardInterrupt):
        fit(Pair(loop, least), tmp_path)
    sizes: list[int] = []
    record = fit(Pair(loop, lambda network, items: sizes.append(items)), tmp_path)
    assert max(sizes) == 4
    assert record["pair"].parts == 2


def test_one_case_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"pair ran out of memory at step 0 \(CUDA out of memory\).*checkpoint_acti"):
        fit(Pair(LOOP, limit_memory(0)), tmp_path)


def test_activations_computed_again_give_the_same_gradients_and_keep_less(whole: Pair, tmp_path: Path) -> None:
    block = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Dropout(0.5), nn.Linear(64, 8))
    x = torch.randn(5, 8)
    found, kept = [], []
    for blocks in ([], [block]):
        saved: list[int] = []

        def count(tensor: Tensor, saved: list[int] = saved) -> Tensor:
            saved.append(tensor.numel())
            return tensor

        torch.manual_seed(4)
        block.zero_grad()
        with recompute(blocks):
            with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
                loss = block(x).square().sum()
            loss.backward()
        found.append(torch.cat([p.grad.flatten() for p in block.parameters() if p.grad is not None]))
        kept.append(sum(saved))
    assert torch.equal(*found)
    assert kept[1] < kept[0] / 2
    assert "forward" not in vars(block)
    spared = Pair(LOOP.model_copy(update={"checkpoint_activations": True}))
    fit(spared, tmp_path / "spared")
    assert torch.equal(weights(whole), weights(spared))


def test_a_stage_that_cannot_compute_again_says_so(tmp_path: Path) -> None:
    class Plain(Pair):
        recomputable = Stage.recomputable  # type: ignore[assignment]

    with pytest.raises(UsageError, match="stage pair cannot compute activations again"):
        fit(Plain(LOOP.model_copy(update={"checkpoint_activations": True})), tmp_path)


def test_a_batch_is_divided_along_its_first_axis_whatever_holds_it() -> None:
    batch = {"a": torch.arange(5), "b": [torch.arange(10).view(5, 2), torch.zeros(5)]}
    parts = split(batch, 2)
    assert [part["a"].tolist() for part in parts] == [[0, 1, 2], [3, 4]]
    assert [part["b"][0].tolist() for part in parts] == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9]]]
    assert split(batch, 1) == [batch]


def test_of_several_processes_one_that_runs_out_of_memory_names_the_setting_that_all_need() -> None:
    """They wait for each other's gradients, so none can go on in parts alone."""
    stage, accelerator = Pair(LOOP, limit_memory(0)), SimpleNamespace(num_processes=2, device=torch.device("cpu"))
    steps = Steps(stage, stage.optimizers(), accelerator, "fp32", Progress(), 1)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match=r"stage pair ran out of memory at step 3 .*; set its loop.accumulate$"):
        steps.run(torch.zeros(4, 3, dtype=torch.float64), 3, lambda: None)
