"""All numbers of a whole set: density, coverage, precision, recall in 3-D and on projections, and their baseline.

One value an encoder, then mean and standard deviation over encoders. Two controls are computed with the same encoders:
the baseline puts random training cases in the place of the predictions (one value an encoder and draw), and the other
the test cases themselves, blurred, which shows what over-smooth output scores.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from bench.cases import Cases
from bench.metrics import BASELINE_SUFFIX, BLURRED_SUFFIX, Space
from bench.scoring.cases import AXES
from bench.scoring.fidelity import (
    NAMES,
    DegenerateFeatures,
    Features,
    baseline_draws,
    degenerate,
    encode,
    mean_over_axes,
    on_scale,
    prdc_by_encoder,
    real_features,
    too_few,
    uncached,
)

if TYPE_CHECKING:
    from bench.scoring.protocols import Fidelity

PLACES: tuple[tuple[Space, str, str], ...] = (  # (space, axis, key of the features or of their mean)
    ("3d", "all", "3d"),
    *(("mip", axis, axis) for axis in (*AXES, "mean")),
)


@dataclass(frozen=True)
class SetScore:
    """One number of a set; `value` is None where it is undefined, and `note` says why."""

    space: Space
    axis: str
    metric: str
    stat: Literal["value", "mean", "sd"]
    value: float | None
    n: int
    rep: str = ""  # the encoder's index; for a baseline encoder.draw
    note: str = ""


@dataclass(frozen=True)
class SetPlan:
    """Which true cases a set of predictions is compared with."""

    test: Cases
    train: Cases
    indices: np.ndarray  # test cases that have a prediction
    draws: np.ndarray | None  # (draws, n) training cases of the baseline; None when there are too few
    settings: "Fidelity"
    refusal: str  # why nothing can be computed; empty when it can
    device: torch.device

    @property
    def drawn(self) -> np.ndarray:
        """The training cases that any draw holds, ordered."""
        return np.unique(self.draws) if self.draws is not None else np.empty(0, dtype=int)

    def work(self) -> int:
        """Volumes that have to be encoded; those in the cache are free."""
        if self.refusal:
            return 0
        real = uncached(self.test, self.indices, self.settings) + uncached(self.train, self.drawn, self.settings)
        blurred = uncached(self.test, self.indices, self.settings, self.settings.blur_voxels)
        return len(self.indices) + real + blurred


def plan_set(test: Cases, train: Cases, names: Iterable[str], settings: "Fidelity", device: torch.device) -> SetPlan:
    """What comparing predictions of the test cases `names` takes."""
    indices = np.array([test.index(name) for name in names], dtype=int)
    n, k, batch = len(indices), settings.nearest_k, settings.batch
    draws = baseline_draws(len(train), n, settings) if len(train) >= n else None
    refusal = too_few(n, k, batch) if n < (batch or k + 2) else ""
    return SetPlan(test, train, indices, draws, settings, refusal, device)


def set_scores(plan: SetPlan, volumes: Iterable[Tensor], advance: Callable[[], None] = lambda: None) -> list[SetScore]:
    """Scores of predicted `volumes` (D, H, W) in [0, 1], in the order of the plan; `advance` is called a volume."""
    n = len(plan.indices)
    if plan.refusal:
        return [s for suffix in ("", BASELINE_SUFFIX, BLURRED_SUFFIX) for s in _undefined(suffix, n, plan.refusal)]
    real = real_features(plan.test, plan.indices, plan.settings, plan.device, advance)
    pairs = zip(volumes, plan.indices.tolist(), strict=True)
    made = (on_scale(volume, plan.test.volumes([index])[0], plan.settings) for volume, index in pairs)
    generated = encode(made, plan.test.card.size, plan.settings, plan.device, advance)
    n = n - n % plan.settings.batch if plan.settings.batch else n
    scores = _summed_up("", _by_encoder(real, generated, plan.settings), n)
    blur = plan.settings.blur_voxels
    blurred = real_features(plan.test, plan.indices, plan.settings, plan.device, advance, blur)
    stated = f"test cases blurred by a Gaussian of σ {blur:g} voxels"
    scores += _summed_up(BLURRED_SUFFIX, _by_encoder(real, blurred, plan.settings), n, stated)
    if plan.draws is None:
        reason = f"{len(plan.train)} training cases; the baseline needs {n}"
        return [*scores, *_undefined(BASELINE_SUFFIX, n, reason)]
    training = real_features(plan.train, plan.drawn, plan.settings, plan.device, advance)
    baseline: dict[str, _Entry] = {}
    for index, draw in enumerate(plan.draws):
        rows = np.searchsorted(plan.drawn, draw)
        drawn = {key: features[:, rows] for key, features in training.items()}
        baseline |= {f"{rep}.{index}": entry for rep, entry in _by_encoder(real, drawn, plan.settings).items()}
    return [*scores, *_summed_up(BASELINE_SUFFIX, baseline, n)]


@dataclass(frozen=True)
class _Entry:
    """The four numbers of two sets in one encoder, by axis; and what did not vary."""

    by_axis: dict[str, dict[str, float]]
    note: str


def _by_encoder(real: Features, generated: Features, settings: "Fidelity") -> dict[str, _Entry]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateFeatures)  # the note says it instead
        k, batch = settings.nearest_k, settings.batch
        by_axis = {key: prdc_by_encoder(real[key], generated[key], k, batch) for key in ("3d", *AXES)}
    by_axis["mean"] = mean_over_axes(by_axis)
    return {
        str(index): _Entry(
            {key: scores[index] for key, scores in by_axis.items()},
            degenerate(real["3d"][index], generated["3d"][index]),
        )
        for index in range(len(settings.encoder_seeds))
    }


def _summed_up(suffix: str, entries: Mapping[str, _Entry], n: int, stated: str = "") -> list[SetScore]:
    scores = []
    note = "; ".join(dict.fromkeys(note for note in (stated, *(entry.note for entry in entries.values())) if note))
    for space, axis, key in PLACES:
        for name in NAMES:
            metric = name + suffix
            values = [entry.by_axis[key][name] for entry in entries.values()]
            for (rep, entry), value in zip(entries.items(), values, strict=True):
                scores.append(SetScore(space, axis, metric, "value", value, n, rep, entry.note))
            scores.append(SetScore(space, axis, metric, "mean", float(np.mean(values)), n, note=note))
            if len(values) > 1:
                scores.append(SetScore(space, axis, metric, "sd", float(np.std(values, ddof=1)), n, note=note))
    return scores


def _undefined(suffix: str, n: int, reason: str) -> list[SetScore]:
    return [
        SetScore(space, axis, name + suffix, "mean", None, n, note=reason)
        for space, axis, _ in PLACES
        for name in NAMES
    ]
