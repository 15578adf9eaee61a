"""The metrics of the released codes: against numbers taken from those codes, scikit-image, and closed forms."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from bench.metrics.distortion import mse, psnr
from bench.metrics.settings import SliceSsim
from bench.metrics.slices import psnr_of_slices, psnr_or_cap, ssim_of_slices
from bench.scoring.cases import score_case
from bench.scoring.protocol import TRUTH_CT, TRUTH_ENCODED, CaseVolumes, Stretch
from bench.scoring.protocols import get_protocol
from bench.scoring.released import cosine, divide_by_range, stretch_to_ct, truncate

GOLDEN = json.loads(Path(__file__).parents[1].joinpath("helpers", "golden_metrics.json").read_text())
RANDOM = np.random.default_rng(23)
WRONG_AXES = SliceSsim(axes=("w", "w", "h"))
X2CT_AXES = {"D": "d", "H": "h", "W": "w", "avg": "all"}
CCX_AXES = {"1": "h", "2": "d", "3": "w", "avg": "all"}  # swapped first


def codediff_pair() -> tuple[np.ndarray, np.ndarray]:
    k = np.arange(16 * 20 * 24, dtype=np.float64)
    truth = (0.5 + 0.5 * np.sin(0.01 * k)).reshape(16, 20, 24)
    prediction = np.clip(truth + 0.05 * np.cos(0.013 * k).reshape(truth.shape), 0, 1)
    prediction[3] = truth[3]
    prediction[:, :, 5] = truth[:, :, 5]
    return truth, prediction


def x2ct_pair(kind: str) -> tuple[np.ndarray, np.ndarray]:
    truth, other = np.random.default_rng(0).random((2, 32, 32, 32))
    if kind == "random":
        return truth, other
    smooth = gaussian_filter(truth, 2)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return smooth, np.clip(gaussian_filter(smooth, 1) * 1.05 + 0.02 * (other - 0.5), 0, 1)


def noisy_pair(shape: tuple[int, ...], dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    truth = RANDOM.random(shape)
    return truth.astype(dtype), np.clip(truth + 0.2 * RANDOM.normal(size=shape), 0, 1).astype(dtype)


def numbers(protocol: str, *volumes: np.ndarray) -> dict[tuple[str, str], float | None]:
    """(metric, axis) → value in 3-D."""
    chosen = get_protocol(protocol)
    return {(s.metric, s.axis): s.value for s in score_case(CaseVolumes(*volumes), chosen) if s.space == "3d"}


# --- numbers taken from the released codes


def test_codediff_slices_are_those_of_the_released_code() -> None:
    golden, (truth, prediction) = GOLDEN["codediff"]["metrics"], codediff_pair()
    per_axis = psnr_of_slices(truth, prediction, peak=1.0, cap=100.0)
    np.testing.assert_allclose([*per_axis, np.mean(per_axis)], golden["PSNR_slicewise[d,h,w,avg]"], rtol=1e-9)
    assert psnr_or_cap(mse(truth, prediction), peak=1.0, cap=100.0) == pytest.approx(golden["PSNR_3D"], rel=1e-9)
    released = ssim_of_slices(truth, prediction, data_range=1.0, settings=WRONG_AXES)
    np.testing.assert_allclose(
        [*released, np.mean(released)], golden["SSIM_codediff_channel_axis1[d,h,w,avg]"], rtol=1e-9
    )
    sliced = ssim_of_slices(truth, prediction, data_range=1.0)
    np.testing.assert_allclose([*sliced, np.mean(sliced)], golden["SSIM_x2ct_channel_last[d,h,w,avg]"], rtol=1e-9)


def test_min_max_is_that_of_the_released_loader() -> None:
    golden = GOLDEN["codediff"]["normalisation"]
    volume = 1500 * np.abs(np.sin(0.01 * np.arange(16**3))).reshape(16, 16, 16)
    loaded = divide_by_range(volume, volume, 1e-4)
    assert loaded.mean() == pytest.approx(golden["min_max_no_noise_removal_mean_float64"], rel=1e-9)
    assert loaded.max() == pytest.approx(golden["min_max_float64_max"], rel=1e-9)
    assert loaded.min() == 0.0


def test_the_protocol_of_the_paper_gives_the_golden_numbers() -> None:
    """The golden pair on the scale of its truth, so that the protocol's stretch changes nothing."""
    truth, prediction = codediff_pair()
    truth, prediction = (np.clip(divide_by_range(volume, truth, 0.0), 0, 1) for volume in (truth, prediction))
    values = numbers("paper-2023", truth, prediction)
    per_axis = psnr_of_slices(truth, prediction, peak=1.0, cap=100.0)
    for axis, expected in zip(("d", "h", "w", "all"), [*per_axis, np.mean(per_axis)], strict=True):
        assert values["psnr", axis] == pytest.approx(expected, rel=1e-6)
    assert values["psnr_volume", "all"] == pytest.approx(psnr(truth, prediction, data_range=1.0), rel=1e-6)
    assert values["mse_x4", "all"] == pytest.approx(mse(2 * truth - 1, 2 * prediction - 1), rel=1e-6)
    assert values["mae_x2", "all"] == pytest.approx(np.abs(2 * truth - 2 * prediction).mean(), rel=1e-6)
    assert values["l1_sample", "all"] == pytest.approx(np.abs(truth - prediction).mean(), rel=1e-6)


