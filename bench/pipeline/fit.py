"""The training loop, top to bottom. It owns devices, precision, data order, averages, validation and checkpoints.

A run is resumed exactly: the order of the data and all randomness are functions of (seed, stage, step), so the state
after step n is the networks, their averages, the optimisers and the stage's own few values. On several devices every
process trains on its share of each batch and the gradients are averaged by one reduction per update, so a stage may
call its networks in any way it likes; buffers are averaged after each step. The first process alone writes.
"""

import copy
import hashlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, find_batch_size
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from bench.cases import Cases
from bench.dataset import Split
from bench.distributed import anywhere, average_buffers, everywhere, from_main, mean_numbers
from bench.errors import BenchError, StoppedError, UsageError
from bench.method import FittedStage, Method, Stage
from bench.pipeline.loading import load_training
from bench.pipeline.microbatch import Steps, recompute, to_device
from bench.pipeline.trainlog import TrainLog
from bench.plugins.config import FitConfig
from bench.runs.folder import RunFolder
from bench.runs.record import StageRecord
from bench.runs.weights import drop_checkpoints, load_checkpoint, load_weights, save_checkpoint, save_weights
from bench.system.device import choose_device, set_precision
from bench.system.progress import Progress
from bench.system.seeding import seed_everything
from bench.system.signals import WARNINGS

CHECKPOINT_SECONDS = 120.0  # a checkpoint is due after this long, however slow the steps are
LOGGED_POINTS = 200  # of each stage in train.csv
PATIENCE = timedelta(hours=3)  # with a process that prepares data or scores while the others wait for it


@dataclass(frozen=True)
class Run:
    """A run as it is made: its data, its folder, and what computes it."""

    cases: Mapping[Split, Cases]
    folder: RunFolder
    seed: int
    accelerator: Accelerator
    progress: Progress
    settings: FitConfig = field(default_factory=FitConfig)
    split: Split = "test"  # that is reconstructed and scored

    @property
    def test(self) -> Cases:
        """The cases that are reconstructed and scored."""
        return self.cases[self.split]

    @property
    def precision(self) -> AbstractContextManager[None]:
        """Within it networks compute in the precision of the run's settings."""
        return set_precision(self.accelerator.device, self.settings.precision)


def fit_stages(stages: Sequence[Stage | FittedStage], run: Run) -> dict[str, StageRecord]:
    """Train all stages in order, skipping those whose weights are there and intact; return the records by stage.

    Raises UsageError for batches that the processes cannot share equally.
    """
    processes = run.accelerator.num_processes
    for stage in stages:
        if isinstance(stage, Stage) and stage.loop.batch_size % processes:
            raise UsageError(
                f"{processes} processes cannot share the batches of {stage.loop.batch_size} of stage {stage.name} "
                f"equally; set its loop.batch_size to a multiple of {processes}, or start fewer"
            )
    done: dict[str, StageRecord] = from_main(_read_stages(run))
    after = ""
    for stage in stages:
        record = done.get(stage.name)
        usable = record is not None and record.after == after and _restore(stage, run, record)
        if record is None or not everywhere(usable):
            record = _fit_one(stage, run, after)
            done = {**done, stage.name: record}
            if run.accelerator.is_main_process:
                run.folder.update(stages=done)
                drop_checkpoints(run.folder, stage.name)
            run.accelerator.wait_for_everyone()
        after = after_stage(after, record.sha256)
    return done


def read_clocks() -> np.ndarray:
    """Return the seconds (2,) of the wall clock, and of the processors in this process, all its threads together."""
    return np.array([time.monotonic(), time.process_time()])


def after_stage(after: str, sha256: str) -> str:
    """One hash of the weights of all stages so far: of those before, and of the stage whose weights have `sha256`."""
    return hashlib.sha256(f"{after}{sha256}".encode()).hexdigest()


