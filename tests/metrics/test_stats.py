"""Intervals, tests and detectable differences, over cases and trainings, against SciPy, definitions and simulation."""

import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.stats import bootstrap, t, ttest_1samp, ttest_ind, ttest_rel

from bench.metrics import stats
from bench.metrics.stats import Contrast, contrast_methods, estimate_mean, function_of_means, holm, mean_intervals


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
def test_a_ratio_of_means_has_the_interval_of_scipy(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(stats, "RESAMPLES", 200_000)  # both sides draw, and 10,000 draws leave an end 0.02 apart
    values = np.random.default_rng(seed).gamma(2.0, size=(40, 2))

    def ratio(means: np.ndarray) -> np.ndarray:
        return means[:, 0] ** 1.5 / means[:, 1]  # of no degree zero, so that the means' own size counts

    found = function_of_means(values, ratio)
    expected = bootstrap(
        (values[:, 0], values[:, 1]),
        lambda a, b, axis: a.mean(axis) ** 1.5 / b.mean(axis),
        paired=True,
        method="percentile",
        n_resamples=200_000,
        batch=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert (found.value, found.n) == (pytest.approx(values[:, 0].mean() ** 1.5 / values[:, 1].mean()), 40)
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


@dataclass(frozen=True)
class World:
    """Two methods without any difference, and how much their values vary."""

    n: int
    seeds: tuple[int, int]  # 0: no seed matters, one row
    by_seed: tuple[float, float]  # standard deviations over seeds
    left: float  # what neither case nor seed explains
    by_case: float = 1.0  # of the difference of the two methods

    def draw(self, random: np.random.Generator, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Return values (seeds, n) of both, the first larger by `shift`."""
        shared = random.normal(20, 5, self.n)
        both = []
        for seeds, by_seed, own in zip(
            self.seeds, self.by_seed, (random.normal(shift, self.by_case, self.n), 0), strict=True
        ):
            rows = max(1, seeds)
            noise = random.normal(0, self.left if seeds else 0, (rows, self.n))
            both.append(shared + own + random.normal(0, by_seed, (rows, 1)) * bool(seeds) + noise)
        return both[0], both[1]


def test_without_seeds_the_test_is_the_paired_t_test_of_scipy(values: np.ndarray) -> None:
    other = values + np.random.default_rng(5).normal(0.1, 1, values.shape)
    for column in range(3):
        expected = ttest_rel(values[:, column], other[:, column])
        found = contrast_methods(values[None, :, column], other[None, :, column])
        assert found.p == pytest.approx(expected.pvalue)
        assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
        mirrored = contrast_methods(other[None, :, column], values[None, :, column])
        assert (mirrored.value, mirrored.p) == (-found.value, found.p)


def test_where_cases_do_not_matter_the_test_is_welchs_of_scipy(seed: int) -> None:
    first, second = (np.random.default_rng((seed, s)).normal(s, s, (s, 1)) for s in (3, 5))
    expected = ttest_ind(first[:, 0], second[:, 0], equal_var=False)
    found = contrast_methods(np.repeat(first, 10, 1), np.repeat(second, 10, 1))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))


def test_what_cases_and_seeds_do_together_counts_once(seed: int) -> None:
    """The variance of seeds is that of their means without the residual of an additive fit by least squares."""
    first, second = World(12, (3, 0), (2.0, 0.0), 1.0).draw(np.random.default_rng(seed))
    rows, columns = np.indices(first.shape)
    design = np.hstack([rows.ravel()[:, None] == np.arange(3), columns.ravel()[:, None] == np.arange(12)]).astype(float)
    fitted = design @ np.linalg.lstsq(design, first.ravel())[0]
    residual = ((first.ravel() - fitted) ** 2).sum() / (2 * 11)
    found = contrast_methods(first, second)
    assert found.seed_variance == pytest.approx(first.mean(1).var(ddof=1) / 3 - residual / 36)
    assert found.case_variance == pytest.approx((first.mean(0) - second[0]).var(ddof=1) / 12)


def test_seeds_whose_means_agree_better_than_chance_have_no_variance_below_zero(seed: int) -> None:
    first, second = World(12, (3, 0), (0.0, 0.0), 1.0).draw(np.random.default_rng(seed))
    found = contrast_methods(first - first.mean(1, keepdims=True) + 20, second)
    assert found.seed_variance == 0.0
    cases_alone = contrast_methods(first.mean(0, keepdims=True) - first.mean() + 20, second)
    assert (found.value, found.p) == pytest.approx((cases_alone.value, cases_alone.p))


def excludes_zero(contrast: Contrast) -> bool:
    """Whether p is below 0.05, which takes five times as long to compute."""
    return not contrast.interval[0] < 0 < contrast.interval[1]


WORLDS = {
    "seeds that all give the same": World(48, (3, 3), (0.0, 0.0), 1.0),
    "two such seeds": World(48, (2, 2), (0.0, 0.0), 1.0),
    "seeds as large as cases": World(48, (3, 3), (0.15, 0.15), 1.0),
    "seeds that rule": World(48, (3, 3), (1.0, 1.0), 0.5),
    "one method whose seeds rule": World(48, (3, 3), (1.0, 0.1), 0.5),
    "three seeds against none": World(48, (3, 0), (0.3, 0.0), 0.5),
    "two seeds against none": World(48, (2, 0), (1.0, 0.0), 0.3),
    "unequal numbers": World(48, (2, 5), (0.3, 0.3), 0.5),
    "few cases": World(6, (3, 3), (0.3, 0.3), 1.0),
}


@pytest.mark.trains
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_intervals_over_cases_and_seeds_hold_the_truth_as_often_as_they_say(world: World, seed: int) -> None:
    random = np.random.default_rng(seed)
    found = [contrast_methods(*world.draw(random)) for _ in range(1200)]
    inside = [not excludes_zero(contrast) for contrast in found]
    assert 0.925 <= np.mean(inside) <= 0.99  # within 4 standard errors of 95%, or careful where seeds are few
    assert inside[:200] == [contrast.p >= 0.05 for contrast in found[:200]]


@pytest.mark.trains
@pytest.mark.parametrize("name", ["seeds that rule", "three seeds against none"])
def test_few_true_nulls_are_rejected_at_the_levels_that_holm_asks_for(name: str, seed: int) -> None:
    """One t with Satterthwaite's degrees for everything rejects up to 2.7% at 0.5%."""
    random = np.random.default_rng(seed)
    world = replace(WORLDS[name], by_seed=(1.0, 1.0))
    found = [contrast_methods(*world.draw(random)) for _ in range(1500)]
    assert np.mean([excludes_zero(one) and one.p < 0.005 for one in found]) < 0.013


def test_p_is_the_level_at_which_the_interval_ends_at_zero() -> None:
    for value, seed_variance, df in ((0.9, 0.03, 2.0), (4.0, 0.2, 1.0), (0.1, 0.5, 3.4), (30.0, 0.01, 1.5)):
        p = Contrast(value, 48, 0.02, seed_variance, df).p
        assert 0.02 * t.isf(p / 2, 47) ** 2 + seed_variance * t.isf(p / 2, df) ** 2 == pytest.approx(value**2)
        assert Contrast(-value, 48, 0.02, seed_variance, df).p == p


@pytest.mark.trains
def test_seeds_that_differ_more_than_the_methods_do_make_no_difference(seed: int) -> None:
    """Cases alone would call these two different nearly always."""
    random, world = np.random.default_rng(seed), World(48, (3, 3), (1.0, 1.0), 0.05, by_case=0.1)
    drawn = [world.draw(random, 0.3) for _ in range(400)]
    assert np.mean([excludes_zero(contrast_methods(*both)) for both in drawn]) < 0.12
    means = [(first.mean(0), second.mean(0)) for first, second in drawn]
    assert np.mean([ttest_rel(*both).pvalue < 0.05 for both in means]) > 0.9


def test_cases_that_differ_by_a_constant_make_a_difference(values: np.ndarray) -> None:
    first = np.stack([values[:, 0], values[:, 0] + 0.001, values[:, 0] - 0.001])
    for second in (first - 0.5, first[:1] - 0.5):
        found = contrast_methods(first, second)
        assert found.value == pytest.approx(0.5)
        assert found.p < 0.001
        assert found.interval[0] > 0.4


def test_a_difference_without_any_variance_is_certain() -> None:
    found = contrast_methods(np.full((1, 5), 3.0), np.full((1, 5), 1.0))
    assert (found.value, found.p, found.interval, found.detectable()) == (2.0, 0.0, (2.0, 2.0), 0.0)


def test_equal_predictions_are_no_evidence_also_where_means_over_seeds_are_rounded(values: np.ndarray) -> None:
    assert np.full(3, 0.1).sum() / 3 != 0.1
    for first in (values[None, :, 0], np.full((1, 8), 0.1), np.linspace(0.1, 0.7, 7)[None]):
        for seeds in (1, 3, 7):
            found = contrast_methods(np.repeat(first, seeds, 0), first)
            assert (found.value, found.p, found.interval, found.detectable()) == (0.0, 1.0, (0.0, 0.0), 0.0)


def test_fewer_than_three_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cases; an interval needs 3"):
        contrast_methods(np.ones((3, 2)), np.ones((3, 2)))


def test_the_mean_of_one_training_is_that_of_a_t_test_and_of_several_is_less_sure(values: np.ndarray) -> None:
    first = values[None, :, 0]
    expected = ttest_1samp(first[0], 0.0).confidence_interval()
    assert estimate_mean(first).interval == pytest.approx(tuple(expected))
    several = estimate_mean(np.concatenate([first - 1, first, first + 1])).interval
    assert several[0] < expected.low - 1
    assert several[1] > expected.high + 1


@pytest.mark.trains
@pytest.mark.parametrize("level", [0.05, 0.005])
@pytest.mark.parametrize("n", [8, 48])
def test_the_detectable_difference_is_found_four_times_in_five(n: int, level: float, seed: int) -> None:
    random = np.random.default_rng((seed, n))
    shift = Contrast(0.0, n, 4.0 / n, 0.0, 1.0).detectable(level)
    p = ttest_1samp(random.normal(shift, 2.0, (n, 20_000)), 0.0).pvalue
    assert (p < level).mean() == pytest.approx(0.8, abs=0.015)


@pytest.mark.trains
@pytest.mark.parametrize("by_seed", [0.0, 0.2, 2.0])
def test_the_detectable_difference_is_found_about_as_often_over_cases_and_seeds(by_seed: float, seed: int) -> None:
    random, world = np.random.default_rng(seed), World(48, (3, 0), (by_seed, 0.0), 0.5)
    shift = Contrast(0.0, 48, (1 + 0.25 / 3) / 48, by_seed**2 / 3, 2.0).detectable()
    found = [excludes_zero(contrast_methods(*world.draw(random, shift))) for _ in range(800)]
    assert 0.7 < np.mean(found) < 0.88
