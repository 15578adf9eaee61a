"""What several samples of one case say together: the best of some, and whether their intervals hold the truth."""

from math import comb

import numpy as np


def expected_best(values: np.ndarray, k: int, largest: bool) -> float:
    """The best of `k` of the values (K,) in the mean over all choices of k; k = 1 gives their mean. NaN with any NaN.

    Raises ValueError unless 1 ≤ k ≤ K.
    """
    count = len(values)
    if not 1 <= k <= count:
        raise ValueError(f"the best of {k} of {count} values is not defined")
    ordered = np.sort(values if largest else -values)
    shares = np.array([comb(index, k - 1) for index in range(count)]) / comb(count, k)
    best = float(shares @ ordered) if not np.isnan(values).any() else float("nan")
    return best if largest else -best


def truth_ranks(samples: np.ndarray, truth: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return how many of the samples (K, ...) lie below the truth (...): 0 to K, equal ones counted by lot.

    Where the truth is a draw like the samples, each rank is equally likely, whatever the distribution.
    """
    below = (samples < truth).sum(0)
    equal = (samples == truth).sum(0)
    return below + random.integers(0, equal + 1)


def interval_shares(ranks: np.ndarray, count: int) -> dict[float, float]:
    """Stated share → share of the ranks inside, of the intervals between the i-th lowest and highest of K samples.

    Such an interval holds another draw with probability (K + 1 − 2i) / (K + 1). Raises ValueError without ranks.
    """
    if not ranks.size:
        raise ValueError("there are no ranks")
    return {
        (count + 1 - 2 * i) / (count + 1): float(((ranks >= i) & (ranks <= count - i)).mean())
        for i in range(count // 2, 0, -1)
    }
