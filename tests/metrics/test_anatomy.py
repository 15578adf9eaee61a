"""Masks, their agreement, errors by class of voxel and fine detail: against MONAI, closed forms and known phantoms."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_dice
from scipy.ndimage import gaussian_filter

from bench.datasets.baggage.phantom import bag_labels, bag_phantom
from bench.datasets.lidc.anatomy import Organ
from bench.datasets.lidc.phantom import chest_labels, chest_phantom
from bench.metrics.anatomy import (
    average_surface_distance,
    class_errors,
    dice,
    find_body,
    find_bone,
    find_lungs,
    find_masks,
    volume_error,
)
from bench.metrics.distortion import high_frequency_power
from bench.metrics.settings import BAG, PATIENT, Band, BoneSettings, LungSettings

README = Path(__file__).parents[2] / "datasets" / "README.md"
THIRD = 1 / 3


def ball(centre: tuple[float, float, float], radius: float, side: int = 40) -> np.ndarray:
    """A sphere of voxels in a cube."""
    axes = np.ogrid[:side, :side, :side]
    return sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)) <= radius**2


def random_masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two blobs that overlap in part, some of them cut by the edge of the volume."""
    noise = np.random.default_rng(seed).normal(size=(2, 18, 20, 22))
    first, second = (gaussian_filter(own, 2.5) for own in noise)
    return first > 0.02, first + 0.5 * second > 0.02


# --- agreement of masks


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's of itself
@pytest.mark.parametrize("seed", range(4))
def test_dice_and_surface_distance_are_those_of_monai(seed: int) -> None:
    one, other = random_masks(seed)
    pair = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (other, one)]
    expected = compute_average_surface_distance(*pair, include_background=True, symmetric=True, spacing=2.5)
    assert average_surface_distance(one, other, 2.5) == pytest.approx(float(expected), rel=1e-6)
    assert dice(one, other) == pytest.approx(float(compute_dice(*pair, include_background=True)), rel=1e-6)


def test_a_box_that_moved_has_the_overlap_the_distance_and_the_volume_of_geometry() -> None:
    box = np.zeros((30, 30, 30), bool)
    box[5:15, 5:15, 5:15] = True
    moved = np.roll(box, 5, axis=2)
    assert dice(box, moved) == 0.5
    assert (volume_error(box, moved), volume_error(box, box & moved)) == (0.0, -50.0)
    assert volume_error(box, box | moved) == 50.0
    plate = np.zeros((30, 30, 30), bool)
    plate[:, :, 4] = True  # one voxel thick, so that all of it is surface
    assert average_surface_distance(plate, np.roll(plate, 3, axis=2), 2.0) == 6.0


def test_empty_masks_have_no_number_that_would_mean_something() -> None:
    empty, some = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)
    assert dice(empty, empty) is None
    assert (dice(empty, some), dice(some, empty)) == (0.0, 0.0)
    assert average_surface_distance(some, empty, 1.0) is None
    assert average_surface_distance(empty, some, 1.0) is None
    assert (volume_error(empty, some), volume_error(some, empty)) == (None, -100.0)


# --- masks


def test_the_body_is_the_largest_part_with_what_it_encloses_in_a_slice() -> None:
    volume = np.full((5, 20, 20), -1000.0)
    volume[:, 2:12, 2:12] = 0.0
    volume[:, 5:8, 5:8] = -900.0  # open along D, enclosed in each slice
    volume[:, 16:18, 2:18] = 300.0  # a table
    body = find_body(volume, -500.0)
    expected = np.zeros(volume.shape, bool)
    expected[:, 2:12, 2:12] = True
    np.testing.assert_array_equal(body, expected)


def test_lungs_are_the_two_largest_parts_and_gas_is_none() -> None:
    volume = np.full((30, 30, 30), 40.0)
    left, right, gas = ball((12, 8, 14), 6, 30), ball((12, 22, 14), 5, 30), ball((25, 15, 14), 2, 30)
    volume[left | right | gas] = -850.0
    body = np.ones(volume.shape, bool)
    np.testing.assert_array_equal(find_lungs(volume, body, LungSettings()), left | right)
    volume[right] = 40.0
    np.testing.assert_array_equal(find_lungs(volume, body, LungSettings()), left)  # gas is 4 % of the lung that is left
    assert not find_lungs(volume, ~body, LungSettings()).any()


def test_a_part_of_bone_needs_its_volume_in_millilitres() -> None:
    volume = np.zeros((20, 20, 20))
    volume[2:6, 2:6, 2:6] = 700.0  # 64 voxels
    volume[12:15, 12:15, 12:15] = 700.0  # 27
    body = np.ones(volume.shape, bool)
    assert find_bone(volume, body, 2.5, BoneSettings(least_ml=0.99)).sum() == 64  # of 15.6 mm³ each, 1.0 ml
    assert find_bone(volume, body, 2.5, BoneSettings(least_ml=0.4)).sum() == 64 + 27
    assert find_bone(volume, body, 2.5, BoneSettings(least_ml=1.1)).sum() == 0


