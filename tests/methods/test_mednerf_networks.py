"""MedNeRF's networks and rendering: against golden numbers, closed forms and the projector's own rays."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench.dataset import Geometry
from bench.fingerprint import UnknownEntry, compute, compute_path
from bench.methods.mednerf import fingerprint, fingerprint_networks, losses, render, stage_field
from bench.methods.mednerf.camera import box_bounds, match_camera, official_camera, turn
from bench.methods.mednerf.card import DiscriminatorConfig, FieldConfig
from bench.methods.mednerf.discriminator import build_discriminator
from bench.methods.mednerf.field import RadianceField
from bench.plugins.config import method_settings
from bench.plugins.registry import get_method
from bench.projector import rays

CHEST = Geometry(source_axis_mm=541.0, source_panel_mm=949.0, panel_mm=500.0)
CAMERA = match_camera(CHEST, 320.0)
SMALL = FieldConfig(width=8, depth=3, skip=1, position_frequencies=2, direction_frequencies=1, shape_width=4)


def test_entries_nobody_recorded_are_computed() -> None:
    assert compute_path(fingerprint, "positional_encoding/L6_dim") == 39
    assert len(compute_path(fingerprint, "nerf_mlp/query_hash/ray1")) == 5
    smaller = compute_path(fingerprint, "render_4x4/result_hash/radius=10")
    assert smaller["near_far_used"] == pytest.approx([7.0, 12.0])
    assert smaller["acc_[-1,1]"]["n"] == 16
    with pytest.raises(UnknownEntry):
        compute(fingerprint, "render_8x8/results")


def test_the_networks_of_the_paper_preset_are_those_compared() -> None:
    settings: Any = method_settings(get_method("mednerf"), "paper", "lidc")
    assert settings.field.network == fingerprint.FIELD
    assert settings.field.patches == fingerprint.PATCH
    assert settings.samples == fingerprint.SAMPLES
    assert settings.field.discriminator == fingerprint_networks.DISCRIMINATORS["mednerf"]


def test_density_sees_neither_direction_nor_appearance() -> None:
    field = RadianceField(SMALL)
    points, latents = torch.randn(1, 4, 2, 3), torch.randn(1, SMALL.latent_width)
    other = torch.cat([latents[:, :4], torch.randn(1, 128)], dim=1)
    first = field(points, torch.randn(1, 4, 3), latents)
    second = field(points, torch.randn(1, 4, 3), other)
    assert torch.equal(first[..., 3], second[..., 3])
    assert not torch.allclose(first[..., :3], second[..., :3])
    assert torch.allclose(field.density(points.flatten(1, 2), latents), first[..., 3].relu().flatten(1), atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 33.0, 270.0])
def test_matched_rays_are_those_of_the_projector(angle: float) -> None:
    start, end = rays(CHEST, angle, 6)
    origins, directions = CAMERA.rays(
        CAMERA.poses_at(torch.tensor([-angle])), render.pixel_grid(6)[None].double(), side=6
    )
    assert torch.allclose(origins[0] * CAMERA.unit_mm, start.view(-1, 3), atol=1e-4)
    expected = (end - start).view(-1, 3)
    cosine = torch.cosine_similarity(directions[0], expected)
    assert torch.allclose(cosine, torch.ones_like(cosine), atol=1e-12)


def test_the_official_unit_is_what_the_panel_shows() -> None:
    assert official_camera(CHEST).unit_mm * 10.5 / 10 == pytest.approx(162.9, abs=0.05)


@pytest.mark.trains
def test_random_poses_keep_to_their_ranges(seed: int) -> None:
    torch.manual_seed(seed)
    poses = official_camera(CHEST).random_poses(2000)
    radius = poses[:, :, 3].norm(dim=1)
    cosine = poses[:, 2, 2]
    assert 9.5 <= radius.min() <= radius.max() <= 10.5
    low, high = math.cos(math.radians(85)), math.cos(math.radians(70))
    assert low - 1e-6 <= cosine.min() <= cosine.max() <= high + 1e-6
    assert cosine.mean() == pytest.approx((low + high) / 2, abs=0.01)
    azimuth = torch.atan2(poses[:, 1, 2], poses[:, 0, 2])
    assert torch.histc(azimuth, 4).min() > 400


def test_box_bounds_are_where_a_ray_meets_the_faces() -> None:
    origins = torch.tensor([[[3.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 0.5, 0.0]]])
    directions = torch.tensor([[[-1.0, 0.0, 0.0], [-1.0, 2.0, 0.0], [-2.0, 0.5, 0.0]]])
    near, far = box_bounds(origins, directions)
    assert near[0].tolist() == pytest.approx([2.0, 2.0, 1.0])
    assert far[0].tolist() == pytest.approx([4.0, 2.0, 1.0])  # the second misses; the third leaves by y = 1


def rays_at(azimuth: float, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    poses = CAMERA.poses_at(torch.tensor([azimuth])).float()
    return CAMERA.rays(poses, render.pixel_grid(side)[None], side)


def test_compositing_a_uniform_cube_follows_beer_and_lambert() -> None:
    both = rays_at(90.0, 9)

    def query(points: torch.Tensor, directions: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        raw = torch.zeros(*points.shape[:-1], 4)
        raw[..., 3] = 0.7
        return raw

    near, far = CAMERA.bounds(*both)
    path = (far - near) * both[1].norm(dim=-1)
    made = render.render(query, torch.zeros(1, 1), CAMERA, both, render.Sampling(16), None)
    assert torch.allclose(made[0, :, 0], 2 * 0.5 * (1 - torch.exp(-0.7 * path[0])) - 1, atol=1e-5)
    summed = render.render(query, torch.zeros(1, 1), CAMERA, both, render.Sampling(16, "line_integral"), None)
    assert torch.allclose(summed[0, :, 0], 2 * 0.7 * path[0] - 1, atol=1e-5)


def test_pieces_recomputed_in_the_backward_pass_give_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    field, latents, both = RadianceField(SMALL), torch.randn(1, SMALL.latent_width), rays_at(10.0, 8)

    def gradient() -> torch.Tensor:
        torch.manual_seed(1)
        drawn = render.render(field, latents, CAMERA, both, render.Sampling(4, jitter=True, noise=0.5), None)
        return torch.autograd.grad(drawn.square().sum(), field.trunk[0].weight)[0]

    whole = gradient()
    for cached, kept in ((40, 1 << 19), (40, 80), (40, 40)):  # all pieces kept, the last two, the last
        monkeypatch.setattr(render, "POINTS_CACHED", cached)
        monkeypatch.setattr(render, "POINTS_KEPT_ON_CPU", kept)
        assert torch.allclose(gradient(), whole, rtol=1e-4, atol=1e-6)


def test_jittered_samples_stay_in_their_intervals() -> None:
    torch.manual_seed(0)
    near, far = torch.full((1, 50), 2.0), torch.full((1, 50), 4.0)
    depths, spacing = render.ray_depths(near, far, render.Sampling(8, jitter=True), ends=False)
    assert torch.equal(((depths - 2) / 0.25).floor(), torch.arange(8.0).expand(1, 50, 8))
    assert torch.allclose(spacing.sum(-1), far - near)
    depths, _ = render.ray_depths(near, far, render.Sampling(8, jitter=True), ends=True)
    edges = torch.linspace(2, 4, 8)
    middles = (edges[1:] + edges[:-1]) / 2
    assert (depths[..., 1:-1] >= middles[:-1]).all()
    assert (depths[..., 1:-1] <= middles[1:]).all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_gauge_shows_the_field_from_elsewhere(mirrored: bool) -> None:
    """A turned frame equals a camera moved the other way; a mirrored one equals a flipped image from across."""
    torch.manual_seed(1)
    field, latents = RadianceField(SMALL), torch.randn(1, SMALL.latent_width)

    def density_image(azimuth: float, gauge: torch.Tensor | None) -> torch.Tensor:
        both = rays_at(azimuth, 6)
        placed = render.ray_depths(*CAMERA.bounds(*both), render.Sampling(4), ends=False)
        raw, lengths = render.march(field, latents, both, placed, gauge)
        return (render.density(raw) * lengths).sum(-1).view(6, 6)

    # a frame turned about z turns the box with it; rays through the middle are cut alike only at right angles
    gauge = turn(torch.tensor([90.0]), torch.tensor([mirrored])).float()
    moved = density_image(20.0, gauge)
    expected = density_image(90.0 - 20.0, None).flip(1) if mirrored else density_image(110.0, None)
    assert torch.allclose(moved, expected, atol=1e-4)


def test_a_point_is_seen_where_it_falls_on_the_panel() -> None:
    """By similar triangles, case by case; the middle is seen from everywhere and the corner from few places."""
    points = torch.tensor([[0.0, 0.0, 0.9], [0.95, 0.95, 0.0], [0.5, -0.9, 0.0]])
    angles = np.arange(36) * np.pi / 18
    for point, share in zip(points.tolist(), CAMERA.seen_share(points, 36).tolist(), strict=True):
        x, y = 160 * point[0], 160 * point[1]
        hits = [abs(y * np.cos(a) - x * np.sin(a)) * 949 / (541 - x * np.cos(a) - y * np.sin(a)) <= 250 for a in angles]
        assert share == pytest.approx(np.mean(hits))
    assert CAMERA.seen_share(points)[0] == 1
    assert CAMERA.seen_share(points)[1] < 0.5


@pytest.mark.trains
def test_patches_lie_within_the_image_and_cover_the_drawn_share(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    drawn = stage_field.draw_patches(200, 8, 0.3, chance)
    assert drawn.abs().max() <= 1 + 1e-6
    width, height = drawn[:, 0, -1, 0] - drawn[:, 0, 0, 0], drawn[:, -1, 0, 1] - drawn[:, 0, 0, 1]
    assert torch.allclose(width, height, atol=1e-5)
    assert 0.6 <= width.min() < 0.7
    assert 1.9 < width.max() <= 2
    assert drawn[:, 0, 0, 0].std() > 0.1
    line = torch.linspace(-1, 1, 16)
    image = torch.stack(torch.meshgrid(line, line, indexing="ij"))[None].flip(1).expand(200, -1, -1, -1)
    assert torch.allclose(stage_field.read_patches(image, drawn).movedim(1, -1), drawn, atol=1e-5)


def test_the_discriminators_take_the_sides_they_say() -> None:
    for kind, sides in (("mednerf", (16, 24)), ("graf", (32, 40))):
        network = build_discriminator(DiscriminatorConfig(kind=kind, channels=8, decoded_side=16))
        for side in sides:
            images = torch.randn(2, 3, side, side)
            logits = network(images, 0) if kind == "mednerf" else network(images)
            assert logits.isfinite().all()
    with pytest.raises(ValidationError, match="decoded_side"):
        DiscriminatorConfig(decoded_side=48)
    with pytest.raises(ValidationError, match="skip"):
        FieldConfig(depth=4, skip=3)


def test_redrawing_aims_at_the_quarter_whose_features_it_sees() -> None:
    network = build_discriminator(DiscriminatorConfig(channels=8, decoded_side=16))
    patch = torch.arange(1024.0).view(1, 1, 32, 32).expand(1, 3, 32, 32)
    assert torch.equal(network.redraw_targets(patch, 3).part, patch[..., 16:, 16:])
    released = build_discriminator(DiscriminatorConfig(channels=8, decoded_side=32, crops="released"))
    assert released.redraw_targets(patch, 3).part[0, 0, 0, 0] == patch[0, 0, 8, 8]


def test_losses_are_their_closed_forms() -> None:
    logits = torch.tensor([2.0, -1.0, 0.2, 0.4])
    assert losses.hinge(logits, 1.0, 0.9) == pytest.approx(0.5)
    assert losses.hinge(logits, -1.0, 0.9) == pytest.approx(1.3)
    assert losses.hinge(logits, 1.0, 0.9, "logit") == pytest.approx((0 + 1.9 + 0.7 + 0.5) / 4)
    means = [torch.tensor(value) for value in (1.0, 2.0, 3.0, 4.0)]
    assert losses.generator_loss(means) == pytest.approx(-1 - 0.2 / 3 * 9)
    image = torch.zeros(1, 3, 4, 4)
    assert losses.psnr(image, image + 0.2) == pytest.approx(20.0, abs=1e-4)


def test_the_gradient_penalty_of_the_ablation_is_ten_times_the_squared_norm() -> None:
    class Weighed(nn.Module):
        def forward(self, patches: torch.Tensor) -> torch.Tensor:
            return 0.5 * patches.flatten(1).sum(1)

    real = torch.zeros(2, 3, 4, 4)
    loss, penalty = losses.graf_discriminator_loss(Weighed(), real, real)  # type: ignore[arg-type]
    assert penalty == pytest.approx(10 * 48 * 0.25)
    assert (loss - penalty).item() == pytest.approx(2 * math.log(2), abs=1e-4)
