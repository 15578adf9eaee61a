"""Calibration: draws from the right distribution pass, narrow ones do not, and factors are what they say."""

import numpy as np
import pytest

from bench.errors import UsageError
from bench.study.calibration import FACTOR, INSIDE, _verdict, compare_spreads
from bench.study.factors import find_drawn_factor, measure_factors, predict_from_views
from bench.study.points import Point

from ..helpers.study_lab import Lab, make_lab, own

VERDICTS = {
    0.5: "; overconfident: samples spread less than they err",
    1.0: "",
    2.0: "; underconfident: samples spread more than they err",
}
TOY = '''
import torch
from bench.data.cases import downsample
from bench.method import Method, MethodCard, Settings
from bench.plugins.registry import get_dataset

class Config(Settings):
    alike: bool = False

class Population(Method):
    """Any other subject of the population, whatever the views: the true distribution where views say nothing."""
    Config = Config
    card = MethodCard("population", "Population", "", 2026, "", "", frozenset({"volume"}))

    def __init__(self, config, data):
        self.config, self.data = config, data

    def stages(self):
        return ()

    def reconstruct(self, views, *, seeds):
        subjects = [7_000_000 if self.config.alike else 7_000_000 + seed % 100_000 for seed in seeds]
        fine = [torch.from_numpy(get_dataset("lidc").phantom(one, 32)).float() for one in subjects]
        low, high = self.data.window
        return torch.stack([(downsample(one, 16).clamp(low, high) - low) / (high - low) for one in fine])
'''


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("calibration"), (12, 1, 8), "Population", TOY)


def answer(lab: Lab, *overrides: str, count: int, seed: int = 0) -> list[Point]:
    """Train the method and return what the study says of it."""
    chosen = (lab.few, *overrides)
    lab.fit(overrides=chosen, seed=seed)
    return own(lab.ask("calibration", overrides=chosen, values=(count,), seeds=(seed,)))


def mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))


@pytest.mark.trains
def test_draws_of_the_true_distribution_lie_around_the_truth(lab: Lab, seed: int) -> None:
    points = answer(lab, "data.phantoms=[12, 1, 24]", count=7, seed=seed)
    voxels = {p.setting: p.values for p in points if p.parameter == INSIDE}
    assert list(voxels) == ["0.250", "0.500", "0.750"]
    for stated, values in voxels.items():
        for metric in ("inside", "inside_factors"):
            assert mean(values[metric]) == pytest.approx(float(stated), abs=0.12), (stated, metric)
    factors = {p.setting: p for p in points if p.parameter == FACTOR and p.measured}
    assert factors.keys() >= {"width, mm", "depth, mm", "diagonal", "light part, HU"}
    assert np.mean([mean(p.values["excess"]) for p in factors.values()]) == pytest.approx(0, abs=0.12)
    assert np.median([p.of_set["spread_skill"].value for p in factors.values()]) == pytest.approx(1, abs=0.25)
    assert np.median([mean(p.values["rank"]) for p in factors.values()]) == pytest.approx(0.5, abs=0.15)
    depth = factors["depth, mm"]
    assert depth.of_set["unexplained"].value < depth.of_set["sampled"].value  # the views say more than nothing
    assert "follows the drawn" in depth.note


def test_a_method_whose_samples_are_all_alike_is_told_so(lab: Lab) -> None:
    points = answer(lab, "alike=true", count=3)
    assert mean(next(p.values for p in points if p.parameter == INSIDE)["inside_body"]) < 0.1
    for point in (point for point in points if point.parameter == FACTOR and point.measured):
        for name in ("sampled", "spread_ratio", "spread_skill"):
            assert point.of_set[name].high == pytest.approx(0, abs=1e-9)
        tied = {"dense part, l"}  # whole voxels, often none in truth and samples: the rank is drawn by lot
        assert point.setting in tied or mean(point.values["excess"]) == -0.5
        assert point.note.endswith("all samples of a case are alike")


