"""How views and volumes meet: axis orders of the branches. There is no geometric model, as published.

A branch works in its own order, the axis its view cannot see first: (B, C, H, D, W) for the frontal view, whose rows
are D and columns W, and (B, C, W, D, H) for the lateral one, whose columns are H.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.dataset import LEFT_LATERAL_ANGLE, PA_ANGLE, DatasetCard
from bench.errors import UsageError

Order = tuple[int, int, int, int, int]
FRONTAL: Order = (0, 1, 3, 2, 4)
LATERAL: Order = (0, 1, 4, 2, 3)
ORDERS = {PA_ANGLE: FRONTAL, LEFT_LATERAL_ANGLE: LATERAL}


def orders_of(angles: tuple[float, ...], name: str) -> tuple[Order, ...]:
    """The order of each view's branch. Raises UsageError, naming the method, for views it was not made for."""
    if len(angles) > len(ORDERS):
        raise UsageError(f"{name} takes one or two views, not {len(angles)}; set data.angles")
    if len(set(angles)) != len(angles) or any(angle not in ORDERS for angle in angles):
        raise UsageError(
            f"{name} takes the views at {PA_ANGLE:g} (PA) and {LEFT_LATERAL_ANGLE:g} (left lateral) or one of them, "
            f"not {', '.join(f'{angle:g}' for angle in angles)}; set data.angles"
        )
    return tuple(ORDERS[angle] for angle in angles)


def to_local(volume: Tensor, order: Order) -> Tensor:
    """(B, C, D, H, W) in the branch's order."""
    return volume.permute(order)


def to_standard(volume: Tensor, order: Order) -> Tensor:
    """A branch's volume as (B, C, D, H, W)."""
    return volume.permute(tuple(order.index(axis) for axis in range(5)))


def expand(view: Tensor, order: Order) -> Tensor:
    """A square view (B, C, s, s) repeated along the axis it cannot see: (B, C, D, H, W)."""
    side = view.shape[-1]
    return to_standard(view.unsqueeze(2).expand(-1, -1, side, -1, -1), order)


def network_side(data: DatasetCard, side: int | None, name: str) -> int:
    """The side the networks work at: `side`, or that of the volumes. Raises UsageError above what the data have."""
    chosen = side or data.size
    if chosen > data.size:
        raise UsageError(f"{name} works at a side of at most data.size = {data.size} voxels, not {chosen}; lower side")
    if chosen > data.image_size:
        raise UsageError(
            f"{name} needs views of at least its volume's {chosen} pixels a side, not {data.image_size}; "
            "raise data.image_size or lower side"
        )
    return chosen


def resample_views(images: Tensor, side: int) -> list[Tensor]:
    """Views (B, V, h, w) averaged down to the volume's side: one (B, 1, side, side) for each view."""
    if images.shape[-1] != side:
        images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    return list(images.split(1, dim=1))


def resample_volumes(volumes: Tensor, side: int) -> Tensor:
    """Volumes (B, D, H, W) as (B, 1, side, side, side): averaged down, or interpolated up."""
    volumes = volumes.unsqueeze(1)
    if volumes.shape[-1] == side:
        return volumes
    if volumes.shape[-1] > side:
        return F.adaptive_avg_pool3d(volumes, side)
    return F.interpolate(volumes, size=(side,) * 3, mode="trilinear", align_corners=False)


def stack_condition(views: list[Tensor], orders: tuple[Order, ...]) -> Tensor:
    """Return what the discriminator sees beside a volume: (B, V, D, H, W), views repeated along their missing axis."""
    return torch.cat([expand(view, order) for view, order in zip(views, orders, strict=True)], dim=1).detach()
