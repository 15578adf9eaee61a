"""X2CT-GAN as a method: what it accepts and refuses, what it returns, and that its stage learns."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cases import Views
from bench.dataset import DatasetCard
from bench.errors import UsageError
from bench.methods.x2ctgan.stage import projection_loss, voxel_loss
from bench.plugins.config import method_settings
from bench.plugins.registry import get_method

from ..helpers.small_methods import CARD, SIZE, blobs, build, card_of, random_views, train
from ..helpers.toy_data import make_data


@pytest.mark.parametrize("angles", [(270.0, 0.0), (0.0,)])
def test_a_reconstruction_has_the_shape_and_range_of_a_volume(angles: tuple[float, ...]) -> None:
    method = build("x2ctgan", card=card_of(*angles))
    volume = method.reconstruct(random_views(3, *angles), seeds=[1, 2, 3])
    assert volume.shape == (3, SIZE, SIZE, SIZE)
    assert 0 <= float(volume.min()) < float(volume.max()) <= 1
    assert torch.allclose(method.reconstruct(random_views(3, *angles), seeds=[4, 5, 6]), volume)  # nothing is random


def test_views_are_told_apart_by_their_angle_and_not_by_their_place() -> None:
    torch.manual_seed(0)
    one, other = build("x2ctgan", card=card_of(270.0, 0.0)), build("x2ctgan", card=card_of(0.0, 270.0))
    first, second = (method.stages()[0].networks["generator"] for method in (one, other))
    second.first.load_state_dict(first.second.state_dict())
    second.second.load_state_dict(first.first.state_dict())
    second.main.load_state_dict(first.main.state_dict())
    given = random_views(2, 270.0, 0.0)
    swapped = Views(given.images.flip(1), given.angles.flip(0), (False, True), CARD.geometry)
    made = one.reconstruct(given, seeds=[0, 0])
    assert torch.allclose(other.reconstruct(swapped, seeds=[0, 0]), made, atol=1e-5)


def test_networks_may_be_smaller_than_the_volume() -> None:
    data = card_of(270.0, 0.0, size=32, image_size=64)
    method = build("x2ctgan", "side=16", card=data)
    given = random_views(1, 270.0, 0.0)
    volume = method.reconstruct(given, seeds=[0])
    assert volume.shape == (1, 32, 32, 32)
    assert method.stages()[0].networks["generator"].first.bridge.shape == (8, 2, 2, 2)
    middle = volume[0, 8:24, 8:24, 8:24]
    assert float(middle.diff(dim=0).abs().max()) < float(volume.max())  # interpolated, not repeated


def test_volumes_that_are_larger_than_the_networks_are_averaged_once_and_windowed_first(tmp_path: Path) -> None:
    cases = make_data(size=32, train=3)
    cases["train"].hounsfield[0] = np.where(np.indices((32, 32, 32)).sum(0) % 2, 3000, 500)  # half above the window
    stage = build("x2ctgan", "side=16", card=cases["train"].card).stages()[0]
    stage.prepare(cases, tmp_path, torch.device("cpu"))
    made = torch.stack([stage.batches("train")[index][1] for index in range(3)])
    blocks = cases["train"].volumes(range(3)).reshape(3, 16, 2, 16, 2, 16, 2).mean((2, 4, 6))
    assert (made - blocks).abs().max() <= 0.5 / 2000 + 1e-6  # whole HU
    assert made[0].unique().tolist() == pytest.approx([0.875])
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    stage.prepare(cases, tmp_path, torch.device("cpu"))
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(written) == 2


@pytest.mark.parametrize(
    ("data", "overrides", "words"),
    [
        (card_of(270.0, 0.0, 90.0), [], "x2ctgan takes one or two views, not 3"),
        (card_of(270.0, 90.0), [], r"x2ctgan takes the views at 270 \(PA\) and 0 \(left lateral\).*not 270, 90"),
        (card_of(270.0, 270.0), [], "not 270, 270"),
        (card_of(45.0), [], "not 45"),
        (card_of(270.0, 0.0, size=20), [], "x2ctgan: 3 stages need .* multiple of 8 and at least 16, not 20"),
        (card_of(270.0, 0.0, size=8), [], "at least 16, not 8"),
        (card_of(270.0, 0.0, image_size=15), [], "views of at least its volume's 16 pixels a side, not 15"),
        (CARD, ["side=24"], "x2ctgan works at a side of at most data.size = 16 voxels, not 24"),
    ],
)
def test_views_and_sizes_that_do_not_fit_are_refused_before_training(
    data: DatasetCard, overrides: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        build("x2ctgan", *overrides, card=data)


@pytest.mark.parametrize("angles", [(270.0,), (0.0, 270.0), (270.0, 0.0, 90.0)])
def test_other_views_than_trained_for_are_refused(angles: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="x2ctgan was built for views at 270, 0 and cannot take"):
        build("x2ctgan").reconstruct(random_views(1, *angles), seeds=[0])


def loss_of_mean_volume() -> float:
    """The least that the blobs cost a generator which does not look at the views."""
    volumes = blobs().unit[:, None]
    mean = volumes.mean(0, keepdim=True).expand_as(volumes)
    return float(10 * voxel_loss(mean, volumes) + 10 * projection_loss(mean, volumes))


@pytest.mark.trains
@pytest.mark.parametrize("adversarial", [0.1, 0.0])
def test_the_stage_trains_with_and_without_a_discriminator(adversarial: float, seed: int, tmp_path: Path) -> None:
    overrides = [f"training.adversarial_weight={adversarial}", "generator.dropout=0.0", "training.learning_rate=5e-4"]
    overrides += ["training.loop.steps=35", "training.loop.validate_every=35"]
    method = build("x2ctgan", *overrides, seed=seed)
    _, logged = train(method, blobs(), tmp_path, seed)
    values = {name: course for (_, name), course in logged.items()}
    assert ("discriminator_loss" in values) == (adversarial > 0)
    assert set(method.stages()[0].networks) == ({"generator", "discriminator"} if adversarial else {"generator"})
    for name in ("voxel_loss", "projection_loss"):
        assert values[name][-1] < 0.7 * values[name][0], f"{name}: {values[name]}"
    assert values["validation_loss"][-1] < loss_of_mean_volume()
    if adversarial:
        assert values["discriminator_loss"][-1] < 0.8 * values["discriminator_loss"][0]


def test_the_rate_follows_the_epochs_of_the_whole_training() -> None:
    stage = build("x2ctgan", "training.loop.steps=200").stages()[0]
    assert [stage.rate(step) for step in (0, 97, 98, 197, 198, 199)] == pytest.approx([1, 1, 1 - 1 / 51, 1 / 51, 0, 0])


def test_the_discriminator_is_left_alone_by_the_generators_update() -> None:
    stage = build("x2ctgan").stages()[0]
    cases, seen = blobs(), []

    def update(name: str, loss: torch.Tensor) -> None:
        for network in stage.networks.values():
            network.zero_grad(set_to_none=True)
        loss.backward()
        touched = [n for n, net in stage.networks.items() if any(p.grad is not None for p in net.parameters())]
        seen.append((name, touched))

    stage.step((cases.images([0, 1]), cases.volumes([0, 1])), update, 0)
    assert seen == [("generator", ["generator"]), ("discriminator", ["discriminator"])]


def test_paper_trains_the_fingerprinted_class() -> None:
    plugin = get_method("x2ctgan")
    for dataset, size in (("lidc", 128), ("baggage", 256)):
        settings = method_settings(plugin, "paper", dataset)
        with torch.device("meta"):
            built = plugin.load()(settings, card_of(270.0, 0.0, size=size, image_size=256))
        networks = built.stages()[0].networks
        counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
        assert counts == {"generator": 61_740_467, "discriminator": 11_055_169}
