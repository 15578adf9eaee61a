"""X2CT-GAN's .h5 files: how their CT lies is told by the X-rays in them, its unit by its values, or nothing is told."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from ..helpers.scan_files import draw_xrays, drr, h5py, write_h5, write_note
from ..helpers.scans import phantom, read_only, refusal, torso


def chest() -> np.ndarray:
    """(64, 64, 64) HU without symmetry, everything in -1000 … 1500: a torso, one lung half filled, a dense marker."""
    volume = torso((64, 64, 64))
    volume[20:44, :36, 36:50][volume[20:44, :36, 36:50] == -860] = 30
    volume[8:14, 20:26, 22:30] = 900
    return volume


def stored(hounsfield: np.ndarray, offset: int = 1000) -> np.ndarray:
    return np.clip(hounsfield.astype(np.int32) + offset, 0, 2500).astype(np.int16)


@pytest.mark.parametrize("flips", list(product((1, -1), repeat=3)))
def test_the_xrays_tell_which_way_round_the_ct_lies(tmp_path: Path, flips: tuple[int, int, int]) -> None:
    turn = tuple(slice(None, None, flip) for flip in flips)
    write_h5(tmp_path / "a.h5", chest(), ct=stored(chest()[turn]))
    scan = read_only(tmp_path)
    np.testing.assert_array_equal(scan.hounsfield, chest())
    assert scan.spacing_mm == (5.0, 5.0, 5.0)
    assert scan.centre_ras_mm == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.float64])
def test_number_types_and_the_size_of_pictures_do_not_matter(tmp_path: Path, kind: type) -> None:
    frontal, lateral = draw_xrays(chest(), (270, 0), (True, False), 256) / 255.0
    write_h5(tmp_path / "a.h5", chest(), ct=stored(chest()).astype(kind), xray1=frontal, xray2=lateral)
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest())


@pytest.mark.parametrize(
    "xrays",
    [
        {"xray1": None, "xray2": None},
        {"xray1": drr(1), "xray2": drr(2)},
        {"xray1": np.zeros((32, 32)), "xray2": np.zeros((32, 32))},
    ],
)
def test_without_xrays_that_tell_it_is_refused_until_a_side_file_does(tmp_path: Path, xrays: dict) -> None:
    write_h5(tmp_path / "a.h5", chest(), ct=stored(chest()[::-1]), **xrays)
    assert "axes" in refusal(tmp_path)
    write_note(tmp_path / "scans.toml", axes=("-D", "H", "W"))
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest())


def test_a_chest_that_looks_the_same_both_ways_round_is_refused(tmp_path: Path) -> None:
    both = np.maximum(phantom(), phantom()[::-1])
    write_h5(tmp_path / "a.h5", both)
    assert "do not tell which way up it lies" in refusal(tmp_path)


def test_plain_hounsfield_units_are_told_by_what_lies_below_zero(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5", chest(), ct=chest()[::-1])
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest())


def test_padding_far_below_zero_is_air_and_no_proof_of_hounsfield_units(tmp_path: Path) -> None:
    padded = chest().astype(np.int32) + 1000
    padded[:, :6] = -2048
    write_h5(tmp_path / "a.h5", chest(), ct=padded)
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest())


def test_another_offset_is_taken_from_a_side_file(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5", chest(), ct=stored(chest(), 1024))
    write_note(tmp_path / "a.toml", unit="hu+1024")
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, np.maximum(chest(), -1024))


@pytest.mark.parametrize("scale", [1 / 2500, 255 / 2500])
def test_a_unit_that_nothing_tells_is_refused(tmp_path: Path, scale: float) -> None:
    write_h5(tmp_path / "a.h5", chest(), ct=(stored(chest()) * scale).astype(np.float32))
    assert "does not state its unit" in refusal(tmp_path)


@pytest.mark.parametrize("as_attribute", [False, True])
def test_a_spacing_of_another_cube_is_refused_and_the_stale_one_passed_over(tmp_path: Path, as_attribute: bool) -> None:
    def write(spacing: float) -> None:
        write_h5(tmp_path / "a.h5", chest(), spacing=None if as_attribute else np.full(3, spacing))
        if as_attribute:
            with h5py.File(tmp_path / "a.h5", "a") as file:
                file["ct"].attrs["spacing"] = [spacing] * 3

    write(2.5)
    assert "spacing of 2.5 × 2.5 × 2.5 mm" in refusal(tmp_path)
    write_note(tmp_path / "a.toml", spacing_mm=(2.5, 2.5, 2.5), axes=("D", "H", "W"))
    assert read_only(tmp_path).spacing_mm == (2.5, 2.5, 2.5)
    (tmp_path / "a.toml").unlink()
    for spacing in (5.0, 1.0):
        write(spacing)
        assert read_only(tmp_path).spacing_mm == (5.0, 5.0, 5.0)


def test_a_spacing_that_leads_elsewhere_is_passed_over(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5", chest(), spacing=None)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["spacing"] = h5py.ExternalLink("/etc/hostname", "spacing")
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest())


def test_values_that_are_no_numbers_are_named_before_the_xrays_are(tmp_path: Path) -> None:
    broken = stored(chest()).astype(np.float32)
    broken[0, 0, 0] = np.nan
    write_h5(tmp_path / "a.h5", chest(), ct=broken)
    assert "NaN" in refusal(tmp_path)
