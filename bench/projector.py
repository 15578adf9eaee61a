"""The one X-ray projector of the harness: differentiable cone-beam line integrals of volumes, on any device.

Attenuation and units follow plastimatch `drr` with HU preprocessing, the tool of the published data sets:
linear above −800 HU, zero below, path length in centimetres, no exponential. Rays are cut to the volume's box
and sampled trilinearly at the midpoints of equal steps. Unlike plastimatch, whose box ends at the outer voxel
centres, a volume of N voxels is N voxels long.

Frame: millimetres in LPS (x to the patient's left, y to the back, z to the head), origin at the volume centre.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bench.dataset import Geometry, is_mirrored
from bench.errors import UsageError

WATER_PER_CM = 0.022  # attenuation of 0 HU
AIR_BELOW_HU = -800.0  # aerated lung does not attenuate either
POINTS_AT_ONCE = 1 << 19  # sample points × volumes held at a time; larger chunks are no faster


def attenuation(hounsfield: Tensor) -> Tensor:
    """Linear attenuation in 1/cm of HU values, of the same shape; floating point."""
    values = hounsfield if hounsfield.is_floating_point() else hounsfield.float()
    return torch.where(values > AIR_BELOW_HU, WATER_PER_CM + values * (WATER_PER_CM / 1000), 0.0)


def rays(
    geometry: Geometry, angle: float, pixels: int, *, mirrored: bool = False, parallel: bool = False
) -> tuple[Tensor, Tensor]:
    """Start (pixels, pixels, 3) and end of the ray of every pixel, (x, y, z) in LPS mm, float64.

    The end is the centre of the pixel on the panel. The image is as seen from the source, rows from superior to
    inferior; `mirrored` reverses the columns. `parallel` rays all run along the axis instead of from one point.
    """
    turn = torch.deg2rad(torch.tensor(angle, dtype=torch.float64))
    towards_source = torch.stack([turn.cos(), -turn.sin(), torch.zeros_like(turn)])
    along_columns = torch.stack([turn.sin(), turn.cos(), torch.zeros_like(turn)])
    along_rows = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    offsets = ((torch.arange(pixels, dtype=torch.float64) + 0.5) / pixels - 0.5) * geometry.panel_mm
    columns = -offsets if mirrored else offsets
    in_plane = offsets[:, None, None] * along_rows + columns[None, :, None] * along_columns
    source = geometry.source_axis_mm * towards_source
    start = source + in_plane if parallel else source.expand_as(in_plane)
    return start, source - geometry.source_panel_mm * towards_source + in_plane


def pixel_of_voxel(geometry: Geometry, angle: float, mirrored: bool, size: int, voxel_mm: float) -> Tensor:
    """Return where on the panel each voxel centre is seen: (D, H, W, 2) as (column, row), [-1, 1] across the panel.

    Float64, for a cube of `size` voxels a side; the inverse of `rays`.
    """
    centres = (torch.arange(size, dtype=torch.float64) + 0.5 - size / 2) * voxel_mm
    d, h, w = torch.meshgrid(centres, centres, centres, indexing="ij")  # millimetres down, back and to the left
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    towards_source = w * cosine - h * sine
    along_columns = w * sine + h * cosine
    magnification = geometry.source_panel_mm / (geometry.source_axis_mm - towards_source)
    columns = along_columns * (-1 if mirrored else 1)
    return torch.stack([columns, d], -1) * (magnification * 2 / geometry.panel_mm)[..., None]


def lift(features: Tensor, place: Tensor) -> Tensor:
    """(B, C, D, H, W) of the features (B, C, h, w) of a view at the `place` (D, H, W, 2) of voxels; 0 off the panel."""
    size = place.shape[1]
    grid = place.flatten(0, 1)[None].expand(len(features), -1, -1, -1)
    return F.grid_sample(features, grid, align_corners=False).unflatten(2, (size, size))


def project(
    hounsfield: Tensor,
    voxel_mm: float,
    geometry: Geometry,
    angles: Sequence[float],
    pixels: int,
    *,
    mirrored: Sequence[bool] | None = None,
    samples: int | None = None,
    parallel: bool = False,
) -> Tensor:
    """Line integrals (B, V, pixels, pixels) of volumes (B, D, H, W) in HU: attenuation × path in cm, no unit.

    `mirrored` (default: what `is_mirrored` says) are the views with flipped columns; `samples` (default: the
    longest side of the volume) is the number of points on each ray. Differentiable in `hounsfield`.
    Raises UsageError when shapes or counts do not fit.
    """
    mirrored = [is_mirrored(angle) for angle in angles] if mirrored is None else mirrored
    if hounsfield.ndim != 4 or len(mirrored) != len(angles) or not len(angles):
        raise UsageError(
            f"project needs a volume (B, D, H, W), at least one angle and one `mirrored` for each; got shape "
            f"{tuple(hounsfield.shape)}, {len(angles)} angles, {len(mirrored)} mirrored"
        )
    views = [rays(geometry, a, pixels, mirrored=m, parallel=parallel) for a, m in zip(angles, mirrored, strict=True)]
    depth, height, width = hounsfield.shape[1:]
    half_sides = torch.tensor([width, height, -depth], dtype=torch.float64) * (voxel_mm / 2)
    entry, span, length_cm = _cut_to_box(
        torch.stack([start for start, _ in views]).flatten(0, -2),
        torch.stack([end for _, end in views]).flatten(0, -2),
        half_sides,
    )
    volume = attenuation(hounsfield)[None]  # the batch as channels: one set of sample points serves all of it
    entry, span = entry.to(volume), span.to(volume)
    samples = max(depth, height, width) if samples is None else samples
    fractions = (torch.arange(samples, dtype=volume.dtype, device=volume.device) + 0.5) / samples
    mean_along = _mean_along  # with gradients recomputed in the backward pass, or every sample point would be kept
    if torch.is_grad_enabled() and volume.requires_grad:
        mean_along = partial(checkpoint, _mean_along, use_reentrant=False)
    rays_at_once = max(1, POINTS_AT_ONCE // (samples * max(1, len(hounsfield))))
    means = [
        mean_along(volume, some_entry, some_span, fractions)
        for some_entry, some_span in zip(entry.split(rays_at_once), span.split(rays_at_once), strict=True)
    ]
    integrals = torch.cat(means, dim=1) * length_cm.to(volume)
    return integrals.view(-1, len(angles), pixels, pixels)


def _cut_to_box(start: Tensor, end: Tensor, half_sides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Entry and span (R, 3) of rays in a box, (w, h, d) as fractions of its half sides, and lengths (R,) in cm."""
    origin, direction = start / half_sides, (end - start) / half_sides
    tiny = torch.full_like(direction, 1e-12)
    divisor = torch.where(direction.abs() < tiny, tiny, direction)
    crossings = torch.stack([(-1 - origin) / divisor, (1 - origin) / divisor])
    near = crossings.amin(0).amax(-1).clamp(0, 1)
    far = crossings.amax(0).amin(-1).clamp(0, 1)
    inside = (far - near).clamp(min=0)
    length_cm = inside * (end - start).norm(dim=-1) / 10
    return origin + direction * near[:, None], direction * inside[:, None], length_cm


def _mean_along(volume: Tensor, entry: Tensor, span: Tensor, fractions: Tensor) -> Tensor:
    """Mean (B, R) of a volume (1, B, D, H, W) along rays; ±1 are the outer faces of the outer voxels."""
    points = torch.addcmul(entry[None], fractions[:, None, None], span[None])
    values = F.grid_sample(volume, points[None, None], mode="bilinear", padding_mode="border", align_corners=False)
    return values[0, :, 0].mean(1)
