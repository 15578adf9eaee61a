"""prdc against plain loops and theory, cached features of real cases, and the numbers of whole sets."""

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.ndimage import gaussian_filter

from bench.cases import Cases
from bench.metrics import FIDELITY
from bench.metrics.settings import EncoderSettings
from bench.scoring import fidelity, sets
from bench.scoring.fidelity import (
    DegenerateFeatures,
    count_uncached,
    draw_baseline,
    encode,
    encode_real,
    prdc_by_encoder,
    prdc_scores,
)
from bench.scoring.protocol import VERSIONS, Fidelity, Stretch
from bench.scoring.sets import SetPlan, plan_set, score_set

NARROW = EncoderSettings(widths=(4, 8, 8, 8), head_width=8)  # as many features as the protocols' in less time
SMALL = Fidelity(encoder=NARROW, encoder_seeds=(0, 1), small_encoded_side=48, baseline_draws=3, nearest_k=3)
CPU = torch.device("cpu")

# --- density, coverage, precision, recall


def brute_force(real: np.ndarray, generated: np.ndarray, k: int) -> dict[str, float]:
    """The definitions, one pair at a time."""

    def radius(points: np.ndarray, index: int) -> float:
        return sorted(math.dist(points[index], p) for j, p in enumerate(points) if j != index)[k - 1]

    radii = [radius(real, i) for i in range(len(real))]
    generated_radii = [radius(generated, j) for j in range(len(generated))]
    inside = [[math.dist(r, g) < radii[i] for g in generated] for i, r in enumerate(real)]
    near = [[math.dist(r, g) < generated_radii[j] for j, g in enumerate(generated)] for r in real]
    return {
        "density": sum(map(sum, inside)) / (k * len(generated)),
        "coverage": sum(map(any, inside)) / len(real),
        "precision": sum(any(row[j] for row in inside) for j in range(len(generated))) / len(generated),
        "recall": sum(map(any, near)) / len(real),
    }


@pytest.mark.parametrize(("n", "m", "k"), [(12, 12, 3), (9, 20, 5), (20, 9, 1)])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_agrees_with_plain_loops_wherever_the_features_lie(n: int, m: int, k: int, offset: float) -> None:
    random = np.random.default_rng(n)
    real, generated = random.normal(size=(n, 4)) + offset, 0.8 * random.normal(size=(m, 4)) + 0.3 + offset
    assert prdc_scores(real, generated, k) == pytest.approx(brute_force(real, generated, k), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("duplicates", [False, True])
def test_equals_the_published_package_to_the_last_digit(capfd, dtype: type, duplicates: bool) -> None:
    """Among duplicates distances tie and rounding decides, so only the very same computation gives the same number."""
    for seed in range(8):
        random = np.random.default_rng(seed)
        real = (random.normal(size=(24, 67)) + random.choice([0.0, 3.0])).astype(dtype)
        generated = (real[random.permutation(24)] + random.normal(size=(24, 67))).astype(dtype)
        if duplicates:
            real[::4], generated[1::3] = real[0], real[1::3]
        expected = {name: float(value) for name, value in compute_prdc(real, generated, 3).items()}
        capfd.readouterr()
        assert prdc_scores(real, generated, 3) == expected
        assert capfd.readouterr().out == ""  # the package prints its counts


def test_the_filters_of_warnings_stay_as_they_were() -> None:
    real, generated = np.random.default_rng(3).random((2, 48, 125), dtype=np.float32)
    before = list(warnings.filters)
    for _ in range(20):
        prdc_scores(real, generated, 5)
    assert warnings.filters == before


def test_agrees_with_the_released_evaluation() -> None:
    """`losses_metrics_normalisation_prdc/prdc_k3` of the CodeDiff3D golden numbers."""
    k = np.arange(60, dtype=np.float64)
    real, generated = np.sin(0.37 * k).reshape(12, 5), np.sin(0.37 * k + 0.2 * np.cos(k)).reshape(12, 5)
    assert prdc_scores(real, generated, 3) == pytest.approx(
        {"precision": 1.0, "recall": 1.0, "density": 1.138888889, "coverage": 1.0}, abs=1e-9
    )


@pytest.mark.trains
@pytest.mark.parametrize(("n", "k", "coverage"), [(8, 3, 0.923), (102, 3, 0.879), (102, 5, 0.971), (48, 5, 0.9735)])
def test_the_same_distribution_scores_what_theory_says(n: int, k: int, coverage: float, seed: int) -> None:
    """E[density] = 1; E[coverage] = 1 − (n−1)…(n−k) / ((2n−1)…(2n−k)) (Naeem et al. 2020, lemma 2)."""
    random = np.random.default_rng(seed)
    trials = 200
    scores = [prdc_scores(random.normal(size=(n, 8)), random.normal(size=(n, 8)), k) for _ in range(trials)]
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert expected == pytest.approx(coverage, abs=5e-4)
    for name, value in (("coverage", expected), ("density", 1.0)):
        sample = [score[name] for score in scores]
        error = np.std(sample) / math.sqrt(trials)
        assert abs(np.mean(sample) - value) < 4 * error
        assert error < 0.03


def test_batches_are_averaged_in_order_and_the_rest_is_dropped() -> None:
    random = np.random.default_rng(6)
    real, generated = random.normal(size=(2, 21, 5)), 0.5 * random.normal(size=(2, 21, 5))
    scores = prdc_by_encoder(real, generated, 3, 8)
    for encoder in range(2):
        loop = [brute_force(real[encoder, i : i + 8], generated[encoder, i : i + 8], 3) for i in (0, 8)]
        expected = {name: np.mean([entry[name] for entry in loop]) for name in FIDELITY}
        assert scores[encoder] == pytest.approx(expected, abs=1e-12)
    changed = generated.copy()
    changed[:, 16:] = 99.0
    assert prdc_by_encoder(real, changed, 3, 8) == scores
    with pytest.raises(ValueError, match="7 cases; a batch needs 8"):
        prdc_by_encoder(real[:, :7], generated[:, :7], 3, 8)


@pytest.mark.trains
def test_density_in_batches_of_eight_ends_at_eight_thirds(seed: int) -> None:
    real = np.random.default_rng(seed).normal(size=(1, 64, 90))
    collapsed = np.repeat(real.mean(1, keepdims=True), 64, axis=1) + 1e-9 * real
    assert prdc_by_encoder(real, collapsed, 3, 8)[0]["density"] == pytest.approx(8 / 3)
    assert prdc_by_encoder(real, collapsed, 3)[0]["density"] > 10


def test_features_that_do_not_vary_warn_and_score_nothing() -> None:
    random = np.random.default_rng(5)
    real, flat = random.normal(size=(10, 4)), np.full((10, 4), 0.5)
    with pytest.warns(DegenerateFeatures, match="all generated features are equal"):
        assert prdc_scores(real, flat, 3)["recall"] == 0.0
    with pytest.warns(DegenerateFeatures, match="all real and generated features are equal"):
        assert prdc_scores(flat, flat, 3) == dict.fromkeys(FIDELITY, 0.0)


def test_too_few_rows_or_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="4 cases; k = 3 needs at least 5"):
        prdc_scores(np.zeros((9, 2)), np.zeros((4, 2)), 3)
    with pytest.raises(ValueError, match="NaN"):
        prdc_scores(np.full((9, 2), np.nan), np.zeros((9, 2)), 3)


