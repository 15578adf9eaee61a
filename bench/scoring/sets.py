"""All numbers of a whole set: density, coverage, precision, recall in 3-D and on projections, and their baseline.

One value an encoder, then mean and standard deviation over encoders. Two controls are computed with the same encoders:
the baseline puts random training cases in the place of the predictions (one value an encoder and draw), and the other
the test cases themselves, blurred, which shows what over-smooth output scores.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.cases import Cases
from bench.data.store import data_root
from bench.errors import BenchError
from bench.metrics import AXES, BASELINE_SUFFIX, BLURRED_SUFFIX, CONTROLS, FIDELITY, Space
from bench.scoring.fidelity import (
    DegenerateFeatures,
    Features,
    average_axes,
    bring_to_scale,
    count_uncached,
    draw_baseline,
    encode,
    encode_real,
    prdc_by_encoder,
    say_too_few,
    say_what_is_flat,
)
from bench.scoring.protocol import PHANTOM_TRAINING, USED, VERSIONS, Fidelity, SetScore
from bench.system.files import digest_of, read_json, write_json

PLACES: tuple[tuple[Space, str, str], ...] = (  # (space, axis, key of the features or of their mean)
    ("3d", "all", "3d"),
    *(("mip", axis, axis) for axis in (*AXES, "mean")),
)


@dataclass(frozen=True)
class SetPlan:
    """Which true cases a set of predictions is compared with."""

    test: Cases
    train: Cases
    indices: np.ndarray  # test cases that have a prediction
    draws: np.ndarray | None  # (draws, n) training cases of the baseline; None when there are too few
    settings: Fidelity
    refusal: str  # why nothing can be computed; empty when it can
    device: torch.device

    @property
    def training(self) -> np.ndarray:
        """Indices of the training cases that any draw holds, ordered."""
        return np.unique(self.draws) if self.draws is not None else np.empty(0, dtype=int)

    def count_volumes(self) -> int:
        """Return how many volumes have to be encoded; those in the cache are free."""
        if self.refusal:
            return 0
        test = (count_uncached(self.test, self.indices, self.settings, b) for b in (0.0, self.settings.blur_voxels))
        return len(self.indices) + sum(test) + count_uncached(self.train, self.training, self.settings)


def plan_set(test: Cases, train: Cases, names: Iterable[str], settings: Fidelity, device: torch.device) -> SetPlan:
    """Return what comparing predictions of the test cases `names` takes."""
    indices = np.array([test.index(name) for name in names], dtype=int)
    n, k, batch = len(indices), settings.nearest_k, settings.batch
    draws = draw_baseline(len(train), n, settings) if len(train) >= n else None
    refusal = say_too_few(n, k, batch) if n < (batch or k + 2) else ""
    return SetPlan(test, train, indices, draws, settings, refusal, device)


def score_set(plan: SetPlan, volumes: Iterable[Tensor], advance: Callable[[], None] = lambda: None) -> list[SetScore]:
    """Return the scores of predicted `volumes` (D, H, W) in [0, 1], in the order of the plan, and of both controls.

    `advance` is called after each volume that is encoded.
    """
    n = len(plan.indices)
    if plan.refusal:
        return [score for suffix in ("", *CONTROLS) for score in _refuse(suffix, n, plan.refusal)]
    real = encode_real(plan.test, plan.indices, plan.settings, plan.device, advance)
    pairs = zip(volumes, plan.indices.tolist(), strict=True)
    stretch = plan.settings.stretch
    made = (bring_to_scale(volume, plan.test.volumes([index])[0], stretch) for volume, index in pairs)
    generated = encode(made, plan.test.card.size, plan.settings, plan.device, advance)
    n = n - n % plan.settings.batch if plan.settings.batch else n
    controls = _read_controls(plan)
    if controls is None:
        controls = _score_controls(plan, real, n, advance)
        lines = [asdict(score) for score in controls]
        write_json(_controls_path(plan), {"scores": lines, "sha256": digest_of(lines)})
    return [*_summarise("", _compare_encoders(real, generated, plan.settings), n), *controls]


def _score_controls(plan: SetPlan, real: Features, n: int, advance: Callable[[], None]) -> list[SetScore]:
    """Return the scores of both controls, which are the same for all predictions of these cases."""
    blur = plan.settings.blur_voxels
    blurred = encode_real(plan.test, plan.indices, plan.settings, plan.device, advance, blur)
    stated = f"test cases blurred by a Gaussian of σ {blur:g} voxels"
    scores = _summarise(BLURRED_SUFFIX, _compare_encoders(real, blurred, plan.settings), n, stated)
    if plan.draws is None:
        reason = f"{len(plan.train)} training cases; the baseline needs {n}"
        return [*scores, *_refuse(BASELINE_SUFFIX, n, reason)]
    whose = PHANTOM_TRAINING if plan.train.card.source != plan.test.card.source else ""
    training = encode_real(plan.train, plan.training, plan.settings, plan.device, advance)
    baseline: dict[str, _Entry] = {}
    for index, draw in enumerate(plan.draws):
        rows = np.searchsorted(plan.training, draw)
        drawn = {key: features[:, rows] for key, features in training.items()}
        baseline |= {f"{rep}.{index}": entry for rep, entry in _compare_encoders(real, drawn, plan.settings).items()}
    return [*scores, *_summarise(BASELINE_SUFFIX, baseline, n, whose)]


def _controls_path(plan: SetPlan) -> Path:
    """Return the file of the controls' scores; its name holds the hash of all that they depend on."""
    key = digest_of(
        {
            "versions": {name: VERSIONS[name] for name in USED["fidelity"]},
            "data": plan.test.card.fingerprint,
            "splits": (plan.test.split, plan.train.split),
            "cases": [plan.test.names[index] for index in plan.indices.tolist()],
            "draws": None if plan.draws is None else plan.draws.tolist(),
            "settings": asdict(plan.settings),
        }
    )
    return data_root() / "features" / f"{plan.test.card.name}-{plan.test.split}-controls-{key[:16]}.json"


