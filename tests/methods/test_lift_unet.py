"""The lifting U-Net: views are lifted along both axes, sizes fit or are refused, and the network learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bench.errors import UsageError
from bench.methods.lift_unet.card import Lifting
from bench.methods.lift_unet.network import places_of_voxels
from bench.projector import lift

from ..helpers.small_methods import CARD, SIZE, blobs, build, card_of, random_views, train


def test_repetition_resizes_a_view_and_repeats_it_along_the_axis_it_cannot_see() -> None:
    views = random_views(2)
    places = places_of_voxels(CARD.geometry, CARD.angles, CARD.mirrored, SIZE, CARD.voxel_mm, "repetition")
    frontal, lateral = F.interpolate(views.images, size=SIZE, mode="bilinear", align_corners=False).unbind(1)
    repeated = frontal[:, None, :, None, :].expand(-1, -1, -1, SIZE, -1)
    assert torch.allclose(lift(views.images[:, :1], places[0]), repeated, atol=1e-5)
    repeated = lateral[:, None, :, :, None].expand(-1, -1, -1, -1, SIZE)
    assert torch.allclose(lift(views.images[:, 1:], places[1]), repeated, atol=1e-5)


def test_voxels_off_the_panel_see_nothing() -> None:
    narrow = replace(CARD.geometry, panel_mm=100.0)
    places = places_of_voxels(narrow, CARD.angles, CARD.mirrored, SIZE, CARD.voxel_mm, "geometry")
    assert float(lift(random_views(2).images[:, :1], places[0])[:, :, 0].abs().max()) == 0


@pytest.mark.parametrize("size", [15, 24])
def test_sides_that_cannot_be_halved_evenly_are_taken_too(size: int) -> None:
    method = build("lift_unet", "network.widths=[8, 8, 8]", "network.blocks=2", card=card_of(270.0, 0.0, size=size))
    assert method.reconstruct(random_views(1), seeds=[0]).shape == (1, size, size, size)


def test_sizes_and_views_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="lift_unet: 5 levels need volumes of 32 voxels a side, not 16"):
        build("lift_unet", "network.widths=[8, 8, 8, 8, 8]")
    with pytest.raises(UsageError, match="multiple of 8"):
        build("lift_unet", "network.widths=[12]")
    with pytest.raises(UsageError, match="lift_unet was trained on 2 views and cannot take 1"):
        build("lift_unet").reconstruct(random_views(1, 270.0), seeds=[0])


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
@pytest.mark.parametrize("lifting", ["geometry", "repetition"])
def test_the_stage_learns_to_tell_the_cases_apart(lifting: Lifting, seed: int, tmp_path: Path) -> None:
    cases = blobs()
    overrides = [f"network.lifting={lifting}", "network.features=8", "training.learning_rate=2e-2"]
    overrides += ["training.loop.steps=60", "training.loop.validate_every=60"]
    stages, logged = train(build("lift_unet", *overrides, seed=seed), cases, tmp_path, seed)
    assert stages == ["network"]
    median = cases.unit.median(0, keepdim=True).values
    blind = float((cases.unit - median).abs().mean())  # the least error of one volume for all
    assert logged["network", "validation_loss"][-1] < 0.85 * blind


def test_the_rate_rises_and_then_falls_to_nothing() -> None:
    stage = build("lift_unet", "training.warm_up=4", "training.loop.steps=12").stages()[0]
    assert [stage.rate(step) for step in (0, 3, 4, 8, 12)] == pytest.approx([0.25, 1, 1, 0.5, 0])
