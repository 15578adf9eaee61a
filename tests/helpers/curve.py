"""A stage that fits a curve in milliseconds, for tests of the training loop in one process and in several."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.card import Loop
from bench.distributed import mean_over_processes
from bench.method import Items, Stage, Update

ITEMS = 24


class Curve(nn.Module):
    """A small network with a branch that few inputs take, weights in another order in memory, and a running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.rare = nn.Linear(1, 1)
        self.convolution = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
        self.register_buffer("running", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.running.lerp_(x.mean(), 0.1)
        image = x[:, :, None, None] * torch.linspace(-1, 1, 18).view(1, 2, 3, 3)
        made = self.body(x) + self.convolution(image).tanh().sum((1, 2, 3))[:, None]
        return made + self.rare(x) * (x > 0.9) if (x > 0.9).any() else made


class CurveStage(Stage):
    """Fits a sine; what it decides from the batch (a count of high inputs) is of the whole batch.

    Its targets have `noise` from the loop's seed, so that a wrong resumption shows.
    """

    name = "curve"
    averaged = ("curve",)

    def __init__(self, loop: Loop, at_step: Callable[[int], None] = lambda step: None, noise: float = 0.0) -> None:
        torch.manual_seed(0)
        self.loop, self.at_step, self.noise = loop, at_step, noise
        self.networks = {"curve": Curve()}
        self.high = 0.0

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        return Items(ITEMS, lambda i: torch.tensor([i / (ITEMS - 1)]))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"curve": torch.optim.Adam(self.networks["curve"].parameters(), 0.03, fused=True)}

    def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
        self.at_step(step)
        self.high += float(mean_over_processes((batch > 0.5).float().mean()))
        loss = self._loss(batch, self.noise * torch.randn(batch.shape))
        update("curve", loss)
        return {"loss": loss.detach()}

    def validation_loss(self, batch: Tensor) -> Tensor:
        return self._loss(batch, torch.zeros(()))

    def state(self) -> dict[str, Any]:
        return {"high": self.high}

    def load_state(self, state: dict[str, Any]) -> None:
        self.high = state["high"]

    def _loss(self, batch: Tensor, noise: Tensor) -> Tensor:
        return (self.networks["curve"](batch) - torch.sin(6 * batch) - noise).square().mean()