def _read_controls(plan: SetPlan) -> list[SetScore] | None:
    """Return the controls' scores as they were computed before; None without a file, or for a damaged one."""
    try:
        kept = read_json(_controls_path(plan))
        return [SetScore(**line) for line in kept["scores"]] if digest_of(kept["scores"]) == kept["sha256"] else None
    except (BenchError, OSError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class _Entry:
    """The four numbers of two sets in one encoder, by axis; and what did not vary."""

    by_axis: dict[str, dict[str, float]]
    note: str


def _compare_encoders(real: Features, generated: Features, settings: Fidelity) -> dict[str, _Entry]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateFeatures)  # the note says it instead
        k, batch = settings.nearest_k, settings.batch
        by_axis = {key: prdc_by_encoder(real[key], generated[key], k, batch) for key in ("3d", *AXES)}
    by_axis["mean"] = average_axes(by_axis)
    return {
        str(index): _Entry(
            {key: scores[index] for key, scores in by_axis.items()},
            say_what_is_flat(real["3d"][index], generated["3d"][index]),
        )
        for index in range(len(settings.encoder_seeds))
    }


def _summarise(suffix: str, entries: Mapping[str, _Entry], n: int, stated: str = "") -> list[SetScore]:
    scores = []
    note = "; ".join(dict.fromkeys(note for note in (stated, *(entry.note for entry in entries.values())) if note))
    for space, axis, key in PLACES:
        for name in FIDELITY:
            metric = name + suffix
            values = [entry.by_axis[key][name] for entry in entries.values()]
            for (rep, entry), value in zip(entries.items(), values, strict=True):
                scores.append(SetScore(space, axis, metric, "value", value, n, rep, entry.note))
            scores.append(SetScore(space, axis, metric, "mean", float(np.mean(values)), n, note=note))
            if len(values) > 1:
                scores.append(SetScore(space, axis, metric, "sd", float(np.std(values, ddof=1)), n, note=note))
    return scores


def _refuse(suffix: str, n: int, reason: str) -> list[SetScore]:
    return [
        SetScore(space, axis, name + suffix, "mean", None, n, note=reason)
        for space, axis, _ in PLACES
        for name in FIDELITY
    ]
