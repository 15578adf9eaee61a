"""Intervals, tests and detectable differences, against SciPy, definitions and simulation."""

import time

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_1samp, wilcoxon

from bench.metrics.stats import function_of_means, holm, mean_intervals, paired_differences, smallest_detectable


@pytest.fixture
def values(seed: int) -> np.ndarray:
    random = np.random.default_rng(4 + seed)
    return np.stack([random.normal(20, 2, 48), random.exponential(0.01, 48), random.uniform(0, 1, 48)], axis=1)


@pytest.mark.trains
def test_intervals_of_even_values_are_those_of_the_normal_distribution(values: np.ndarray) -> None:
    ours = mean_intervals(values, resamples=20_000)
    for column in (0, 2):  # normal, uniform
        reach = 1.96 * values[:, column].std() / np.sqrt(len(values))
        assert ours.mean[column] == pytest.approx(values[:, column].mean())
        assert ours.low[column] == pytest.approx(ours.mean[column] - reach, abs=0.12 * reach)
        assert ours.high[column] == pytest.approx(ours.mean[column] + reach, abs=0.12 * reach)


def test_a_constant_column_has_an_interval_without_width_and_leaves_others_alone(values: np.ndarray) -> None:
    beside = np.column_stack([np.full(48, 0.3), values])
    ours, alone = mean_intervals(beside), mean_intervals(values)
    assert ours.low[0] == ours.high[0] == pytest.approx(0.3)
    np.testing.assert_array_equal(ours.low[1:], alone.low)


@pytest.mark.trains
def test_skewed_values_get_a_skewed_interval(seed: int) -> None:
    ours = mean_intervals(np.random.default_rng(seed).exponential(0.01, (48, 50)))  # a column is one experiment
    assert ((ours.high - ours.mean) / (ours.mean - ours.low)).mean() > 1.2


@pytest.mark.trains
def test_intervals_hold_the_truth_as_often_as_they_say(seed: int) -> None:
    random = np.random.default_rng(seed)
    many = random.normal(0, 1, (40, 1000))  # a column is one experiment of 40 cases
    ours = mean_intervals(many, resamples=2000)
    inside = ((ours.low < 0) & (ours.high > 0)).mean()
    assert 0.91 <= inside <= 0.97


def test_rounding_does_not_move_the_interval_of_few_cases() -> None:
    """Of four cases a tenth of the resamples are the cases themselves, whose mean must not lie beside theirs."""
    values = np.random.default_rng(7).normal(26, 0.3, (4, 40))
    here, there = mean_intervals(values), mean_intervals(values + 1000)
    assert there.low - 1000 == pytest.approx(here.low, abs=1e-6)
    assert there.high - 1000 == pytest.approx(here.high, abs=1e-6)


@pytest.mark.trains
def test_a_ratio_of_means_has_the_interval_of_scipy(seed: int) -> None:
    values = np.random.default_rng(seed).gamma(2.0, size=(40, 2))

    def ratio(means: np.ndarray) -> np.ndarray:
        return np.sqrt(means[:, 0] / means[:, 1])

    found = function_of_means(values, ratio)
    expected = bootstrap(
        (values[:, 0], values[:, 1]),
        lambda a, b, axis: np.sqrt(a.mean(axis) / b.mean(axis)),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert (found.value, found.n) == (pytest.approx(np.sqrt(values[:, 0].mean() / values[:, 1].mean())), 40)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.01)
    assert np.isnan(function_of_means(values[:2], ratio).low)


def test_a_gap_leaves_out_its_case_in_its_column_alone(values: np.ndarray) -> None:
    gappy = values.copy()
    gappy[5, 1] = np.nan
    ours, whole = mean_intervals(gappy), mean_intervals(values)
    alone = mean_intervals(np.delete(values[:, 1:2], 5, axis=0))
    assert list(ours.n) == [48, 47, 48]
    assert (ours.low[1], ours.high[1]) == (alone.low[0], alone.high[0])
    assert (ours.low[0], ours.high[2]) == (whole.low[0], whole.high[2])


def test_equal_values_give_a_point_and_too_few_give_no_interval() -> None:
    equal = mean_intervals(np.full((10, 1), 3.0))
    assert (equal.low[0], equal.high[0]) == (3.0, 3.0)
    few = mean_intervals(np.array([[1.0], [2.0]]))
    assert few.mean[0] == 1.5
    assert np.isnan([few.low[0], few.high[0]]).all()
    none = mean_intervals(np.full((4, 1), np.nan))
    assert np.isnan(none.mean[0])
    assert none.n[0] == 0


def test_ten_thousand_resamples_of_all_metrics_take_seconds_at_most() -> None:
    began = time.perf_counter()
    mean_intervals(np.random.default_rng(0).normal(size=(102, 40)), resamples=10_000)
    assert time.perf_counter() - began < 5


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([0.02, np.nan, 0.03])) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)


def test_paired_tests_are_those_of_scipy_and_antisymmetric(values: np.ndarray) -> None:
    other = values + np.random.default_rng(5).normal(0.1, 1, values.shape)
    found, mirrored = paired_differences(values, other), paired_differences(other, values)
    expected = [wilcoxon(values[:, c], other[:, c]).pvalue for c in range(3)]
    assert found.p == pytest.approx(expected)
    assert found.p_holm == pytest.approx(holm(np.array(expected)))
    assert mirrored.means.mean == pytest.approx(-found.means.mean)
    assert (mirrored.p == found.p).all()


def test_no_difference_is_no_evidence() -> None:
    found = paired_differences(np.ones((8, 1)), np.ones((8, 1)))
    assert (found.p[0], found.p_holm[0], found.means.low[0], found.detectable[0]) == (1.0, 1.0, 0.0, 0.0)


@pytest.mark.trains
def test_pairing_finds_what_the_spread_between_cases_hides(seed: int) -> None:
    random = np.random.default_rng(seed)
    cases = random.normal(20, 5, (30, 1))
    found = paired_differences(cases + 0.5 + random.normal(0, 0.1, cases.shape), cases)
    alone = mean_intervals(cases)
    assert found.means.low[0] > 0.3
    assert alone.high[0] - alone.low[0] > 2


@pytest.mark.trains
@pytest.mark.parametrize("n", [8, 48])
def test_the_detectable_difference_is_found_four_times_in_five(n: int, seed: int) -> None:
    random = np.random.default_rng((seed, n))
    shift = smallest_detectable(2.0, n)
    p = ttest_1samp(random.normal(shift, 2.0, (n, 20_000)), 0.0).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.015)


def test_more_cases_detect_less() -> None:
    assert smallest_detectable(1.0, 102) < smallest_detectable(1.0, 48) < smallest_detectable(1.0, 8)
    assert np.isnan(smallest_detectable(1.0, 2))