def overlap_with_labels(seed: int, grid: int) -> dict[str, float]:
    """Dice of the masks of a chest phantom with what was painted."""
    labels = chest_labels(seed, grid)["organs"]
    masks = find_masks(np.clip(chest_phantom(seed, grid), -1000, 1000), 320 / grid, PATIENT)
    painted = {"body": [*Organ][1:], "lung": [Organ.RIGHT_LUNG, Organ.LEFT_LUNG], "bone": [Organ.BONE]}
    return {name: dice(np.isin(labels, organs), masks[name]) or 0.0 for name, organs in painted.items()}


@pytest.mark.parametrize(("grid", "least"), [(24, (0.98, 0.93, 0.0)), (64, (0.99, 0.97, 0.42))])
def test_masks_of_chest_phantoms_agree_with_what_was_painted(grid: int, least: tuple[float, ...]) -> None:
    for seed in (0, 1):
        found = overlap_with_labels(seed, grid)
        assert all(value >= bound for value, bound in zip(found.values(), least, strict=True)), found


@pytest.mark.slow
@pytest.mark.parametrize(("grid", "count"), [(24, 12), (64, 4), (128, 2)])
def test_the_readme_shows_how_well_masks_agree(grid: int, count: int) -> None:
    section = README.read_text().partition("## Masks")[2].partition("\n## ")[0]
    (line,) = [line for line in section.splitlines() if line.startswith(f"| {grid}³")]
    shown = [float(cell) for cell in line.split("|")[2:-1]]
    measured = np.mean([[*overlap_with_labels(seed, grid).values()] for seed in range(count)], axis=0)
    assert measured == pytest.approx(shown, abs=0.006)


def test_the_mask_of_a_bag_holds_what_was_packed() -> None:
    """Measured over three bags at 64³: Dice 0.83 with what is painted over more than half of a voxel."""
    packed = bag_labels(0, 64)["materials"] > 0
    masks = find_masks(bag_phantom(0, 64), 10.0, BAG)
    assert list(masks) == ["body"]
    assert (masks["body"] & packed).sum() > 0.97 * packed.sum()
    assert dice(packed, masks["body"]) > 0.5


# --- errors by class of voxel


def test_errors_are_those_of_the_voxels_that_the_truth_says() -> None:
    truth = np.array([-1000.0, -1000.0, -100.0, 50.0, 60.0, 900.0])
    prediction = np.array([-990.0, -1010.0, 0.0, 40.0, 30.0, 700.0])
    bands = (*PATIENT.bands, Band("metal", 5000.0, 6000.0))
    errors = class_errors(truth, prediction, bands)
    assert errors["air"] == (2 / 6, 10.0, 0.0)
    assert errors["fat"] == (1 / 6, 100.0, 100.0)
    assert errors["soft"] == (2 / 6, 20.0, -20.0)
    assert errors["bone"] == (1 / 6, 200.0, -200.0)
    assert errors["lung"] == errors["metal"] == (0.0, None, None)
    ends = class_errors(np.array([-150.0, -50.0]), np.array([-149.0, 0.0]), (Band("fat", -150.0, -50.0),))
    assert ends["fat"] == (0.5, 1.0, 1.0)  # the lower end is in it, the upper is not


# --- fine detail


def test_a_blur_leaves_the_power_that_its_transfer_function_says() -> None:
    """Of one cosine, a Gaussian blur of σ leaves exp(−(2πfσ)²): the cosine is what the transform is made of."""
    side, order, sigma = 64, 26, 0.9
    wave = np.cos(np.pi * order * (np.arange(side) + 0.5) / side)
    volume = 0.5 + 0.4 * wave[:, None, None] * np.ones((1, side, side))
    blurred = gaussian_filter(volume, sigma, mode="reflect", truncate=8)
    expected = math.exp(-((2 * math.pi * order / (2 * side) * sigma) ** 2))
    assert high_frequency_power(volume, blurred, THIRD) == pytest.approx(expected, rel=1e-3)
    assert high_frequency_power(volume, volume * 0.5, THIRD) == pytest.approx(0.25)
    assert high_frequency_power(volume, volume, order / side + 0.01) is None  # it has nothing above its one frequency


def test_a_truth_without_detail_gives_none() -> None:
    flat = np.full((8, 8, 8), 0.7)
    assert high_frequency_power(flat, np.random.default_rng(0).random((8, 8, 8)), THIRD) is None
    assert high_frequency_power(np.zeros((1, 1, 1)), np.ones((1, 1, 1)), THIRD) is None
    with pytest.raises(ValueError, match="shapes differ"):
        high_frequency_power(flat, np.zeros((8, 8, 9)), THIRD)
