"""How sure a mean over cases is: bootstrap intervals, paired tests, and the smallest difference a set can show.

Everything takes a matrix (cases, columns), a column being one metric, NaN where a case has no value; all columns are
computed at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import nctdtr
from scipy.stats import bootstrap, t, wilcoxon

LEVEL = 0.95  # of intervals; 1 − LEVEL is also the level of tests
POWER = 0.8
RESAMPLES = 10_000
DRAWN_AT_ONCE = 500  # resamples, which bounds the memory
LEAST = 3  # cases under which no interval is given


@dataclass(frozen=True)
class Means:
    """Means (columns,) over the cases that have a value, their intervals, and how many cases those are."""

    mean: np.ndarray
    low: np.ndarray  # NaN for fewer than LEAST cases
    high: np.ndarray
    n: np.ndarray


@dataclass(frozen=True)
class Differences:
    """Paired differences (columns,): their means with intervals, and what a test says of them."""

    means: Means
    p: np.ndarray  # two-sided Wilcoxon signed-rank test, in (0, 1]; NaN without a pair
    p_holm: np.ndarray  # adjusted for the number of columns
    detectable: np.ndarray  # smallest true difference found with probability POWER; unit of the column


@dataclass(frozen=True)
class Estimate:
    """One number of a whole set with its interval; the ends are NaN for fewer than LEAST cases."""

    value: float
    low: float
    high: float
    n: int


def mean_intervals(values: np.ndarray, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> Means:
    """Means over cases of a matrix (cases, columns) with bias-corrected accelerated bootstrap intervals.

    Cases are drawn with replacement, the same draws for all columns that are known on the same cases. Efron, Better
    Bootstrap Confidence Intervals, 1987.
    """
    known = ~np.isnan(values)
    columns = values.shape[1]
    mean, low, high = (np.full(columns, np.nan) for _ in range(3))
    patterns, pattern_of = np.unique(known, axis=1, return_inverse=True)
    for index in range(patterns.shape[1]):
        members = np.flatnonzero(pattern_of.ravel() == index)
        chosen = values[patterns[:, index]][:, members]
        if len(chosen):
            mean[members] = chosen.mean(0)
        if len(chosen) >= LEAST:
            low[members], high[members] = _interval(chosen, resamples, level, np.random.default_rng(seed))
    return Means(mean, low, high, known.sum(0))


def paired_differences(
    first: np.ndarray, second: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Differences:
    """Return what is known of first − second, matrices (cases, columns) whose rows are the same cases."""
    difference = first - second
    means = mean_intervals(difference, resamples=resamples, seed=seed)
    columns = [column[~np.isnan(column)] for column in difference.T]
    p = np.array([_wilcoxon(column) for column in columns])
    spread = np.array([column.std(ddof=1) if len(column) >= LEAST else np.nan for column in columns])
    detectable = [smallest_detectable(s, len(column)) for s, column in zip(spread, columns, strict=True)]
    return Differences(means, p, holm(p), np.array(detectable))


def function_of_means(
    values: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """`function` of the means over cases of a matrix (cases, columns) without gaps, with a percentile interval.

    `function` takes means (R, columns) and returns (R,): a ratio of means, the root of a mean square.
    """
    n = len(values)
    value = float(function(values.mean(0)[None])[0])
    if n < LEAST:
        return Estimate(value, float("nan"), float("nan"), n)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    low, high = np.quantile(function(draws @ values / n), ((1 - level) / 2, (1 + level) / 2))
    return Estimate(value, float(low), float(high), n)


def auroc(
    inside: np.ndarray,
    outside: np.ndarray,
    *,
    paired: bool,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """Return how often a score (M,) of `outside` lies above one (N,) of `inside`, ties half; 0.5 for equal ones.

    With a percentile interval over cases; `paired`: entry i of both belongs to one case, so the two are drawn together
    and never compared with each other, as a case in use is not. Where the scores do not overlap the interval has no
    width, which the number of cases does not warrant.
    """
    above = (outside > inside[:, None]) + 0.5 * (outside == inside[:, None])  # (N, M)
    n, m = above.shape
    counted = 1.0 - np.eye(n) if paired else np.ones((n, m))

    def share(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        pairs = ((first @ counted) * second).sum(1)
        return ((first @ (above * counted)) * second).sum(1) / np.where(pairs > 0, pairs, np.nan)

    value = float(share(np.ones((1, n)), np.ones((1, m)))[0])
    if min(n, m) < LEAST:
        return Estimate(value, float("nan"), float("nan"), m)
    random = np.random.default_rng(seed)
    first = random.multinomial(n, np.full(n, 1 / n), size=resamples)
    second = first if paired else random.multinomial(m, np.full(m, 1 / m), size=resamples)
    low, high = np.nanquantile(share(first, second), ((1 - level) / 2, (1 + level) / 2))
    return Estimate(value, float(low), float(high), m)


def holm(p: np.ndarray) -> np.ndarray:
    """P values (columns,) adjusted so that no true null among them is rejected with more than the level of the test.

    NaN stays NaN and does not count. Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


def smallest_detectable(spread: float, n: int, *, level: float = LEVEL, power: float = POWER) -> float:
    """The true mean of `n` paired differences of standard deviation `spread` that a t test finds with `power`.

    In the unit of `spread`; NaN where that is NaN. One test at level 1 − `level`, from the non-central t distribution.
    """
    if np.isnan(spread) or n < LEAST:
        return float("nan")
    critical = t.ppf((1 + level) / 2, n - 1)

    def missing(shift: float) -> float:
        return 1 - nctdtr(n - 1, shift, critical) - power  # the other tail adds less than a millionth

    return float(brentq(missing, 0.0, 3 * critical) * spread / np.sqrt(n))


def _interval(
    values: np.ndarray, resamples: int, level: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends (columns,) of the interval for a matrix without gaps; a constant column has no width."""
    low, high = values.mean(0), values.mean(0)
    varied = (values != values[0]).any(0)
    if varied.any():
        how: dict[str, Any] = {"n_resamples": resamples, "confidence_level": level, "batch": DRAWN_AT_ONCE}
        found = bootstrap((values[:, varied],), np.mean, axis=0, method="BCa", rng=random, **how).confidence_interval
        low[varied], high[varied] = found.low, found.high
    return low, high


def _wilcoxon(differences: np.ndarray) -> float:
    if not len(differences):
        return float("nan")
    return float(wilcoxon(differences).pvalue) if differences.any() else 1.0
