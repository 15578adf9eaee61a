"""X2CT-GAN's networks, losses and schedule are the published ones, and their switches do what they say."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench.errors import UsageError
from bench.fingerprint import compute_path
from bench.methods.x2ctgan import fingerprint
from bench.methods.x2ctgan.alignment import FRONTAL, LATERAL, expand, resample_views
from bench.methods.x2ctgan.card import GeneratorConfig
from bench.methods.x2ctgan.generator import build_generator
from bench.methods.x2ctgan.stage import projection_loss, voxel_loss
from bench.system.files import read_json

TINY = GeneratorConfig(stem=4, layers=(1, 2), growth=4, bottleneck=1, bridge=6, links=(3, 5), dropout=0.0)
BOTH = (FRONTAL, LATERAL)


@pytest.mark.parametrize(
    ("path", "beside"),
    [
        ("generator_singleview_96/n_params", None),
        ("generator_multiview_96/sub_modules", "generator_multiview_64/sub_modules"),
        ("discriminator_multiview_24/ruleB_instance_stats", "discriminator_multiview_128/ruleB_instance_stats"),
        ("discriminator_singleview_24/ruleA_running_stats", "discriminator_singleview_64/ruleA_running_stats"),
        ("generator_singleview_32/inputs_ruleB", None),
    ],
)
def test_sizes_that_the_file_does_not_hold_are_computed_under_the_same_keys(path: str, beside: str | None) -> None:
    value = compute_path(fingerprint, path)
    if beside is not None:
        golden: Any = read_json(fingerprint.GOLDEN)
        for part in beside.split("/"):
            golden = golden[part]
        assert set(value) == set(golden)


def test_only_the_bridge_depends_on_the_size() -> None:
    small, large = (compute_path(fingerprint, f"generator_singleview_{size}/n_params") for size in (64, 256))
    assert large - small == (704 + 1) * 256 * (8**3 - 2**3)


@pytest.mark.parametrize("size", ["48", "0", "32"])
def test_sizes_that_a_generator_cannot_take_are_refused(size: str) -> None:
    with pytest.raises(UsageError, match=f"multiple of 32 and at least 64, not {size}"):
        compute_path(fingerprint, f"generator_singleview_{size}/ruleB_instance_stats")


@pytest.mark.parametrize("order", BOTH)
def test_a_view_is_repeated_along_the_axis_it_cannot_see(order: tuple[int, ...]) -> None:
    view = torch.rand(2, 1, 4, 4)
    volume = expand(view, order)
    for d, h, w in ((0, 1, 2), (3, 2, 0), (1, 3, 3)):
        column = w if order == FRONTAL else h
        assert torch.equal(volume[:, 0, d, h, w], view[:, 0, d, column])


@pytest.mark.parametrize(("from_side", "side"), [(8, 4), (12, 8)])
def test_views_are_averaged_down_to_the_networks_side(from_side: int, side: int) -> None:
    images = torch.rand(2, 2, from_side, from_side)
    views = resample_views(images, side)
    assert [view.shape for view in views] == [(2, 1, side, side)] * 2
    stripes = torch.arange(float(from_side)).remainder(2).expand(1, 1, from_side, from_side)  # too fine for the side
    assert resample_views(stripes, side)[0].std() < 0.5 * stripes.std()
    assert torch.allclose(resample_views(torch.full_like(images, 0.3), side)[0], torch.tensor(0.3))


@pytest.mark.parametrize("switch", ["skips", "main_skips", "feedback"])
def test_the_ablations_are_other_networks(switch: str) -> None:
    views = [torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)]
    whole = build_generator(TINY, 8, BOTH)
    without = build_generator(TINY.model_copy(update={switch: False}), 8, BOTH)
    if switch == "feedback":  # the same tensors, wired otherwise
        without.load_state_dict(whole.state_dict())
        assert not torch.allclose(whole(views), without(views))
    else:
        assert sum(p.numel() for p in without.parameters()) < sum(p.numel() for p in whole.parameters())
    assert without(views).shape == (1, 1, 8, 8, 8)


def test_without_connection_b_a_view_speaks_through_the_bridge_only() -> None:
    torch.manual_seed(0)
    first, second = torch.rand(2, 1, 1, 8, 8)
    for skips in (True, False):
        generator = build_generator(TINY.model_copy(update={"skips": skips}), 8, BOTH)
        for branch in generator.branches:
            nn.init.zeros_(branch.bridge.layers[0].weight)
        same = torch.allclose(generator([first, second]), generator([second, first]), atol=1e-6)
        assert same != skips


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"links": (4, 4)}, "5 stages of layers need as many links"),
        ({"dropout": 1.0}, "less than 1"),
        ({"layers": ()}, "at least 1 item"),
    ],
)
def test_impossible_generators_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GeneratorConfig(**changes)


def test_the_projection_loss_is_blind_to_what_cancels_along_every_axis() -> None:
    target = torch.full((1, 1, 2, 2, 2), 0.5)
    checks = 0.1 * (-1.0) ** torch.stack(torch.meshgrid(*[torch.arange(2)] * 3, indexing="ij")).sum(0)
    assert float(projection_loss(target + checks, target)) == pytest.approx(0.0, abs=1e-7)
    assert float(voxel_loss(target + checks, target)) == pytest.approx(0.01)
    assert float(projection_loss(target + 0.2, target)) == pytest.approx(0.2)
