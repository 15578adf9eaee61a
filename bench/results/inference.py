"""How sure a number is, and which of two entries is better: all intervals and tests that people read are made here.

Cases are drawn again and paired. Seeds are averaged first, so everything holds for these trainings alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.metrics import METRICS
from bench.metrics.stats import LEAST, LEVEL, mean_intervals, paired_differences
from bench.results.model import Column, Entry


@dataclass(frozen=True)
class Mean:
    """A mean over cases with its interval, whose ends are NaN for too few cases."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None for too few cases."""
        return (self.low, self.high) if math.isfinite(self.low) else None


@dataclass(frozen=True)
class Difference:
    """One metric of two entries, over the cases where both have a value."""

    space: str
    metric: str
    n: int
    first: float  # mean over those cases
    second: float
    first_sd: float | None  # over seeds
    second_sd: float | None
    difference: float  # first − second
    low: float
    high: float
    p: float
    p_holm: float  # adjusted for all columns that were asked for together
    detectable: float

    @property
    def better(self) -> str:
        """A or B where the difference is established (Holm), else nothing."""
        if not self.p_holm < 1 - LEVEL or METRICS[self.metric].direction == "toward_baseline":
            return ""
        return "A" if (self.difference > 0) == (METRICS[self.metric].direction == "up") else "B"


def estimate_means(entry: Entry, columns: Sequence[Column]) -> list[Mean]:
    """Return the mean of each column over the cases of an entry, each case the mean of its seeds."""
    means = mean_intervals(entry.values(columns).to_numpy())
    return [Mean(*map(float, column)) for column in zip(means.mean, means.low, means.high, strict=True)]


def compare_entries(first: Entry, second: Entry, columns: Sequence[Column]) -> list[Difference]:
    """Return the differences, case by case, in the columns that both have on at least LEAST common cases."""
    left, right = first.values(columns).align(second.values(columns), join="inner", axis=0)
    together = left.notna() & right.notna()
    shown = [column for column in columns if together[column].sum() >= LEAST]
    left, right = left[shown].where(together[shown]), right[shown].where(together[shown])
    means = [entry.means(shown) if len(entry.run_ids) > 1 else None for entry in (first, second)]
    found = paired_differences(left.to_numpy(), right.to_numpy())
    return [
        Difference(
            *column,
            n=int(found.means.n[index]),
            first=float(left[column].mean()),
            second=float(right[column].mean()),
            first_sd=None if means[0] is None else float(means[0][column].std(ddof=1)),
            second_sd=None if means[1] is None else float(means[1][column].std(ddof=1)),
            difference=float(found.means.mean[index]),
            low=float(found.means.low[index]),
            high=float(found.means.high[index]),
            p=float(found.p[index]),
            p_holm=float(found.p_holm[index]),
            detectable=float(found.detectable[index]),
        )
        for index, column in enumerate(shown)
    ]
