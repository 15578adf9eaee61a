"""How sure a number is, and which of two methods is better: all intervals and tests that people read are made here.

They hold over cases and over trainings, by the model of `bench.metrics.stats.contrast_methods`. A trained method with
one seed has a variance of trainings that nobody knows: what is said then holds for that training, not for the method.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.metrics import METRICS
from bench.metrics.stats import LEAST, LEVEL, Contrast, contrast_methods, estimate_mean, holm
from bench.results.model import Column, Entry

LEVEL_OF_TESTS = 1 - LEVEL
SCOPES = ("", "of this training", "of these two trainings")  # what a test holds for, by how many stand alone
TEST = (
    f"Intervals ({LEVEL:.0%}) and p allow for other test cases and for other trainings: cases are paired, seeds are "
    "independent, and the variance of either has its own degrees of freedom in t (Satterthwaite 1946, Banerjee 1960). "
    "Of a trained method with one seed they hold for that training alone."
)


@dataclass(frozen=True, eq=False)
class Sample:
    """What a method scored in one column."""

    values: pd.DataFrame  # runs × cases, or runs × encoders of a metric of whole sets; NaN where there is no value
    deterministic: bool  # no seed matters

    @property
    def alone(self) -> bool:
        """True of one training, whose like may differ from it nobody knows how much."""
        return len(self.values) == 1 and not self.deterministic

    @property
    def array(self) -> np.ndarray:
        """The values (seeds, units); one row where no seed matters."""
        values = self.values.to_numpy(np.float64)
        return values.mean(0, keepdims=True) if self.deterministic else values

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; None of a single one."""
        return float(self.array.mean(1).std(ddof=1)) if len(self.array) > 1 else None

    @property
    def mean(self) -> float | None:
        """The mean over seeds and the cases of which all runs have a value; None without any."""
        array = self.take(_complete(self)).array
        return float(array.mean()) if array.size else None

    def take(self, units: pd.Index) -> "Sample":
        """Return the same of some cases or encoders alone."""
        return Sample(self.values[units], self.deterministic)


@dataclass(frozen=True)
class Mean:
    """A mean over cases and seeds."""

    value: float | None  # None without a case that all runs have
    interval: tuple[float, float] | None  # within the range of the metric; None for too few cases


@dataclass(frozen=True)
class Difference:
    """One metric of two methods, over the cases where all runs of both have a value."""

    space: str
    metric: str
    n: int
    first: float  # mean over those cases
    second: float
    first_seeds: int
    second_seeds: int
    first_sd: float | None  # over seeds
    second_sd: float | None
    difference: float  # first − second
    case_error: float  # standard error of the difference, as far as cases cause it
    seed_error: float  # and as far as trainings do; 0 where no seed matters or there is one
    low: float
    high: float
    p: float
    p_holm: float  # adjusted for all differences that are printed together
    detectable: float  # smallest true difference that would be established beside all others that are printed
    scope: str  # of what it holds where that is not the methods; else empty

    @property
    def established(self) -> bool:
        """True where Holm's p says that the two differ, be it in these trainings alone."""
        return self.p_holm < LEVEL_OF_TESTS

    @property
    def ahead(self) -> str:
        """A or B, the one that is better where the two differ, be it in these trainings alone; else nothing."""
        if not self.established or METRICS[self.metric].direction == "toward_baseline":
            return ""
        return "A" if (self.difference > 0) == (METRICS[self.metric].direction == "up") else "B"

    @property
    def better(self) -> str:
        """A or B where one method is better, over cases and trainings; else nothing."""
        return "" if self.scope else self.ahead

    @property
    def tied(self) -> bool:
        """True where the methods, over cases and trainings, cannot be told apart."""
        return not self.scope and not self.established

    @property
    def verdict(self) -> str:
        """What the test says, in words."""
        if self.established:
            side = self.ahead or ("A" if self.difference > 0 else "B")
            words = f"{side} is {'better' if self.ahead else 'higher'}"
        elif self.difference or self.case_error or self.seed_error:
            words = "cannot be told apart"
        else:
            words = "equal"
        return f"{words}, {self.scope}" if self.scope else words


def sample_of(entry: Entry, column: Column) -> Sample:
    """Return what an entry scored by case; without any case where it has none."""
    by_run = entry.by_run
    values = by_run[column].unstack("case") if column in by_run else pd.DataFrame(index=list(entry.run_ids))
    return Sample(values, entry.deterministic)


def estimate_means(entry: Entry, columns: Sequence[Column]) -> list[Mean]:
    """Return the mean of each column over the cases that all runs of an entry have, with its interval."""
    return [_estimate_mean(sample_of(entry, column), METRICS[column[1]].range) for column in columns]


def compare_samples(pairs: Sequence[tuple[Column, Sample, Sample]]) -> list[Difference | None]:
    """Return the differences of all pairs that are printed together; None for fewer than LEAST common cases.

    p is adjusted for all of them by Holm's method, which tests those that it does not establish at the level of tests
    over their number; the smallest detectable differences are those of this level.
    """
    samples = []  # with the cases of which all runs of both have a value
    for column, first, second in pairs:
        shared = _complete(first).intersection(_complete(second))
        samples.append((column, first.take(shared), second.take(shared)))
    contrasts = [
        contrast_methods(first.array, second.array) if first.values.shape[1] >= LEAST else None
        for _, first, second in samples
    ]
    adjusted = holm(np.array([math.nan if contrast is None else contrast.p for contrast in contrasts]))
    level = LEVEL_OF_TESTS / max(1, int((adjusted >= LEVEL_OF_TESTS).sum()))
    return [
        None if contrast is None else _describe(*sample, contrast, float(p_holm), contrast.detectable(level))
        for sample, contrast, p_holm in zip(samples, contrasts, adjusted, strict=True)
    ]


def compare_entries(pairs: Sequence[tuple[Column, Entry, Entry]]) -> list[Difference | None]:
    """Return the differences of entries by case, as `compare_samples` does."""
    return compare_samples([(column, sample_of(a, column), sample_of(b, column)) for column, a, b in pairs])


def say_detectable(difference: Difference) -> str:
    """Return the smallest detectable difference with its unit, which stands beside what cannot be told apart."""
    metric = METRICS[difference.metric]
    return f"{difference.detectable:.{metric.decimals}f} {metric.unit}".rstrip()


def _estimate_mean(sample: Sample, limits: tuple[float | None, float | None]) -> Mean:
    values = sample.take(_complete(sample)).array
    if not values.size:
        return Mean(None, None)
    if values.shape[1] < LEAST:
        return Mean(float(values.mean()), None)
    mean = estimate_mean(values)
    low, high = np.clip(mean.interval, *limits) if limits != (None, None) else mean.interval
    return Mean(mean.value, (float(low), float(high)))


def _describe(
    column: Column, first: Sample, second: Sample, found: Contrast, p_holm: float, detectable: float
) -> Difference:
    low, high = found.interval
    return Difference(
        *column,
        n=found.n,
        first=float(first.array.mean()),
        second=float(second.array.mean()),
        first_seeds=len(first.values),
        second_seeds=len(second.values),
        first_sd=first.spread,
        second_sd=second.spread,
        difference=found.value,
        case_error=math.sqrt(found.case_variance),
        seed_error=math.sqrt(found.seed_variance),
        low=low,
        high=high,
        p=found.p,
        p_holm=p_holm,
        detectable=detectable,
        scope=SCOPES[first.alone + second.alone],
    )


def _complete(sample: Sample) -> pd.Index:
    """Return the cases of which all runs have a value."""
    return sample.values.columns[sample.values.notna().all()]
