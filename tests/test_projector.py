"""The projector against closed forms, a second path, finite differences, and plastimatch where installed.

`pytest -m slow -s tests/test_projector.py` measures the table of datasets/README.md again.
"""

import time

import numpy as np
import pytest
import torch

from bench import projector
from bench.data.cases import downsample
from bench.data.store import load_volume, read_store
from bench.dataset import LEFT_LATERAL_ANGLE, PA_ANGLE, Geometry
from bench.errors import UsageError
from bench.plugins.registry import get_dataset
from bench.projector import WATER_PER_CM, attenuation, project

from .helpers.plastimatch import compare_images, draw_views, find_plastimatch

MACHINE = Geometry(source_axis_mm=541, source_panel_mm=949, panel_mm=500)
OBLIQUE = 30.0
AIR = -1000.0


def positions(grid: int, voxel_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LPS (x, y, z) in mm of the voxels of a (D, H, W) cube, written out independently of the projector."""
    offsets = (np.arange(grid) - (grid - 1) / 2) * voxel_mm
    return offsets[None, None, :], offsets[None, :, None], -offsets[:, None, None]


def ray_ends(angle: float, pixels: int, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Source and unmirrored pixel centre in LPS mm: columns grow to the right of who looks from the source."""
    alpha = np.deg2rad(angle)
    towards = np.array([np.cos(alpha), -np.sin(alpha), 0.0])
    right_hand = np.cross(-towards, [0.0, 0.0, 1.0])
    u = ((column + 0.5) / pixels - 0.5) * MACHINE.panel_mm
    v = (0.5 - (row + 0.5) / pixels) * MACHINE.panel_mm
    pixel = -towards * (MACHINE.source_panel_mm - MACHINE.source_axis_mm) + u * right_hand + np.array([0, 0, v])
    return towards * MACHINE.source_axis_mm, pixel


def centroid(image: torch.Tensor) -> tuple[float, float]:
    """Intensity-weighted (row, column) in pixels."""
    index = torch.arange(len(image), dtype=image.dtype)
    return float((image.sum(1) * index).sum() / image.sum()), float((image.sum(0) * index).sum() / image.sum())


def test_attenuation_is_plastimatchs_line_with_air_cut_off() -> None:
    values = attenuation(torch.tensor([-1000, -801, -800, -799, 0, 1000, 3000]))
    expected = torch.tensor([0, 0, 0, 0.022 * 0.201, 0.022, 0.044, 0.088])
    torch.testing.assert_close(values, expected)


@pytest.mark.parametrize("angle", [PA_ANGLE, LEFT_LATERAL_ANGLE, OBLIQUE])
def test_water_cube_gives_the_chord_length_of_every_ray(angle: float) -> None:
    grid, voxel_mm, pixels = 8, 20.0, 9
    image = project(torch.zeros(1, grid, grid, grid), voxel_mm, MACHINE, [angle], pixels, mirrored=[False])[0, 0]
    steps = (np.arange(4000) + 0.5)[:, None] / 4000  # 0.25 mm
    for row, column in np.ndindex(pixels, pixels):
        source, pixel = ray_ends(angle, pixels, row, column)
        inside = (np.abs(source + steps * (pixel - source)) <= grid * voxel_mm / 2).all(1).mean()
        chord_cm = inside * np.linalg.norm(pixel - source) / 10
        assert float(image[row, column]) == pytest.approx(WATER_PER_CM * chord_cm, abs=WATER_PER_CM * 0.06)


@pytest.mark.parametrize("angle", [PA_ANGLE, LEFT_LATERAL_ANGLE, OBLIQUE, 90.0, 200.0])
def test_marker_lands_where_similar_triangles_put_it(angle: float) -> None:
    grid, voxel_mm, pixels = 32, 10.0, 200
    volume = torch.full((1, grid, grid, grid), AIR)
    d, h, w = 9, 12, 21  # towards head, front and left
    volume[0, d, h, w] = 3000
    x, y, z = positions(grid, voxel_mm)
    point = np.array([x[0, 0, w], y[0, h, 0], z[d, 0, 0]])
    source, panel_centre = ray_ends(angle, 1, 0, 0)
    towards = source / MACHINE.source_axis_mm
    scale = MACHINE.source_panel_mm / (MACHINE.source_axis_mm - point @ towards)
    pixel_mm = MACHINE.panel_mm / pixels
    expected_column = pixels / 2 - 0.5 + scale * (point @ np.cross(-towards, [0, 0, 1])) / pixel_mm
    expected_row = pixels / 2 - 0.5 - scale * point[2] / pixel_mm
    row, column = centroid(project(volume, voxel_mm, MACHINE, [angle], pixels, mirrored=[False])[0, 0])
    assert (row, column) == pytest.approx((expected_row, expected_column), abs=0.4)
    assert panel_centre @ towards == pytest.approx(-408)


def test_default_views_follow_the_volume_axes() -> None:
    volume = torch.full((1, 16, 16, 16), AIR)
    volume[0, 3, 4, 11] = 3000  # near the head, the front and the patient's left
    frontal, lateral = project(volume, 20.0, MACHINE, [PA_ANGLE, LEFT_LATERAL_ANGLE], 64)[0]
    assert centroid(frontal)[0] < 24
    assert centroid(frontal)[1] > 40  # W grows to the patient's left
    assert centroid(lateral)[0] < 24
    assert centroid(lateral)[1] < 24  # H grows from front to back


def test_mirrored_views_are_the_plain_ones_with_columns_reversed() -> None:
    volume = torch.rand(1, 12, 12, 12) * 1000
    angles = [PA_ANGLE, LEFT_LATERAL_ANGLE, OBLIQUE]
    plain = project(volume, 20.0, MACHINE, angles, 16, mirrored=[False] * 3)
    flipped = project(volume, 20.0, MACHINE, angles, 16, mirrored=[True] * 3)
    torch.testing.assert_close(flipped, plain.flip(-1))
    torch.testing.assert_close(project(volume, 20.0, MACHINE, [PA_ANGLE], 16), flipped[:, :1])


def test_parallel_rays_along_an_axis_sum_the_voxels() -> None:
    volume = torch.rand(2, 10, 10, 10) * 1500 - 700
    panel = Geometry(source_axis_mm=541, source_panel_mm=949, panel_mm=100)
    frontal, lateral = project(volume, 10.0, panel, [PA_ANGLE, LEFT_LATERAL_ANGLE], 10, parallel=True).unbind(1)
    coefficients = 0.022 * (1 + volume / 1000)
    torch.testing.assert_close(frontal, coefficients.sum(2))  # voxels of 1 cm
    torch.testing.assert_close(lateral, coefficients.sum(3))


def test_gradient_agrees_with_finite_differences() -> None:
    volume = (torch.rand(2, 4, 5, 6, dtype=torch.float64) * 1000 - 500).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: project(v, 50.0, MACHINE, [PA_ANGLE, OBLIQUE], 3), (volume,))


