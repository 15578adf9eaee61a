"""A likelihood for any method that predicts volumes: a Laplace distribution around its own prediction.

Location and scale are functions of the predicted HU, fitted on validation predictions of the same training, so that
neither the test cases nor those the method was trained on decide them. The fit is one JSON file beside the predictions
that it scores; it goes with pretrained weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator
from scipy.optimize import minimize

from bench.cases import Cases
from bench.dataset import to_hounsfield
from bench.errors import BenchError, describe_invalid
from bench.likelihood import LEAST_SCALE, discretised_laplace_nll
from bench.metrics import LAPLACE
from bench.runs.manifest import find_intact
from bench.runs.prediction_card import PredictionCard, Unit
from bench.runs.predictions import find_predictions, read_prediction
from bench.scoring.protocol import USED, VERSIONS, CaseScore, FittedLaplace
from bench.system.files import digest_of, read_json, sha256_of, write_json

FILE_NAME = "laplace.json"
FEWEST = 2  # validation cases: one to fit on, one to choose by
NO_FIT = "no validation predictions to fit a distribution on"
SEES_TRUTH = "it is shown the truth, so it predicts nothing"
GOLDEN = (5**0.5 - 1) / 2
Finite = Annotated[float, Field(allow_inf_nan=False)]


class LaplaceFit(BaseModel):
    """Location and scale by predicted HU: bin i holds predictions from edge i − 1 to below edge i."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: str  # hash of what the fit depends on beside the predictions
    predictions: str  # hash of the validation predictions
    fitted: tuple[str, ...] = Field(min_length=1)  # validation cases
    chosen: tuple[str, ...] = Field(min_length=1)
    bits: dict[str, Finite]  # what was tried → bits a voxel of the cases it is chosen by
    edges: tuple[Finite, ...]  # HU, between bins
    shifts: tuple[Finite, ...]  # HU, location less prediction
    scales: tuple[PositiveFloat, ...]  # HU

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.edges) + 1 == len(self.shifts) == len(self.scales) or list(self.edges) != sorted(self.edges):
            raise ValueError("as many shifts as scales, and one ordered edge fewer")
        return self

    @property
    def note(self) -> str:
        """What stands beside its numbers."""
        bins = f"{len(self.scales)} bin{'s' if len(self.scales) > 1 else ''} of predicted HU"
        return f"{bins}, fitted on {len(self.fitted)} validation cases and chosen by {len(self.chosen)}"

    def nats(self, hounsfield: np.ndarray, predicted: np.ndarray, window: tuple[float, float]) -> np.ndarray:
        """−log p of each voxel, ≥ 0, for true and predicted HU of one shape; finite."""
        place = np.searchsorted(self.edges, predicted, side="right")
        shift, scale = np.asarray(self.shifts)[place], np.asarray(self.scales)[place]
        return _nats(hounsfield, predicted + shift, scale, window)

    def score(self, hounsfield: np.ndarray, unit: np.ndarray, window: tuple[float, float]) -> CaseScore:
        """Return −log2 p(volume | prediction) / voxels, in bits, of a prediction (D, H, W) in [0, 1]."""
        nats = self.nats(hounsfield, to_hounsfield(unit, window), window)
        return CaseScore("3d", "all", LAPLACE, float(nats.mean() / np.log(2)), self.note)


def settings_digest(settings: FittedLaplace, window: tuple[float, float]) -> str:
    """Return the hash of everything that decides a fit, the predictions apart."""
    versions = {name: VERSIONS[name] for name in USED["laplace"]}
    return digest_of({**asdict(settings), "window": window, "versions": versions})


def is_current(path: Path, settings: FittedLaplace, window: tuple[float, float]) -> bool:
    """Return whether a file holds a fit under these settings. Raises BenchError for a damaged one."""
    kept = read_fit(path)
    return kept is not None and kept.settings == settings_digest(settings, window)


def fit_for(
    predictions: Path, validation: Path, cases: Cases, settings: FittedLaplace, *, again: bool = False
) -> LaplaceFit | str:
    """Return the fit for `predictions` of ours, or why there is none.

    It is made of the `validation` predictions, where those are there, and then kept beside the predictions; else it is
    what was kept. `again`: it is made anew wherever it can be, and not kept. `cases` is the validation split. Raises
    BenchError for a damaged file.
    """
    path = predictions / FILE_NAME
    files = {case: validation / entry.file for case, entry in find_intact(validation).items() if case in cases.names}
    kept = read_fit(path)
    same = kept is not None and kept.predictions == _predictions_digest(files) and not again
    if kept is not None and is_current(path, settings, cases.card.window) and (same or len(files) < FEWEST):
        return kept
    fit = fit_files(files, cases, settings)
    if isinstance(fit, LaplaceFit) and not again:
        write_fit(path, fit)
    return fit


def fit_folder(
    folder: Path, cases: Cases, settings: FittedLaplace, unit: Unit | PredictionCard, *, allow_missing: bool = False
) -> LaplaceFit | str:
    """Return the fit of a folder of validation predictions made elsewhere, or why there is none.

    Raises BenchError and UsageError as bench.runs.predictions does.
    """
    return fit_files(find_predictions(folder, cases.names, allow_missing=allow_missing), cases, settings, unit)


