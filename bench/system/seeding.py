"""Seeds and the order of training data as functions of (seed, name, step), so that a run can be resumed exactly."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.errors import BenchError


def derive_seed(*parts: Any) -> int:
    """Return a 63-bit seed that is a function of `parts` alone."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_everything(*parts: Any) -> None:
    """Seed the global generators of PyTorch, NumPy and Python, each by a function of `parts` alone."""
    import torch  # here, since seeds are also drawn where nothing else needs it

    seed = derive_seed(*parts)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class BatchOrder:
    """Batches of indices from step `start` on; epoch e is a permutation seeded by (seed, e), so resuming is exact."""

    def __init__(self, length: int, batch: int, seed: int, start: int, steps: int, rank: int = 0, world: int = 1):
        if length < 1:
            raise BenchError("there are no cases to train on")
        self.length, self.batch, self.seed = length, batch, seed
        self.start, self.steps, self.rank, self.world = start, steps, rank, world

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[int]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.start, self.steps):
            first = (step * self.world + self.rank) * self.batch
            indices = []
            for position in range(first, first + self.batch):
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
                indices.append(int(order[position % self.length]))
            yield indices
