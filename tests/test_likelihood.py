"""The discretised likelihood against scipy, closed forms and itself; and its way into bits and files."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_ndtr
from scipy.stats import laplace, norm

from bench.errors import BenchError
from bench.likelihood import (
    LEAST_SCALE,
    NARROW,
    discretised_gaussian_nll,
    discretised_laplace_nll,
    log_normal_cdf,
    log_probability_of_interval,
)
from bench.method import Likelihood
from bench.scoring.bits import (
    CaseLikelihood,
    codes_share,
    likelihood_scores,
    nll_bits_per_code,
    nll_bits_per_voxel,
    per_case,
    read_likelihoods,
    write_likelihoods,
)

CHEST, BAGS = (-1000.0, 1000.0), (-1000.0, 3095.0)
DTYPES = [torch.float64, torch.float32]


def nll(value, mean, log_sigma, window=CHEST, dtype=torch.float64):
    return discretised_gaussian_nll(*(torch.as_tensor(x, dtype=dtype) for x in (value, mean, log_sigma)), window)


def laplace_nll(value, location, scale, window=CHEST, dtype=torch.float64):
    return discretised_laplace_nll(*(torch.as_tensor(x, dtype=dtype) for x in (value, location, scale)), window)


SHAPES = {  # of each distribution: places and widths, on its own scales, from the likely to the absurd
    nll: ((-0.5, 0.0, 0.123, 0.5, 1.0, 3.0), (-9.0, -7.6, -5.0, -4.0, -2.0, 0.0, 3.0)),
    laplace_nll: ((-1500.0, -1000.0, -999.7, 0.5, 812.3, 5000.0), (0.0, 0.05, 0.7, 30.0, 1e4)),
}
ABSURD = {
    nll: ((-1000.0, -1.0, 0.5, 2.0, 1000.0), (-30.0, -12.0, -5.0, 0.0, 30.0)),
    laplace_nll: ((-1e5, -1000.0, 0.5, 3.0, 1e5), (0.0, 1e-6, LEAST_SCALE, 1.0, 1e6)),
}


@pytest.mark.parametrize("window", [CHEST, BAGS])
@pytest.mark.parametrize(
    ("density", "dtype", "error"),
    [
        (nll, torch.float64, 1e-7),
        (nll, torch.float32, 1e-4),
        (laplace_nll, torch.float64, 1e-12),
        (laplace_nll, torch.float32, 1e-4),
    ],
)
def test_probabilities_of_all_bins_of_the_window_sum_to_one(density, window, dtype, error) -> None:
    values = torch.arange(window[0], window[1] + 1, dtype=dtype)
    for place, width in product(*SHAPES[density]):
        total = torch.exp(-density(values, place, width, window, dtype).double()).sum().item()
        assert total == pytest.approx(1.0, abs=error), (place, width)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [nll, laplace_nll])
def test_far_tails_are_finite_and_so_are_their_gradients(density, dtype) -> None:
    values = torch.arange(-1000, 1001)
    for place, width in product(*ABSURD[density]):
        places, widths = (torch.full((2001,), x, dtype=dtype, requires_grad=True) for x in (place, width))
        loss = density(values, places, widths, dtype=dtype)
        loss.sum().backward()
        assert (loss >= -1e-6).all()
        assert all(torch.isfinite(t).all() for t in (loss, places.grad, widths.grad)), (place, width)


@pytest.mark.parametrize("density", [nll, laplace_nll])
def test_gradients_agree_with_finite_differences(density) -> None:
    torch.manual_seed(0)
    values = torch.tensor([-1000.0, 1000.0, *torch.randint(-1000, 1001, (38,)).tolist()])
    places, widths = torch.rand(2, 40, dtype=torch.float64)
    given = (places, widths * 6 - 5) if density is nll else (places * 1900 - 950.03, widths * 200 + 1)
    given = [part.requires_grad_() for part in given]
    assert torch.autograd.gradcheck(lambda place, width: density(values, place, width), given)


def test_both_distributions_count_the_same_events() -> None:
    """Values between, or beyond, whole units fall into the same bin under either."""
    for value, same in ((12.4, 12.0), (5000.0, 1000.0), (-5000.0, -1000.0)):
        assert laplace_nll(value, 3.0, 20.0).item() == laplace_nll(same, 3.0, 20.0).item()
        assert nll(value, 0.5, -4.0).item() == nll(same, 0.5, -4.0).item()


def check_against_scipy(distribution, ours, least: float) -> None:
    """Compare all bins that the distribution's plain differences give to enough digits."""
    low, high = CHEST
    values = np.arange(low, high + 1)
    below, above = (distribution.cdf(values + half) for half in (-0.5, 0.5))
    beyond = distribution.sf(values - 0.5)
    probability = np.where(values == low, above, np.where(values == high, beyond, above - below))
    known = probability > least
    assert known.sum() > 1
    np.testing.assert_allclose(ours(values).numpy()[known], -np.log(probability[known]), rtol=1e-7, atol=2e-7)


