"""Out-of-distribution inputs: what is fed, which way the AUROC points, and what a method without likelihood is told."""

import csv

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from bench.data.cases import downsample
from bench.errors import UsageError
from bench.metrics.stats import Estimate, auroc
from bench.plugins.registry import get_dataset
from bench.study import ood
from bench.study.catalogue import Answer
from bench.study.points import Point
from bench.study.runs import TrainedRun

from ..helpers.study_lab import Lab, at, make_lab

TOY = '''
from bench.method import Likelihood, Method, MethodCard, Settings

class Bright(Method):
    """The codes cost bits for what is bright in volume and views, the decoder for what is dark."""
    Config = Settings
    card = MethodCard("bright", "Bright", "", 2026, "", "", frozenset({"volume", "likelihood"}))

    def __init__(self, config, data):
        self.data = data

    def stages(self):
        return ()

    def reconstruct(self, views, *, seeds):
        raise AssertionError("a likelihood needs no samples")

    def log_likelihood(self, volume, views, *, seeds):
        bright = volume.flatten(1).sum(1)
        return Likelihood(volume[0].numel() - bright, bright / 2 + views.images.flatten(1).sum(1), volume[0].numel(), 4)
'''


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("ood"), (6, 1, 6), "Bright", TOY)


@pytest.fixture(scope="module")
def run(lab: Lab) -> TrainedRun:
    return lab.run()


@pytest.fixture(scope="module")
def answer(lab: Lab) -> Answer:
    return lab.ask("ood")


def of(answer: Answer, kind: str) -> Point:
    return at(answer, kind, "bright")


def column(point: Point, metric: str) -> np.ndarray:
    return np.array(list(point.values[metric].values()))


def test_the_auroc_is_that_of_scikit_learn_with_ties_counted_half() -> None:
    random = np.random.default_rng(0)
    inside, outside = random.integers(0, 9, 40).astype(float), random.integers(2, 11, 25).astype(float)
    found = auroc(inside, outside, paired=False)
    labels = np.r_[np.zeros(40), np.ones(25)]
    assert found.value == pytest.approx(roc_auc_score(labels, np.r_[inside, outside]), abs=1e-12)
    assert found.n == 25
    assert auroc(outside, inside, paired=False).value == pytest.approx(1 - found.value)


@pytest.mark.trains
@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_of_the_auroc_holds_the_truth_as_often_as_it_says(paired: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    true, held = norm.cdf(0.7 / np.sqrt(2)), 0
    for _ in range(200):
        inside, noise = random.normal(size=(2, 40))
        outside = 0.7 + (0.6 * inside + 0.8 * noise if paired else noise)
        found = auroc(inside, outside, paired=paired, resamples=400)
        held += found.low <= true <= found.high
    assert 0.89 <= held / 200 <= 0.99


@pytest.mark.trains
def test_cases_that_were_changed_a_little_and_alike_are_told_apart_with_a_narrower_interval(seed: int) -> None:
    inside = np.random.default_rng(seed).normal(size=60)
    together = auroc(inside, inside + 0.3, paired=True)
    apart = auroc(inside, inside + 0.3, paired=False)
    assert together.value == pytest.approx((apart.value * 60**2 - 60) / (60**2 - 60))
    assert together.high - together.low < 0.5 * (apart.high - apart.low)


def test_a_change_too_small_to_pass_any_other_case_counts_for_nothing() -> None:
    inside = np.random.default_rng(0).normal(size=24)
    found = auroc(inside, inside + 1e-6, paired=True)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_few_cases_have_an_auroc_and_no_interval() -> None:
    found = auroc(np.array([0.0, 1.0]), np.array([2.0, 3.0]), paired=True)
    assert found.value == 1.0
    assert np.isnan(found.low)


def test_metal_is_inserted_where_there_is_matter_and_only_adds() -> None:
    hounsfield = np.full((40, 40, 40), -1000.0, dtype=np.float32)
    hounsfield[10:20, 12:30, 5:15] = 40.0
    for seed in range(5):
        after = ood.insert_metal(hounsfield, 4.0, np.random.default_rng(seed))
        share = (after - hounsfield) / (ood.METAL_HU - hounsfield)
        assert share.min() >= 0
        assert share.sum() == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.1)
        assert hounsfield[tuple(np.rint(center_of_mass(share)).astype(int))] == 40.0


