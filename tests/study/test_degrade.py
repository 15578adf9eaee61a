"""Degraded views: counts are Poisson's, a spectrum bends the curve, and an object moves as it is told to."""

import numpy as np
import pytest
import torch

from bench.plugins.registry import get_dataset
from bench.projector import project
from bench.study.degrade import AIR_HU, TO_PHYSICAL, add_poisson_noise, compute_spectrum, harden_beam, move_object


@pytest.mark.trains
def test_noise_has_the_spread_of_counted_photons(seed: int) -> None:
    true, photons = 0.3, 1e5
    measured = add_poisson_noise(np.full(200_000, true), photons, np.random.default_rng(seed))
    expected = 1 / np.sqrt(photons * np.exp(-TO_PHYSICAL * true)) / TO_PHYSICAL
    assert measured.mean() == pytest.approx(true, abs=4 * expected / np.sqrt(200_000) + expected**2 * TO_PHYSICAL)
    assert measured.std() == pytest.approx(expected, rel=0.02)


def test_many_photons_change_nothing_and_none_arriving_stays_finite() -> None:
    integrals = np.linspace(0, 0.8, 50, dtype=np.float32)
    assert add_poisson_noise(integrals, 1e15, np.random.default_rng(0)) == pytest.approx(integrals, abs=1e-5)
    starved = add_poisson_noise(np.full(10, 50.0, dtype=np.float32), 1e4, np.random.default_rng(0))
    assert starved == pytest.approx(np.log(1e4) / TO_PHYSICAL)
    assert starved.dtype == np.float32


def test_hardening_bends_the_curve_between_two_fixed_points() -> None:
    integrals = np.linspace(0, 0.7, 71)
    measured = harden_beam(integrals, 120, unchanged=0.7)
    assert (measured[0], measured[-1]) == (pytest.approx(0), pytest.approx(0.7))
    assert (measured[1:-1] > integrals[1:-1]).all()  # thin parts look denser beside thick ones
    slopes = np.diff(measured)
    assert (slopes > 0).all()
    assert (np.diff(slopes) < 0).all()


def test_the_spectrum_is_a_share_and_harder_at_higher_voltage() -> None:
    means = []
    for kilovolts in (60, 90, 120, 150):
        energies, weights = compute_spectrum(kilovolts)
        assert weights.sum() == pytest.approx(1)
        assert energies.max() < kilovolts
        means.append((energies * weights).sum())
    assert means == sorted(means)
    assert 30 < means[0] < 45  # a filtered 60 kV beam
    with pytest.raises(ValueError, match="20 to 150 kV"):
        compute_spectrum(300)


@pytest.fixture
def volume() -> torch.Tensor:
    random = np.random.default_rng(0)
    return torch.from_numpy(random.uniform(-1000, 1000, (1, 12, 12, 12)).astype(np.float32))


def test_whole_voxels_are_shifted_exactly_and_air_comes_in(volume: torch.Tensor) -> None:
    after = move_object(volume, 2.0, shift_mm=torch.tensor([2.0, -4.0, 6.0]))
    assert torch.allclose(after[:, 1:, :-2, 3:], volume[:, :-1, 2:, :-3], atol=1e-2)
    assert torch.allclose(after[:, 0], torch.tensor(AIR_HU))


def test_a_quarter_turn_is_that_of_numpy(volume: torch.Tensor) -> None:
    after = move_object(volume, 2.0, degrees=90.0)
    assert np.allclose(after[0].numpy(), np.rot90(volume[0].numpy(), axes=(1, 2)), atol=1e-2)


def test_scaling_keeps_the_centre_and_multiplies_the_volume() -> None:
    ball = torch.full((1, 32, 32, 32), AIR_HU)
    ball[:, 13:19, 13:19, 13:19] = 0.0
    mass = (ball - AIR_HU).sum()
    larger = move_object(ball, 1.0, scale=1.5)
    assert float((larger - AIR_HU).sum() / mass) == pytest.approx(1.5**3, rel=0.02)
    along = (larger[0] - AIR_HU).sum((1, 2))
    assert float((along * torch.arange(32)).sum() / along.sum()) == pytest.approx(15.5, abs=1e-3)


def test_turning_the_object_is_turning_the_source_the_other_way() -> None:
    spec = get_dataset("lidc")
    fine = torch.from_numpy(spec.phantom(5, 48).astype(np.float32))[None]
    voxel_mm = spec.cube_mm / 48
    turned = project(move_object(fine, voxel_mm, degrees=10.0), voxel_mm, spec.geometry, [0.0], 32, mirrored=[False])
    either = [
        float((turned - project(fine, voxel_mm, spec.geometry, [angle], 32, mirrored=[False])).abs().mean())
        for angle in (10.0, 0.0, -10.0)
    ]
    assert min(either) == min(either[0], either[2])
    assert min(either) < 0.35 * either[1]
