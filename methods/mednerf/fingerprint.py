"""Golden numbers of the official MedNeRF code, computed with the classes that the presets train.

Entries are named as in golden.json; the numbers in their names may be any, as in render_16x16/result/radius=10, and
`_hash` may be appended wherever a network is filled.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.dataset import Geometry
from bench.errors import UsageError
from bench.fingerprint import Computed, golden_value, ramp

from . import fingerprint_networks as networks
from . import losses, render
from . import stage_field as patches
from .camera import official_camera, poses
from .card import FieldConfig, PatchConfig
from .discriminator import augment
from .field import RadianceField, code_width, positional_code
from .fingerprint_networks import fill_network, parameters, summary

GOLDEN = Path(__file__).with_name("golden.json")
LEFT_OUT = frozenset(
    {"note", "input", "pts", "viewdirs", "z", "rng_order", "s", "G", "D_real_i", "D_fake_i"}
)  # remarks
SLOW: frozenset[str] = frozenset()
FIELD = FieldConfig()
PATCH = PatchConfig()
CAMERA = official_camera(Geometry(source_axis_mm=541.0, source_panel_mm=949.0, panel_mm=500.0))
SAMPLES = 64  # on a ray


def tolerance(entry: str, key: str) -> float | None:
    """Largest allowed deviation: 1e-4, and 1e-3 behind spectral norms; the file has 6 digits of float32 numbers."""
    relative = 1e-3 if "exact_spectral_norm" in entry else 1e-4
    if not key.endswith("abs_sum"):
        return relative
    block = golden_value(GOLDEN, f"{entry}/{key}".rpartition("/")[0])
    return relative * block["abs_sum"] / max(abs(block["min"]), abs(block["max"]))  # deviations are over the extremes


def code(frequencies: str) -> list[list[float]]:
    points = golden_value(GOLDEN, "positional_encoding/points")
    return positional_code(torch.tensor(points), int(frequencies)).tolist()


def field_config() -> dict[str, Any]:
    inputs = [code_width(FIELD.position_frequencies), code_width(FIELD.direction_frequencies)]
    return {
        "D": FIELD.depth,
        "W": FIELD.width,
        "skips": [FIELD.skip],
        "input_ch": inputs[0] + FIELD.shape_width,
        "input_ch_views": inputs[1] + FIELD.appearance_width,
        "z_dim": FIELD.latent_width,
        "z_shape_dim": FIELD.shape_width,
        "z_appearance_dim": FIELD.appearance_width,
        "multires": FIELD.position_frequencies,
        "multires_views": FIELD.direction_frequencies,
    }


def raw_forward(hash_: str | None) -> dict[str, Any]:
    """The field on a fixed coded input: code of the point, shape, code of the direction, appearance."""
    field = fill_network(RadianceField(FIELD), hash_)
    widths = [code_width(FIELD.position_frequencies), FIELD.shape_width]
    widths += [code_width(FIELD.direction_frequencies), FIELD.appearance_width]
    raw = field.raw(*ramp((8, sum(widths)), torch.float32).split(widths, dim=1))
    return {
        "output_shape": list(raw.shape),
        "rgb_raw": summary(raw[:, :3]),
        "sigma_raw": summary(raw[:, 3]),
        "rows": raw.tolist(),
    }


def query(hash_: str | None) -> dict[str, Any]:
    """The field at fixed points, directions and latents."""
    directions = ramp((2, 3), torch.float32, 0.7)
    directions = directions / directions.norm(dim=1, keepdim=True)
    points = ramp((2, 5, 3), torch.float32, 0.1)
    latents = ramp((2, FIELD.latent_width), torch.float32)
    raw = fill_network(RadianceField(FIELD), hash_)(points[:, None], directions[:, None], latents)[:, 0]
    return {
        "output_shape": list(raw.shape),
        "all": summary(raw),
        "ray0": raw[0].tolist(),
        "ray1": raw[1].tolist(),
    }


def raw2outputs(case: str) -> dict[str, Any]:
    """Two rays of eight fixed samples, added up."""
    colour = ramp((2, 8, 3), torch.float32, 0.1)
    sigma = 0.3 + ramp((2, 8), torch.float32, 0.9)
    if case == "all_negative_sigma":
        sigma = -1 - sigma.abs()
    depths = torch.linspace(7.5, 12.5, 8).expand(2, 8)
    norms = torch.tensor([[0.0, 0.0, -1.0], [0.1, -0.2, -1.0]]).norm(dim=1, keepdim=True)
    spacing = torch.cat([depths.diff(dim=1), torch.full((2, 1), render.LAST_SPACING)], dim=1)
    raw = torch.cat([colour, sigma[..., None]], dim=-1)
    made = render.composite(raw, depths, spacing * norms, white=case == "white_bkgd_True")
    result = {
        "rgb_map": made.colour.tolist(),
        "disp_map": made.disparity.tolist(),
        "acc_map": made.opacity.tolist(),
    }
    if case == "all_negative_sigma":
        return result
    return {**result, "depth_map": made.depth.tolist(), "weights": made.weights.tolist()}


def pose(u: str, v: str, radius: str) -> list[list[float]]:
    """The pose of published coordinates: shares of the turn and of the sphere's height."""
    polar = torch.rad2deg(torch.tensor([1 - 2 * float(v)], dtype=torch.float64).acos())
    return poses(_double(360 * float(u)), polar, _double(float(radius)))[0].tolist()