# --- features of real cases, and whole sets


def plan(data: dict[str, Cases], settings: Fidelity = SMALL) -> SetPlan:
    return plan_set(data["test"], data["train"], data["test"].names, settings, CPU)


def test_real_features_are_computed_once_and_rebuilt_when_damaged(make_data, data_folder: Path, monkeypatch) -> None:
    cases = make_data(test=3)["test"]
    indices = np.arange(3)
    assert count_uncached(cases, indices, SMALL) == 3
    first = encode_real(cases, indices, SMALL, CPU)
    assert count_uncached(cases, indices, SMALL) == 0
    (archive,) = (data_folder / "features").glob("toy-test-*.npz")
    (record,) = (data_folder / "features").glob("toy-test-*.json")
    assert len(json.loads(record.read_text())["sha256"]) == 64

    with monkeypatch.context() as patched:
        patched.setattr(fidelity, "encode", None)  # a second computation would fail
        again = encode_real(cases, indices, SMALL, CPU)
    assert count_uncached(cases, np.arange(2), SMALL) == 2  # other cases
    assert count_uncached(make_data(test=3, seed=1)["test"], indices, SMALL) == 3  # other data
    archive.write_bytes(archive.read_bytes()[:-100])
    assert count_uncached(cases, indices, SMALL) == 3
    rebuilt = encode_real(cases, indices, SMALL, CPU)
    for key, features in first.items():
        assert np.array_equal(again[key], features)
        assert np.array_equal(rebuilt[key], features)


