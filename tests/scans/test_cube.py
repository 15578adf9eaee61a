"""The cube of a scan: the right part of it, without aliasing, without the table."""

import numpy as np
import pytest

from bench.scans.body import remove_table
from bench.scans.cube import Recipe, cube_centre, resample
from bench.scans.reading.scan import Scan

from ..helpers.scans import torso, with_table

ORIGIN = (0.0, 0.0, 0.0)


def without_table(lying: np.ndarray) -> np.ndarray:
    """What is left of a scan at 4 mm of which the table is removed."""
    result, verdict = remove_table(lying, 4.0)
    assert verdict.startswith("removed with ")
    return result


def assert_kept(scan: np.ndarray) -> None:
    result, verdict = remove_table(scan, 4.0)
    assert verdict.startswith("kept: removing it would take ")
    np.testing.assert_array_equal(result, scan)


def scan_of(hounsfield: np.ndarray, spacing: float = 5.0, centre: tuple[float, float, float] = ORIGIN) -> Scan:
    return Scan(hounsfield, (spacing,) * 3, centre)


@pytest.mark.parametrize("spacing", [(2.5, 0.7, 0.9), (1.0, 1.0, 1.0), (3.0, 3.0, 3.0)])
def test_a_wave_comes_out_with_the_amplitude_of_the_low_pass(spacing: tuple[float, float, float]) -> None:
    """A Gaussian of sigma s multiplies a wave of frequency f by exp(-2 π² s² f²)."""
    voxel, offset, wavelength = 2.5, (3.3, -2.1, 1.7), (40.0, 25.0, 20.0)

    def wave(axes: list[np.ndarray]) -> np.ndarray:
        d, h, w = (np.cos(2 * np.pi * axis / length) for axis, length in zip(axes, wavelength, strict=True))
        return 1000 * d[:, None, None] * h[:, None] * w

    scan = wave([(np.arange(round(140 / step)) - (round(140 / step) - 1) / 2) * step for step in spacing])
    result = resample(Scan(scan.astype(np.float32), spacing, ORIGIN), offset, Recipe(32 * voxel, 32))
    sigmas = [0.5 * max(step, voxel) for step in spacing]
    factor = np.prod([np.exp(-2 * (np.pi * s / length) ** 2) for s, length in zip(sigmas, wavelength, strict=True)])
    expected = factor * wave([(np.arange(32) - 15.5) * voxel + shift for shift in offset])
    # Sampled at one sigma a voxel of the scan the Gaussian is exact; at half of one, the sum of its weights ripples
    # by 2 exp(-2π²/4) = 1.4 %, and their centre by π/2 as much of a voxel.
    coarse = [(step, length) for step, length in zip(spacing, wavelength, strict=True) if step >= voxel]
    ripple = sum(0.015 + 0.023 * 2 * np.pi * step / length for step, length in coarse)
    np.testing.assert_allclose(result, expected, atol=1000 * ripple + 3)


def test_what_the_grid_cannot_hold_does_not_alias() -> None:
    """A wave of 4 mm on voxels of 5 mm would come back as one of 20 mm."""
    wave = np.broadcast_to(1000 * np.cos(2 * np.pi * np.arange(320) / 4.0), (320, 320, 320))[:40, :40]
    result = resample(Scan(wave.astype(np.float32), (5.0, 5.0, 1.0), ORIGIN), ORIGIN, Recipe(150.0, 30))
    assert np.abs(result).max() < 1000 * np.exp(-2 * (np.pi * 2.5 / 4) ** 2) * 1.2 < 1000 * 0.001


def test_outside_the_scan_is_air_and_inside_nothing_is() -> None:
    result = resample(scan_of(np.full((20, 20, 20), 50, np.int16), 2.0), (0.0, 6.0, 0.0), Recipe(64.0, 32))
    assert (result[:6] == -1000).all()
    assert (result[26:] == -1000).all()
    np.testing.assert_allclose(result[6:26, 3:23, 6:26], 50, atol=1e-3)
    assert (result[:, 23:] == -1000).all()


def test_the_cranial_end_of_a_long_scan_is_kept_and_a_short_one_padded_evenly() -> None:
    long, short = (scan_of(torso((slices, 80, 80)), centre=(0.0, 0.0, 100.0)) for slices in (120, 50))
    assert cube_centre(long, 320.0)[2] == 400 - 160  # 600 mm, up to 400 mm
    assert cube_centre(short, 320.0)[2] == 100.0


