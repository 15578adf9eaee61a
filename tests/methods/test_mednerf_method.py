"""MedNeRF as a whole: training images, the search for the frame, tuning, the read-out, and what it refuses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.cases import Cases, Views
from bench.errors import UsageError
from bench.methods.mednerf import inversion as inversion_module
from bench.methods.mednerf.calibration import MonotoneMap, affine_knots, quantile_knots
from bench.methods.mednerf.camera import turn, voxel_centres
from bench.methods.mednerf.card import InversionConfig
from bench.methods.mednerf.inversion import Inversion, Tuned, unmirror
from bench.methods.mednerf.losses import FeatureDistance, missing_for_lpips, perceptual_distance
from bench.methods.mednerf.method import MedNerf
from bench.methods.mednerf.render import Sampling
from bench.methods.mednerf.stage_field import FieldStage, density_noise, draw_patches, training_views
from bench.performance.subjects import make_update
from bench.pipeline.fit import make_accelerator
from bench.pipeline.microbatch import Steps
from bench.projector import WATER_PER_CM, project
from bench.system.progress import Progress

from ..helpers.small_methods import build as build_small

CPU = torch.device("cpu")
MakeData = Callable[..., dict[str, Cases]]


def build(cases: dict[str, Cases], *changes: str, seed: int = 0) -> MedNerf:
    return build_small("mednerf", *changes, card=cases["test"].card, seed=seed)  # type: ignore[return-value]


def dense_inversion(method: MedNerf, latent: torch.Tensor, mean: float, spread: float, **changes: Any) -> Inversion:
    """Its inversion, around a field whose density for this latent has this mean and standard deviation in the cube.

    Before it is cut off at zero, that is: a fresh field may be empty everywhere.
    """
    points, head = voxel_centres(16, 20.0, 160.0).view(1, -1, 3), method.field.density_head
    with torch.no_grad():
        head.bias.fill_(100.0)  # nothing is cut off
        density = method.field.density(points, latent) - 100
        head.weight.mul_(spread / density.std())
        head.bias.fill_(mean - density.mean() * spread / density.std())
        method.field.colour_head.weight.mul_(8)
    return replace(method.inversion, **changes)


def test_training_images_are_all_of_one_handedness_and_one_scale(make_data: MakeData) -> None:
    cases = make_data()
    config = build(cases, "field.views=4", "field.cases=3").config.field
    images = np.stack(list(training_views(cases["train"], config, 16, CPU)))
    assert images.shape == (3, 4, 16, 16)
    chosen = torch.from_numpy(cases["train"].hounsfield[[0, 6, 11]].astype(np.float32)).clamp(-1000, 1000)
    card = cases["train"].card
    seen = project(chosen, card.voxel_mm, card.geometry, [270.0], 16)[:, 0] / card.geometry.grey_scale
    assert np.allclose(images[:, 3], seen.flip(-1).clamp(0, 1), atol=1e-3)  # the harness mirrors this view
    for image in training_views(cases["train"], config.model_copy(update={"per_view_scaling": True}), 16, CPU):
        assert np.allclose([image.min((1, 2)), image.max((1, 2))], [[0], [1]])


def test_mirrored_views_are_turned_back(make_data: MakeData) -> None:
    views = make_data()["test"].views([0, 1])
    assert torch.equal(unmirror(views), torch.stack([views.images[:, 0].flip(-1), views.images[:, 1]], 1))


def test_noise_falls_to_a_little_and_stays_there() -> None:
    assert [density_noise(step, 5000) for step in (0, 2500, 5000, 90_000)] == [1.0, 0.5, 0.0002, 0.0002]
    assert density_noise(3, 0) == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        ["camera=official"],
        ["renderer=line_integral"],
        ["field.hinge=logit", "field.discriminator.crops=released"],
        ["image_size=32", "field.discriminator.kind=graf", "field.patches.side=32"],
    ],
    ids=["official camera", "line integral", "variants", "graf discriminator"],
)
def test_a_step_trains_first_the_discriminator_and_then_the_field(
    changes: list[str], make_data: MakeData, tmp_path: Path
) -> None:
    cases = make_data(size=32)
    stage = build(cases, *changes).stages()[0]
    assert isinstance(stage, FieldStage)
    before = {name: [p.detach().clone() for p in net.parameters()] for name, net in stage.networks.items()}
    stage.prepare(cases, tmp_path, CPU)
    items, train, updated = stage.batches("train"), make_update(stage), []

    def update(name: str, loss: torch.Tensor) -> None:
        updated.append(name)
        train(name, loss)

    values = stage.step(torch.stack([items[0], items[5]]), update, 0)
    assert updated == ["discriminator", "field"]
    assert all(np.isfinite(float(value)) for value in values.values())
    for name, network in stage.networks.items():
        assert any(not torch.equal(a, b) for a, b in zip(before[name], network.parameters(), strict=True)), name


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_a_batch_in_parts_has_the_gradients_of_the_whole_one(
    parts: int, make_data: MakeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The perceptual sum too; with layers that see each patch alone, and the same chances for every part."""
    cases = make_data(size=16)
    stage: Any = build(cases, "field.loop.batch_size=4").stages()[0]
    stage.prepare(cases, tmp_path, CPU)
    for module in (*stage.networks.values(), stage.distance):
        module.double()
    side = stage.config.patches.side
    pattern = torch.linspace(-1, 1, side**2, dtype=torch.float64).view(1, 1, side, side)
    grid = draw_patches(1, side, 0.5).double()

    def places(count: int, *_: Any) -> torch.Tensor:
        torch.manual_seed(7)  # each part begins here
        return grid.expand(count, -1, -1, -1)

    def fakes(count: int, *_: Any) -> torch.Tensor:
        return (pattern * stage.field.density_head.weight.sum()).expand(count, 3, -1, -1)

    monkeypatch.setattr("bench.methods.mednerf.stage_field.draw_patches", places)
    monkeypatch.setattr(stage, "draw", fakes)
    items = stage.batches("train")
    batch = torch.stack([items[index] for index in range(4)]).double()
    stage.discriminator.eval()  # norms of a batch and steps of power iterations are those of a part
    still = {name: torch.optim.SGD(network.parameters(), 0.0) for name, network in stage.networks.items()}
    found = []
    for count in (1, parts):
        values = Steps(stage, still, make_accelerator("cpu"), "fp32", Progress(), count).run(batch, 0, lambda: None)
        gradients = [p.grad.clone() for net in stage.networks.values() for p in net.parameters() if p.grad is not None]
        found.append((values, gradients))
    (whole, gradients), (divided, others) = found
    assert whole["redrawing_or_penalty"] > 0
    assert len(gradients) > 20
    for gradient, other in zip(gradients, others, strict=True):
        assert torch.allclose(gradient, other, rtol=1e-8, atol=1e-12)
    for name, value in whole.items():
        assert float(value) == pytest.approx(float(divided[name]), rel=1e-9), name


