"""What the discriminators see: bounds of DiffAugment, the adaptive pipeline, and where its probability goes."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.methods.codediff import augment
from bench.methods.codediff.augment import AdaptiveProbability, cut_out, random_pipeline, translate

SHAPES = [(4, 1, 16, 24), (3, 1, 16, 24, 8)]


def images(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "change", [lambda x: cut_out(translate(x)), lambda x: random_pipeline(x, 1.0)], ids=["diffaugment", "ada"]
)
def test_inputs_are_left_as_they_are_and_gradients_pass(
    shape: tuple[int, ...], change: Callable[[Tensor], Tensor]
) -> None:
    torch.manual_seed(0)
    given = images(shape).requires_grad_()
    before = given.detach().clone()
    changed = change(given)
    assert changed.shape == given.shape
    assert not torch.equal(changed, given)
    changed.sum().backward()
    assert torch.equal(given.detach(), before)
    assert float(given.grad.abs().sum()) > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_probability_zero_changes_nothing(shape: tuple[int, ...]) -> None:
    assert torch.equal(random_pipeline(images(shape), 0.0), images(shape))


@pytest.mark.trains
@pytest.mark.parametrize("shape", [(64, 1, 32, 32), (64, 1, 16, 16, 16)])
def test_the_pipeline_touches_as_many_images_as_its_probability_says(shape: tuple[int, ...], seed: int) -> None:
    torch.manual_seed(seed)
    steps = 5 if len(shape) == 4 else 7
    changed = (random_pipeline(images(shape), 0.1) != images(shape)).flatten(1).any(1).float().mean()
    expected = 1 - 0.9**steps
    assert float(changed) == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 64))


@pytest.mark.trains
@pytest.mark.parametrize("shape", [(300, 1, 16, 24), (300, 1, 16, 24, 8)])
def test_translation_shifts_by_up_to_an_eighth_and_fills_with_zeros(shape: tuple[int, ...], seed: int) -> None:
    torch.manual_seed(seed)
    given = torch.zeros(shape)
    centre = tuple(side // 2 for side in shape[2:])
    given[(slice(None), 0, *centre)] = 1
    moved = translate(given).nonzero()[:, 2:] - torch.tensor(centre)
    assert len(moved) == 300
    for axis, side in enumerate(shape[2:]):
        assert moved[:, axis].unique().tolist() == list(range(-side // 8, side // 8 + 1))
    assert translate(torch.ones(shape)).mean() < 1


@pytest.mark.trains
@pytest.mark.parametrize("shape", [(300, 1, 16, 24), (200, 1, 16, 24, 8)])
def test_cut_out_zeroes_a_box_of_half_the_side_clipped_at_the_borders(shape: tuple[int, ...], seed: int) -> None:
    torch.manual_seed(seed)
    zeros = cut_out(torch.ones(shape)) == 0
    for axis, side in enumerate(shape[2:], start=2):
        others = [dim for dim in range(1, len(shape)) if dim != axis]
        extent = zeros.any(dim=others)
        assert int(extent.sum(1).max()) == side // 2
        assert int(extent.sum(1).min()) >= side // 4  # a centre on the border
    boxes = [zeros.any(dim=[d for d in range(1, len(shape)) if d != axis]).sum(1) for axis in range(2, len(shape))]
    assert torch.equal(zeros.flatten(1).sum(1), torch.stack(boxes).prod(0))


@pytest.mark.trains
def test_scales_are_as_wide_as_those_of_the_released_code(seed: int) -> None:
    # behaviour_evidence.ada_kornia of the golden file: 1 … 99 % of the factor is 0.9567 … 1.0448
    torch.manual_seed(seed)
    ranges = torch.tensor([augment._scale_range() for _ in range(4000)])
    assert torch.all((ranges == 1.0).any(1))
    factors = ranges.prod(1)
    assert float(factors.quantile(0.01)) == pytest.approx(0.9567, abs=0.005)
    assert float(factors.quantile(0.99)) == pytest.approx(1.0448, abs=0.005)


@pytest.mark.trains
def test_contrast_keeps_the_mean_and_stretches_by_half_at_most(seed: int) -> None:
    torch.manual_seed(seed)
    given = images((200, 1, 4, 4, 4))
    changed = augment._contrast(given, 1.0)
    factor = changed.flatten(1).std(1) / given.flatten(1).std(1)
    assert torch.allclose(changed.flatten(1).mean(1), given.flatten(1).mean(1), atol=1e-5)
    assert 0.5 <= float(factor.min()) < 0.6
    assert 1.4 < float(factor.max()) <= 1.5 + 1e-4


@pytest.mark.parametrize(("logit", "direction"), [(1.0, 1), (-1.0, -1)])
def test_the_probability_rises_only_while_real_inputs_are_recognised(logit: float, direction: int) -> None:
    control = AdaptiveProbability()
    for step in range(1, 4):
        for _ in range(8):
            control.observe(torch.full((4, 10), logit))
        assert control.probability == pytest.approx(0.05 + direction * step * 0.005)


def test_the_probability_stays_within_its_bounds() -> None:
    control = AdaptiveProbability()
    for _ in range(8 * 20):
        control.observe(torch.full((1, 5), -1.0))
    assert control.probability == 0
    for _ in range(8 * 200):
        control.observe(torch.ones(1, 5))
    assert control.probability == pytest.approx(0.8)


def test_the_state_of_the_controller_survives() -> None:
    control, resumed = AdaptiveProbability(), AdaptiveProbability()
    for _ in range(13):
        control.observe(torch.ones(1, 5))
    resumed.load_state(control.state())
    for _ in range(3):
        control.observe(torch.ones(1, 5))
        resumed.observe(torch.ones(1, 5))
    assert resumed.state() == control.state()
    assert control.probability == pytest.approx(0.06)
