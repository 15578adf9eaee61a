"""Trains, stops, resumes and predicts in each process under torchrun; test_data_parallel.py reads what it left."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from toy_data import make_data
from toy_runs import toy_run

import bench.system.files
from bench.card import Loop, MethodCard, Settings
from bench.cases import Views
from bench.distributed import mean_over_processes
from bench.errors import StoppedError
from bench.method import Items, Likelihood, Method, Stage, Update
from bench.pipeline.fit import fit_stages, make_accelerator
from bench.pipeline.predict import predict

STEPS, ITEMS, TEST_CASES = 40, 24, 20
LOOP = Loop(steps=STEPS, batch_size=4, average_decay=0.9, gradient_clip=1.0, validate_every=10, checkpoint_every=10)


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
    """Fits a sine; what it decides from the batch (a count of high inputs) is of the whole batch."""

    name = "curve"
    averaged = ("curve",)

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        torch.manual_seed(0)
        self.loop, self.at_step = LOOP, at_step
        self.networks = {"curve": Curve()}
        self.high = 0.0

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        return Items(ITEMS, lambda i: torch.tensor([i / (ITEMS - 1)]))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"curve": torch.optim.Adam(self.networks["curve"].parameters(), 0.03, fused=True)}

    def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
        self.at_step(step)
        self.high += float(mean_over_processes((batch > 0.5).float().mean()))
        loss = self._loss(batch)
        update("curve", loss)
        return {"loss": loss.detach()}

    def validation_loss(self, batch: Tensor) -> Tensor:
        return self._loss(batch)

    def state(self) -> dict[str, Any]:
        return {"high": self.high}

    def load_state(self, state: dict[str, Any]) -> None:
        self.high = state["high"]

    def _loss(self, batch: Tensor) -> Tensor:
        return (self.networks["curve"](batch) - torch.sin(6 * batch)).square().mean()


class Grey(Method):
    """A grey volume with a likelihood, both functions of the views; the second process has memory for two cases."""

    card = MethodCard("grey", "Grey", "", 2024, "", "", frozenset({"volume", "likelihood"}))
    Config = Settings

    def __init__(self, config: Any = None, data: Any = None) -> None:
        pass

    def stages(self) -> Sequence[Stage]:
        return ()

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        if os.environ.get("RANK") == "1" and len(seeds) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return views.images.mean((1, 2, 3))[:, None, None, None].expand(-1, 16, 16, 16)

    def log_likelihood(self, volume: Tensor, views: Views, *, seeds: Sequence[int]) -> Likelihood:
        nats = volume.flatten(1).mean(1)
        return Likelihood(nats, nats, voxels=16**3, codes=8)


def fit(stage: CurveStage, folder: Path) -> None:
    fit_stages([stage], toy_run(folder, seed=3))


def reconstruct(folder: Path) -> int:
    cases = make_data(test=TEST_CASES)["test"]
    return predict(Grey(), toy_run(folder, {"test": cases}), ())


def _main(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = make_accelerator("cpu").process_index

    def warn(step: int) -> None:
        if rank == 1 and step == 12:  # a scheduler reaches the processes at different times
            os.kill(os.getpid(), signal.SIGUSR1)

    replace = os.replace
    if rank:  # training writes in the first process alone

        def refused(*_: Any) -> None:
            raise AssertionError(f"process {rank} writes")

        bench.system.files.os.replace = refused
    whole, stopped, resumed = CurveStage(), CurveStage(warn), CurveStage()
    fit(whole, folder / "whole")
    try:
        fit(stopped, folder / "broken")
    except StoppedError as error:
        (folder / f"stopped-{rank}.txt").write_text(str(error))
    fit(resumed, folder / "broken")
    bench.system.files.os.replace = replace
    weights = {name: stage.networks["curve"].state_dict() for name, stage in (("whole", whole), ("resumed", resumed))}
    torch.save({**weights, "high": whole.high, "high resumed": resumed.high}, folder / f"process-{rank}.pt")
    made = [reconstruct(folder)]
    make_accelerator("cpu").wait_for_everyone()
    if rank == 0:
        (folder / "predictions" / "test" / "test-009.nii.gz").unlink()
    make_accelerator("cpu").wait_for_everyone()
    made.append(reconstruct(folder))
    (folder / f"made-{rank}.txt").write_text(" ".join(map(str, made)))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