def test_one_sample_or_several_counts_are_refused(lab: Lab) -> None:
    with pytest.raises(UsageError, match="calibration needs at least 2 samples of a case, not 1"):
        lab.ask("calibration", values=(1,))
    with pytest.raises(UsageError, match="calibration takes one value"):
        lab.ask("calibration", values=(4, 8))


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_spreads_of_uncorrelated_errors_are_their_closed_forms(factor: float) -> None:
    """Errors of truth and six samples whose mean squares and products are those of infinitely many normal draws."""
    random = np.random.default_rng(0)
    errors = 0.8 * np.sqrt(300) * np.linalg.qr(random.normal(size=(300, 7)))[0]
    known = random.normal(0, 3, 300)
    found = compare_spreads(known + errors[:, 0], known[:, None] + factor * errors[:, 1:], known, population=3.1)
    assert found["unexplained"].value == pytest.approx(0.8 / 3.1)
    assert found["spread_ratio"].value == pytest.approx(factor)
    assert found["sampled"].value == pytest.approx(factor * 0.8 / 3.1)
    error = np.sqrt((1 + factor**2 / 6) / (1 + 1 / 6))  # of the mean of six draws, in units of the truth's spread
    assert found["spread_skill"].value == pytest.approx(factor / error)
    assert _verdict(found["spread_skill"]) == VERDICTS[factor]
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high


@pytest.mark.trains
def test_views_explain_what_follows_from_them_and_nothing_else(seed: int) -> None:
    random = np.random.default_rng(seed)
    views = random.uniform(0, 1, (800, 2, 48, 48)).astype(np.float32)
    bright = random.normal(0, 1, (800, 1, 1, 1)).astype(np.float32)
    views += bright
    noise = random.normal(0, 1, 800)
    seen, unseen = 5 * bright.ravel() + 0.5 * noise, random.normal(0, 1, 800)
    left = [predict_from_views(views[:200], y[:200], views[200:]) - y[200:] for y in (seen, unseen)]
    assert left[0].std() == pytest.approx(0.5, rel=0.25)
    assert left[1].std() / unseen[200:].std() > 0.9


def test_factors_of_a_box_are_its_sizes() -> None:
    air = np.full((10, 30, 40), -1000.0)
    box = air.copy()
    box[2:8, 5:17, 8:32] = 0.0
    box[2:4, 5:17, 8:32] = -700.0
    box[7, 5, 8] = 900.0
    expected = {"light part, l": 2 * 12 * 24 * 8 / 1e6, "light part, HU": -700.0, "soft part, HU": 0.0}
    expected |= {"dense part, l": 8e-6, "mean, HU": box.mean()}
    found = measure_factors(box, 2.0)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert (found["width, mm"], found["depth, mm"]) == pytest.approx((48, 24), rel=0.01)
    assert found["diagonal"] == pytest.approx(0, abs=0.01)
    assert np.isnan([measure_factors(air, 2.0)[name] for name in ("width, mm", "light part, HU")]).all()


def test_the_diagonal_is_what_two_orthogonal_sums_do_not_show() -> None:
    first, second = np.full((2, 8, 20, 20), -1000.0)
    first[:, 4:8, 4:8] = first[:, 12:16, 12:16] = 0.0
    second[:, 4:8, 12:16] = second[:, 12:16, 4:8] = 0.0
    for axis in (1, 2):
        assert np.array_equal(first.sum(axis), second.sum(axis))
    one, other = (measure_factors(volume, 1.0) for volume in (first, second))
    assert one["diagonal"] > 0.5
    assert other["diagonal"] == pytest.approx(-one["diagonal"])
    assert {name for name in one if one[name] != pytest.approx(other[name], nan_ok=True)} == {"diagonal"}


def test_the_drawn_factor_that_a_measure_follows_is_named() -> None:
    random = np.random.default_rng(0)
    drawn = [{"size": float(a), "tilt": float(b), "kind": 1.0} for a, b in random.normal(size=(50, 2))]
    name, r = find_drawn_factor(np.array([-2 * one["size"] for one in drawn]), drawn)
    assert (name, r) == ("size", pytest.approx(-1.0))
    assert find_drawn_factor(np.ones(50), drawn) == ("", 0.0)
