"""X2CT-GAN's networks are those of the golden file at any size, and their switches do what they say."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench.errors import UsageError
from bench.fingerprint import compute_path, golden_value
from bench.methods.x2ctgan import fingerprint
from bench.methods.x2ctgan.alignment import FRONTAL, LATERAL, resample_views
from bench.methods.x2ctgan.card import GeneratorConfig
from bench.methods.x2ctgan.generator import build_generator

TINY = GeneratorConfig(stem=4, layers=(1, 2), growth=4, bottleneck=1, bridge=6, links=(3, 5), dropout=0.0)
BOTH = (FRONTAL, LATERAL)


@pytest.mark.parametrize(
    ("path", "beside"),
    [
        ("generator_multiview_96/sub_modules", "generator_multiview_64/sub_modules"),
        ("discriminator_singleview_24/ruleA_running_stats", "discriminator_singleview_64/ruleA_running_stats"),
    ],
)
def test_sizes_that_the_file_does_not_hold_are_computed_under_the_same_keys(path: str, beside: str) -> None:
    assert set(compute_path(fingerprint, path)) == set(golden_value(fingerprint.GOLDEN, beside))


@pytest.mark.parametrize("size", ["48", "0", "32"])
def test_sizes_that_a_generator_cannot_take_are_refused(size: str) -> None:
    with pytest.raises(UsageError, match=f"multiple of 32 and at least 64, not {size}"):
        compute_path(fingerprint, f"generator_singleview_{size}/ruleB_instance_stats")


@pytest.mark.parametrize(("from_side", "side"), [(8, 4), (12, 8)])
def test_views_are_averaged_down_to_the_networks_side(from_side: int, side: int) -> None:
    images = torch.rand(2, 2, from_side, from_side)
    views = resample_views(images, side)
    assert [view.shape for view in views] == [(2, 1, side, side)] * 2
    stripes = torch.arange(float(from_side)).remainder(2).expand(1, 1, from_side, from_side)  # too fine for the side
    assert resample_views(stripes, side)[0].std() < 0.5 * stripes.std()
    assert torch.allclose(resample_views(torch.full_like(images, 0.3), side)[0], torch.tensor(0.3))


def test_without_connection_b_a_view_speaks_through_the_bridge_only() -> None:
    torch.manual_seed(0)
    first, second = torch.rand(2, 1, 1, 8, 8)
    for skips in (True, False):
        generator = build_generator(TINY.model_copy(update={"skips": skips}), 8, BOTH)
        for branch in generator.branches:
            nn.init.zeros_(branch.bridge.layers[0].weight)
        same = torch.allclose(generator([first, second]), generator([second, first]), atol=1e-6)
        assert same != skips


def test_without_feedback_the_same_tensors_are_wired_otherwise() -> None:
    views = [torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)]
    whole, without = (build_generator(TINY.model_copy(update={"feedback": own}), 8, BOTH) for own in (True, False))
    without.load_state_dict(whole.state_dict())
    assert not torch.allclose(whole(views), without(views))


def test_as_many_links_as_stages_are_asked_for() -> None:
    with pytest.raises(ValidationError, match="5 stages of layers need as many links"):
        GeneratorConfig(links=(4, 4))
