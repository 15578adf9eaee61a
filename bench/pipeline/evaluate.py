"""A network or function of the user's as it stands in a notebook: applied to every case of a split, stored and scored.

It takes the way of predictions made elsewhere, so its rows are marked as such and stand in the same tables.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.cases import Cases, Views
from bench.data.cases import load_preset
from bench.dataset import DatasetCard, Split, format_views
from bench.errors import BenchError, UsageError
from bench.pipeline.outcome import Result, read_result
from bench.plugins.config import PLAIN_NAME
from bench.plugins.guard import check_tensor
from bench.plugins.registry import get_dataset
from bench.runs.folder import RunFolder
from bench.runs.manifest import predictions_sha256
from bench.runs.prediction_card import PredictionCard
from bench.runs.predictions import MOST_OUTSIDE, SLACK, find_predictions, write_prediction
from bench.runs.record import RunLine
from bench.scoring.protocols import get_protocol
from bench.scoring.score import RunFacts, external_run, score_predictions
from bench.scoring.store import put_run
from bench.system.files import sha256_of, temporary_folder
from bench.system.foreign import keep_random_state
from bench.system.progress import Progress
from bench.system.seeding import seed_everything

Model = nn.Module | Callable[[Views], Any]
UNFINISHED = ".evaluate-"  # begins the name of a folder that holds predictions until all are there
STATED = PredictionCard(unit="hu")  # what is written here: no unit is guessed


@keep_random_state()
def evaluate_model(
    model: Model,
    dataset: str,
    preset: str,
    *,
    name: str | None,
    seed: int | None,
    split: Split,
    source: str,
    protocol: str,
    runs_dir: Path,
    results_dir: Path,
    progress: Progress,
) -> Result:
    """Reconstruct every case of a split with a model, store the volumes, score them, and enter the rows.

    Raises UsageError for a name or choice that does not exist, BenchError for volumes of another shape, that are not
    finite or that do not lie in [0, 1]; what the model raises is raised as it is. Nothing is left of what failed.
    """
    title, rules, spec = _name_of(model, name), get_protocol(protocol), get_dataset(dataset)
    cases = load_preset(spec, preset, source, progress)
    truth = cases[split]
    seed_everything(seed or 0, "evaluate", title)
    with temporary_folder(runs_dir, UNFINISHED) as temporary:
        folder = temporary / "predictions"
        with progress.task("reconstruct", len(truth)) as task, _ready(model) as reconstruct:
            for index, case in enumerate(truth.names):
                began = time.monotonic()
                volume = _check_volume(reconstruct(truth.views([index])), truth, case, title)
                spent = time.monotonic() - began
                write_prediction(folder, case, volume.numpy(), truth, seconds=spent, seed=seed)
                task.advance(index + 1)
        facts = external_run(folder, cases, title, preset, split, seed)
        run = RunFolder(runs_dir / spec.name / title / facts.run_id)
        with run.locked():
            made = run.predictions(split)
            shutil.rmtree(made, ignore_errors=True)  # of an earlier model of this name and seed
            made.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(made)
    with progress.task("score", len(truth)) as task:
        rows = score_predictions(facts, cases, made, rules, run.scores_csv, task.counted, unit=STATED)
    files = find_predictions(made, truth.names)
    given = predictions_sha256({case: sha256_of(path) for case, path in files.items()})
    put_run(results_dir, line_of_outside(facts, truth.card, given), rows)
    return read_result(results_dir, facts.run_id, rules.id, truth, made)


def line_of_outside(facts: RunFacts, card: DatasetCard, predictions: str, resampled: str = "") -> RunLine:
    """Return the line of a run that was made elsewhere; `predictions` is the SHA-256 of the volumes as they came."""
    return RunLine(
        run_id=facts.run_id,
        method=facts.method,
        origin="external",
        dataset=card.name,
        source=card.source,
        split=facts.split,
        preset=facts.preset,
        seed=facts.seed,
        views=format_views(card.angles),
        size=card.size,
        voxel_mm=card.voxel_mm,
        window_low=card.window[0],
        window_high=card.window[1],
        data_fingerprint=card.fingerprint,
        code_version=facts.code_version,
        predictions_sha256=predictions,
        resampled=resampled,
    )


def _name_of(model: Model, name: str | None) -> str:
    """The name that the rows get. Raises UsageError for one that could name no file, such as that of a lambda."""
    chosen = getattr(model, "__name__", type(model).__name__) if name is None else name
    if not PLAIN_NAME.fullmatch(chosen):
        raise UsageError(f"name={chosen!r}: begin with a letter or digit, then letters, digits and . _ + -")
    return chosen


@contextmanager
def _ready(model: Model) -> Iterator[Callable[[Views], Any]]:
    """The model as a function of views, without gradients; a network is in its mode of evaluation meanwhile."""
    with torch.no_grad():
        if not isinstance(model, nn.Module):
            yield model
            return
        first = next(iter([*model.parameters(), *model.buffers()]), torch.zeros(()))
        modes = {part: part.training for part in model.modules()}
        model.eval()
        try:
            yield lambda views: model(views.images.to(first.device))
        finally:
            for part, training in modes.items():
                part.training = training


def _check_volume(made: Any, cases: Cases, case: str, title: str) -> Tensor:
    """The volume (D, H, W) of what a model gave of one case: (D, H, W) alone or below axes of one, array or tensor."""
    said, shape = f"{title} gave", cases.hounsfield.shape[1:]
    value = torch.from_numpy(made) if isinstance(made, np.ndarray) else made
    if isinstance(value, Tensor) and value.shape[-3:] == shape and value.shape[:-3].numel() == 1:
        value = value.detach().reshape(1, *shape)
    volume = check_tensor(value, [case], shape, said)[0]
    outside = float(((volume < -SLACK) | (volume > 1 + SLACK)).float().mean())
    if outside > MOST_OUTSIDE:
        reach = f"{float(volume.min()):g} to {float(volume.max()):g}"
        raise BenchError(
            f"{said} values from {reach} for {case}; volumes are in [0, 1] over the window {cases.card.window} HU"
        )
    return volume
