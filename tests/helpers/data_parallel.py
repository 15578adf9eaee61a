"""Trains, stops, resumes and predicts in each process under torchrun; test_data_parallel.py reads what it left."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from curve import CurveStage
from torch import Tensor
from toy_data import make_data
from toy_runs import toy_run

import bench.system.files
from bench.card import Loop, MethodCard, Settings
from bench.cases import Views
from bench.errors import StoppedError
from bench.method import Likelihood, Method, Stage
from bench.pipeline.fit import fit_stages, make_accelerator
from bench.pipeline.predict import predict

STEPS, TEST_CASES = 40, 20
LOOP = Loop(steps=STEPS, batch_size=4, average_decay=0.9, gradient_clip=1.0, validate_every=10, checkpoint_every=10)


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
    whole, stopped, resumed = CurveStage(LOOP), CurveStage(LOOP, warn), CurveStage(LOOP)
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
