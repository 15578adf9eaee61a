"""Structures of one case: what is looked for follows the card, what is missed counts, and nothing is ever NaN."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.dataset import DatasetCard
from bench.metrics import CLASSES, ORGANS
from bench.metrics.settings import BAG, PATIENT, Band
from bench.scoring.anatomy import score_anatomy
from bench.scoring.cases import EXACT
from bench.scoring.protocol import Anatomy, CaseScore
from bench.scoring.protocols import PROTOCOLS
from bench.scoring.rows import check_scores, frame_of
from bench.scoring.score import RunFacts, score_predictions

from ..helpers.toy_data import GEOMETRY, predict, towards_grey
from .test_protocols import settings_of, with_another

CARD = DatasetCard("t", "phantom", 24, 10.0, (-1000.0, 1000.0), 24, (270.0, 0.0), (True, False), GEOMETRY, {}, "")
SETTINGS = Anatomy()


def draw_chest(lung: float = -800.0, bone: float = 600.0, body: float = 40.0) -> np.ndarray:
    """A block of tissue with two lungs and a spine, in [0, 1]."""
    volume = np.full((24, 24, 24), -1000.0)
    volume[:, 4:20, 2:22] = body
    volume[2:20, 6:14, 4:9] = lung
    volume[2:20, 6:14, 15:20] = lung
    volume[:, 15:18, 10:14] = bone
    return (volume + 1000) / 2000


def score(truth: np.ndarray, prediction: np.ndarray, card: DatasetCard = CARD) -> dict[str, CaseScore]:
    return {s.metric: s for s in score_anatomy(truth, prediction, card, SETTINGS)}


def test_what_is_looked_for_follows_the_subject_of_the_card() -> None:
    patient, bag = (score(draw_chest(), draw_chest(), replace(CARD, subject=s)) for s in ("patient", "bag"))
    assert {name for name in patient if name.startswith("dice")} == {f"dice_{organ}" for organ in ORGANS}
    assert {name for name in bag if name.startswith("dice")} == {"dice_body"}
    for found, subject in ((patient, PATIENT), (bag, BAG)):
        names = {band.name for band in subject.bands}
        assert {name.removeprefix("share_") for name in found if name.startswith("share_")} == names
        assert names <= CLASSES.keys()


def test_a_missed_organ_counts_and_only_its_distance_is_undefined() -> None:
    found = score(draw_chest(), draw_chest(lung=40.0, bone=40.0))
    for organ in ("lung", "bone"):
        assert found[f"detection_{organ}"].value == 0.0
        assert found[f"dice_{organ}"].value == 0.0
        assert found[f"volume_error_{organ}"].value == -100.0
        assert (found[f"assd_{organ}"].value, found[f"assd_{organ}"].note) == (None, f"the prediction has no {organ}")
    assert found["detection_body"].value == 1.0
    assert found["bias_hu_lung"].value == pytest.approx(840.0)
    assert found["mae_hu_bone"].value == pytest.approx(560.0)


def test_a_truth_without_an_organ_says_so_and_asks_nothing_of_the_prediction() -> None:
    found = score(draw_chest(lung=40.0, bone=40.0), draw_chest())
    for organ in ("lung", "bone"):
        for metric in ("dice", "assd", "volume_error", "detection"):
            own = found[f"{metric}_{organ}"]
            assert (own.value, own.note) == (None, f"the truth has no {organ}")
    assert found["share_bone"].value == 0.0
    assert (found["mae_hu_bone"].value, found["mae_hu_bone"].note) == (None, "the truth has no voxel of bone")


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_volume_without_any_structure_has_reasons_and_no_nan(level: float) -> None:
    flat = np.full((12, 12, 12), level)
    for truth, prediction in ((flat, draw_chest()[:12, :12, :12]), (draw_chest()[:12, :12, :12], flat), (flat, flat)):
        for found in score(truth, prediction).values():
            assert found.value is None or math.isfinite(found.value)
            assert (found.value is None) == bool(found.note)


def test_psnr_in_the_body_leaves_the_air_outside_out() -> None:
    truth, prediction = draw_chest(), draw_chest()
    prediction[:, :3] = 0.7
    assert score(truth, prediction)["psnr_body"].note == EXACT
    prediction = draw_chest()
    prediction[:, 4:20, 2:22] += 0.1
    assert score(truth, prediction)["psnr_body"].value == pytest.approx(20.0)


def test_thresholds_do_not_hang_on_how_numbers_between_0_and_1_are_rounded() -> None:
    """A voxel at −900 HU is lung and one at −901 is air, in volumes that hold them as fractions of a window."""
    for level, name in ((-900.0, "lung"), (-901.0, "air"), (-150.0, "fat"), (-50.0, "soft"), (200.0, "bone")):
        truth = np.full((4, 4, 4), (level + 1000.0) / 2000.0)
        assert score(truth, truth)[f"share_{name}"].value == 1.0


ANOTHER = {
    "bands": (Band("fat", -2000.0, 2000.0),),
    "body_above": -150.0,
    "above": 700.0,
    "below": -820.0,
    "least_share": 0.9,
    "least_ml": 400.0,
}


@pytest.mark.parametrize("path", list(settings_of(SETTINGS)), ids=".".join)
def test_every_setting_decides_a_number(path: tuple[str, ...]) -> None:
    """A setting that no function reads would say something of the numbers that is not so."""
    random = np.random.default_rng(1)
    truth = draw_chest()
    truth[2:20, 6:14, 4:6] = 0.5  # one lung smaller than the other
    truth[:, 4:6, 2:22] = 0.43  # a coat of fat
    prediction = np.clip(truth + 0.02 * random.normal(size=truth.shape), 0, 1)
    prediction[5:9, 6:12, 15:20] = 0.5
    card = replace(CARD, subject="bag" if path[0] == "bag" else "patient")
    other = with_another(SETTINGS, path, ANOTHER)
    assert score_anatomy(truth, prediction, card, other) != score_anatomy(truth, prediction, card, SETTINGS)


# --- as rows


@pytest.mark.parametrize("test", [1, 4])
def test_rows_of_the_default_protocol_are_whole_and_can_be_true(
    make_data: Callable[..., dict], tmp_path: Path, test: int
) -> None:
    cases, protocol = make_data(train=4, test=test, size=24), replace(PROTOCOLS["ct3d-2"], fidelity=None)
    predict(tmp_path, cases["test"], towards_grey)
    rows = score_predictions(RunFacts("m-toy-tiny-s0-0", "m", "builtin", "tiny", 0, "0"), cases, tmp_path, protocol)
    check_scores(frame_of(rows))
    own = [row for row in rows if row.space in ("anatomy", "tissue")]
    masks = [f"{key}_{organ}" for key in ("dice", "assd", "volume_error", "detection") for organ in ORGANS]
    views = ["psnr_views", "psnr_views_truth", "psnr_views_other"]
    classes = [f"{key}_{band.name}" for key in ("mae_hu", "bias_hu", "share") for band in PATIENT.bands]
    for case in cases["test"].names:
        of_case = sorted(row.metric for row in own if row.case == case)
        assert of_case == sorted(["psnr_body", "high_frequency", *masks, *views, *classes])
    others = [row for row in own if row.metric == "psnr_views_other"]
    assert {row.status for row in others} == {"na" if test == 1 else "ok"}
    means = {row.metric: row for row in own if row.level == "set" and row.stat == "mean"}
    detected = [row.value for row in own if row.level == "case" and row.metric == "detection_body"]
    assert means["detection_body"].value == np.mean([value for value in detected if value is not None])
