"""Floors know exactly what they claim: the mean, the most alike training case, and what geometry alone gives."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cases import Cases, Views
from bench.dataset import DatasetCard, Geometry, Split
from bench.method import FittedStage, Method
from bench.methods.floors.backprojection import back_project
from bench.plugins.registry import get_method
from bench.projector import pixel_of_voxel, project

GEOMETRY = Geometry(541.0, 949.0, 500.0)


def fitted(name: str, cases: Mapping[Split, Cases], folder: Path) -> Method:
    method_class = get_method(name).load()
    method = method_class(method_class.Config(), cases["test"].card)
    for stage in method.stages():
        assert isinstance(stage, FittedStage)
        stage.fit(cases, folder)
        stage.recall(cases)
    return method


def test_the_mean_is_that_of_the_windowed_training_volumes(make_data: Callable[..., dict], tmp_path: Path) -> None:
    cases = make_data(train=37)
    window = np.clip(cases["train"].hounsfield.astype(np.float64), -1000, 1000)
    made = fitted("mean", cases, tmp_path).reconstruct(cases["test"].views([0, 1]), seeds=[0, 1])
    assert made.shape == (2, 16, 16, 16)
    np.testing.assert_allclose(made[1].numpy(), (window.mean(0) + 1000) / 2000, atol=1e-6)


def test_the_nearest_case_of_a_training_view_is_that_case(make_data: Callable[..., dict], tmp_path: Path) -> None:
    cases = make_data()
    method = fitted("nearest", cases, tmp_path)
    asked = [7, 0, 3]
    views = cases["train"].views(asked)
    noisy = replace(views, images=views.images + 0.02 * torch.randn(views.images.shape))
    assert torch.equal(method.reconstruct(noisy, seeds=[0, 0, 0]), cases["train"].volumes(asked))


@pytest.mark.parametrize("angle", [270.0, 0.0, 33.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_voxel_is_looked_up_where_the_projector_draws_it(angle: float, mirrored: bool) -> None:
    size, voxel_mm, pixels = 32, 8.0, 64
    d, h, w = 6, 20, 25
    volume = torch.full((1, size, size, size), -1000.0)
    volume[0, d, h, w] = 3000.0
    image = project(volume, voxel_mm, GEOMETRY, [angle], pixels, mirrored=[mirrored], samples=256)[0, 0]
    rows, columns = torch.meshgrid(torch.arange(pixels), torch.arange(pixels), indexing="ij")
    drawn = torch.stack([(image * columns).sum(), (image * rows).sum()]) / image.sum()
    place = pixel_of_voxel(GEOMETRY, angle, mirrored, size, voxel_mm)[d, h, w]
    assert torch.allclose((place + 1) * pixels / 2 - 0.5, drawn.double(), atol=0.15)


def test_back_projecting_constant_views_gives_that_constant_inside_the_panel() -> None:
    places = torch.stack([pixel_of_voxel(GEOMETRY, angle, False, 16, 10.0) for angle in (270.0, 0.0)]).float()
    assert torch.allclose(back_project(torch.full((1, 2, 32, 32), 0.3), places), torch.tensor(0.3), atol=1e-6)


def test_views_of_water_are_back_projected_to_water() -> None:
    size = 24
    card = DatasetCard(
        *("lidc", "phantom", size, 10.0, (-1000.0, 1000.0), 48, (270.0, 0.0), (True, False)),
        *(replace(GEOMETRY, grey_scale=20.0), {}, ""),
    )
    water = project(torch.zeros(1, size, size, size), 10.0, GEOMETRY, card.angles, 48)
    views = Views(water / 20.0, torch.tensor(card.angles), card.mirrored, card.geometry)
    method_class = get_method("backprojection").load()
    made = method_class(method_class.Config(), card).reconstruct(views, seeds=[0])
    assert torch.allclose(made[0, 2:-2, 2:-2, 2:-2], torch.tensor(0.5), atol=1e-3)