@pytest.mark.parametrize("log_sigma", [-8.0, -6.0, -4.0, -3.2, -2.0, 0.0])
def test_the_gaussian_agrees_with_scipy_where_plain_differences_are_exact_enough(log_sigma: float) -> None:
    check_against_scipy(
        norm(0.37 * 2000 - 1000, math.exp(log_sigma) * 2000), lambda values: nll(values, 0.37, log_sigma), 1e-6
    )


@pytest.mark.parametrize("location", [-1003.4, -999.9, -260.0, -259.5, -259.3, 1000.0])
@pytest.mark.parametrize("scale", [0.3, 1.0, 17.0, 900.0])
def test_laplace_agrees_with_scipy_where_plain_differences_are_exact_enough(location: float, scale: float) -> None:
    check_against_scipy(laplace(location, scale), lambda values: laplace_nll(values, location, scale), 1e-7)


def test_a_certain_and_right_prediction_costs_nothing() -> None:
    assert nll(137.0, 1137 / 2000, -20.0).item() == pytest.approx(0.0, abs=1e-12)


def test_the_far_tail_grows_like_a_parabola_with_the_right_slope() -> None:
    mean = torch.tensor(40.0, dtype=torch.float32, requires_grad=True)  # 79 000 HU off, σ = 99.6 HU
    loss = discretised_gaussian_nll(torch.tensor(0.0), mean, torch.tensor(-3.0), CHEST)
    loss.backward()
    z = 39.5 * math.exp(3.0)
    assert loss.item() == pytest.approx(z * z / 2, rel=1e-2)
    assert mean.grad.item() == pytest.approx(z * math.exp(3.0), rel=1e-2)


def test_float32_keeps_up_with_float64() -> None:
    values = torch.arange(-1000, 1001)
    for log_sigma in (-8.0, -4.0, 0.0, 4.0):
        exact = nll(values, 0.61, log_sigma)
        single = nll(values, 0.61, log_sigma, dtype=torch.float32).double()
        rounding_of_z = 2e-7 * math.exp(-log_sigma)  # value and mean are rounded on the [0, 1] scale
        allowed = 2e-4 + 1e-5 * exact + rounding_of_z * torch.sqrt(2 * exact)
        assert ((single - exact).abs() <= allowed).all()


def test_half_precision_means_are_computed_in_single_precision() -> None:
    result = discretised_gaussian_nll(torch.tensor(3.0), *torch.tensor([0.5, -4.0], dtype=torch.bfloat16), CHEST)
    assert result.dtype is torch.float32
    assert result.item() == pytest.approx(nll(3.0, 0.5, -4.0).item(), rel=1e-5)


@pytest.mark.parametrize("delta", [NARROW * 0.999999, NARROW * 1.000001])
@pytest.mark.parametrize("z", [0.0, 0.009, 0.011, 1.0, 6.0])
def test_both_formulas_agree_where_they_meet(delta: float, z: float) -> None:
    expected = math.log(norm.sf(z - delta / 2) - norm.sf(z + delta / 2))
    ours = log_probability_of_interval(*(torch.tensor(x, dtype=torch.float64) for x in (z, delta))).item()
    assert ours == pytest.approx(expected, abs=5e-7)