def fit_files(
    files: Mapping[str, Path], cases: Cases, settings: FittedLaplace, unit: Unit | PredictionCard = "hu"
) -> LaplaceFit | str:
    """Return the fit on the first validation cases that have a file, or why there is none."""
    names = [name for name in cases.names if name in files][: settings.cases]
    if len(names) < FEWEST:
        return f"{len(names)} validation prediction; a fit needs {FEWEST}" if names else NO_FIT
    window, halves = cases.card.window, (names[0::2], names[1::2])
    pairs = [[_read_pair(files[name], cases, name, unit) for name in half] for half in halves]
    (truth, predicted), (other, other_predicted) = (_spread(pair, settings.voxels) for pair in pairs)
    found: dict[str, LaplaceFit] = {}
    for bins in settings.bins:
        edges, shifts, scales = _fit_bins(truth, predicted, bins, window)
        for least in settings.least_scales_hu:
            found[f"{bins} bins, scales from {least:g} HU"] = LaplaceFit(
                settings=settings_digest(settings, window),
                predictions=_predictions_digest(files),
                fitted=tuple(halves[0]),
                chosen=tuple(halves[1]),
                bits={},
                edges=edges,
                shifts=shifts,
                scales=tuple(max(scale, least) for scale in scales),
            )
    bits = {tried: float(fit.nats(other, other_predicted, window).mean() / np.log(2)) for tried, fit in found.items()}
    return found[min(bits, key=lambda tried: bits[tried])].model_copy(update={"bits": bits})


def read_fit(path: Path) -> LaplaceFit | None:
    """Return the fit in a file; None without it. Raises BenchError for a damaged one."""
    if not path.exists():
        return None
    try:
        return LaplaceFit.model_validate(read_json(path))
    except ValidationError as error:
        raise BenchError(f"{path} is damaged ({describe_invalid(error)}); delete it and score again") from error


def write_fit(path: Path, fit: LaplaceFit) -> None:
    """Write a fit whole or not at all."""
    write_json(path, fit.model_dump(mode="json"))


def _predictions_digest(files: Mapping[str, Path]) -> str:
    return digest_of({case: sha256_of(path) for case, path in files.items()})


def _read_pair(path: Path, cases: Cases, name: str, unit: Unit | PredictionCard) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted HU of a case, float64."""
    predicted, _ = read_prediction(path, cases, name, unit)
    truth = np.asarray(cases.hounsfield[cases.index(name)], dtype=np.float64)
    return truth, to_hounsfield(predicted, cases.card.window)


def _spread(pairs: Sequence[tuple[np.ndarray, np.ndarray]], most: int) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted values of all cases, of `most` voxels at most, which fall into step with no grid."""
    truth, predicted = (np.concatenate([np.ravel(part) for part in parts]) for parts in zip(*pairs, strict=True))
    if len(truth) <= most:
        return truth, predicted
    chosen = np.unique((len(truth) * ((np.arange(most) * GOLDEN) % 1)).astype(np.int64))
    return truth[chosen], predicted[chosen]


def _fit_bins(
    truth: np.ndarray, predicted: np.ndarray, bins: int, window: tuple[float, float]
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Edges, shifts and scales of at most `bins` bins, none of them empty."""
    inner = np.quantile(predicted, np.arange(1, bins) / bins, method="inverted_cdf")
    edges = np.unique(inner[inner > predicted.min()])
    place = np.searchsorted(edges, predicted, side="right")
    fits = [_fit_one(truth[place == i], predicted[place == i], window) for i in range(len(edges) + 1)]
    shifts, scales = zip(*fits, strict=True)
    return tuple(edges.tolist()), shifts, scales


def _fit_one(truth: np.ndarray, predicted: np.ndarray, window: tuple[float, float]) -> tuple[float, float]:
    """Shift and scale that give the voxels of one bin least bits; begun at the median and the mean distance from it."""
    error = np.clip(truth, *window) - predicted
    shift = float(np.median(error))
    scale = max(float(np.abs(error - shift).mean()), LEAST_SCALE)
    least, most = np.log(LEAST_SCALE), np.log(window[1] - window[0])

    def cost(point: np.ndarray) -> float:
        return float(_nats(truth, predicted + point[0], np.exp(np.clip(point[1], least, most)), window).mean())

    start = np.array([shift, np.log(scale)])
    simplex = start + np.array([[0.0, 0.0], [scale, 0.0], [0.0, 0.5]])
    best = minimize(cost, start, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-3}).x
    return float(best[0]), float(np.exp(np.clip(best[1], least, most)))


def _nats(truth: np.ndarray, location: np.ndarray, scale: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    value, centre, width = (torch.from_numpy(np.array(part, dtype=np.float64)) for part in (truth, location, scale))
    return discretised_laplace_nll(value, centre, width, window).numpy()