@pytest.mark.trains
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 90.0, 225.0])
def test_the_scan_finds_the_frame_and_the_latent_that_made_the_views(
    degrees: float, mirrored: bool, make_data: MakeData, seed: int
) -> None:
    method = build(make_data(), seed=seed)
    config = InversionConfig(azimuths=8, latents=3, scan_side=16)
    angles = torch.tensor([270.0, 0.0])
    latents = 3 * torch.randn(3, method.field.config.latent_width)
    inversion = dense_inversion(method, latents[2:], 0.0, 1.0, config=config)  # half of the cube is empty
    gauge = turn(torch.tensor([degrees]), torch.tensor([mirrored])).float()
    poses = method.camera.poses_at(-angles).float()
    with torch.no_grad():
        drawn = inversion.draw(method.field, latents[2:].expand(2, -1), poses, gauge, 16)
    images = (drawn.mean(1) + 1) / 2  # views are grey, so colours are not compared
    assert images.std() > 0.02
    found_latent, found_gauge = replace(inversion, distance=_of_greys).scan(images, poses, latents)
    assert torch.equal(found_latent, latents[2:])
    assert torch.allclose(found_gauge, gauge, atol=1e-6)


def _of_greys(drawn: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return 100 * (drawn.mean(1) - targets.mean(1)).square().flatten(1).mean(1)


@pytest.mark.trains
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_read_out_projects_to_what_the_field_draws(mirrored: bool, make_data: MakeData, seed: int) -> None:
    """Rendering of the density and the harness's projector of the read-out agree: axes, angles, sides and lengths."""
    cases = make_data()
    method = build(cases, seed=seed)
    latent = 3 * torch.randn(1, method.field.config.latent_width)
    inversion = dense_inversion(method, latent, 4.0, 1.0, sampling=Sampling(64, "line_integral"), image_size=20)
    gauge = turn(torch.tensor([180.0]), torch.tensor([mirrored])).float()
    tuned = Tuned(method.field, latent, gauge, 0.0, 0)
    size, angles = 48, [0.0, 30.0, 270.0]
    density = inversion.density(tuned, voxel_centres(size, 320 / size, method.camera.unit_mm))
    per_cm = density / (method.camera.unit_mm / 10)
    hounsfield = (per_cm / WATER_PER_CM - 1) * 1000
    assert hounsfield.min() > -800  # below that the projector sees air
    plain = {"mirrored": [False] * 3, "samples": 96}
    projected = project(hounsfield[None], 320 / size, method.data.geometry, angles, 20, **plain)[0]
    poses = method.camera.poses_at(-torch.tensor(angles)).float()
    with torch.no_grad():
        drawn = inversion.draw(method.field, tuned.latent.expand(3, -1), poses, gauge, 20)
    drawn = (drawn[:, 0] + 1) / 2
    assert projected.std() > 0.5
    assert (drawn - projected).abs().max() < 0.01 * projected.max()
    assert not torch.allclose(drawn, drawn.flip(-1), atol=0.05 * float(projected.max()))


def test_the_read_out_is_empty_in_corners_few_cameras_see(make_data: MakeData) -> None:
    method = build(make_data())
    latent = torch.zeros(1, method.field.config.latent_width)
    inversion = dense_inversion(method, latent, 4.0, 1.0)
    tuned = Tuned(method.field, latent, torch.eye(3)[None], 0.0, 0)
    grid = inversion.grid(16, 20.0, CPU)
    density, made = inversion.density(tuned, grid[0]), inversion.read_out(tuned, grid)
    assert (density > 0).all()
    assert (made[:, 0, 0] == 0).all()
    assert torch.equal(made[:, 2:-2, 4:-4], density[:, 2:-2, 4:-4])


@pytest.mark.trains
def test_tuning_fits_the_views_and_leaves_the_trained_field_alone(
    make_data: MakeData, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = make_data()
    method = build(cases, seed=seed)
    inversion = dense_inversion(method, torch.zeros(1, method.field.config.latent_width), 1.0, 0.3)
    before = {key: value.clone() for key, value in method.field.state_dict().items()}
    images, angles = torch.full((2, 16, 16), 0.3), torch.tensor([270.0, 0.0])
    untuned = replace(inversion, config=InversionConfig(azimuths=4, latents=2, steps=0)).tune(images, angles, 1)
    config = InversionConfig(azimuths=4, latents=2, steps=20, learning_rate=1e-3)
    tuned = replace(inversion, config=config).tune(images, angles, 1)
    assert tuned.psnr > untuned.psnr + 3
    assert not torch.equal(tuned.latent, untuned.latent)
    assert all(torch.equal(before[key], value) for key, value in method.field.state_dict().items())
    assert all(parameter.requires_grad for parameter in method.field.parameters())
    fixed = replace(inversion, config=config.model_copy(update={"optimise": "field"})).tune(images, angles, 1)
    assert torch.equal(fixed.latent, untuned.latent)
    early = replace(inversion, config=config.model_copy(update={"stop_psnr": untuned.psnr + 0.5}))
    stopped = early.tune(images, angles, 1)
    assert 0 < stopped.steps < 20
    assert stopped.psnr >= untuned.psnr + 0.5
    with monkeypatch.context() as patch:  # a device that is asked now and then goes no step further
        patch.setattr(inversion_module, "steps_unasked", lambda device: 16)
        late = early.tune(images, angles, 1)
    assert (late.steps, late.psnr) == (stopped.steps, stopped.psnr)
    assert torch.equal(late.latent, stopped.latent)
    assert all(map(torch.equal, late.field.parameters(), stopped.field.parameters()))


def test_renders_use_the_fields_tuned_for_the_volumes(make_data: MakeData, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = make_data()
    method = build(cases)
    tune, calls = Inversion.tune, []

    def counted(self: Inversion, images: torch.Tensor, angles: torch.Tensor, seed: int) -> Tuned:
        calls.append(seed)
        return tune(self, images, angles, seed)

    monkeypatch.setattr(Inversion, "tune", counted)
    views, angles = cases["test"].views([0, 1]), [270.0, 0.0, 50.0]
    method.reconstruct(views, seeds=[1, 2])
    drawn = method.renders(views, angles, seeds=[1, 2])
    assert calls == [1, 2]
    assert drawn.shape == (2, 3, 16, 16)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    (tuned, _) = method._tuned[2]  # type: ignore[index]
    assert torch.allclose(drawn[0, 0].flip(-1), method.inversion.views(tuned, [270.0])[0], atol=1e-5)
    assert torch.allclose(drawn[0, 1], method.inversion.views(tuned, [0.0])[0], atol=1e-5)
    again = method.renders(cases["test"].views([2, 1]), angles, seeds=[3, 2])
    assert calls == [1, 2, 3, 2]
    assert torch.allclose(again[1], drawn[1], atol=1e-6)
    assert set(method.seconds_by_part()) == {f"tuning, {method.compared_by}", "read-out", "renders"}


def fill(knots: tuple[np.ndarray, np.ndarray]) -> MonotoneMap:
    map_ = MonotoneMap()
    for buffer, values in zip((map_.densities, map_.intensities), knots, strict=True):
        buffer.copy_(torch.from_numpy(values))
    return map_


def test_the_quantile_map_undoes_any_monotone_change_and_gives_equal_densities_one_mean() -> None:
    density = np.random.default_rng(0).gamma(2.0, size=20_000)
    map_ = fill(quantile_knots(density, 1 - np.exp(-density)))
    values = torch.linspace(0.05, 6, 50)
    assert torch.allclose(map_(values), 1 - torch.exp(-values), atol=0.01)
    assert (map_(torch.linspace(-1, 50, 999)).diff() >= 0).all()
    half_empty = np.concatenate([np.zeros(500), np.linspace(1, 2, 500)])
    map_ = fill(quantile_knots(half_empty, np.linspace(0, 1, 1000)))
    assert map_(torch.tensor([0.0, 1.5])).tolist() == pytest.approx([0.25, 0.75], abs=0.01)


def test_the_affine_map_is_the_least_squares_line() -> None:
    random = np.random.default_rng(0)
    density = random.uniform(0, 1, 5000)
    intensity = 0.2 + 0.5 * density + random.normal(size=5000) * 0.05
    slope, level = np.polyfit(density, intensity, 1)
    assert fill(affine_knots(density, intensity))(torch.tensor(0.6)) == pytest.approx(level + 0.6 * slope, abs=1e-5)
    falling = fill(affine_knots(density, -intensity + 1))
    assert falling(torch.tensor(0.1)) == falling(torch.tensor(0.9))


def test_calibration_stores_a_rising_map_of_1024_knots(make_data: MakeData, tmp_path: Path) -> None:
    cases = make_data()
    method = build(cases)
    _, calibration = method.stages()
    calibration.fit(cases, tmp_path)  # type: ignore[union-attr]
    for buffer in (method.map.densities, method.map.intensities):
        assert buffer.shape == (1024,)
        assert (buffer.diff() >= 0).all()
    low, high = method.map.intensities.aminmax()
    train = cases["train"].volumes(range(12))
    assert train.min() <= low <= high <= train.max()


@pytest.mark.trains
def test_the_substitute_for_lpips_is_fixed_and_measures_differences(seed: int) -> None:
    torch.manual_seed(seed)
    distance, name = perceptual_distance("random", "vgg")
    assert name == "random-features"
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    other = images.clone()
    other[1] += 0.1 * torch.randn(3, 16, 16)
    other[2] = -images[2]
    near, far = distance(images, other)[1:].tolist()
    assert distance(images, images).abs().max() == 0
    assert 0 < near < far
    assert torch.equal(distance(images, other), FeatureDistance()(images, other))


def test_lpips_is_refused_in_one_line_where_it_is_missing(make_data: MakeData, monkeypatch: pytest.MonkeyPatch) -> None:
    if not missing_for_lpips("vgg"):
        pytest.skip("LPIPS is installed with its weights")
    with pytest.raises(UsageError, match=r"mednerf: perceptual = lpips needs .*"):
        build(make_data(), "perceptual=lpips")
    method = build(make_data())
    assert method.remark == "perceptual networks: random-features in training, random-features in tuning"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("inversion.views=3", "mednerf, inversion: 3 views are to be tuned on and a case has 2"),
        ("image_size=20", "mednerf works on images of 20 pixels a side and cannot take views of 16"),
        ("field.patches.side=12", "mednerf, field: the mednerf discriminator needs patches of at least 16"),
        ("field.patches.side=32", "mednerf, field: patches of 32 pixels a side need images of at least that, not 16"),
        ("field.discriminator.kind=graf", "the graf discriminator needs patches of at least 32"),
    ],
)
def test_sizes_it_cannot_take_are_refused_before_training(changes: str, words: str, make_data: MakeData) -> None:
    with pytest.raises(UsageError, match=words):
        build(make_data(), changes)


@pytest.mark.parametrize("chosen", [[0], [0, 1, 1]], ids=["one", "three"])
def test_it_takes_any_number_of_views_but_not_fewer_than_the_data_have(chosen: list[int], make_data: MakeData) -> None:
    cases = make_data()
    views = cases["test"].views([0])
    mirrored = tuple(views.mirrored[i] for i in chosen)
    some = Views(views.images[:, chosen], views.angles[chosen], mirrored, views.geometry)
    if len(chosen) < 2:
        with pytest.raises(UsageError, match="mednerf needs 2 views of 16 pixels"):
            build(cases).reconstruct(some, seeds=[0])
    method = build(cases, "inversion.views=1") if len(chosen) < 2 else build(cases)
    assert method.reconstruct(some, seeds=[0]).shape == (1, 16, 16, 16)