def test_a_change_of_nothing_gives_back_volume_and_views(run: TrainedRun) -> None:
    cases, changes = run.cases["test"], ood._changes(run)
    same = ood._change(run, cases, "nothing", lambda volume, _: volume)
    assert np.array_equal(same.hounsfield, cases.hounsfield)
    assert np.allclose(same.line_integrals, cases.line_integrals, atol=1e-4)
    turned, rolled = (ood._change(run, cases, kind, changes[kind]) for kind in (ood.TURNED, ood.ROLLED))
    assert np.array_equal(turned.hounsfield, cases.hounsfield[:, ::-1])
    assert np.allclose(turned.line_integrals, cases.line_integrals[:, :, ::-1], atol=1e-3)
    assert np.array_equal(rolled.hounsfield, np.roll(cases.hounsfield, 8, axis=1))


def test_every_other_dataset_is_fed_at_this_grid(run: TrainedRun, answer: Answer) -> None:
    cases, spec = run.cases["test"], get_dataset("baggage")
    foreign = ood._of_dataset(run, cases, spec)
    fine = torch.from_numpy(spec.phantom(2_000_000, 32).astype(np.float32))
    assert np.array_equal(foreign.hounsfield[0], downsample(fine, 16).round().numpy())
    assert len(foreign) == len(cases) == len(of(answer, "baggage").values["distance"])
    assert foreign.line_integrals.shape == cases.line_integrals.shape
    mean = np.mean([run.cases["train"].volumes([i])[0].numpy() for i in range(6)], axis=0)
    apart = [np.mean((volume.numpy() - mean) ** 2) for volume in cases.volumes(range(6))]
    assert column(of(answer, ood.TEST_CASES), "distance") == pytest.approx(apart, rel=1e-4)


def test_each_auroc_is_that_of_the_cases_in_the_csv(answer: Answer) -> None:
    rows = list(csv.DictReader(answer.csv.read_text().splitlines()))
    cases: dict[tuple[str, str], list[float]] = {}
    for row in (row for row in rows if row["level"] == "case"):
        cases.setdefault((row["setting"], row["metric"]), []).append(float(row["value"]))
    shown = {
        (r["setting"], r["metric"]): float(r["value"]) for r in rows if (r["level"], r["stat"]) == ("set", "value")
    }
    kinds = ["metal", "upside down", "halves swapped", "blurred", "another's views", "baggage"]
    assert set(shown) == {(kind, name) for kind in kinds for name in ood.SCORES}
    for (kind, name), value in shown.items():
        own, other = cases[ood.TEST_CASES, ood.SCORES[name]], cases[kind, ood.SCORES[name]]
        expected = roc_auc_score([0] * len(own) + [1] * len(other), own + other)
        if kind != "baggage":  # the same cases, changed: none is compared with itself
            itself = sum((b > a) + 0.5 * (b == a) for a, b in zip(own, other, strict=True))
            expected = (expected * len(own) ** 2 - itself) / (len(own) ** 2 - len(own))
        assert value == pytest.approx(expected), (name, kind)
    assert answer.picture.read_bytes().startswith(b"\x89PNG")


def test_both_parts_point_their_own_way_and_below_a_half_is_said(answer: Answer) -> None:
    metal = of(answer, "metal")
    assert (column(metal, "decoder_bits_per_voxel") < column(of(answer, "test cases"), "decoder_bits_per_voxel")).all()
    bags = of(answer, "baggage")  # hold little that is bright
    assert bags.of_set["auroc_codes"].value < 0.5 < bags.of_set["auroc_decoder"].value
    for point in answer.points[1:]:
        assert point.note == ood.describe_finding(point.setting, point.of_set["auroc"])


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.05, 0.2), "below 0.5: metal is held for likelier"),
        ((0.4, 0.8), "does not exclude 0.5"),
        ((float("nan"), float("nan")), "does not exclude 0.5"),
        ((0.8, 1.0), ""),
    ],
)
def test_a_likelihood_that_points_the_other_way_or_nowhere_is_said(ends: tuple[float, float], said: str) -> None:
    text = ood.describe_finding("metal", Estimate(0.6, *ends, 9))
    assert said in text
    assert bool(said) == bool(text)


def test_the_views_of_another_leave_the_volume_alone(answer: Answer) -> None:
    own, other = of(answer, ood.TEST_CASES), of(answer, ood.OTHERS_VIEWS)
    assert other.values["decoder_bits_per_voxel"] == own.values["decoder_bits_per_voxel"]
    assert other.values["nll_bits_per_code"] != own.values["nll_bits_per_code"]
    assert other.of_set["auroc_decoder"].value == other.of_set["auroc_floor"].value == 0.5


def test_a_method_without_likelihood_is_refused_in_one_line(lab: Lab) -> None:
    lab.fit("backprojection")
    with pytest.raises(UsageError, match=r"^backprojection has no likelihood, by which ood ranks.*: codediff"):
        lab.ask("ood", methods=("backprojection",))