def evaluation_pose(count: int, index: int, radius: float = CAMERA.evaluation_radius) -> Tensor:
    """Pose (1, 3, 4), float64, number `index` of `count` around the circle, at this distance."""
    pose = CAMERA.poses_at(_double(360 * index / count))
    pose[..., 3] *= radius / CAMERA.evaluation_radius
    return pose


def rays(width: str, height: str, index: str) -> dict[str, Any]:
    """Origin and directions of all rays of a small image."""
    origins, directions = CAMERA.rays(evaluation_pose(72, int(index)), _grid(width, height).double(), int(width))
    return {"rays_o_00": origins[0, 0].tolist(), "rays_d_row_major": directions[0].tolist()}


def example_patch(seed: str, step: str) -> dict[str, Any]:
    """Scale and corners of the first patch drawn from a seed."""
    chance = torch.Generator().manual_seed(int(seed))
    (drawn,) = patches.draw_patches(1, PATCH.side, patches.least_scale(int(step), PATCH), chance)
    return {
        "scale": (drawn[-1, -1, 0] - drawn[0, 0, 0]).item() / 2,
        "xy_00": drawn[0, 0].tolist(),
        "xy_0_31": drawn[0, -1].tolist(),
        "xy_31_0": drawn[-1, 0].tolist(),
    }


def render_filled(width: str, height: str, hash_: str | None, radius: str) -> dict[str, Any]:
    """A small image of the filled field, seen from the side."""
    field = fill_network(RadianceField(FIELD), hash_)
    if hash_:
        field.density_head.bias.fill_(2.0)
    pose = evaluation_pose(72, 18, float(radius)).float()
    both = CAMERA.rays(pose, _grid(width, height), int(width))
    latents = ramp((1, FIELD.latent_width), torch.float32, 0.37)
    sampling = render.Sampling(SAMPLES)
    near, far = CAMERA.bounds(*both)
    placed = render.ray_depths(near, far, sampling, ends=CAMERA.official)
    raw, lengths = render.march(field, latents, both, placed, None)
    made = render.composite(raw, placed[0], lengths)
    colour = render.render(field, latents, CAMERA, both, sampling, None)[0]
    return {
        "near_far_used": [near[0, 0].item(), far[0, 0].item()],
        "rgb_[-1,1]": summary(colour),
        "acc_[-1,1]": summary(2 * made.opacity - 1),
        "disp_2d-1": summary(2 * made.disparity - 1),
        "rgb_pixel_rows_0_27_63": [colour[row].tolist() for row in (0, 27, 63) if row < len(colour)],
    }


