"""The chest phantom: one anatomy at every grid, organs where they belong, the axes of the harness."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from bench.dataset import PA_ANGLE, Geometry
from bench.datasets.lidc.anatomy import Anatomy, Nodule, draw_anatomy
from bench.datasets.lidc.phantom import chest_phantom, render
from bench.datasets.shapes import Canvas, round_path, set_densities, smooth_field
from bench.projector import project

from ..helpers.populations import find_lungs

GRID, VOXEL = 64, 5.0
SEEDS = range(16)


@pytest.fixture(scope="module")
def volumes() -> list[np.ndarray]:
    """The first subjects at 5 mm."""
    return [chest_phantom(seed, GRID).astype(np.float32) for seed in SEEDS]


def test_a_seed_always_gives_the_same_volume() -> None:
    first, again = chest_phantom(7, 32), chest_phantom(7, 32)
    assert first.shape == (32, 32, 32)
    assert first.dtype == np.int16
    assert np.array_equal(first, again)
    assert draw_anatomy(7) == draw_anatomy(7)


def test_values_are_those_of_prepared_scans(volumes: list[np.ndarray]) -> None:
    for volume in volumes:
        assert volume.min() >= -1024
        assert volume.max() <= 3071
        assert volume.max() > 300
        air = volume[: GRID // 4, 0, GRID // 3 : -GRID // 3]  # before the neck
        assert abs(air.mean() + 1000) < 10


def test_seeds_differ_in_every_factor() -> None:
    subjects = [draw_anatomy(seed) for seed in range(60)]
    for field in dataclasses.fields(Anatomy):
        assert len({getattr(subject, field.name) for subject in subjects}) > 1, field.name
    first, second = chest_phantom(0, 32).astype(float), chest_phantom(1, 32).astype(float)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.97


def test_coarse_and_fine_grids_show_the_same_anatomy() -> None:
    for seed in range(4):
        coarse = chest_phantom(seed, 32).astype(float)
        fine = chest_phantom(seed, 64).astype(float).reshape(32, 2, 32, 2, 32, 2).mean((1, 3, 5))
        error = coarse - fine
        assert abs(error.mean()) < 5
        assert error.std() < 30
        for axis in range(3):  # a shift by a voxel would not pass
            assert np.std(np.roll(coarse, 1, axis) - fine) > 4 * error.std()


def test_a_third_of_the_scans_is_cut_round_and_never_the_lungs() -> None:
    subjects = [draw_anatomy(seed) for seed in range(300)]
    cut = [subject for subject in subjects if subject.field_of_view < 452]  # the cube's diagonal
    assert 0.26 < len(cut) / len(subjects) < 0.42
    assert all(subject.field_of_view > subject.chest_width + 2 * np.hypot(*subject.shift) for subject in cut)
    volume = render(dataclasses.replace(cut[0], noise=0.0), 32)
    offset = (np.arange(32) - 15.5) * 10
    outside = np.hypot(offset[:, None], offset) > cut[0].field_of_view / 2 + 10
    assert outside.any()
    assert (volume[:, outside] == -1000).all()


def test_organs_lie_on_the_right_sides(volumes: list[np.ndarray]) -> None:
    offset = (np.arange(GRID) - (GRID - 1) / 2) * 5.0
    heart, domes = [], []
    for seed, volume in zip(SEEDS, volumes, strict=True):
        anatomy = draw_anatomy(seed)
        level = [round((anatomy.apex + t * anatomy.lung_height) / 5 + GRID / 2) for t in (0.1, 0.62, 0.95)]
        level[2] = min(level[2], GRID - 1)
        lungs = find_lungs(volume, VOXEL)
        section, own = volume[level[1]], lungs[level[1]]
        assert own.sum() > 1.3 * lungs[level[0]].sum()  # the apices point to D = 0
        bone = np.argwhere(section[:, GRID // 2 - 5 : GRID // 2 + 5] > 200)
        assert offset[bone[:, 0]].max() > 30  # the spine is at the back
        organs = (volume[level[2]] > 0) & (volume[level[2]] < 250)
        domes.append(organs[:, : GRID // 2 - 6].sum() / organs[:, GRID // 2 + 6 :].sum())  # liver, stomach and spleen
        soft = (section > -20) & ndimage.binary_fill_holes(own | (section > 0))
        inner = np.abs(offset) < 85
        heart.append(offset[inner][np.nonzero(soft[: GRID // 2, inner])[1]].mean())
    assert np.mean(domes) > 1.1
    assert np.mean(heart) > 4
    scans = torch.from_numpy(np.stack(volumes[:8]))
    frontal = project(scans, 5.0, Geometry(541, 949, 500), [PA_ANGLE], 32).mean((0, 1))
    assert frontal[14:20, 17:22].mean() > 1.03 * frontal[14:20, 10:15].mean()  # the heart's shadow, at image right


@pytest.mark.parametrize("left", [False, True])
def test_a_nodule_adds_its_mass_to_its_lung(left: bool) -> None:
    subject = dataclasses.replace(draw_anatomy(11), noise=0.0, emphysema=0.0, effusion=(0.0, 0.0), nodules=())
    nodule = Nodule(left, height=0.35, depth=0.75, lateral=0.6, radius_mm=9.0, hounsfield=40.0)
    without = render(subject, 64).astype(float)
    change = render(dataclasses.replace(subject, nodules=(nodule,)), 64) - without
    expected = 4 / 3 * np.pi * 9.0**3 * (40 - subject.lung) / 5.0**3
    assert change.sum() == pytest.approx(expected, rel=0.25)  # vessels within it are hidden by neither
    assert (np.average(np.arange(64) - 31.5, weights=change.clip(0).sum((0, 1))) > 0) == left


def test_a_larger_heart_takes_room_from_the_lungs() -> None:
    subject = dataclasses.replace(draw_anatomy(2), noise=0.0)
    small, large = (find_lungs(render(dataclasses.replace(subject, heart=size), GRID), VOXEL) for size in (0.85, 1.25))
    assert small.sum() > large.sum() + 1000  # voxels of 0.125 ml
    assert (small & ~large).sum() > 10 * (large & ~small).sum()


@pytest.mark.parametrize("radius", [0.7, 3.0, 14.0])
@pytest.mark.parametrize("grid", [16, 32, 64])
def test_tubes_fill_their_volume_at_any_grid(radius: float, grid: int) -> None:
    canvas = Canvas(grid, 320.0, 0.8)
    path = np.array([[-60.0, -30.0, 5.0], [-10.0, 0.0, 0.0], [55.0, 35.0, -20.0]])
    filled, value, _ = canvas.tubes(set_densities(round_path(path, radius), core=-1000.0, wall=50.0, inner=0.8))
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    assert filled.sum() * canvas.voxel**3 == pytest.approx(np.pi * radius**2 * length, rel=0.06)
    mean = (filled * value).sum() / filled.sum()
    assert mean == pytest.approx(50 * 0.36 - 1000 * 0.64, abs=60)


@pytest.mark.parametrize("grid", [32, 64])
def test_ellipsoids_fill_their_volume_where_they_lie(grid: int) -> None:
    canvas = Canvas(grid, 320.0, 0.8)
    centre, radii = np.array([30.0, -40.0, 20.0]), np.array([60.0, 35.0, 45.0])
    box, filled = canvas.ellipsoid(centre, radii)
    assert filled.sum() * canvas.voxel**3 == pytest.approx(4 / 3 * np.pi * radii.prod(), rel=0.03)
    d, h, w = canvas.axes(box)
    for axis, expected in zip((d, h, w), centre, strict=True):
        assert (filled * axis).sum() / filled.sum() == pytest.approx(expected, abs=1)


def test_textures_are_the_same_field_at_any_grid() -> None:
    coarse, fine = (smooth_field(np.random.default_rng(5), 6, grid) for grid in (24, 48))
    averaged = fine.reshape(24, 2, 24, 2, 24, 2).mean((1, 3, 5))
    assert np.abs(coarse - averaged).max() < 0.15
    spread = [smooth_field(np.random.default_rng(seed), 12, 24).std() for seed in range(6)]
    assert 0.85 < np.mean(spread) < 1.15
