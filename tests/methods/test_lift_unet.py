"""The lifting U-Net: features arrive where the projector sees a voxel, sizes fit or are refused, the network learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bench.cases import Views
from bench.errors import UsageError
from bench.methods.lift_unet.card import Lifting
from bench.methods.lift_unet.network import lift, places_of_voxels
from bench.projector import project

from ..helpers.small_methods import CARD, SIZE, blobs, build, card_of, random_views, train


@pytest.mark.parametrize("angles", [(270.0, 0.0), (270.0, 45.0)])
@pytest.mark.parametrize("voxel", [(3, 11, 5), (12, 4, 9)])
def test_lifted_views_agree_at_the_voxel_that_casts_the_shadow(
    angles: tuple[float, ...], voxel: tuple[int, int, int]
) -> None:
    size, voxel_mm, mirrored = 16, 15.0, (True, False)
    volume = torch.full((1, size, size, size), -1000.0)
    volume[0][voxel] = 3000.0
    images = project(volume, voxel_mm, CARD.geometry, angles, 64, mirrored=mirrored, samples=256)
    places = places_of_voxels(CARD.geometry, angles, mirrored, size, voxel_mm, "geometry")
    seen = [lift(image[:, None], place)[0, 0] for image, place in zip(images.unbind(1), places, strict=True)]
    both = torch.minimum(*seen)
    assert torch.unravel_index(both.argmax(), both.shape) == voxel
    assert float(both.flatten().topk(2).values[1]) < 0.9 * float(both.max())


def test_repetition_resizes_a_view_and_repeats_it_along_the_axis_it_cannot_see() -> None:
    views = random_views(2)
    places = places_of_voxels(CARD.geometry, CARD.angles, CARD.mirrored, SIZE, CARD.voxel_mm, "repetition")
    frontal, lateral = F.interpolate(views.images, size=SIZE, mode="bilinear", align_corners=False).unbind(1)
    repeated = frontal[:, None, :, None, :].expand(-1, -1, -1, SIZE, -1)
    assert torch.allclose(lift(views.images[:, :1], places[0]), repeated, atol=1e-5)
    repeated = lateral[:, None, :, :, None].expand(-1, -1, -1, -1, SIZE)
    assert torch.allclose(lift(views.images[:, 1:], places[1]), repeated, atol=1e-5)


@pytest.mark.parametrize("lifting", ["geometry", "repetition"])
def test_a_flipped_view_that_says_so_is_lifted_to_the_same_places(lifting: Lifting) -> None:
    images = random_views(2).images[:, :1]
    flipped, plain = (
        places_of_voxels(CARD.geometry, (270.0,), (mirrored,), SIZE, CARD.voxel_mm, lifting)[0]
        for mirrored in (True, False)
    )
    assert torch.allclose(lift(images, flipped), lift(images.flip(-1), plain), atol=1e-5)
    assert not torch.allclose(lift(images, flipped), lift(images, plain), atol=0.1)


def test_nothing_of_a_reconstruction_is_random_and_voxels_off_the_panel_see_nothing() -> None:
    method = build("lift_unet")
    views = random_views(2)
    assert torch.equal(method.reconstruct(views, seeds=[1, 2]), method.reconstruct(views, seeds=[3, 4]))
    narrow = replace(CARD.geometry, panel_mm=100.0)
    places = places_of_voxels(narrow, CARD.angles, CARD.mirrored, SIZE, CARD.voxel_mm, "geometry")
    assert float(lift(views.images[:, :1], places[0])[:, :, 0].abs().max()) == 0


@pytest.mark.parametrize("size", [15, 24])
def test_sides_that_cannot_be_halved_evenly_are_taken_too(size: int) -> None:
    method = build("lift_unet", "network.widths=[8, 8, 8]", "network.blocks=2", card=card_of(270.0, 0.0, size=size))
    assert method.reconstruct(random_views(1), seeds=[0]).shape == (1, size, size, size)


def test_sizes_and_views_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="lift_unet: 5 levels need volumes of 32 voxels a side, not 16"):
        build("lift_unet", "network.widths=[8, 8, 8, 8, 8]")
    with pytest.raises(UsageError, match="multiple of 8"):
        build("lift_unet", "network.widths=[12]")
    views = random_views(1)
    one = Views(views.images[:, :1], views.angles[:1], views.mirrored[:1], views.geometry)
    with pytest.raises(UsageError, match="lift_unet was trained on 2 views and cannot take 1"):
        build("lift_unet").reconstruct(one, seeds=[0])


def test_a_scale_of_values_multiplies_the_output_and_divides_the_loss() -> None:
    cases = blobs()
    plain, scaled = (build("lift_unet", f"network.value_scale={scale}").stages()[0] for scale in (1.0, 0.25))
    images, places = cases.images([0, 1, 2, 3]), plain.places
    with torch.no_grad():
        made = plain.network(images, places)
        assert torch.allclose(scaled.network(images, places), made / 4, atol=1e-6)
        values = scaled.step((images, cases.volumes([0, 1, 2, 3])), lambda name, loss: None, 0)
    assert float(values["mae"]) == pytest.approx(float((made / 4 - cases.unit).abs().mean()), rel=1e-4)
    assert float(values["loss"]) == pytest.approx(4 * float(values["mae"]))


@pytest.mark.trains
@pytest.mark.parametrize("overrides", [["network.lifting=geometry"], ["network.lifting=repetition"]], ids=str)
def test_the_stage_learns_to_tell_the_cases_apart(overrides: list[str], seed: int, tmp_path: Path) -> None:
    cases = blobs()
    overrides = [
        *overrides,
        "network.features=8",
        "training.loop.steps=60",
        "training.loop.validate_every=60",
        "training.learning_rate=2e-2",
    ]
    stages, logged = train(build("lift_unet", *overrides, seed=seed), cases, tmp_path, seed)
    assert stages == ["network"]
    median = cases.unit.median(0, keepdim=True).values
    blind = float((cases.unit - median).abs().mean())  # the least error of one volume for all
    assert logged["network", "validation_loss"][-1] < 0.85 * blind


def test_the_rate_rises_and_then_falls_to_nothing() -> None:
    stage = build("lift_unet", "training.warm_up=4", "training.loop.steps=12").stages()[0]
    assert [stage.rate(step) for step in (0, 3, 4, 8, 12)] == pytest.approx([0.25, 1, 1, 0.5, 0])