SETTINGS = replace(SMALL, nearest_k=2, encoder_seeds=(0,), baseline_draws=1, small_encoded_side=32, stretch=Stretch())
OTHER_ENCODERS: tuple[dict[str, Any], ...] = (
    *({"widths": (4, 8, 8, 12)}, {"head_width": 9}, {"head_side": 3}, {"gate_side": 2}, {"slope": 0.3}),
    {"spectral_norm": "random-vectors"},
)
OF_ENCODING = {  # another value of each setting that features of a volume, or of a blurred one, depend on
    **{next(iter(other)): replace(SETTINGS, encoder=replace(NARROW, **other)) for other in OTHER_ENCODERS},
    "encoder_seeds": replace(SETTINGS, encoder_seeds=(1,)),
    "small_encoded_side": replace(SETTINGS, small_encoded_side=48),
    "small_below and encoded_side": replace(SETTINGS, small_below=8, encoded_side=48),
    "interpolation": replace(SETTINGS, interpolation=("nearest", "nearest")),
    "blur_edge": replace(SETTINGS, blur_edge="wrap"),
    "added_hu": replace(SETTINGS, stretch=Stretch(added_hu=100.0)),
    "window_hu": replace(SETTINGS, stretch=Stretch(window_hu=1e-3)),
    "no stretch": replace(SETTINGS, stretch=None),
}
OF_SETS = {  # the same of settings that decide only how features are compared
    "nearest_k": replace(SETTINGS, nearest_k=3),
    "baseline_draws": replace(SETTINGS, baseline_draws=2),
    "baseline_seed": replace(SETTINGS, baseline_seed=1),
    "blur_voxels": replace(SETTINGS, blur_voxels=3.0),
    "batch": replace(SETTINGS, batch=5),
}


@pytest.mark.usefixtures("data_folder")
@pytest.mark.parametrize("name", [*OF_ENCODING, *OF_SETS])
def test_cached_features_are_those_of_the_settings_that_decide_them(make_data, name: str) -> None:
    cases, indices = make_data(test=3)["test"], np.arange(3)
    first = encode_real(cases, indices, SETTINGS, CPU, blur_voxels=1.0)
    other = {**OF_ENCODING, **OF_SETS}[name]
    assert count_uncached(cases, indices, other, 1.0) == (3 if name in OF_ENCODING else 0)
    again = encode_real(cases, indices, other, CPU, blur_voxels=1.0)
    same = [first[key].shape == again[key].shape and np.array_equal(first[key], again[key]) for key in first]
    assert not any(same) if name in OF_ENCODING else all(same)


@pytest.mark.usefixtures("data_folder")
@pytest.mark.parametrize("name", ["features", "encoder", "blur", "stretch"])
def test_features_that_an_earlier_version_computed_are_not_taken_from_the_cache(make_data, monkeypatch, name) -> None:
    cases = make_data(test=2)["test"]
    encode_real(cases, np.arange(2), SETTINGS, CPU)
    monkeypatch.setitem(VERSIONS, name, VERSIONS[name] + 1)
    assert count_uncached(cases, np.arange(2), SETTINGS) == 2


@pytest.mark.usefixtures("data_folder")
@pytest.mark.parametrize("name", OF_SETS)
def test_every_setting_of_sets_decides_a_number(make_data, name: str) -> None:
    data = make_data(train=12, test=7)
    volumes = 0.7 * data["test"].volumes(range(7)) + 0.1
    both = (score_set(plan(data, settings), volumes) for settings in (SETTINGS, OF_SETS[name]))
    first, other = ({(s.metric, s.axis, s.rep, s.stat): s.value for s in scores} for scores in both)
    assert first != other


@pytest.mark.usefixtures("data_folder")
def test_blurred_features_are_those_of_blurred_volumes_and_kept_apart(make_data) -> None:
    cases = make_data(test=3)["test"]
    sharp = encode_real(cases, np.arange(3), SMALL, CPU)
    blurred, kept = (encode_real(cases, np.arange(3), SMALL, CPU, blur_voxels=2.0) for _ in range(2))
    assert count_uncached(cases, np.arange(3), SMALL, 1.0) == 3
    assert np.array_equal(kept["3d"], blurred["3d"])
    assert np.abs(sharp["3d"] - blurred["3d"]).max() > 0
    volumes = cases.volumes(range(3)).numpy()
    nearest = torch.stack([torch.from_numpy(gaussian_filter(volume, 2.0, mode="nearest")) for volume in volumes])
    np.testing.assert_allclose(encode(nearest, 16, SMALL, CPU)["3d"], blurred["3d"], rtol=1e-5, atol=1e-9)


def test_baseline_draws_hold_no_case_twice_and_are_the_same_for_every_method() -> None:
    draws = draw_baseline(30, 12, Fidelity())
    assert draws.shape == (5, 12)
    assert all(len(set(draw)) == 12 and max(draw) < 30 for draw in draws.tolist())
    assert np.array_equal(draws, draw_baseline(30, 12, Fidelity()))
    assert len({tuple(draw) for draw in draws.tolist()}) == 5