PRINTED: dict[str, tuple[dict[str, Any], dict[str, str], tuple[str, str, str]]] = {
    # protocol → golden numbers of a pair, axes by the name that is printed, marks of the three peaks
    "x2ct-2019 random": (GOLDEN["x2ct"]["official_test_pipeline_random"], X2CT_AXES, ("4095", "4095", "range1")),
    "x2ct-2019 smooth": (GOLDEN["x2ct"]["official_test_pipeline_smooth"], X2CT_AXES, ("4095", "4095", "range1")),
    "ccx-2021 random": (GOLDEN["ccx"]["random"], CCX_AXES, ("L=1.6384", "4096", "L=1.6384")),
    "ccx-2021 smooth": (GOLDEN["ccx"]["smooth_pair"], CCX_AXES, ("L=1.6384", "4096", "L=1.6384")),
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_protocol_prints_what_its_released_test_prints(name: str) -> None:
    (golden, axes, (whole, integer, peak)), (protocol, kind) = PRINTED[name], name.split()
    values = numbers(protocol, *x2ct_pair(kind))
    columns = {"mae": "MAE0", "mse": "MSE0", "cosine": "Cosine", "mae_int": "MAE_int", "mse_int": "MSE_int"}
    columns["psnr"] = f"PSNR-3D({whole})"
    expected = {
        **{(metric, "all"): golden[column] for metric, column in columns.items()},
        **{("psnr_slices", axis): golden[f"PSNR-{said}({integer})"] for said, axis in axes.items()},
        **{("ssim", axis): golden[f"SSIM-{said}({peak})"] for said, axis in axes.items()},
    }
    assert values == {key: pytest.approx(value, rel=5e-6) for key, value in expected.items()}


def test_an_exact_match_is_100_db_only_where_the_released_codes_say_so() -> None:
    truth, _ = x2ct_pair("random")
    assert GOLDEN["x2ct"]["identical"]["PSNR3D"] == 100.0
    for protocol in ("paper-2023", "x2ct-2019", "ccx-2021"):
        values = numbers(protocol, truth, truth.copy())
        if values["psnr", "all"] is not None:  # rounding may put the cosine above 1, which drops the case
            assert values["psnr", "all"] == 100.0
    assert numbers("ct3d-1", truth, truth.copy())["psnr", "all"] is None


# --- scikit-image


@pytest.mark.parametrize("shape", [(7, 9, 12), (16, 16, 16), (21, 13, 30)])
@pytest.mark.parametrize("data_range", [1.0, 4096 / 2500, 2.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ssim_of_slices_agrees_with_scikit_image(shape: tuple[int, ...], data_range: float, dtype: type) -> None:
    truth, prediction = noisy_pair(shape, dtype)
    wide = truth.astype(np.float64), prediction.astype(np.float64)
    expected = [structural_similarity(*wide, data_range=data_range, channel_axis=axis) for axis in range(3)]
    values = ssim_of_slices(truth, prediction, data_range=data_range)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-10)


def test_the_wrong_channel_axis_slices_w_w_and_h() -> None:
    """The released call: `channel_axis=1` after the transpositions that X2CT-GAN follows with the last axis."""
    truth, prediction = noisy_pair((15, 18, 11))
    expected = [structural_similarity(truth, prediction, data_range=1.0, channel_axis=axis) for axis in (2, 2, 1)]
    values = ssim_of_slices(truth, prediction, data_range=1.0, settings=WRONG_AXES)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-10)


# --- closed forms


def test_the_mean_over_slices_is_not_the_value_of_the_volume() -> None:
    """Half the slices exact, the others off by c: across D (100 − 20 log10 c) / 2, of the volume 3.01 − 20 log10 c."""
    truth, prediction = np.zeros((8, 9, 10)), np.zeros((8, 9, 10))
    prediction[::2] = 0.1
    d, h, w = psnr_of_slices(truth, prediction, peak=1.0, cap=100.0)
    volume = 20 + 10 * math.log10(2)
    assert d == pytest.approx((100 + 20) / 2, rel=1e-12)
    assert (h, w) == (pytest.approx(volume, rel=1e-12), pytest.approx(volume, rel=1e-12))
    assert psnr(truth, prediction, data_range=1.0) == pytest.approx(volume, rel=1e-12)


def test_constant_volumes_follow_the_luminance_term_and_stretch_to_zero() -> None:
    a, b = np.full((9, 9, 9), 0.3), np.full((9, 9, 9), 0.6)
    expected = (2 * 0.3 * 0.6 + 1e-4) / (0.3**2 + 0.6**2 + 1e-4)
    np.testing.assert_allclose(ssim_of_slices(a, b, data_range=1.0), [expected] * 3, rtol=1e-9)
    assert not stretch_to_ct(a, a, Stretch()).any()
    assert (stretch_to_ct(b, a, Stretch()) == 1.0).all()


def test_integers_are_truncated_and_not_rounded() -> None:
    assert truncate(np.array([0.0, 0.00039, 0.0004, 0.99999, 1.0]), 2500.0).tolist() == [0, 0, 1, 2499, 2500]
    truth, prediction = np.full((8, 8, 8), 0.5), np.full((8, 8, 8), 0.5)
    prediction[::2] += 2.9 / 2500  # two steps in half of the voxels
    values = numbers("x2ct-2019", truth, prediction)
    assert (values["mse_int", "all"], values["mae_int", "all"]) == (2.0, 1.0)
    assert values["psnr", "all"] == pytest.approx(10 * math.log10(4095**2 / 2), rel=1e-12)


# --- quirks


def test_the_truth_of_the_paper_is_the_methods_own_encoding_where_there_is_one() -> None:
    ct, prediction = noisy_pair((12, 11, 10))
    encoded = np.clip(ct + 0.3 * (RANDOM.random(ct.shape) - 0.5), 0, 1)
    alone, beside = numbers("paper-2023", ct, prediction), numbers("paper-2023", ct, prediction, encoded)
    ct[0, 0, :2] = encoded[0, 0, :2] = [0.0, 1.0]  # of one scale
    against_encoding = numbers("paper-2023", encoded, prediction)
    beside = numbers("paper-2023", ct, prediction, encoded)
    for key in (("psnr", "all"), ("ssim", "d"), ("mse", "all"), ("mae_x2", "all")):
        assert beside[key] == pytest.approx(against_encoding[key], rel=1e-12)
        assert beside[key] != pytest.approx(alone[key], rel=1e-3)
    alone = numbers("paper-2023", ct, prediction)
    assert beside["l1_sample", "all"] == alone["l1_sample", "all"]  # the released script takes the CT there
    assert numbers("paper-2023", ct, encoded, encoded)["psnr", "all"] == 100.0  # copied codes score perfectly
    protocol = get_protocol("paper-2023")
    for volumes, note in (
        (CaseVolumes(ct, prediction), TRUTH_CT),
        (CaseVolumes(ct, prediction, encoded), TRUTH_ENCODED),
    ):
        scores = score_case(volumes, protocol)
        assert {s.note for s in scores if s.metric in ("psnr", "ssim", "mse") and s.space == "3d"} == {note}
        assert {s.note for s in scores if s.metric == "l1_sample"} == {TRUTH_CT}


def test_errors_grow_as_the_range_of_the_ct_shrinks_and_the_prediction_is_clipped_to_it() -> None:
    ct = 0.25 + 0.5 * RANDOM.random((10, 10, 10))
    ct[0, 0, :2] = [0.25, 0.75]
    inside = np.clip(ct + 0.05, 0.25, 0.75)
    assert numbers("paper-2023", ct, inside)["mae", "all"] == pytest.approx(
        2 * numbers("ct3d-1", ct, inside)["mae", "all"], rel=1e-6
    )
    beyond = np.where(ct > 0.7, 0.9, inside)
    clipped = np.where(ct > 0.7, 0.75, inside)
    expected = numbers("paper-2023", ct, clipped)
    assert numbers("paper-2023", ct, beyond) == {key: pytest.approx(value, rel=1e-6) for key, value in expected.items()}
    assert stretch_to_ct(ct, ct, Stretch()).max() == pytest.approx(1.0, abs=1e-6)


def test_a_case_whose_cosine_is_above_one_is_dropped_as_released() -> None:
    truth = next(
        volume
        for volume in (np.random.default_rng(seed).random((8, 8, 8)) for seed in range(200))
        if cosine(volume, volume) > 1.0
    )
    protocol = get_protocol("x2ct-2019")
    scores = score_case(CaseVolumes(truth, truth), protocol)
    assert {s.value for s in scores} == {None}
    assert {s.note for s in scores} == {"dropped as released: rounding put the cosine similarity above 1"}
    assert {s.metric for s in scores} >= {"psnr", "ssim", "mse", "cosine"}


def test_zeros_have_no_cosine() -> None:
    values = numbers("ccx-2021", np.zeros((8, 8, 8)), np.full((8, 8, 8), 0.5))
    assert values["cosine", "all"] is None
    assert values["mse", "all"] == 0.25


@pytest.mark.parametrize("protocol", ["paper-2023", "x2ct-2019", "ccx-2021"])
def test_thin_volumes_have_no_ssim_and_say_why(protocol: str) -> None:
    chosen = get_protocol(protocol)
    scores = score_case(CaseVolumes(*noisy_pair((6, 20, 20))), chosen)
    (score,) = [s for s in scores if s.metric == "ssim" and s.space == "3d"]
    assert (score.axis, score.value) == ("all", None)
    assert score.note == "a side is under the 7 pixels of the SSIM window"


@pytest.mark.parametrize("protocol", ["ct3d-1", "paper-2023", "x2ct-2019", "ccx-2021"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_under_every_protocol(protocol: str, bad: float) -> None:
    truth, prediction = noisy_pair((8, 8, 8))
    prediction[1, 2, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        numbers(protocol, truth, prediction)
