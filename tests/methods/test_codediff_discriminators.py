"""CodeDiff3D's discriminators are the published ones, and its losses are what they say."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.errors import UsageError
from bench.methods.codediff import losses
from bench.methods.codediff.discriminator import DiscriminatorConfig, build_discriminator, quadrant


@pytest.mark.parametrize("kind", ["progressive", "patch"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_smallest_input_gives_a_logit_and_a_smaller_one_is_refused(kind: str, dimensions: int) -> None:
    config = DiscriminatorConfig(kind=kind, dimensions=dimensions, channels=2, stages=1)
    model = build_discriminator(config).eval()
    side = config.smallest_side
    assert model(torch.zeros(2, 1, *(side,) * dimensions)).shape == (2, 1)
    with pytest.raises(UsageError, match=f"at least {side} a side, not {side - 1}"):
        model(torch.zeros(2, 1, *(side - 1,) * dimensions))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoders": True}, "decoders need"),
        ({"decoders": True, "dimensions": 2, "kind": "patch"}, "decoders need"),
        ({"decoded_side": 48}, "16, 32, 64 or 128"),
        ({"decoded_side": 256}, "16, 32, 64 or 128"),
    ],
)
def test_impossible_discriminators_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DiscriminatorConfig(**changes)


@pytest.mark.parametrize("side", [16, 32])
def test_decoders_redraw_what_their_targets_show(side: int) -> None:
    config = DiscriminatorConfig(dimensions=2, channels=2, decoders=True, decoded_side=side)
    model = build_discriminator(config)
    images = torch.rand(3, 1, 32, 32)
    for part in range(4):
        logits, drawn = model.redraw(images, part)
        targets = model.redraw_targets(images, part)
        assert logits.shape == (3, 25)
        assert [tuple(image.shape) for image in (*drawn, *targets)] == [(3, 1, side, side)] * 4


def test_the_four_quadrants_are_the_image() -> None:
    image = torch.arange(36.0).view(1, 1, 6, 6)
    top = torch.cat([quadrant(image, 0, 3), quadrant(image, 1, 3)], dim=3)
    bottom = torch.cat([quadrant(image, 2, 3), quadrant(image, 3, 3)], dim=3)
    assert torch.equal(torch.cat([top, bottom], dim=2), image)


def test_the_adaptive_weight_is_the_ratio_of_gradients_between_zero_and_one() -> None:
    layer = torch.tensor([3.0, 4.0], requires_grad=True)
    image, small, large = layer * torch.ones(2), torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0])
    weight = losses.adaptive_weight(small, large, image, layer)
    assert float(weight) == pytest.approx(5 / (10 + 1e-4))
    assert not weight.requires_grad
    assert float(losses.adaptive_weight(large, small, image, layer)) == 1.0


def test_a_perceptual_distance_is_added_where_one_is_given() -> None:
    image, target = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    assert float(losses.view_loss(image, target)) == 1.0
    assert float(losses.view_loss(image, target, lambda a, b: torch.tensor(3.0), 0.5)) == 2.5