def load_stages(stages: Sequence[Stage | FittedStage], run: Run) -> None:
    """Fill the networks of all stages from a fitted run. Raises BenchError naming a missing or damaged file."""
    done = _read_stages(run)
    for stage in stages:
        if stage.name not in done or not _restore(stage, run, done[stage.name]):
            name = run.folder.root.name
            raise BenchError(f"run {name} has no intact weights of stage {stage.name}; run `--only fit` first")


def _read_stages(run: Run) -> dict[str, StageRecord]:
    record = run.folder.record()
    return {} if record is None else record.stages


def _restore(stage: Stage | FittedStage, run: Run, record: StageRecord) -> bool:
    """Fill a stage's networks from its weights; False where they are missing or damaged."""
    tensors = load_weights(run.folder, stage.name, record.sha256)
    if tensors is None:
        run.progress.say(f"{run.folder.weights(stage.name)} is missing or damaged: it is not used")
        return False
    load_networks(stage, tensors)
    if isinstance(stage, FittedStage):
        with run.precision:
            stage.recall(run.cases)
    return True


def place_networks(method: Method, device: torch.device) -> None:
    """Put all networks of a method on a device, in their mode of evaluation."""
    for stage in method.stages():
        for network in stage.networks.values():
            network.to(device).eval()


def load_networks(stage: Stage | FittedStage, tensors: Mapping[str, Tensor]) -> None:
    """Fill a stage's networks from tensors named `<network>.<parameter>`."""
    for name, network in stage.networks.items():
        part = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        network.load_state_dict(part)


def _fit_one(stage: Stage | FittedStage, run: Run, after: str) -> StageRecord:
    accelerator, began = run.accelerator, read_clocks()
    seed_everything(run.seed, stage.name, "start")
    for network in stage.networks.values():
        network.to(accelerator.device)
    if isinstance(stage, FittedStage):
        with run.progress.task(f"fit {stage.name}", 1) as task, run.precision:
            stage.fit(run.cases, run.folder.cache)
            stage.recall(run.cases)
            task.advance(1)
        steps, parts = 0, 1
    else:
        with accelerator.main_process_first(), run.precision:
            stage.prepare(run.cases, run.folder.cache, accelerator.device)
        before, parts, steps = train(stage, run, after)
        began -= before
    tensors = {f"{name}.{key}": t for name, net in stage.networks.items() for key, t in net.state_dict().items()}
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values() if tensor.is_floating_point()):
        raise BenchError(f"stage {stage.name} left weights that are not finite; lower its learning rate")
    digest = from_main(save_weights(run.folder, stage.name, tensors) if accelerator.is_main_process else "")
    if not accelerator.is_main_process:
        load_networks(stage, load_weights(run.folder, stage.name, digest) or {})
    wall, processor = (read_clocks() - began).tolist()
    return StageRecord(sha256=digest, after=after, steps=steps, seconds=wall, cpu_seconds=processor, parts=parts)


