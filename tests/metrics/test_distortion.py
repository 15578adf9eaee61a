"""MSE, MAE, PSNR and SSIM against closed forms, scikit-image with every parameter spelled out, and MONAI."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import SSIMMetric
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from bench.metrics.distortion import mae, mse, psnr
from bench.metrics.ssim import ssim

RANDOM = np.random.default_rng(7)
SHAPES = [(5, 7, 9), (16, 16, 16), (33, 4), (1,)]


def pair(shape: tuple[int, ...], dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    truth = RANDOM.random(shape).astype(dtype)
    return truth, np.clip(truth + 0.2 * RANDOM.normal(size=shape), 0, 1).astype(dtype)


@pytest.mark.parametrize("offset", [0.5, 0.1, 0.003])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_constant_offset_has_the_closed_form(offset: float, dtype: type) -> None:
    truth = np.full((6, 5, 4), 0.25, dtype=dtype)
    shifted = truth + dtype(offset)
    tolerance = 1e-12 if dtype is np.float64 else 1e-4
    assert mae(truth, shifted) == pytest.approx(offset, rel=tolerance)
    assert mse(truth, shifted) == pytest.approx(offset**2, rel=tolerance)
    assert psnr(truth, shifted, data_range=1.0) == pytest.approx(-20 * math.log10(offset), rel=tolerance)
    assert psnr(truth, shifted, data_range=4.0) == pytest.approx(20 * math.log10(4 / offset), rel=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_agrees_with_scikit_image(shape: tuple[int, ...], dtype: type) -> None:
    truth, prediction = pair(shape, dtype)
    wide = truth.astype(np.float64), prediction.astype(np.float64)
    expected = peak_signal_noise_ratio(*wide, data_range=1.0)
    assert mse(truth, prediction) == pytest.approx(mean_squared_error(*wide), rel=1e-12)
    assert psnr(truth, prediction, data_range=1.0) == pytest.approx(expected, rel=1e-12)


def test_agrees_with_the_released_evaluation() -> None:
    """`losses_metrics_normalisation_prdc/metrics` of the CodeDiff3D golden numbers."""
    k = np.arange(16 * 20 * 24, dtype=np.float64)
    truth = (0.5 + 0.5 * np.sin(0.01 * k)).reshape(16, 20, 24)
    prediction = np.clip(truth + 0.05 * np.cos(0.013 * k).reshape(truth.shape), 0, 1)
    prediction[3] = truth[3]
    prediction[:, :, 5] = truth[:, :, 5]
    assert mae(truth, prediction) == pytest.approx(0.02669312396, rel=1e-9)
    assert mse(truth, prediction) == pytest.approx(0.001031378417, rel=1e-9)
    assert psnr(truth, prediction, data_range=1.0) == pytest.approx(29.86581961, rel=1e-9)


def test_identical_arrays_have_no_psnr() -> None:
    truth, _ = pair((4, 4, 4))
    assert mse(truth, truth.copy()) == 0.0
    assert mae(truth, truth.copy()) == 0.0
    assert psnr(truth, truth.copy(), data_range=1.0) is None


@pytest.mark.parametrize(
    "metric", [mse, mae, lambda a, b: psnr(a, b, data_range=1.0), lambda a, b: ssim(a, b, data_range=1.0)]
)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_on_either_side(metric, bad: float) -> None:
    good, broken = np.zeros((2, 2)), np.array([[0.0, bad], [0.0, 0.0]])
    with pytest.raises(ValueError, match="prediction holds NaN or infinity"):
        metric(good, broken)
    with pytest.raises(ValueError, match="truth holds NaN or infinity"):
        metric(broken, good)


def test_shapes_must_agree_and_hold_something() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        mse(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="empty"):
        mae(np.zeros((0, 3)), np.zeros((0, 3)))


@pytest.mark.parametrize("data_range", [0.0, -1.0, np.nan, np.inf])
def test_the_range_must_be_a_positive_number(data_range: float) -> None:
    with pytest.raises(ValueError, match="data_range must be positive"):
        psnr(np.zeros(2), np.ones(2), data_range=data_range)


def test_unsigned_input_does_not_wrap_around() -> None:
    assert mae(np.array([3], dtype=np.uint8), np.array([5], dtype=np.uint8)) == 2.0


@pytest.mark.parametrize("shape", [(11, 11, 11), (13, 17, 12), (24, 24, 24), (11, 30), (40, 25)])
@pytest.mark.parametrize(("dtype", "data_range"), [(np.float64, 1.0), (np.float32, 0.5)])
def test_ssim_agrees_with_scikit_image(shape: tuple[int, ...], dtype: type, data_range: float) -> None:
    truth, prediction = pair(shape, dtype)
    weights = {"gaussian_weights": True, "sigma": 1.5, "truncate": 3.5, "use_sample_covariance": False}
    wide = truth.astype(np.float64), prediction.astype(np.float64)
    expected = structural_similarity(*wide, data_range=data_range, K1=0.01, K2=0.03, **weights)
    assert ssim(truth, prediction, data_range=data_range) == pytest.approx(expected, abs=1e-12)


def test_ssim_agrees_with_monai() -> None:
    truth, prediction = pair((20, 21, 22))
    metric = SSIMMetric(spatial_dims=3, data_range=1.0, kernel_type="gaussian", win_size=11, kernel_sigma=1.5)
    reference = metric(*(torch.from_numpy(array)[None, None] for array in (prediction, truth))).item()
    assert ssim(truth, prediction, data_range=1.0) == pytest.approx(reference, abs=2e-5)


def test_ssim_of_identical_volumes_is_one_and_of_constant_ones_the_luminance_term() -> None:
    truth, _ = pair((12, 12, 12))
    assert ssim(truth, truth, data_range=1.0) == pytest.approx(1.0, abs=1e-12)
    a, b = np.full((12, 12, 12), 0.3), np.full((12, 12, 12), 0.6)
    expected = (2 * 0.3 * 0.6 + 1e-4) / (0.3**2 + 0.6**2 + 1e-4)
    assert ssim(a, b, data_range=1.0) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(10, 20, 20), (20, 20, 10), (10, 40)])
def test_a_side_under_the_window_has_no_ssim(shape: tuple[int, ...]) -> None:
    assert ssim(*pair(shape), data_range=1.0) is None
