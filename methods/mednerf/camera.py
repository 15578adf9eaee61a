"""Cameras of the radiance field: where they stand, the rays of their pixels, and where along a ray there is anything.

Frame of the field: z to the head. `matched` cameras are those of the data's X-ray machine: x to the patient's left,
y to the back, one unit half the side of the volume's cube, and a view at gantry angle α stands at azimuth −α; views
must not be mirrored. `official` cameras are those of the released chest configuration, which assumes a narrow cone, a
tilt and a distance that its own training images do not have.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.dataset import Geometry
from bench.method import full_precision

LEAST_AZIMUTH = 0.1  # degrees, of evaluation as released
NEARER, FARTHER = 3.0, 2.0  # depths as released: near 7.5 and far 12.5, shifted with the radius


@dataclass(frozen=True)
class Camera:
    """A family of cameras that look at the origin."""

    field_of_view: float  # degrees
    radii: tuple[float, float]  # range of distances in training, in units of the field
    polar_angles: tuple[float, float]  # range in training, degrees from the z axis; uniform in the cosine
    unit_mm: float  # one unit of the field
    official: bool = False  # rays are sampled about the origin, not in the box [−1, 1]³, and pixels centred as released

    def focal(self, side: int) -> float:
        """Focal length in pixels of an image `side` pixels wide; the field of view never depends on the side."""
        return side / 2 / math.tan(math.radians(self.field_of_view) / 2)

    @property
    def evaluation_radius(self) -> float:
        """The distance of evaluation, in units of the field."""
        return self.radii[1]

    @property
    def evaluation_polar(self) -> float:
        """The polar angle of evaluation, degrees."""
        return sum(self.polar_angles) / 2

    def random_poses(self, count: int, device: torch.device | None = None) -> Tensor:
        """Poses (count, 3, 4) drawn as in training: azimuth uniform on the circle."""
        azimuth, cosine, radius = torch.rand(3, count, dtype=torch.float64).unbind()
        cosines = [math.cos(math.radians(angle)) for angle in self.polar_angles]
        polar = torch.rad2deg((cosines[0] + (cosines[1] - cosines[0]) * cosine).clamp(-1, 1).acos())
        radius = self.radii[0] + (self.radii[1] - self.radii[0]) * radius
        return poses(360 * azimuth, polar, radius).float().to(device)

    def poses_at(self, azimuths: Tensor) -> Tensor:
        """Poses (N, 3, 4) of evaluation at azimuths (N,) in degrees, float64."""
        azimuths = (azimuths.double() % 360).clamp(min=LEAST_AZIMUTH if self.official else 0.0)
        full = torch.full_like(azimuths, 1.0)
        return poses(azimuths, self.evaluation_polar * full, self.evaluation_radius * full)

    def rays(self, camera_poses: Tensor, positions: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Origins and directions (B, N, 3) of image positions (B, N, 2) for poses (B, 3, 4).

        Positions are (column, row); ±1 are the centres of the outer pixels of an image `side` pixels wide. Directions
        have length 1 along the optical axis, so distances along them are depths.
        """
        pixels = (positions + 1) / 2 * (side - 1) + (0.0 if self.official else 0.5)
        plane = (pixels - side / 2) / self.focal(side)
        local = torch.stack([plane[..., 0], -plane[..., 1], -torch.ones_like(plane[..., 0])], dim=-1)
        with full_precision(local.device):  # in bfloat16 a ray ends voxels beside its place
            directions = torch.einsum("bij,bnj->bni", camera_poses[:, :, :3], local)
        return camera_poses[:, None, :, 3].expand_as(directions), directions

    def seen_share(self, points: Tensor, azimuths: int = 72) -> Tensor:
        """Share (…) of the cameras around the long axis between whose left and right edge points (…, 3) lie."""
        x, y, _ = points.unbind(-1)
        slope, count = math.tan(math.radians(self.field_of_view) / 2), torch.zeros_like(x)
        for angle in (torch.arange(azimuths) * (2 * math.pi / azimuths)).to(points):  # all at once take gigabytes
            sideways = y * angle.cos() - x * angle.sin()
            depth = self.evaluation_radius - x * angle.cos() - y * angle.sin()
            count += sideways.abs() <= depth * slope
        return count / azimuths

    def bounds(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Near and far depth (B, N) of rays; equal where a ray misses the box."""
        if not self.official:
            return box_bounds(origins, directions)
        radius = origins.norm(dim=-1)
        return radius - NEARER, radius + FARTHER


def official_camera(geometry: Geometry) -> Camera:
    """The released chest configuration; its unit is known only from what the panel shows at the isocentre."""
    fov, radius = 10.0, 10.5
    visible_mm = geometry.panel_mm / 2 * geometry.source_axis_mm / geometry.source_panel_mm
    unit_mm = visible_mm / (radius * math.tan(math.radians(fov) / 2))
    return Camera(fov, radii=(9.5, radius), polar_angles=(70.0, 85.0), unit_mm=unit_mm, official=True)


def match_camera(geometry: Geometry, cube_mm: float) -> Camera:
    """The machine the data were projected with."""
    radius = geometry.source_axis_mm / (cube_mm / 2)
    fov = math.degrees(2 * math.atan(geometry.panel_mm / 2 / geometry.source_panel_mm))
    return Camera(fov, radii=(radius, radius), polar_angles=(90.0, 90.0), unit_mm=cube_mm / 2)


def poses(azimuth: Tensor, polar: Tensor, radius: Tensor) -> Tensor:
    """Poses (N, 3, 4), columns right, up, backwards and position, from angles in degrees; they look at the origin."""
    phi, theta = torch.deg2rad(azimuth), torch.deg2rad(polar)
    outwards = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=outwards.dtype, device=outwards.device).expand_as(outwards)
    right = torch.linalg.cross(up, outwards)
    right = right / right.norm(dim=-1, keepdim=True)
    return torch.stack([right, torch.linalg.cross(outwards, right), outwards, radius[:, None] * outwards], dim=-1)


def box_bounds(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Depths (B, N) at which rays (B, N, 3) enter and leave the box [−1, 1]³; equal where they miss it."""
    tiny = torch.full_like(directions, 1e-9)
    divisor = torch.where(directions.abs() < tiny, tiny, directions)
    crossings = torch.stack([(-1 - origins) / divisor, (1 - origins) / divisor])
    near = crossings.amin(0).amax(-1)
    return near, torch.maximum(crossings.amax(0).amin(-1), near)


def turn(degrees: Tensor, mirrored: Tensor) -> Tensor:
    """Matrices (N, 3, 3) that mirror y where asked and then turn about z by an angle: the gauge of a learned field."""
    angle = torch.deg2rad(degrees.double())
    sign = torch.where(mirrored, -1.0, 1.0).double()
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = [angle.cos(), -sign * angle.sin(), zero, angle.sin(), sign * angle.cos(), zero, zero, zero, one]
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


def voxel_centres(size: int, voxel_mm: float, unit_mm: float) -> Tensor:
    """Points (D, H, W, 3) of the field at the centres of a cube's voxels: W along x, H along y, D against z."""
    along = (torch.arange(size, dtype=torch.float64) + 0.5 - size / 2) * (voxel_mm / unit_mm)
    d, h, w = torch.meshgrid(-along, along, along, indexing="ij")
    return torch.stack([w, h, d], dim=-1).float()
