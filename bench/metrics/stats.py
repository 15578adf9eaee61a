"""How sure a number is: over cases and trainings together by variances, over cases alone by bootstrap; and Holm's p."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import nctdtr
from scipy.stats import bootstrap, t

LEVEL = 0.95  # of intervals; 1 − LEVEL is also the level of tests
ENDS = (1 - LEVEL) / 2, (1 + LEVEL) / 2
SEED = 0  # of resamples: the same numbers have the same interval
POWER = 0.8
RESAMPLES = 10_000
STEPS = 2.0**40  # in which the range of a column is divided for its interval
DRAWN_AT_ONCE = 500  # resamples, which bounds the memory
LEAST = 3  # cases under which no interval is given
ROUNDING = 1e-12  # relative; means over seeds that differ by less are equal
SMALLEST_P = 1e-300


@dataclass(frozen=True)
class Means:
    """Means (columns,) over the cases that have a value, their intervals, and how many cases those are."""

    mean: np.ndarray
    low: np.ndarray  # NaN for fewer than LEAST cases
    high: np.ndarray
    n: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """One number of a whole set with its interval; the ends are NaN for fewer than LEAST cases."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Contrast:
    """A difference of two means, or a mean, over cases and trainings, with the variance each of the two lends it."""

    value: float
    n: int  # cases
    case_variance: float
    seed_variance: float  # 0 where trainings are given or do not matter
    seed_df: float  # degrees of freedom of `seed_variance`

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends at LEVEL; a point where nothing varies."""
        half = self._half_width(1 - LEVEL)
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """The level at which the interval ends at zero, in [0, 1]: below 1 − LEVEL where `interval` leaves zero out."""
        if not self.value or not self._sources:
            return 0.0 if self.value else 1.0
        one_source = [2 * float(t.sf(abs(self.value) / self._error, df)) for _, df in self._sources]
        low, high = min(one_source), max(one_source)  # all the variance with the more, or the fewer, degrees
        if high <= max(low, SMALLEST_P):
            return high
        ends = math.log(max(low, SMALLEST_P)) - 1e-6, math.log(high) + 1e-6
        return math.exp(brentq(lambda log: self._half_width(math.exp(log)) - abs(self.value), *ends))

    def detectable(self, level: float = 1 - LEVEL) -> float:
        """Return the true difference that a test at `level` finds with a probability of POWER, if variances are these.

        From the non-central t distribution with the degrees of freedom that give the interval its width.
        """
        if not self._sources:
            return 0.0
        critical, degrees = self._half_width(level) / self._error, [df for _, df in self._sources]
        df = degrees[0]
        if min(degrees) < max(degrees):
            df = brentq(lambda df: t.isf(level / 2, df) - critical, min(degrees) - 1e-6, max(degrees) + 1e-6)
        shift = brentq(lambda shift: 1 - nctdtr(df, shift, critical) - POWER, 0.0, 3 * critical)
        return float(shift * self._error)  # the other tail adds less than a millionth

    @property
    def _sources(self) -> list[tuple[float, float]]:
        """Variance and degrees of freedom of what varies."""
        both = (self.case_variance, self.n - 1), (self.seed_variance, self.seed_df)
        return [(variance, df) for variance, df in both if variance > 0]

    @property
    def _error(self) -> float:
        return math.sqrt(sum(variance for variance, _ in self._sources))

    def _half_width(self, level: float) -> float:
        return math.sqrt(sum(variance * float(t.isf(level / 2, df)) ** 2 for variance, df in self._sources))


def contrast_methods(first: np.ndarray, second: np.ndarray) -> Contrast:
    """Return the mean of `first` less that of `second`, values (seeds, cases) of two methods on the same cases.

    All intervals and tests over trainings rest on this model: a value is a mean, plus what its case adds, plus what its
    seed adds, plus a residual, each drawn from many. Methods share their cases; their seeds are independent. Then

        variance of the difference = s²(d) / n + Σ max(0, s²(m) − r² / n) / S, the sum over both methods:

    d (n,) are the differences of the means over seeds, m (S,) a method's means over cases, r² its residual mean square
    by cases and seeds (two-way analysis of variance), which s²(d) holds already and which would else count twice.
    Degrees of freedom are n − 1 for cases, and for seeds Welch's and Satterthwaite's (Biometrics Bulletin 2, 1946).
    The two sources are joined as by Banerjee (Sankhyā 22, 1960): half the interval is the root of Σ t² · variance over
    the sources, each t with its own degrees. It covers about as often as it says, or more often, however the variances
    compare. One t with Satterthwaite's degrees for everything does not: three trainings against a method without any
    are called different, though they are not, in 8% of tests at 5% and in 1.6% at 0.1%, which Holm's method needs.

    A single row has no variance of seeds: of a method that needs none, or the result holds for that training alone.
    Raises ValueError for fewer than LEAST cases.
    """
    n = first.shape[1]
    if n < LEAST:
        raise ValueError(f"{n} cases; an interval needs {LEAST}")
    means = first.mean(0), second.mean(0)
    by_case = np.where(np.isclose(*means, rtol=ROUNDING, atol=0.0), 0.0, means[0] - means[1])
    seeds = [_seed_variances(values) for values in (first, second) if len(values) > 1]
    total = sum(of_means for of_means, _, _ in seeds)
    degrees = sum(of_means**2 / df for of_means, _, df in seeds)
    return Contrast(
        value=float(by_case.mean()),
        n=n,
        case_variance=float(by_case.var(ddof=1) / n),
        seed_variance=sum(own for _, own, _ in seeds),
        seed_df=total**2 / degrees if degrees else 1.0,
    )


def estimate_mean(values: np.ndarray) -> Contrast:
    """Return the mean of the values (seeds, cases) of one method, under the model of `contrast_methods`."""
    return contrast_methods(values, np.zeros((1, values.shape[1])))


def mean_intervals(values: np.ndarray, *, resamples: int = RESAMPLES) -> Means:
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
            low[members], high[members] = _interval(chosen, resamples)
    return Means(mean, low, high, known.sum(0))


def function_of_means(values: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """`function` of the means over cases of a matrix (cases, columns) without gaps, with a percentile interval.

    `function` takes means (R, columns) and returns (R,): a ratio of means, the root of a mean square.
    """
    n = len(values)
    value = float(function(values.mean(0)[None])[0])
    if n < LEAST:
        return Estimate(value, float("nan"), float("nan"), n)
    draws = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    low, high = np.quantile(function(draws @ values / n), ENDS)
    return Estimate(value, float(low), float(high), n)


def auroc(inside: np.ndarray, outside: np.ndarray, *, paired: bool, resamples: int = RESAMPLES) -> Estimate:
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
    random = np.random.default_rng(SEED)
    first = random.multinomial(n, np.full(n, 1 / n), size=resamples)
    second = first if paired else random.multinomial(m, np.full(m, 1 / m), size=resamples)
    low, high = np.nanquantile(share(first, second), ENDS)
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


def _interval(values: np.ndarray, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends (columns,) of the interval for a matrix without gaps; a constant column has no width."""
    low, high = values.mean(0), values.mean(0)
    varied = (values != values[0]).any(0)
    if varied.any():
        start, unit = values[0, varied], np.ptp(values[:, varied], axis=0) / STEPS
        whole = np.rint((values[:, varied] - start) / unit)  # sums are exact, so that equal draws have equal means
        how: dict[str, Any] = {"n_resamples": resamples, "confidence_level": LEVEL, "batch": DRAWN_AT_ONCE}
        random = np.random.default_rng(SEED)
        found = bootstrap((whole,), np.mean, axis=0, method="BCa", rng=random, **how).confidence_interval
        low[varied], high[varied] = start + unit * found.low, start + unit * found.high
    return low, high


def _seed_variances(values: np.ndarray) -> tuple[float, float, int]:
    """Return the variance of a method's mean over seeds, the part of it that cases do not hold too, and its degrees."""
    seeds, n = values.shape
    by_seed = values.mean(1)
    residual = values - by_seed[:, None] - values.mean(0) + values.mean()
    of_means = float(by_seed.var(ddof=1) / seeds)
    own = of_means - float((residual**2).sum() / ((seeds - 1) * (n - 1)) / (n * seeds))
    rounding = (ROUNDING * float(values.mean())) ** 2
    return of_means, own if own > rounding else 0.0, seeds - 1
