"""Batches that a thread loads ahead: the same ones, in order, none asked for too early, and no error lost."""

import threading
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench.card import Loop
from bench.method import Items
from bench.pipeline.loading import load_ahead, load_training


def test_the_next_batch_is_loaded_while_one_is_worked_on_and_no_further() -> None:
    begun = [threading.Event() for _ in range(4)]

    def load() -> Iterator[int]:
        for index in range(3):
            begun[index].set()
            yield index

    ahead = load_ahead(load())
    assert next(ahead) == 0
    assert begun[1].wait(10)
    assert not begun[2].is_set()
    assert list(ahead) == [1, 2]


def test_an_error_comes_when_its_batch_is_asked_for() -> None:
    def load() -> Iterator[int]:
        yield 0
        raise OSError("the disk is gone")

    ahead = load_ahead(load())
    assert next(ahead) == 0
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)


def test_items_pickle_for_spawned_workers_and_memory_maps_by_their_file(tmp_path: Path) -> None:
    np.save(tmp_path / "volumes.npy", np.arange(2**20, dtype=np.int16).reshape(4, -1))
    volumes = np.load(tmp_path / "volumes.npy", mmap_mode="r")
    items = Items(4, lambda i: torch.from_numpy(np.array(volumes[i])), ahead=True)
    content = ForkingPickler.dumps(items)
    assert len(content) < 2**14
    again = ForkingPickler.loads(content)
    assert (len(again), again.ahead) == (4, True)
    assert all(torch.equal(again[i], items[i]) for i in range(4))


def test_batches_loaded_ahead_are_those_of_a_cpu_in_its_order() -> None:
    def load(device: str, ahead: bool) -> tuple[list[list[float]], set[str]]:
        threads: set[str] = set()

        def item(index: int) -> torch.Tensor:
            threads.add(threading.current_thread().name)
            return torch.tensor(float(index))

        stage: Any = SimpleNamespace(
            name="toy", loop=Loop(steps=7, batch_size=2), batches=lambda split: Items(5, item, ahead=ahead)
        )
        accelerator: Any = SimpleNamespace(device=torch.device(device), num_processes=1, process_index=0)
        return [batch.tolist() for batch in load_training(stage, 3, 2, accelerator, 0)], threads

    (here, main), (there, apart), (random, also) = load("cpu", True), load("meta", True), load("meta", False)
    assert here == there == random
    assert len(here) == 5
    assert main == also == {threading.current_thread().name}
    assert main.isdisjoint(apart)
