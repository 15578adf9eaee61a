"""CCX-rayNet and CCX-rayGAN as methods: what they accept, what they return, and that their stages learn."""

from pathlib import Path

import pytest
import torch

from bench.dataset import DatasetCard
from bench.errors import UsageError

from ..helpers.small_methods import CARD, SIZE, FourVolumes, build, card_of, coordinates, random_views, train


def stages(*overrides: str, dataset: str = "lidc") -> list[str]:
    return [stage.name for stage in build("ccx_raynet", *overrides, dataset=dataset).stages()]


def test_networks_may_be_smaller_than_the_volume() -> None:
    small = ("side=8", "generator.layers=[2]", "generator.links=[4]", "mask.widths=[4]")
    volume = build("ccx_raynet", *small).reconstruct(random_views(2), seeds=[1, 2])
    assert volume.shape == (2, SIZE, SIZE, SIZE)
    assert 0 <= float(volume.min()) < float(volume.max()) <= 1


def test_masks_are_a_stage_only_where_they_are_learned() -> None:
    assert stages() == ["mask", "generator"]
    assert stages("mask.kind=zero") == stages("generator.dft=false") == ["generator"]
    assert stages(dataset="baggage") == ["generator"]  # no class prior: Otsu's foreground


def test_without_a_class_the_views_alone_decide() -> None:
    """Masks change what the conditioned generator makes; zero masks are a constant condition."""
    learned, zero = build("ccx_raynet"), build("ccx_raynet", "mask.kind=zero")
    zero.stages()[-1].networks["generator"].load_state_dict(learned.stages()[-1].networks["generator"].state_dict())
    with torch.no_grad():
        for network in learned.stages()[0].networks["masks"].networks:
            network.head.weight.zero_()
            network.head.bias.fill_(-20.0)
    given = random_views(1)
    assert torch.equal(zero.reconstruct(given, seeds=[0]), learned.reconstruct(given, seeds=[0]))
    with torch.no_grad():
        for network in learned.stages()[0].networks["masks"].networks:
            network.head.weight.fill_(5.0)
            network.head.bias.zero_()
    assert not torch.equal(zero.reconstruct(given, seeds=[0]), learned.reconstruct(given, seeds=[0]))


@pytest.mark.parametrize(
    ("card", "overrides", "words"),
    [
        (card_of(270.0, 0.0, 90.0), [], "ccx_raynet takes one or two views, not 3"),
        (card_of(270.0, 0.0, size=18), [], "ccx_raynet: .* multiple of 4 .* not 18"),
        (CARD, ["side=32"], "ccx_raynet works at a side of at most data.size = 16"),
        (CARD, ["mask.widths=[4,4,4,4,4,4]"], "ccx_raynet, mask: .* multiple of 32, not 16"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_training(card: DatasetCard, overrides: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("ccx_raynet", *overrides, card=card)


def chests() -> FourVolumes:
    """Bodies with two air-filled lungs of different sizes."""
    grid = coordinates()
    body = (grid[1] / 0.8).square() + (grid[2] / 0.9).square() <= 1
    volumes = []
    for size in (0.3, 0.4, 0.5, 0.6):
        volume = torch.where(body, 40.0, -1000.0)
        for side in (-0.45, 0.45):
            lung = (grid[0] / size).square() + (grid[1] / 0.5).square() + ((grid[2] - side) / 0.3).square() <= 1
            volume[lung] = -850.0
        volumes.append(volume)
    return FourVolumes((torch.stack(volumes) + 1000) / 2000)


@pytest.mark.trains
def test_every_stage_trains_and_its_loss_falls(tmp_path: Path, seed: int) -> None:
    overrides = ["training.loop.steps=30", "training.learning_rate=1e-3", "generator.dropout=0.0"]
    overrides += [f"{stage}.loop.checkpoint_every=100" for stage in ("mask", "training")]
    method = build("ccx_raygan", "mask.loop.steps=25", "mask.learning_rate=1e-2", *overrides, seed=seed)
    trained, logged = train(method, chests(), tmp_path, seed)
    assert trained == ["mask", "generator"]
    for stage, column in (("mask", "loss"), ("generator", "voxel_loss"), ("generator", "projection_loss")):
        values = logged[stage, column]
        assert sum(values[-5:]) < 0.85 * sum(values[:5]), f"{stage} {column}: {values[:5]} → {values[-5:]}"
    assert {("generator", "generator_loss"), ("generator", "discriminator_loss")} <= logged.keys()
    assert "discriminator" not in build("ccx_raynet").stages()[1].networks