def test_the_cube_follows_a_body_beside_the_centre_of_the_field_of_view() -> None:
    moved = np.roll(torso(width=240.0), (7, -11), axis=(1, 2))  # 35 mm to the back, 55 mm to the right
    right, anterior, _ = cube_centre(scan_of(with_table(moved, 1)), 320.0)
    assert (right, anterior) == (55.0, -35.0)


@pytest.mark.parametrize("gap", [0, 3])
def test_the_table_goes_and_the_body_stays(gap: int) -> None:
    body = torso((64, 90, 90), voxel=4.0, width=260.0)
    lying = with_table(body, gap)
    result = without_table(lying)
    inside = body > -1000
    np.testing.assert_array_equal(result[inside], body[inside])  # lungs, spine and skin
    left = (result != -1000) & ~inside
    assert left.sum() < 0.25 * ((lying != -1000) & ~inside).sum()
    assert not left[:, :, :10].any()
    if gap:
        assert not left.any()


def test_a_thin_chest_wall_is_no_table() -> None:
    """Also where the scan ends in an open windpipe and is padded above."""
    body = torso((64, 90, 90), voxel=4.0, width=260.0, wall=0.1)  # 8 mm
    body[:20, 44:47, 22:26] = -980
    assert body[20, 45, 24] == -860
    padding = np.full((8, 90, 90), -1000, np.int16)
    result = without_table(np.concatenate([padding, with_table(body, 3)]))
    np.testing.assert_array_equal(result[8:][body > -900], body[body > -900])


def test_a_sealed_gap_above_the_table_is_no_lung() -> None:
    body = torso((64, 90, 90), voxel=4.0, width=260.0)
    lying = with_table(body, 5)
    table = int(np.argwhere(lying > 0)[:, 1].max())
    box = lying[:, 45 : table + 1, 20:70]
    walls = np.zeros(box.shape, bool)
    walls[[0, -1]] = walls[:, :, [0, -1]] = True
    box[walls & (box == -1000)] = 100
    result = without_table(lying)
    assert (result[:, table] == -1000).all()


def test_lungs_cut_by_the_field_of_view_are_kept() -> None:
    body = torso((64, 90, 90), voxel=4.0, width=260.0)[:, :, 26:]  # through the right lung
    assert (body[28, :, 0] == -860).any()
    assert (without_table(with_table(body, 3))[body == -860] == -860).all()


def test_arms_beside_the_body_stop_the_removal() -> None:
    body = torso((64, 90, 90), voxel=4.0, width=200.0)
    body[:, 30:56, 2:12] = 30
    assert_kept(body)


def head(tilt: float = 0.0, wall: float = 6.0) -> np.ndarray:
    """(D, H, W) HU at 4 mm: an empty ellipsoid of thin walls, tilted by some degrees, a solid block at its base."""
    d, h, w = np.meshgrid(*[(np.arange(80) - 39.5) * 4.0] * 3, indexing="ij")
    turn = np.deg2rad(tilt)
    up, back = d * np.cos(turn) - h * np.sin(turn), d * np.sin(turn) + h * np.cos(turn)
    radius = np.sqrt((up / 110) ** 2 + (back / 95) ** 2 + (w / 75) ** 2)
    hounsfield = np.full(radius.shape, -1000, np.int16)
    hounsfield[(radius < 1) & (radius > 1 - wall / 90)] = 200
    hounsfield[(np.abs(up - 60) < 30) & (np.abs(back) < 30) & (np.abs(w) < 30)] = 200
    return hounsfield


@pytest.mark.parametrize("tilt", [0.0, 20.0])
@pytest.mark.parametrize("wall", [4.0, 6.0, 8.0])
def test_walls_thinner_than_a_table_are_no_table(tilt: float, wall: float) -> None:
    assert_kept(with_table(head(tilt, wall), 2))


def test_a_straight_wall_around_the_body_is_no_table() -> None:
    h, w = (np.arange(80) - 39.5)[:, None], np.arange(80) - 39.5
    radius = np.hypot(h, w)
    tube = np.where((np.abs(radius - 30) < 1) | (radius < 8), 100, -1000).astype(np.int16)
    assert_kept(np.broadcast_to(tube, (60, 80, 80)))


@pytest.mark.parametrize("side", ["behind", "before"])
def test_a_heavy_table_under_a_thin_body_goes(side: str) -> None:
    """Its matter is a fifth of all; whoever lies on the belly has it before the body."""
    body = torso((64, 90, 90), voxel=4.0, width=150.0)
    lying = with_table(with_table(with_table(body, 2), 2), 2)
    assert (lying > -400).sum() > 1.15 * (body > -400).sum()
    turn = slice(None) if side == "behind" else slice(None, None, -1)
    np.testing.assert_array_equal(without_table(lying[:, turn]), body[:, turn])
