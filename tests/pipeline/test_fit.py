"""The training loop: exact resumption, averages, selection by validation, damaged checkpoints, divergence."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from bench.card import Loop
from bench.errors import BenchError, StoppedError
from bench.method import Stage, Update
from bench.pipeline.fit import fit_stages, load_stages
from bench.runs.folder import RunFolder
from bench.system.seeding import BatchOrder

from ..helpers.curve import ITEMS, CurveStage
from ..helpers.toy_runs import toy_record, toy_run

NOISE = 0.1


class Worsening(CurveStage):
    """Its validation loss is what is said of each validation."""

    def __init__(self, loop: Loop, losses: list[float], at_step: Callable[[int], None] = lambda step: None) -> None:
        super().__init__(loop, at_step, NOISE)
        self.losses, self.validated = losses, 0

    def validation_loss(self, batch: Tensor) -> Tensor:
        self.validated += 1
        return torch.tensor(self.losses[self.validated - 1])

    def state(self) -> dict:
        return super().state() | {"validated": self.validated}

    def load_state(self, state: dict) -> None:
        self.high, self.validated = state["high"], state["validated"]


LOOP = Loop(steps=40, batch_size=3, average_decay=0.9, average_every=2, checkpoint_every=10, gradient_clip=1.0)


def fit(stage: Stage, folder: Path) -> dict:
    return fit_stages([stage], toy_run(folder, seed=3))


def crash(step: int) -> None:
    until = time.process_time() + (0.3 if step == 5 else 0.0)
    while time.process_time() < until:
        pass
    if step == 25:
        raise KeyboardInterrupt


def fit_until_crash(folder: Path, stage: Stage | None = None) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(stage or CurveStage(LOOP, crash, NOISE), folder)


def weights(stage: Stage) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in stage.networks["curve"].parameters()])


@pytest.fixture
def whole(tmp_path: Path) -> CurveStage:
    """A stage that was trained without a break."""
    stage = CurveStage(LOOP, noise=NOISE)
    fit(stage, tmp_path / "whole")
    return stage


def test_a_run_that_crashed_and_was_resumed_ends_with_the_same_weights(whole: CurveStage, tmp_path: Path) -> None:
    fit_until_crash(tmp_path / "broken")
    resumed = CurveStage(LOOP, noise=NOISE)
    record = fit(resumed, tmp_path / "broken")["curve"]
    assert np.array_equal(weights(whole), weights(resumed))
    assert record.seconds > 0.3  # what was spent before the crash counts
    assert record.cpu_seconds > 0.3
    assert resumed.high == whole.high > 0
    logs = [(tmp_path / name / "train.csv").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1]


def test_the_average_is_the_published_recursion(tmp_path: Path) -> None:
    track: list[np.ndarray] = []
    stage = CurveStage(LOOP, noise=NOISE)
    stage.at_step = lambda step: track.append(weights(stage))
    fit(stage, tmp_path)
    plain = CurveStage(LOOP.model_copy(update={"average_decay": None}), noise=NOISE)
    fit(plain, tmp_path / "plain")
    after = [*track[1:], weights(plain)]  # the weights after each step; the average does not influence them
    average = track[0]
    for step, value in enumerate(after, start=1):
        if step % 2 == 0:
            average = 0.9 * average + 0.1 * value
    assert np.allclose(weights(stage), average, atol=1e-6)


def test_the_best_weights_by_validation_are_kept(tmp_path: Path) -> None:
    loop = LOOP.model_copy(update={"keep": "best", "validate_every": 5, "average_decay": None})
    stage = CurveStage(loop)
    fit(stage, tmp_path)
    rows = [line.split(",") for line in (tmp_path / "train.csv").read_text().splitlines()]
    lowest = min(float(row[3]) for row in rows if row[2] == "validation_loss")
    batch = torch.linspace(0, 1, ITEMS)[:, None]
    assert float(stage.validation_loss(batch).detach()) == pytest.approx(lowest, rel=1e-4)


def test_networks_are_in_training_mode_at_every_step_and_at_no_validation(tmp_path: Path) -> None:
    modes: dict[str, list[bool]] = {"step": [], "validation": []}
    stage = CurveStage(LOOP.model_copy(update={"validate_every": 5}))
    stage.networks["curve"].eval()
    validate = stage.validation_loss

    def watched(batch: Tensor) -> Tensor:
        modes["validation"].append(stage.networks["curve"].training)
        return validate(batch)

    stage.at_step = lambda step: modes["step"].append(stage.networks["curve"].training)
    stage.validation_loss = watched  # type: ignore[method-assign]
    fit(stage, tmp_path)
    assert modes["step"] == [True] * 40
    assert modes["validation"] == [False] * len(modes["validation"])
    assert len(modes["validation"]) >= 40 / 5
    assert not stage.networks["curve"].training


def test_a_finished_stage_is_loaded_and_not_trained_again(whole: CurveStage, tmp_path: Path) -> None:
    second = CurveStage(LOOP, lambda step: pytest.fail("trained again"), NOISE)
    fit(second, tmp_path / "whole")
    assert np.array_equal(weights(whole), weights(second))


def test_damaged_weights_are_named_and_never_used(
    whole: CurveStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "whole" / "checkpoints" / "curve.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(BenchError, match="stage curve"):
        load_stages([CurveStage(LOOP, noise=NOISE)], toy_run(tmp_path / "whole"))
    again = CurveStage(LOOP, noise=NOISE)
    fit(again, tmp_path / "whole")
    assert "curve.safetensors is missing or damaged" in capsys.readouterr().out
    assert np.array_equal(weights(whole), weights(again))


@pytest.mark.parametrize("wrong", ["is damaged", "the checkpoint of curve is of another run"])
def test_a_checkpoint_that_is_damaged_or_of_another_run_is_passed_over(
    wrong: str, whole: CurveStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, resumed = RunFolder(tmp_path / "broken"), CurveStage(LOOP, noise=NOISE)
    place.write(toy_record("toy-s1", seed=1))
    fit_until_crash(place.root)
    (checkpoint,) = place.checkpoints.glob("*.pt")
    if wrong == "is damaged":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    else:
        place.write(toy_record("toy-s0"))
    fit(resumed, place.root)
    assert wrong in capsys.readouterr().out
    assert np.array_equal(weights(resumed), weights(whole))


def test_sigterm_writes_a_checkpoint_first(tmp_path: Path) -> None:
    def ask(step: int) -> None:
        if step == 13:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="step 14"):
        fit(CurveStage(LOOP, ask), tmp_path)
    assert [p.name.split(".")[1] for p in (tmp_path / "checkpoints").glob("*.pt")] == ["000000014"]


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    class Broken(CurveStage):
        def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
            return {"loss": float("nan")}

    with pytest.raises(BenchError, match="not finite"):
        fit(Broken(LOOP), tmp_path)


def test_every_epoch_sees_every_case_once_and_workers_share_it() -> None:
    def order(**changes: int) -> list[list[int]]:
        return list(BatchOrder(**{"length": 10, "batch": 5, "seed": 1, "start": 0, "steps": 4, **changes}))

    whole = order()
    assert sorted(whole[0] + whole[1]) == sorted(whole[2] + whole[3]) == list(range(10))
    assert order(start=2) == whole[2:]
    halves = [order(batch=5, world=2, rank=rank, steps=2) for rank in (0, 1)]
    assert [halves[0][0], halves[1][0], halves[0][1], halves[1][1]] == whole
    assert order(seed=2) != whole


def test_every_epoch_has_an_order_of_its_own() -> None:
    epochs = [tuple(indices) for indices in BatchOrder(length=4, batch=4, seed=0, start=0, steps=2400)]
    counts = np.array(list(Counter(epochs).values()))
    assert len(counts) == 24  # all permutations of four cases …
    assert chisquare(counts).pvalue > 1e-3  # … equally often


PATIENT = Loop(steps=100, batch_size=ITEMS, validate_every=5, keep="best", patience=3, checkpoint_every=1)
LOSSES = [3.0, 2.0, 2.0, 1.0, 5.0, 1.0, 4.0]


def test_training_ends_when_validation_stops_falling_also_where_it_was_resumed(tmp_path: Path) -> None:
    """The lowest loss comes fourth, at step 20; three validations later it is over."""
    stage = Worsening(PATIENT, LOSSES)
    assert fit(stage, tmp_path / "uninterrupted")["curve"].steps == 35
    assert stage.validated == len(LOSSES)
    twenty = Worsening(PATIENT.model_copy(update={"steps": 20}), LOSSES)
    fit(twenty, tmp_path / "twenty")
    np.testing.assert_array_equal(weights(stage), weights(twenty))
    fit_until_crash(tmp_path / "broken", Worsening(PATIENT, LOSSES, crash))
    resumed = Worsening(PATIENT, LOSSES)
    assert fit(resumed, tmp_path / "broken")["curve"].steps == 35
    np.testing.assert_array_equal(weights(resumed), weights(stage))


def test_settings_of_a_loop_that_are_not_used_leave_hashes_alone_and_what_cannot_be_is_refused() -> None:
    used = {"patience": 3, "accumulate": 2, "checkpoint_activations": True}
    loop = Loop(validate_every=5, **used)
    assert used.keys().isdisjoint(Loop().model_dump())
    assert used.items() <= loop.model_dump().items()
    assert Loop.model_validate_json(loop.model_dump_json()) == loop
    with pytest.raises(ValueError, match="set validate_every"):
        Loop(patience=3)
    with pytest.raises(ValueError, match="batch of 4 cannot be taken in 5 parts"):
        Loop(batch_size=4, accumulate=5)
