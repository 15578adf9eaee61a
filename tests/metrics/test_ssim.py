"""SSIM against scikit-image with every parameter spelled out, and MONAI."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from bench.metrics.ssim import ssim

RANDOM = np.random.default_rng(11)
SHAPES = [(11, 11, 11), (13, 17, 12), (24, 24, 24), (11, 30), (40, 25)]


def pair(shape: tuple[int, ...], dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    truth = RANDOM.random(shape)
    return truth.astype(dtype), np.clip(truth + 0.2 * RANDOM.normal(size=shape), 0, 1).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_scikit_image(shape: tuple[int, ...]) -> None:
    truth, prediction = pair(shape)
    expected = structural_similarity(
        truth,
        prediction,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        truncate=3.5,
        use_sample_covariance=False,
        K1=0.01,
        K2=0.03,
    )
    assert ssim(truth, prediction, data_range=1.0) == pytest.approx(expected, abs=1e-12)


def test_agrees_with_monai() -> None:
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    truth, prediction = pair((20, 21, 22))
    metric = metrics.SSIMMetric(spatial_dims=3, data_range=1.0, kernel_type="gaussian", win_size=11, kernel_sigma=1.5)
    reference = metric(*(torch.from_numpy(array)[None, None] for array in (prediction, truth))).item()
    assert ssim(truth, prediction, data_range=1.0) == pytest.approx(reference, abs=2e-5)


def test_float32_and_float64_agree() -> None:
    truth, prediction = pair((14, 15, 16), np.float32)
    wide = ssim(truth.astype(np.float64), prediction.astype(np.float64), data_range=1.0)
    assert ssim(truth, prediction, data_range=1.0) == pytest.approx(wide, abs=1e-12)


def test_identical_volumes_score_one_and_constant_ones_follow_the_luminance_term() -> None:
    truth, _ = pair((12, 12, 12))
    assert ssim(truth, truth, data_range=1.0) == pytest.approx(1.0, abs=1e-12)
    a, b = np.full((12, 12, 12), 0.3), np.full((12, 12, 12), 0.6)
    expected = (2 * 0.3 * 0.6 + 1e-4) / (0.3**2 + 0.6**2 + 1e-4)
    assert ssim(a, b, data_range=1.0) == pytest.approx(expected, abs=1e-9)


def test_the_range_is_the_one_given_not_that_of_the_data() -> None:
    truth, prediction = pair((12, 13, 14))
    assert ssim(truth / 2, prediction / 2, data_range=0.5) == pytest.approx(
        ssim(truth, prediction, data_range=1.0), abs=1e-12
    )
    assert ssim(truth / 2, prediction / 2, data_range=1.0) > ssim(truth, prediction, data_range=1.0) + 1e-3


@pytest.mark.parametrize("shape", [(10, 20, 20), (20, 20, 10), (10, 40)])
def test_a_side_under_the_window_has_no_ssim(shape: tuple[int, ...]) -> None:
    assert ssim(*pair(shape), data_range=1.0) is None


def test_values_that_are_not_finite_are_refused() -> None:
    truth, prediction = pair((12, 12, 12))
    prediction[3, 3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ssim(truth, prediction, data_range=1.0)