def augmentation() -> dict[str, list[float]]:
    names = ("identity", "flip_rows(dim2)", "flip_cols(dim3)", "rot90_ccw = transpose then flip(dim2)")
    views = augment(torch.arange(4.0).view(1, 1, 2, 2))
    return {name: view.flatten().tolist() for name, view in zip(names, views, strict=True)}


def loss_weights() -> dict[str, float]:
    """The weight of a head: what the generator's loss loses per unit of that head's mean logit."""
    means = [torch.zeros((), requires_grad=True) for _ in range(4)]
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(losses.generator_loss(means), means[1])
    return {"aug_weight_per_view": -slope.item()}


def nll_example() -> dict[str, float]:
    return {"value_mean_z2_over_2": losses.latent_nll(ramp((FIELD.latent_width,), torch.float64)).item()}


def _double(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def _grid(width: str, height: str) -> Tensor:
    if width != height or int(width) < 2:
        raise UsageError(f"cameras have square images of 2 pixels a side or more, not {width}x{height}")
    return render.pixel_grid(int(width))[None]


_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_SIZE = r"(?P<width>\d+)x(?P<height>\d+)"
_NORM = r"(?P<norm>no|exact)_spectral_norm(?P<hash_>_hash)?"
COMPUTED: Computed = [
    (r"positional_encoding/L(?P<frequencies>\d+)", code),
    (r"positional_encoding/L(?P<frequencies>\d+)_dim", lambda frequencies: code_width(int(frequencies))),
    (r"nerf_mlp/config", field_config),
    (r"nerf_mlp/params", lambda: parameters(RadianceField(FIELD))),
    (r"nerf_mlp/raw_forward(?P<hash_>_hash)?", raw_forward),
    (r"nerf_mlp/query(?P<hash_>_hash)?", query),
    (r"raw2outputs/(?P<case>white_bkgd_False|white_bkgd_True|all_negative_sigma)", raw2outputs),
    (r"camera/focal_(?P<side>\d+)", lambda side: CAMERA.focal(int(side))),
    (r"camera/radius_range", lambda: list(CAMERA.radii)),
    (r"camera/theta_range_deg", lambda: list(CAMERA.polar_angles)),
    (r"camera/theta_mean_deg", lambda: CAMERA.evaluation_polar),
    (rf"camera/pose_3x4_[^/]*/u=(?P<u>{_NUMBER}),v=(?P<v>{_NUMBER}),r=(?P<radius>{_NUMBER})", pose),
    (
        r"camera/render_poses_(?P<count>\d+)/i=(?P<index>\d+)",
        lambda count, index: evaluation_pose(int(count), int(index))[0].tolist(),
    ),
    (rf"camera/get_rays_{_SIZE}_pose(?P<index>\d+)", rays),
    (r"flex_patch/min_scale_at_iteration/(?P<step>\d+)", lambda step: patches.least_scale(int(step), PATCH)),
    (r"flex_patch/max_scale", lambda: patches.LARGEST_SCALE),
    (r"flex_patch/example_seed(?P<seed>\d+)_it(?P<step>\d+)", example_patch),
    (rf"render_{_SIZE}/focal", lambda width, height: CAMERA.focal(int(width))),
    (rf"render_{_SIZE}/N_samples", lambda width, height: SAMPLES),
    (rf"render_{_SIZE}/result(?P<hash_>_hash)?/radius=(?P<radius>{_NUMBER})", render_filled),
    (r"discriminator_mednerf/params", networks.mednerf_parameters),
    (rf"discriminator_mednerf/{_NORM}", networks.mednerf_discriminator),
    (
        r"discriminator_graf_parent/params",
        networks.graf_parameters,
    ),
    (rf"discriminator_graf_parent/{_NORM}", networks.graf_discriminator),
    (r"discriminator_(?P<kind>mednerf|graf_parent)/config", networks.config),
    (r"dag_augmentation/views", augmentation),
    (r"losses/weights", loss_weights),
    (r"losses/nll_example", nll_example),
]