@pytest.mark.usefixtures("data_folder")
def test_a_set_is_scored_per_encoder_with_its_baseline(make_data) -> None:
    data = make_data(train=10, test=6)
    planned, encoded = plan(data), []
    scores = score_set(planned, data["test"].volumes(range(6)), lambda: encoded.append(1))
    assert len(encoded) == 6 + 6 + 6 + len(planned.training)  # predicted, true, blurred, drawn
    by_key = {(s.space, s.axis, s.metric, s.rep, s.stat): s.value for s in scores}
    assert len(by_key) == len(scores)
    for axis in ("d", "h", "w", "mean"):
        assert by_key["mip", axis, "coverage", "", "mean"] == 1.0  # the predictions are the truth
    assert by_key["3d", "all", "density", "", "mean"] == pytest.approx(1.0)

    features = {split: encode(data[split].volumes(range(len(data[split]))), 16, SMALL, CPU) for split in data}
    expected = [
        prdc_by_encoder(features["test"][key], features["train"][key][:, planned.draws[2]], 3)[1]["density"]
        for key in ("3d", "d", "h", "w")
    ]
    assert by_key["3d", "all", "density_baseline", "1.2", "value"] == pytest.approx(expected[0])
    assert by_key["mip", "mean", "density_baseline", "1.2", "value"] == pytest.approx(np.mean(expected[1:]))
    blurred = [by_key["3d", "all", "density_blurred", str(e), "value"] for e in range(2)]
    assert by_key["3d", "all", "density_blurred", "", "mean"] == pytest.approx(np.mean(blurred))
    (note,) = {s.note for s in scores if s.metric == "density_blurred" and s.stat == "mean"}
    assert note == "test cases blurred by a Gaussian of σ 1 voxels"
    all_draws = [by_key["3d", "all", "recall_baseline", f"{e}.{d}", "value"] for e in range(2) for d in range(3)]
    assert by_key["3d", "all", "recall_baseline", "", "mean"] == pytest.approx(np.mean(all_draws))
    assert by_key["3d", "all", "recall_baseline", "", "sd"] == pytest.approx(np.std(all_draws, ddof=1))


@pytest.mark.usefixtures("data_folder")
@pytest.mark.parametrize(
    ("train", "test", "metrics", "reason"),
    [
        (10, 4, ("density", "coverage_baseline", "precision_blurred"), "4 cases; k = 3 needs at least 5"),
        (5, 6, ("density_baseline",), "5 training cases; the baseline needs 6"),
    ],
)
def test_sets_that_are_too_small_say_so(
    make_data, train: int, test: int, metrics: tuple[str, ...], reason: str
) -> None:
    data = make_data(train=train, test=test)
    scores = [s for s in score_set(plan(data), data["test"].volumes(range(test))) if s.metric in metrics]
    places = {("3d", "all"), *(("mip", axis) for axis in ("d", "h", "w", "mean"))}
    assert {(s.metric, s.space, s.axis) for s in scores} == {(m, *place) for m in metrics for place in places}
    assert {(s.value, s.note) for s in scores} == {(None, reason)}


@pytest.mark.usefixtures("data_folder")
def test_equal_predictions_are_scored_with_a_note_and_without_a_warning(make_data) -> None:
    data = make_data(train=6, test=6)
    scores = score_set(plan(data), [torch.full((16, 16, 16), 0.4)] * 6)
    (recall,) = [s for s in scores if (s.space, s.metric, s.stat) == ("3d", "recall", "mean")]
    assert recall.value == 0.0
    assert recall.note == "all generated features are equal"


def test_controls_are_compared_once_for_all_predictions_and_again_when_damaged(
    make_data, data_folder: Path, monkeypatch
) -> None:
    """They hold no prediction, so that those of one set of cases are the same for every method."""
    cases, calls = make_data(train=10, test=8, size=16), []
    planned = plan(cases)
    compare = sets._compare_encoders
    monkeypatch.setattr(sets, "_compare_encoders", lambda *given: calls.append(1) or compare(*given))
    predictions = [0.5 * cases["test"].volumes([index])[0] for index in range(8)]
    first = score_set(planned, predictions)
    assert len(calls) == 1 + 1 + SMALL.baseline_draws
    calls.clear()
    assert score_set(planned, predictions) == first
    assert len(calls) == 1
    (kept,) = data_folder.glob("features/*controls*.json")
    text = kept.read_text()
    for damaged in (text.replace('"density_blurred"', '"density"', 1), text[:-9], "{}", '{"scores": 1, "sha256": "0"}'):
        calls.clear()
        kept.write_text(damaged)
        assert score_set(planned, predictions) == first
        assert len(calls) == 1 + 1 + SMALL.baseline_draws
    calls.clear()
    fewer = plan_set(cases["test"], cases["train"], cases["test"].names[:-1], SMALL, CPU)
    score_set(fewer, predictions[:-1])
    score_set(plan(cases, replace(SMALL, baseline_seed=1)), predictions)
    assert len(calls) == 2 * (1 + 1 + SMALL.baseline_draws)
