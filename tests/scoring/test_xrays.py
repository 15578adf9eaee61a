"""X-ray images at angles that were not given: which angles, whose images, and numbers that another path confirms."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench.dataset import DatasetCard
from bench.errors import BenchError
from bench.metrics.settings import GaussianSsim
from bench.projector import project
from bench.runs.manifest import find_intact, renders_file
from bench.runs.predictions import read_renders, write_prediction
from bench.scoring.cases import EXACT
from bench.scoring.protocol import CaseScore, CaseVolumes, Reprojection, Turn, WholeArrays
from bench.scoring.protocols import PROTOCOLS, RENDERED
from bench.scoring.score import RunFacts, score_predictions
from bench.scoring.xrays import ALONE, OWN, draw_images, score_given_views, score_images, score_turn, turn_angles

TURN = Turn(images=8)


def score_xrays(
    truth: np.ndarray, made: np.ndarray, card: DatasetCard, turn: Turn, own: np.ndarray | None = None
) -> list[CaseScore]:
    """The numbers of a turn round a truth and a prediction."""
    return score_turn(draw_images(CaseVolumes(truth, made), card, turn_angles(turn, card.angles)), card, turn, own)


def draw(volume: np.ndarray, card: DatasetCard, angles: list[float], mirrored: list[bool] | None = None) -> np.ndarray:
    """The images (A, 24, 24) of a volume (D, H, W) in [0, 1], as the projector draws it alone."""
    hounsfield = torch.from_numpy(volume[None] * 2000 - 1000).float()
    drawn = project(hounsfield, card.voxel_mm, card.geometry, angles, 24, mirrored=mirrored)
    return (drawn / 4).clamp(0, 1)[0].double().numpy()


def by_place(scores: list) -> dict[tuple[str, str], float]:
    return {(score.axis, score.metric): score.value for score in scores}


def test_given_angles_are_not_held_out() -> None:
    assert turn_angles(TURN, (270.0, 0.0)) == (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
    assert turn_angles(TURN, (-90.0, 10.0))[8:] == (10.0,)  # −90 is 270, which the turn holds
    assert len(turn_angles(Turn(), (270.0, 0.0))) == 72


def test_scores_are_those_of_images_drawn_one_by_one(make_data: Callable[..., dict]) -> None:
    cases = make_data(size=24)["test"]
    card = replace(cases.card, image_size=24)
    truth, made = cases.volumes([0, 1]).double().numpy()
    scores = by_place(score_xrays(truth, made, card, TURN))
    expected: dict[tuple[str, str], list[float]] = {
        (a, m): [] for a in ("heldout", "input") for m in ("psnr", "ssim", "mae")
    }
    for angle in turn_angles(TURN, card.angles):
        place = "input" if angle in (0.0, 270.0) else "heldout"
        images = [draw(volume, card, [angle])[0] for volume in (truth, made)]
        expected[place, "psnr"].append(peak_signal_noise_ratio(*images, data_range=1.0))
        expected[place, "mae"].append(np.abs(images[0] - images[1]).mean())
        ssim = structural_similarity(
            *images, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        expected[place, "ssim"].append(ssim)
    for key, values in expected.items():
        assert scores[key] == pytest.approx(np.mean(values), abs=1e-5), key


@pytest.mark.parametrize(
    "other",
    [
        Turn(images=9),
        Turn(images=8, scores=WholeArrays(peak=2.0)),
        *(Turn(images=8, scores=WholeArrays(ssim=ssim)) for ssim in (GaussianSsim(2.0), GaussianSsim(k1=0.02))),
        Turn(images=8, scores=WholeArrays(ssim=GaussianSsim(k2=0.04))),
    ],
)
def test_every_setting_of_a_turn_decides_a_number(make_data: Callable[..., dict], other: Turn) -> None:
    cases = make_data(size=24)["test"]
    truth, made = cases.volumes([0, 1]).double().numpy()
    assert score_xrays(truth, made, cases.card, other) != score_xrays(truth, made, cases.card, TURN)


def test_a_perfect_prediction_has_no_psnr_and_no_error(make_data: Callable[..., dict]) -> None:
    cases = make_data(size=24)["test"]
    truth = cases.volumes([0])[0].double().numpy()
    scores = by_place(score_xrays(truth, truth, cases.card, TURN))
    assert scores["heldout", "mse"] == 0
    assert scores["heldout", "psnr"] is None


def test_images_of_the_method_itself_take_the_place_of_projections(make_data: Callable[..., dict]) -> None:
    cases = make_data(size=24)["test"]
    truth, made = cases.volumes([0, 1]).double().numpy()
    own = np.full((8, 24, 24), 0.25, dtype=np.float32)
    scores = score_xrays(truth, made, cases.card, TURN, own)
    assert {score.note for score in scores} == {OWN}
    wanted = np.abs(draw(truth, cases.card, [0.0, 270.0]) - 0.25).mean()
    assert by_place(scores)["input", "mae"] == pytest.approx(wanted, abs=1e-6)


def test_rendered_images_are_kept_with_the_prediction_and_checked(
    make_data: Callable[..., dict], tmp_path: Path
) -> None:
    cases = make_data()["test"]
    images = np.random.default_rng(0).random((8, 16, 16), dtype=np.float32)
    volume = cases.volumes([0])[0].numpy()
    write_prediction(tmp_path, "test-000", volume, cases, seconds=1, seed=0, renders=images)
    write_prediction(tmp_path, "test-001", volume, cases, seconds=1, seed=0)
    np.testing.assert_array_equal(read_renders(tmp_path, "test-000", (8, 16, 16)), images)
    assert read_renders(tmp_path, "test-001", (8, 16, 16)) is None
    with pytest.raises(BenchError, match=r"shape \(8, 16, 16\)"):
        read_renders(tmp_path, "test-000", (9, 16, 16))
    np.save(renders_file(tmp_path, "test-000"), images + 1)
    assert set(find_intact(tmp_path)) == {"test-001"}
    with pytest.raises(BenchError, match="manifest"):
        read_renders(tmp_path, "test-000", (8, 16, 16))


def test_rows_say_whose_images_were_scored(make_data: Callable[..., dict], tmp_path: Path) -> None:
    cases, protocol = make_data(), replace(PROTOCOLS["ct3d-1"], fidelity=None)
    test = cases["test"]
    count = len(turn_angles(protocol.turn, test.card.angles))
    images = np.full((count, 16, 16), 0.5, dtype=np.float32)
    for name in test.names:
        write_prediction(tmp_path, name, np.full((16,) * 3, 0.4), test, seconds=1, seed=0, renders=images)
    facts = RunFacts("m-toy-tiny-s0-00000000", "m", "builtin", "tiny", 0, "test")
    rows = score_predictions(facts, cases, tmp_path, protocol)
    means = [row for row in rows if row.space == "drr" and row.level == "set" and row.stat == "mean"]
    assert {(row.axis, row.metric) for row in means} == {
        (axis, metric) for axis in ("heldout", "input") for metric in ("mse", "mae", "psnr", "ssim")
    }
    assert all(row.note == OWN for row in means)


def test_images_of_the_method_are_taken_at_the_angles_of_the_protocol(
    make_data: Callable[..., dict], tmp_path: Path
) -> None:
    """They were rendered at every 5°; a protocol with fewer images picks its own among them."""
    cases, protocol = make_data()["test"], replace(PROTOCOLS["ct3d-2"], anatomy=None, reprojection=None)
    volumes = CaseVolumes(cases.truth("test-000"), cases.truth("test-001"))
    assert protocol.turn is not None
    angles = turn_angles(protocol.turn, cases.card.angles)
    at_its_angles = draw_images(volumes, cases.card, angles)[1]
    at_all = draw_images(volumes, cases.card, turn_angles(RENDERED, cases.card.angles))[1]
    write_prediction(tmp_path, "test-000", volumes.prediction, cases, seconds=1, seed=0, renders=at_all)
    scores = by_place(score_images(volumes, cases, "test-000", protocol, tmp_path))
    expected = by_place(score_xrays(volumes.ct, volumes.prediction, cases.card, protocol.turn, at_its_angles))
    assert scores == {key: pytest.approx(value, abs=1e-6) for key, value in expected.items()}


# --- given views


def test_projections_are_scored_against_the_views_themselves(make_data: Callable[..., dict], tmp_path: Path) -> None:
    cases = make_data(size=24)["test"]
    card, protocol = cases.card, replace(PROTOCOLS["ct3d-2"], turn=None)
    volumes = CaseVolumes(cases.truth("test-000"), cases.truth("test-001"))
    scores = {s.metric: s.value for s in score_images(volumes, cases, "test-000", protocol, tmp_path)}
    views, other = (cases.images([index])[0].numpy() for index in (0, 1))
    for metric, volume in (("psnr_views", volumes.prediction), ("psnr_views_truth", volumes.ct)):
        each = zip(card.angles, card.mirrored, strict=True)
        drawn = np.concatenate([draw(volume, card, [angle], [mirrored]) for angle, mirrored in each])
        expected = peak_signal_noise_ratio(views.astype(np.float64), drawn, data_range=1.0)
        assert scores[metric] == pytest.approx(expected, abs=1e-4)
    assert scores["psnr_views_other"] == pytest.approx(peak_signal_noise_ratio(views, other, data_range=1.0), abs=1e-6)
    with_turn = score_images(volumes, cases, "test-000", replace(protocol, turn=TURN), tmp_path)
    assert {s.metric: s.value for s in with_turn if s.space == "anatomy"} == pytest.approx(scores)


def test_agreement_with_the_views_is_bounded_by_the_truth_and_says_why_it_has_no_value() -> None:
    views = np.random.default_rng(0).random((2, 8, 8))
    prediction, truth, other = score_given_views(np.stack([views, views + 0.1]), views, None, Reprojection())
    assert prediction.value == pytest.approx(20.0)
    assert (truth.value, truth.note) == (None, EXACT)
    assert (other.value, other.note) == (None, ALONE)
    doubled, *_ = score_given_views(np.stack([views, views + 0.1]), views, None, Reprojection(peak=2.0))
    assert doubled.value == pytest.approx(20.0 + 20 * np.log10(2))