def test_batch_and_chunks_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = torch.randint(-1000, 2000, (3, 12, 12, 12), dtype=torch.int16)
    together = project(volume, 20.0, MACHINE, [PA_ANGLE, LEFT_LATERAL_ANGLE], 10)
    monkeypatch.setattr(projector, "POINTS_AT_ONCE", 500)
    alone = torch.cat([project(v[None], 20.0, MACHINE, [PA_ANGLE, LEFT_LATERAL_ANGLE], 10) for v in volume])
    assert together.shape == (3, 2, 10, 10)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, alone)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(B, D, H, W\)"):
        project(torch.zeros(4, 4, 4), 1.0, MACHINE, [0.0], 4)
    with pytest.raises(UsageError, match="2 mirrored"):
        project(torch.zeros(1, 4, 4, 4), 1.0, MACHINE, [0.0], 4, mirrored=[True, False])


needs_plastimatch = pytest.mark.skipif(not find_plastimatch(), reason="needs plastimatch: pip install plastimatch")


def soft_chest(grid: int, voxel_mm: float) -> np.ndarray:
    """(D, H, W) HU: a trunk with two lungs, a heart, a spine and something dense, all with soft edges."""
    x, y, z = positions(grid, voxel_mm)
    volume = np.full((grid, grid, grid), AIR, dtype=np.float32)
    for centre, radii, value in [
        ((0, 0, 0), (130, 95, 140), 30),
        ((-60, -5, 10), (45, 70, 100), -860),
        ((65, 0, 20), (40, 65, 90), -860),
        ((25, -30, -20), (55, 45, 60), 45),
        ((4, 62, 0), (16, 14, 135), 350),
        ((-70, 15, -115), (60, 50, 20), 900),
    ]:
        radius = np.sqrt(sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), centre, radii, strict=True)))
        soft = np.clip((1 - radius) * min(radii) / voxel_mm + 0.5, 0, 1)
        volume = (volume * (1 - soft) + value * soft).astype(np.float32)
    return volume


@needs_plastimatch
def test_views_agree_with_plastimatch_exact() -> None:
    volume, views = soft_chest(64, 5.0), [PA_ANGLE, LEFT_LATERAL_ANGLE]
    references, _ = draw_views(volume, 5.0, MACHINE, views, 96)
    images = project(torch.from_numpy(volume)[None], 5.0, MACHINE, views, 96, mirrored=[False, False])[0]
    for image, reference in zip(images.numpy(), references, strict=True):
        error, pearson = compare_images(image, reference)
        assert error < 0.01
        assert pearson > 0.999


@needs_plastimatch
@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["baggage", "lidc"])
def test_phantoms_and_a_prepared_scan_agree_and_cost_at_most_half_more(dataset: str) -> None:
    spec, grid, views = get_dataset(dataset), 128, [PA_ANGLE, LEFT_LATERAL_ANGLE]
    volumes = {"phantom 0": spec.phantom(0, grid)}
    for record in read_store(dataset)[:1]:
        volume = torch.from_numpy(load_volume(dataset, record)).float()
        volumes[record.case] = downsample(volume, grid).numpy()
    for name, volume in volumes.items():
        scan, voxel_mm = torch.from_numpy(volume.astype(np.float32))[None], spec.cube_mm / grid
        ours, theirs = [], []
        for _ in range(5):  # in turns; the fastest counts
            began = time.process_time()
            images = project(scan, voxel_mm, spec.geometry, views, grid, mirrored=[False, False])[0].numpy()
            ours.append(time.process_time() - began)
            references, seconds = draw_views(volume, voxel_mm, spec.geometry, views, grid)
            theirs.append(seconds)
        cost = min(ours) / min(theirs)
        for view, image, reference in zip(("PA", "lateral"), images, references, strict=True):
            error, pearson = compare_images(image, reference)
            here = f"{min(ours):.2f} s / {min(theirs):.2f} s = {cost:.2f}"
            print(f"\n| {name} | {view} | {error:.2%} | {pearson:.5f} | {here} |")
            assert error < 0.01
            assert pearson > 0.997
        assert cost <= 1.5
