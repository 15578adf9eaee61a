"""Calibration: several samples of a case should lie around the truth as draws from what the views leave open would.

Voxels: an interval between samples should hold the truth as often as it states. Factors (bench/study/factors.py) are
measured on the samples and on the truth alike, and their spread over samples is held against two numbers: the error of
a regression on the views, which bounds what the views leave open, and the error of the samples' own mean, which needs
no regression. Fortin et al., Why Should Ensemble Spread Match the RMSE of the Ensemble Mean?, 2014, for the latter.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from bench.cases import Cases, take_first
from bench.dataset import to_hounsfield, to_unit
from bench.metrics.ensembles import interval_shares, truth_ranks
from bench.metrics.stats import LEAST, Estimate, function_of_means
from bench.projector import AIR_BELOW_HU
from bench.study.factors import find_drawn_factor, measure_factors, predict_from_views
from bench.study.points import Point, Values
from bench.study.runs import StudyRequest, TrainedRun
from bench.study.sampling import count_samples, draw_samples, put
from bench.system.progress import Progress
from bench.system.seeding import derive_seed

INSIDE, FACTOR = "stated share of the interval", "factor"
ALIKE = 1e-6  # part of the error, of a spread that is rounding
LEAST_TRAINING = 10  # cases, under which a regression says nothing


def calibrate(request: StudyRequest, runs: Sequence[TrainedRun], _: Progress) -> Iterator[Point]:
    """Yield shares of voxels and of factors inside intervals of samples, and how far each factor spreads."""
    count = count_samples("calibration", request)
    for run in runs:
        cases = take_first(run.cases["test"], request.limit)
        window, voxel_mm = cases.card.window, cases.card.voxel_mm
        inside: dict[float, Values] = {}  # stated share → values
        factors: dict[str, dict[str, np.ndarray]] = {}  # factor → case → truth, then K samples
        for name, truth, drawn in draw_samples(run, cases, count):
            random = np.random.default_rng(derive_seed(run.seed, "ties", name))
            ranks = truth_ranks(drawn, truth, random)
            measured = [measure_factors(to_hounsfield(volume, window), voxel_mm) for volume in (truth, *drawn)]
            for factor in measured[0]:
                factors.setdefault(factor, {})[name] = np.array([one[factor] for one in measured])
            known = np.stack([row for by_case in factors.values() if np.isfinite(row := by_case[name]).all()])
            every = {"inside": ranks, "inside_body": ranks[to_hounsfield(truth, window) > AIR_BELOW_HU]}
            every["inside_factors"] = truth_ranks(known[:, 1:].T, known[:, 0], random)
            for metric, chosen in every.items():
                for stated, share in interval_shares(chosen, count).items():
                    put(inside.setdefault(stated, {}), metric, name, share)
        for stated, values in inside.items():
            yield Point(run.facts, INSIDE, f"{stated:.3f}", values, compared=False)
        training = _training_factors(run.cases["train"])
        for factor, rows in factors.items():
            yield _of_factor(run, cases, factor, rows, training[factor])


def compare_spreads(
    truth: np.ndarray, samples: np.ndarray, predicted: np.ndarray, population: float
) -> dict[str, Estimate]:
    """Hold the spread of samples (N, K) of N cases against the truth (N,) and a prediction from the views (N,).

    `unexplained` and `sampled` are parts of the standard deviation of the `population`; 1 is right for the two ratios,
    less is overconfident. `spread_skill` allows for the mean being one of K samples only.
    """
    count = samples.shape[1]
    squares = np.stack(
        [samples.var(1, ddof=1), (samples.mean(1) - truth) ** 2 / (1 + 1 / count), (predicted - truth) ** 2], axis=1
    )

    def root(part: int) -> Estimate:
        return function_of_means(squares, lambda means: np.sqrt(means[:, part]) / population)

    def ratio(part: int) -> Estimate:
        return function_of_means(squares, lambda means: np.sqrt(means[:, 0] / np.maximum(means[:, part], 1e-30)))

    return {"unexplained": root(2), "sampled": root(0), "spread_ratio": ratio(2), "spread_skill": ratio(1)}


def _of_factor(
    run: TrainedRun, cases: Cases, factor: str, by_case: dict[str, np.ndarray], training: np.ndarray
) -> Point:
    names = [name for name, row in by_case.items() if np.isfinite(row).all()]
    known = np.isfinite(training)
    values, population = training[known], training[known].std(ddof=1) if known.sum() > 1 else 0.0
    if len(names) < LEAST or len(values) < LEAST_TRAINING or not population > 0:
        why = f"{len(names)} test and {len(values)} training cases have it, or it is the same in all"
        return Point(run.facts, FACTOR, factor, {}, note=why)
    rows = np.stack([by_case[name] for name in names])
    truth, samples = rows[:, 0], rows[:, 1:]
    train = run.cases["train"]
    test_views = cases.line_integrals[[cases.index(name) for name in names]]
    predicted = predict_from_views(train.line_integrals[known], values, test_views)
    found = compare_spreads(truth, samples, predicted, float(population))
    random = np.random.default_rng(derive_seed(run.seed, "ties", factor))
    ranks, count = truth_ranks(samples.T, truth, random), samples.shape[1]
    of_cases: Values = {"excess": {}, "rank": {}}
    for name, rank in zip(names, ranks, strict=True):
        shares = interval_shares(np.array([rank]), count)
        of_cases["excess"][name] = float(np.mean([share - stated for stated, share in shares.items()]))
        of_cases["rank"][name] = (float(rank) + 0.5) / (count + 1)
    note = f"the views leave at most {found['unexplained'].value:.0%} of its spread over cases open"
    if train.card.source == "phantom":
        drawn, r = find_drawn_factor(values, [train.factors(n) for n, k in zip(train.names, known, strict=True) if k])
        note += f"; follows the drawn {drawn}, r = {r:+.2f}" if drawn else ""
    note += _verdict(found["spread_skill"])
    return Point(run.facts, FACTOR, factor, of_cases, of_set=found, note=note, compared=False)


def _verdict(skill: Estimate) -> str:
    if skill.high < ALIKE:
        return "; all samples of a case are alike"
    if skill.high < 1:
        return "; overconfident: samples spread less than they err"
    return "; underconfident: samples spread more than they err" if skill.low > 1 else ""


def _training_factors(cases: Cases) -> dict[str, np.ndarray]:
    """Factor → its values over the training cases, of the windowed volumes as methods see them."""
    window, voxel_mm = cases.card.window, cases.card.voxel_mm
    volumes = (to_hounsfield(to_unit(v.astype(np.float64), window), window) for v in cases.hounsfield)
    rows = [measure_factors(volume, voxel_mm) for volume in volumes]
    return {factor: np.array([row[factor] for row in rows]) for factor in rows[0]}
