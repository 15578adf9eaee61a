"""Bones, each a dense wall round marrow: ribs and their cartilage, sternum, shoulder girdle, spine."""

# ruff: noqa: RUF005 – lists are added to arrays here, not joined to lists

import numpy as np

from ..shapes import Canvas, Tubes, cross, curve, join_tubes, ribbons, round_path, set_densities
from .anatomy import Anatomy, Organ
from .surfaces import cavity_section, outline_radius, spine

RIB_ENDS = (118, 142, 150, 152, 152, 150, 147, 138, 128, 116, 92, 66)  # degrees round the chest from the spine
SIDES = np.array([-1.0, 1.0])[:, None, None]  # right, left
MARROW = 0.7  # part of a bone's radius inside the cortex


def vertebra_step(anatomy: Anatomy) -> float:
    """Return the distance between two thoracic vertebrae, in mm."""
    return anatomy.lung_height / 11.7


def rib_paths(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre lines (2, 12, K, 3) of the right and left ribs, from the spine on, and outward directions."""
    number = np.arange(12)[:, None]
    angle = np.deg2rad(np.linspace(15, RIB_ENDS, 20, axis=1))
    attached = anatomy.apex + (number + 0.1) * vertebra_step(anatomy)
    slope = anatomy.rib_slope * np.where(number == 0, 0.55, np.where(number == 1, 0.8, 1.0))
    d = attached + slope * 0.62 * (1 - np.cos(np.minimum(angle * 1.12, np.pi)))
    section = cavity_section(anatomy, d + np.where(number < 2, 12, 0))
    radius = outline_radius(np.cos(angle), np.sin(angle))
    h = section.h + (section.half_depth + 4.5) * radius * np.cos(angle)
    w = section.w + (section.half_width + 4.5) * radius * np.sin(angle) * SIDES
    out = np.broadcast_arrays(np.zeros_like(w), np.cos(angle), np.sin(angle) * SIDES)
    return np.stack(np.broadcast_arrays(d, h, w), axis=-1), np.stack(out, axis=-1)


def paint_skeleton(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint all bones and the costal cartilage."""
    density = anatomy.bone_density
    line = anatomy.apex + np.linspace(0.13, 0.66, 12) * anatomy.lung_height
    section = cavity_section(anatomy, line)
    sternum = np.stack([line, section.h - section.half_depth - 5, section.w], axis=1)
    paths, out = rib_paths(anatomy)
    ribs = ribbons(paths, out, 3.4, 5.5)
    ends = paths[:, :7, -1]
    meet = sternum[np.minimum(1 + np.round(np.arange(7) * 1.6).astype(int), 11)] + SIDES * [0, 0, 14] + [0, 1, 0]
    middle = (ends + meet) / 2 + SIDES * [0, 0, 6] + np.where(np.arange(7) > 3, 8, 0)[:, None] * [1, 0, 0] - [0, 5, 0]
    cartilage = round_path(curve(np.stack([ends, middle, meet], axis=2), 6), 5.0)
    front = np.broadcast_to([0.0, -1.0, 0.0], sternum.shape)
    long_bones, blades = _girdle(anatomy, sternum[0])
    bones = [
        set_densities(cartilage, 100, 110 + 260 * anatomy.calcification, 0.8),
        set_densities(ribs, 210 * density, 980 * density, MARROW),
        set_densities(ribbons(sternum, front, 5.5, 16.0), 130 * density, 330 * density, MARROW),
        set_densities(join_tubes(long_bones), 230 * density, 900 * density, MARROW),
        set_densities(join_tubes(blades), 620 * density, 620 * density, 1),
        set_densities(_processes(canvas, anatomy), 230 * density, 640 * density, MARROW),
    ]
    canvas.paint(*canvas.tubes(join_tubes(bones)), label=Organ.BONE)
    _paint_vertebrae(canvas, anatomy)


def shoulder(anatomy: Anatomy, side: int) -> np.ndarray:
    """Return (d, h, w) of the joint; raised arms lift it."""
    section = cavity_section(anatomy, np.array(anatomy.apex + 0.25 * anatomy.lung_height))
    rise = -12.0 if anatomy.arms_up else 10.0
    back = section.h + 0.62 * section.half_depth
    return np.array([anatomy.apex + rise, back - 30.0, section.w + side * (anatomy.chest_width / 2 + 18)])


def upper_arm(anatomy: Anatomy, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (d, h, w) of the head of the humerus and of a point down its shaft."""
    head = shoulder(anatomy, side) + [6.0, 4.0, side * 20.0]
    return head, head + ([-130.0, -20.0, side * 45.0] if anatomy.arms_up else [170.0, 10.0, side * 22.0])


def _girdle(anatomy: Anatomy, notch: np.ndarray) -> tuple[list[Tubes], list[Tubes]]:
    """Return long bones and blades of the shoulders; raising the arms swings the scapulae outwards and up."""
    bones, blades = [], []
    up = anatomy.arms_up
    section = cavity_section(anatomy, np.array(anatomy.apex + 0.25 * anatomy.lung_height))
    reach, back = anatomy.chest_width / 2, float(section.h + 0.62 * section.half_depth)
    for side in (-1, 1):
        joint = shoulder(anatomy, side)
        inner = notch + [-4.0, 2.0, side * 16.0]
        middle = (inner + joint) / 2
        knots = np.stack([inner, middle + [-9.0, -16.0, side * -6.0], middle + [-5.0, 6.0, side * 14.0], joint])
        bones.append(round_path(curve(knots, 10), 5.5))
        lower = anatomy.apex + (0.36 if up else 0.44) * anatomy.lung_height
        tip = np.array([lower, back + 14.0, section.w + side * reach * (1.02 if up else 0.82)])
        corner = np.array([joint[0] + 26, back + 24.0, section.w + side * reach * 0.62])
        bow = np.linspace(0, 1, 9)[:, None]
        rim = joint + (tip - joint) * bow + np.array([0, 9.0, side * 5.0]) * np.sin(np.pi * bow)
        edge = corner + (tip - corner) * bow + np.array([0, 7.0, 0]) * np.sin(np.pi * bow)
        normal = cross(rim - edge, np.gradient(rim + edge, axis=0))
        normal[-1] = normal[-2]  # rim and edge meet at the tip
        strips = edge + (rim - edge) * np.linspace(0.1, 0.9, 5)[:, None, None]
        width = np.maximum(np.linalg.norm(rim - edge, axis=1) / 9, 2)
        blades.append(ribbons(strips, np.broadcast_to(normal, strips.shape), 2.0, np.broadcast_to(width, (5, 9))))
        bones.append(round_path(rim, 4.5))
        bones.append(round_path(curve(np.stack([corner, (corner + joint) / 2 + [0, 12.0, 0], joint]), 6), 5.0))
        head, elbow = upper_arm(anatomy, side)
        bones.append(round_path(np.stack([head - [9, 0, 0], head, head + [9, 0, 0]]), np.array([17.0, 22.0, 17.0])))
        bones.append(round_path(np.stack([head, elbow]), 12.0))
    return bones, blades


def _processes(canvas: Canvas, anatomy: Anatomy) -> Tubes:
    """Return pedicles, laminae, transverse and spinous processes."""
    step = vertebra_step(anatomy)
    d = anatomy.apex + (np.arange(-8, 22) + 0.45) * step
    d = d[np.abs(d) < canvas.centres[-1] + 20]
    centre = np.stack([d, *spine(anatomy, d)], axis=1)
    parts = [(centre + [6.0, 31.0, 0.0], centre + [22.0, 45.0, 0.0], 3.0, 6.0)]  # spinous process
    for side in (-1, 1):
        root, knee = centre + [0.0, 8.0, side * 12.0], centre + [1.0, 24.0, side * 13.0]
        parts.append((root, knee, 3.5, 7.0))  # pedicle
        parts.append((knee, centre + [6.0, 33.0, 0.0], 3.2, 8.0))  # lamina
        parts.append((knee, centre + [-2.0, 33.0, side * 31.0], 4.0, 5.0))  # transverse process
    starts, ends, across, tall = (np.array(column) for column in zip(*parts, strict=True))
    path = np.stack([starts, ends], axis=2)
    return ribbons(path, np.broadcast_to([1.0, 0.0, 0.0], path.shape), tall[:, None, None], across[:, None, None])


def _paint_vertebrae(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint vertebral bodies with discs between them, and the canal."""
    step, density = vertebra_step(anatomy), anatomy.bone_density
    h, w = (x.astype(np.float32) for x in spine(anatomy, canvas.centres))
    limit = canvas.centres[-1]
    box = canvas.box(np.array([-limit, h.min() - 20, w.min() - 25]), np.array([limit, h.max() + 34, w.max() + 25]))
    axis_d, axis_h, axis_w = canvas.axes(box)
    off_h, off_w = axis_h - h[box[0], None, None], axis_w - w[box[0], None, None]
    t = (axis_d - anatomy.apex) / anatomy.lung_height
    size = 0.86 + 0.2 * np.clip(t, -0.3, 1.3)
    distance = (np.hypot(off_h / (13.5 * size), off_w / (16.5 * size)) - 1) * 14.5
    from_disc = 2.6 - (0.5 - np.abs((axis_d - anatomy.apex) / step % 1 - 0.5)) * step
    solid = canvas.occupancy(distance)
    core = canvas.occupancy(distance + 1.4) * canvas.occupancy(from_disc + 1.2)
    canvas.paint(solid, 85.0, box, Organ.DISC)
    canvas.swap(solid * canvas.occupancy(from_disc), 85.0, 420 * density, box, Organ.BONE)
    canvas.swap(core, 420 * density, 185 * density, box)
    canvas.paint(canvas.occupancy(np.hypot(off_h - 13.5 * size - 8, off_w) - 8), 28.0, box, Organ.SPINAL_CANAL)
