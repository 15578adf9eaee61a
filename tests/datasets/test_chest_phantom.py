"""The chest phantom: one anatomy at every grid, the population of real scans, the axes of the harness."""

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

GRID = 64
SEEDS = range(16)


@pytest.fixture(scope="module")
def volumes() -> list[np.ndarray]:
    """The first subjects at 5 mm."""
    return [chest_phantom(seed, GRID).astype(np.float32) for seed in SEEDS]


def lungs_of(volume: np.ndarray) -> np.ndarray:
    """Mask of the air that is closed off from the sides of the cube: both lungs."""
    labels, _ = ndimage.label(volume < -500)
    litres = np.bincount(labels.ravel()) * (320 / len(volume)) ** 3 / 1e6
    sides = np.concatenate([side.ravel() for side in (labels[:, [0, -1]], labels[:, :, [0, -1]])])
    litres[np.union1d(sides, [0])] = 0  # air round the body, and what is no air
    return np.isin(labels, [label for label in litres.argsort()[-2:] if litres[label] > 0.2])


def body_of(volume: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    return (volume > -300) | lungs


def mode(values: np.ndarray, low: float, high: float) -> float:
    """Most frequent value between `low` and `high`, in bins of 10 HU smoothed over three."""
    counts, edges = np.histogram(values, np.arange(low, high + 10, 10))
    return float(edges[np.convolve(counts, [1, 1, 1], "same").argmax()] + 5)


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


def test_population_has_the_statistics_of_real_chests(volumes: list[np.ndarray]) -> None:
    # Bands around the means of 19 real adult chest scans: lung 4.7 ± 1.0 l, mode −868 ± 36 HU, fat −102 ± 12 HU,
    # muscle 55 ± 15 HU, and parts of the body: lung 0.24, fat 0.28, above 250 HU 0.042 (0.024 to 0.068).
    litres, modes, parts = [], [], []
    for volume in volumes:
        lungs = lungs_of(volume)
        body = body_of(volume, lungs)
        inside = volume[body]
        litres.append(lungs.sum() * 0.005**3 * 1000)
        modes.append((mode(volume[lungs], -1000, -600), mode(inside, -150, -40), mode(inside, 0, 150)))
        fat = (inside > -150) & (inside < -30)
        parts.append((lungs.sum() / body.sum(), fat.mean(), (inside > 250).mean()))
    assert 4.1 < np.mean(litres) < 5.3
    assert 0.6 < np.std(litres) < 1.5
    lung, fat, muscle = np.mean(modes, axis=0)
    assert -888 < lung < -848
    assert 20 < np.std(modes, axis=0)[0] < 50
    assert -110 < fat < -92
    assert 42 < muscle < 70
    lung_part, fat_part, bone_part = np.mean(parts, axis=0)
    assert 0.2 < lung_part < 0.28
    assert 0.23 < fat_part < 0.34
    assert 0.024 < bone_part < 0.05


def test_trunks_are_as_wide_and_deep_as_real_ones() -> None:
    # Real scans that hold the whole trunk: lateral 326 ± 36 mm, front to back 239 ± 30 mm at the widest lung slice.
    sizes = []
    for seed in range(20):
        anatomy = dataclasses.replace(draw_anatomy(seed), field_of_view=1000.0, breast=0.0)
        body = render(anatomy, 48, cube_mm=480.0) > -300
        level = round((anatomy.apex + 0.7 * anatomy.lung_height) / 10 + 24)
        sizes.append((body[level].any(0).sum() * 10, body[level].any(1).sum() * 10))
    lateral, depth = np.array(sizes).T
    assert 306 < lateral.mean() < 346
    assert 222 < depth.mean() < 256
    assert 22 < lateral.std() < 52
    assert 14 < depth.std() < 42


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
        lungs = lungs_of(volume)
        assert lungs[level[1]].sum() > 1.3 * lungs[level[0]].sum()  # the apices point to D = 0
        bone = np.argwhere(volume[level[1], :, GRID // 2 - 5 : GRID // 2 + 5] > 200)
        assert offset[bone[:, 0]].max() > 30  # the spine is at the back
        organs = (volume[level[2]] > 0) & (volume[level[2]] < 250)
        left = slice(GRID // 2 + 6, None)
        right = slice(None, GRID // 2 - 6)
        domes.append(organs[:, right].sum() / organs[:, left].sum())  # liver against stomach and spleen
        front = slice(None, GRID // 2)
        soft = (volume[level[1], front] > -20) & ndimage.binary_fill_holes(lungs[level[1]] | (volume[level[1]] > 0))[
            front
        ]
        inner = np.abs(offset) < 85
        heart.append(offset[inner][np.nonzero(soft[:, inner])[1]].mean())
    assert np.mean(domes) > 1.1
    assert np.mean(heart) > 4
    frontal = project(torch.from_numpy(np.stack(volumes[:8])), 5.0, Geometry(541, 949, 500), [PA_ANGLE], 32).mean(
        (0, 1)
    )
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
    small, large = (lungs_of(render(dataclasses.replace(subject, heart=size), GRID)) for size in (0.85, 1.25))
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
