"""Several samples of a case: the best of some by enumeration, and intervals that hold a further draw as they state."""

from itertools import combinations

import numpy as np
import pytest

from bench.metrics.ensembles import expected_best, interval_shares, truth_ranks


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_the_expected_best_is_the_mean_over_all_choices(k: int, largest: bool) -> None:
    values = np.random.default_rng(k).normal(size=6)
    choose = max if largest else min
    assert expected_best(values, k, largest) == pytest.approx(np.mean([choose(c) for c in combinations(values, k)]))


def test_what_cannot_be_chosen_is_refused_and_what_is_unknown_stays_so() -> None:
    with pytest.raises(ValueError, match="best of 3 of 2"):
        expected_best(np.ones(2), 3, True)
    assert np.isnan(expected_best(np.array([1.0, np.nan]), 1, True))


@pytest.mark.trains
@pytest.mark.parametrize("draw", [np.random.Generator.standard_normal, lambda r, n: r.integers(0, 3, n)])
def test_a_truth_like_the_samples_falls_inside_as_often_as_stated(draw, seed: int) -> None:
    random = np.random.default_rng(seed)
    samples, truth = draw(random, (8, 100_000)), draw(random, 100_000)  # ties among few integers
    found = interval_shares(truth_ranks(samples, truth, random), 8)
    assert list(found) == pytest.approx([1 / 9, 3 / 9, 5 / 9, 7 / 9])
    for stated, share in found.items():
        assert share == pytest.approx(stated, abs=0.01)


@pytest.mark.trains
def test_equal_samples_hold_nothing_but_themselves(seed: int) -> None:
    random = np.random.default_rng(seed)
    samples = np.zeros((4, 1000))
    assert set(interval_shares(truth_ranks(samples, np.full(1000, 0.1), random), 4).values()) == {0.0}
    assert interval_shares(truth_ranks(samples, np.zeros(1000), random), 4)[0.6] == pytest.approx(0.6, abs=0.06)