def train(stage: Stage, run: Run, after: str = "") -> tuple[np.ndarray, int, int]:
    """Run the steps of one stage from its newest checkpoint; leave the final weights in its networks.

    `after` is the hash of the stages before. Returns the seconds (2,) spent before that checkpoint, as `read_clocks`
    has them, the parts in which batches were taken, and the steps made: fewer than set where patience ended. Raises
    StoppedError after SIGTERM, SIGUSR1 or SIGUSR2, once a checkpoint is written, and BenchError when the loss is not
    finite.
    """
    folder, settings, seed = run.folder, run.settings, run.seed
    accelerator, progress = run.accelerator, run.progress
    loop, optimizers = stage.loop, stage.optimizers()
    rates = {name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in optimizers.items()}
    averages = _begin_averages(stage)
    log = TrainLog(folder, stage.name, max(1, loop.steps // LOGGED_POINTS), writes=accelerator.is_main_process)
    best: dict[str, Any] = {"loss": float("inf"), "weights": None, "step": 0}
    training = _Training(stage, optimizers, averages, best, after, loop.accumulate)
    start, before = training.resume(folder, progress)
    log.start_at(start)

    steps = Steps(stage, optimizers, accelerator, settings.precision, progress, training.parts)
    memory = recompute(stage.recomputable()) if loop.checkpoint_activations else nullcontext()
    batches = load_training(stage, seed, start, accelerator, settings.workers)
    _set_training(stage, True)
    began, saved = read_clocks() - before, time.monotonic()
    with memory, progress.task(f"fit {stage.name}", loop.steps, start) as task, _watch_for_warnings() as warning:
        done = start
        for step in range(start, loop.steps):
            if loop.patience and step - best["step"] >= loop.patience * loop.validate_every:
                progress.say(f"{stage.name}: no lower validation loss since step {best['step']}")
                break
            reseed = partial(seed_everything, seed, stage.name, step, accelerator.process_index)
            reseed()
            batch = next(batches)  # after the seed: an item may draw random numbers too
            factor = stage.rate(step)
            for name, optimizer in optimizers.items():
                for group, rate in zip(optimizer.param_groups, rates[name], strict=True):
                    group["lr"] = rate * factor
            values = steps.run(batch, step, reseed)
            training.parts = steps.parts
            average_buffers(stage.networks.values())
            if averages and (step + 1) % loop.average_every == 0:
                for name, average in averages.items():
                    average.update_parameters(stage.networks[name])
            done = step + 1
            if loop.validate_every and (done % loop.validate_every == 0 or done == loop.steps):
                loss = _validate(stage, averages, run)
                values["validation_loss"] = loss
                if loss < best["loss"]:
                    best.update(loss=loss, weights=_collect_weights(stage, averages), step=done)
            if done % log.every == 0 or "validation_loss" in values or done == loop.steps:
                numbers = log.write(done, mean_numbers(values, accelerator.device))
                task.advance(done, f"loss {numbers.get('loss', float('nan')):.4g}")
            stop = anywhere(warning.is_set(), accelerator.device)
            due = done % loop.checkpoint_every == 0 or time.monotonic() - saved > CHECKPOINT_SECONDS
            if (stop or (due and done < loop.steps)) and accelerator.is_main_process:
                log.flush()  # first: killed between the two, a run goes on before this step and drops its rows
                training.save(folder, done, read_clocks() - began)
                saved = time.monotonic()
            if stop:
                accelerator.wait_for_everyone()
                raise StoppedError(f"stopped at step {done} of {stage.name} after a checkpoint; run again to go on")
        task.advance(loop.steps)
    log.flush()
    weights = best["weights"] if loop.keep == "best" and best["weights"] else _collect_weights(stage, averages)
    for name, state in weights.items():
        stage.networks[name].load_state_dict(state)
    _set_training(stage, False)
    return before, training.parts, done


def make_accelerator(device: str) -> Accelerator:
    """Processes and device: `auto` takes CUDA where there is one. Raises UsageError for CUDA where there is none."""
    chosen = choose_device(device)
    torch.set_flush_denormal(True)  # denormal activations made training on a CPU about three times slower
    patient = InitProcessGroupKwargs(timeout=PATIENCE)
    return Accelerator(cpu=chosen.type == "cpu", kwargs_handlers=[patient])


@torch.no_grad()
def _validate(stage: Stage, averages: Mapping[str, AveragedModel], run: Run) -> float:
    """Mean validation loss of the weights the stage would leave behind, with fixed randomness."""
    kept = {name: copy.deepcopy(stage.networks[name].state_dict()) for name in averages}
    for name, average in averages.items():
        stage.networks[name].load_state_dict(average.module.state_dict())
    _set_training(stage, False)
    seed_everything(run.seed, stage.name, "validation")
    total, count = 0.0, 0
    for batch in DataLoader(stage.batches("validation"), batch_size=stage.loop.batch_size):
        with run.precision:
            loss = stage.validation_loss(to_device(batch, run.accelerator.device))
        if loss is None:
            raise BenchError(f"stage {stage.name} has no validation loss; set its loop.validate_every to 0")
        size = find_batch_size(batch)
        total, count = total + float(loss) * size, count + size
    for name, state in kept.items():
        stage.networks[name].load_state_dict(state)
    _set_training(stage, True)
    if count == 0:
        raise BenchError(f"stage {stage.name} cannot validate: there are no validation cases")
    return total / count


def _begin_averages(stage: Stage) -> dict[str, AveragedModel]:
    averages, decay = {}, stage.loop.average_decay
    for name in stage.averaged if decay is not None else ():
        averages[name] = AveragedModel(stage.networks[name], multi_avg_fn=get_ema_multi_avg_fn(decay))
        averages[name].update_parameters(stage.networks[name])  # the first update copies
    return averages


def _collect_weights(stage: Stage, averages: Mapping[str, AveragedModel]) -> dict[str, dict[str, Tensor]]:
    """State of every network: the average where there is one, otherwise the last weights; buffers are the last."""
    left = {}
    for name, network in stage.networks.items():
        state = dict(network.state_dict())
        if name in averages:
            state.update(dict(averages[name].module.named_parameters()))
        left[name] = {key: tensor.detach().clone() for key, tensor in state.items()}
    return left


@dataclass
class _Training:
    """All that changes while a stage is trained, and that a checkpoint holds."""

    stage: Stage
    optimizers: Mapping[str, torch.optim.Optimizer]
    averages: Mapping[str, AveragedModel]
    best: dict[str, Any]  # `loss` and `weights` of the best validation so far
    after: str  # hash of the stages before; a checkpoint that followed others is of no use
    parts: int  # in which a batch is taken; memory may ask for more than were set

    def save(self, folder: RunFolder, step: int, spent: np.ndarray) -> None:
        state = {
            "of": _identify(folder),
            "step": step,
            "seconds": float(spent[0]),
            "cpu_seconds": float(spent[1]),
            "after": self.after,
            "networks": {name: network.state_dict() for name, network in self.stage.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "best": self.best,
            "stage": self.stage.state(),
            "parts": self.parts,
        }
        save_checkpoint(folder, self.stage.name, step, state)

    def resume(self, folder: RunFolder, progress: Progress) -> tuple[int, np.ndarray]:
        """Take up the newest intact checkpoint; return its step and the seconds (2,) spent until then, or zeros."""
        state, damaged = load_checkpoint(folder, self.stage.name)
        for name in damaged:
            progress.say(f"checkpoint {name} is damaged: it is not used")
        if state is None or state["after"] != self.after:
            return 0, np.zeros(2)
        if state.get("of") != _identify(folder):
            progress.say(f"the checkpoint of {self.stage.name} is of another run: it is not used")
            return 0, np.zeros(2)
        for name, network in self.stage.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, average in self.averages.items():
            average.load_state_dict(state["averages"][name])
        self.best.update(state["best"])
        self.stage.load_state(state["stage"])
        self.parts = max(self.parts, state.get("parts", 1))
        progress.say(f"{self.stage.name}: going on at step {state['step']}")
        return state["step"], np.array([state["seconds"], state.get("cpu_seconds", 0.0)])


def _identify(folder: RunFolder) -> list[str]:
    """Return the run id, which holds the seed, and the hash of the configuration that a run's record has."""
    record = folder.record()
    return [] if record is None else [record.run_id, record.config_sha256]


def _set_training(stage: Stage, training: bool) -> None:
    for network in stage.networks.values():
        network.train(training)


@contextmanager
def _watch_for_warnings() -> Iterator[threading.Event]:
    """An event that a scheduler's warning sets, so that the loop can write a checkpoint before it ends."""
    warning = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield warning
        return
    previous = {number: signal.signal(number, lambda *_: warning.set()) for number in WARNINGS}
    try:
        yield warning
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