def test_log_normal_cdf_agrees_with_scipy() -> None:
    x = torch.linspace(-300, 40, 2001, dtype=torch.float64)
    np.testing.assert_allclose(log_normal_cdf(x).numpy(), log_ndtr(x.numpy()), rtol=1e-12, atol=1e-300)


# --- bits, scores and files


def test_the_share_of_the_codes_is_that_of_the_whole_bound() -> None:
    entry = CaseLikelihood("a", 75.0, 25.0, voxels=1000, codes=10)
    assert codes_share(entry) == 25.0
    told = {score.metric: (score.value, score.note) for score in likelihood_scores(entry, share=True)}
    assert told["codes_share"] == (25.0, "")
    assert told["nll_bits_per_code"][0] == pytest.approx(2.5 / math.log(2))
    assert "codes_share" not in {score.metric for score in likelihood_scores(entry)}


@pytest.mark.parametrize(
    ("volume", "codes", "note"),
    [(5.0, 0, "the method has no codes"), (0.0, 0, "the method has no codes"), (0.0, 4, "no bits that the codes")],
)
def test_without_codes_or_bits_there_is_no_share(volume: float, codes: int, note: str) -> None:
    scores = likelihood_scores(CaseLikelihood("a", volume, 0.0, voxels=8, codes=codes), share=True)
    told = {score.metric: (score.value, score.note) for score in scores}
    assert told["nll_bits_per_voxel"][0] == pytest.approx(volume / (8 * math.log(2)))
    share, reason = told["codes_share"]
    assert (share, reason.startswith(note)) == (None, True)
    assert told["nll_bits_per_code"] == ((None, note) if not codes else (0.0, ""))


def test_a_uniform_guess_costs_the_logarithm_of_the_choices() -> None:
    """2001 equally likely bins cost log2(2001) bits a voxel, 1024 codes 10 bits a code."""
    voxels, codes = 64, 8
    guess = CaseLikelihood("a", voxels * math.log(2001), codes * math.log(1024), voxels, codes)
    assert nll_bits_per_code(guess) == pytest.approx(10.0, rel=1e-12)
    assert nll_bits_per_voxel(guess) == pytest.approx(math.log2(2001) + 10.0 * codes / voxels, rel=1e-12)


def test_the_monte_carlo_error_is_reported_in_bits_per_voxel() -> None:
    entry = CaseLikelihood("a", 100.0, 10.0, 50, 5, codes_se=50 * math.log(2) * 0.25)
    assert [score.note for score in likelihood_scores(entry)] == ["Monte-Carlo standard error 0.25 bits/voxel"] * 2


def test_a_batch_is_split_into_its_cases_and_survives_the_file(tmp_path: Path) -> None:
    volume, codes, error = torch.tensor([[11.5, 7.25], [1.0, 1 / 3], [0.1, 0.2]], dtype=torch.float64)
    entries = per_case(["b", "a"], Likelihood(volume, codes, 27, 3, error))
    write_likelihoods(tmp_path / "likelihood.csv", entries)
    read = read_likelihoods(tmp_path / "likelihood.csv")
    assert list(read) == ["a", "b"]
    assert [read[entry.case] for entry in entries] == entries
    assert read["a"].codes_given_views_nats == 1 / 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,-1.0,2,8,1,", "line 2, column volume_given_codes_nats: Input should be greater"),
        (",1.0,2,8,1,", "line 2, column case: String should have at least 1 character"),
        ("a,1.0,nan,8,1,", "line 2, column codes_given_views_nats: Input should be a finite number"),
        ("a,1.0,2,0,1,", "line 2, column voxels: Input should be greater than 0"),
        ("a,1.0,x,8,1,", "line 2, column codes_given_views_nats: Input should be a valid number"),
        ("a,1,2,8,1,\na,1,2,8,1,", "line 3: case a appears twice"),
    ],
)
def test_likelihoods_that_cannot_be_are_refused(tmp_path: Path, line: str, message: str) -> None:
    header = "case,volume_given_codes_nats,codes_given_views_nats,voxels,codes,codes_se\n"
    (tmp_path / "likelihood.csv").write_text(header + line + "\n")
    with pytest.raises(BenchError, match=message):
        read_likelihoods(tmp_path / "likelihood.csv")
