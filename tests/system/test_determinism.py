"""One seed decides everything random: equal runs are equal bit for bit on a CPU with one number of threads."""

import random
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from bench.method import Items
from bench.pipeline.plan import RunRequest
from bench.system.seeding import derive_seed, seed_everything

from ..helpers.curve import CurveStage
from ..helpers.disturbed_runs import run_undisturbed
from ..pipeline.test_fit import LOOP, crash, fit, fit_until_crash, weights

SMALL = ("data.phantoms=[8,2,2]",)


class Drawing(CurveStage):
    """Its items are random too, from each of the generators that a plug-in may use."""

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        return Items(7, lambda i: torch.rand(1) + random.random() + float(np.random.rand()) + i)


def drawn() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_a_child_seed_is_a_function_of_its_names_alone() -> None:
    """The numbers are those of SHA-256, so that no version and no machine has others."""
    assert derive_seed(0, "vqvae2d", "order") == derive_seed(0, "vqvae2d", "order")
    names = [(seed, stage, what) for seed in (0, 1, 2) for stage in ("a", "b") for what in ("start", "order", 0, 1)]
    assert len({derive_seed(*parts) for parts in names}) == len(names)
    assert derive_seed(3, "a", 7) == 4362305503852087162
    assert 0 <= derive_seed("x") < 2**63


def test_one_call_seeds_every_generator() -> None:
    seed_everything(1, "a")
    first = drawn()
    assert drawn() != first
    seed_everything(1, "a")
    assert drawn() == first
    seed_everything(2, "a")
    assert not set(drawn()) & set(first)


def test_items_that_are_random_are_resumed_exactly_too(tmp_path: Path) -> None:
    whole, resumed = Drawing(LOOP), Drawing(LOOP)
    fit(whole, tmp_path / "whole")
    fit_until_crash(tmp_path / "broken", Drawing(LOOP, crash))
    fit(resumed, tmp_path / "broken")
    assert np.array_equal(weights(whole), weights(resumed))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mean", "codediff", "x2ctgan", "ccx_raynet", "mednerf"])
def test_two_runs_of_a_method_leave_the_same_bytes(method: str, tmp_path: Path) -> None:
    """Data, weights, training log, predictions and scores of two runs from nothing, each in processes of its own."""
    request = RunRequest(method, "lidc", "smoke", 0, SMALL, "x2ct-2019", "phantom", device="cpu")
    first, second = (run_undisturbed(request, tmp_path / name).state for name in ("first", "second"))
    assert first == second
    assert any(name.endswith(".safetensors") for name in first)
