"""Bones, each a dense wall round marrow: ribs and their cartilage, sternum, shoulder girdle, spine."""

import numpy as np

from .anatomy import Anatomy
from .shapes import Canvas, Tubes, bars, curve, joined, path_tubes, walled
from .surfaces import cavity_section, outline_radius, spine

RIB_ENDS = (118, 142, 150, 152, 152, 150, 147, 138, 128, 116, 92, 66)  # degrees round the chest from the spine
MARROW = 0.7  # part of a bone's radius inside the cortex


def vertebra_step(anatomy: Anatomy) -> float:
    """Distance between two thoracic vertebrae, in mm."""
    return anatomy.lung_height / 11.7


def rib_paths(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Centre lines (2, 12, K, 3) of the right and left ribs, from the spine to the front, and outward directions."""
    number, side = np.arange(12)[:, None], np.array([-1.0, 1.0])[:, None, None]
    angle = np.deg2rad(np.linspace(15, RIB_ENDS, 20, axis=1))
    attached = anatomy.apex + (number + 0.1) * vertebra_step(anatomy)
    slope = anatomy.rib_slope * np.where(number == 0, 0.55, np.where(number == 1, 0.8, 1.0))
    d = attached + slope * 0.62 * (1 - np.cos(np.minimum(angle * 1.12, np.pi)))
    section = cavity_section(anatomy, d + np.where(number < 2, 12, 0))
    radius = outline_radius(np.cos(angle), np.sin(angle))
    h = section.h + (section.half_depth + 4.5) * radius * np.cos(angle)
    w = section.w + (section.half_width + 4.5) * radius * np.sin(angle) * side
    out = np.broadcast_arrays(np.zeros_like(w), np.cos(angle), np.sin(angle) * side)
    return np.stack(np.broadcast_arrays(d, h, w), axis=-1), np.stack(out, axis=-1)


def paint_skeleton(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint all bones and the costal cartilage."""
    density = anatomy.bone_density
    line = anatomy.apex + np.linspace(0.13, 0.66, 12) * anatomy.lung_height
    section = cavity_section(anatomy, line)
    sternum = np.stack([line, section.h - section.half_depth - 5, section.w], axis=1)
    paths, out = rib_paths(anatomy)
    pieces = [part.reshape(-1, 3) for part in (paths[:, :, :-1], paths[:, :, 1:], out[:, :, 1:])]
    ribs = bars(*pieces, 3.4, 5.5)
    cartilage = []
    for path, side in zip(paths, (-1, 1), strict=True):
        for number in range(7):
            end, meet = path[number, -1], sternum[min(1 + round(number * 1.6), 11)] + [0, 1, side * 14]
            middle = (end + meet) / 2 + [8 if number > 3 else 0, -5, side * 6]
            cartilage.append(path_tubes(curve(np.stack([end, middle, meet]), 6), 5.0, 0))
    front = np.tile([0.0, -1.0, 0.0], (11, 1))
    long_bones, blades = _girdle(anatomy, sternum[0])
    bones = [
        walled(joined(cartilage), 100, 110 + 260 * anatomy.calcification, 0.8),
        walled(ribs, 210 * density, 980 * density, MARROW),
        walled(bars(sternum[:-1], sternum[1:], front, 5.5, 16.0), 130 * density, 330 * density, MARROW),
        walled(joined(long_bones), 230 * density, 900 * density, MARROW),
        walled(joined(blades), 620 * density, 620 * density, 1),
        walled(_processes(canvas, anatomy), 230 * density, 640 * density, MARROW),
    ]
    canvas.paint(*canvas.tubes(joined(bones)))
    _paint_vertebrae(canvas, anatomy)


def _girdle(anatomy: Anatomy, notch: np.ndarray) -> tuple[list[Tubes], list[Tubes]]:
    """Long bones and blades of the shoulders; raising the arms swings the scapulae outwards and up."""
    bones, blades = [], []
    up = anatomy.arms_up
    section = cavity_section(anatomy, np.array(anatomy.apex + 0.25 * anatomy.lung_height))
    reach, back = anatomy.chest_width / 2, float(section.h + 0.62 * section.half_depth)
    for side in (-1, 1):
        joint = np.array([anatomy.apex + (-12.0 if up else 10.0), back - 30.0, section.w + side * (reach + 18)])
        inner = notch + [-4.0, 2.0, side * 16.0]
        middle = (inner + joint) / 2
        knots = np.stack([inner, middle + [-9.0, -16.0, side * -6.0], middle + [-5.0, 6.0, side * 14.0], joint])
        bones.append(path_tubes(curve(knots, 10), 5.5, 0))
        lower = anatomy.apex + (0.36 if up else 0.44) * anatomy.lung_height
        tip = np.array([lower, back + 14.0, section.w + side * reach * (1.02 if up else 0.82)])
        corner = np.array([joint[0] + 26, back + 24.0, section.w + side * reach * 0.62])
        bow = np.linspace(0, 1, 9)[:, None]
        rim = joint + (tip - joint) * bow + np.array([0, 9.0, side * 5.0]) * np.sin(np.pi * bow)
        edge = corner + (tip - corner) * bow + np.array([0, 7.0, 0]) * np.sin(np.pi * bow)
        plate, half = (rim + edge) / 2, np.linalg.norm(rim - edge, axis=1) / 2
        across = (rim - edge)[:-1]
        normal = np.cross(across, np.diff(plate, axis=0))
        blades.append(bars(plate[:-1], plate[1:], normal, 2.2, np.maximum((half[1:] + half[:-1]) / 2, 3)))
        bones.append(path_tubes(rim, 4.5, 0))
        bones.append(path_tubes(curve(np.stack([corner, (corner + joint) / 2 + [0, 12.0, 0], joint]), 6), 5.0, 0))
        head = joint + [6.0, 4.0, side * 20.0]
        away = [-130.0, -20.0, side * 45.0] if up else [170.0, 10.0, side * 22.0]
        bones.append(path_tubes(np.stack([head - [9, 0, 0], head, head + [9, 0, 0]]), np.array([17.0, 22.0, 17.0]), 0))
        bones.append(path_tubes(np.stack([head, head + away]), 12.0, 0))
    return bones, blades


def _processes(canvas: Canvas, anatomy: Anatomy) -> Tubes:
    """Pedicles, laminae, transverse and spinous processes."""
    step = vertebra_step(anatomy)
    d = anatomy.apex + (np.arange(-8, 22) + 0.45) * step
    d = d[np.abs(d) < canvas.centres[-1] + 20]
    centre = np.stack([d, *spine(anatomy, d)], axis=1)
    parts = []
    for side in (-1, 1):
        root, knee = centre + [0.0, 8.0, side * 12.0], centre + [1.0, 24.0, side * 13.0]
        for start, end, across, tall in (
            (root, knee, 3.5, 7.0),  # pedicle
            (knee, centre + [6.0, 33.0, 0.0], 3.2, 8.0),  # lamina
            (knee, centre + [-2.0, 33.0, side * 31.0], 4.0, 5.0),  # transverse process
        ):
            parts.append((start, end, across, tall))
    parts.append((centre + [6.0, 31.0, 0.0], centre + [22.0, 45.0, 0.0], 3.0, 6.0))  # spinous process
    up = np.tile([1.0, 0.0, 0.0], (len(d), 1))
    return joined([bars(start, end, up, tall, across) for start, end, across, tall in parts])


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
    canvas.paint(solid, 85.0, box)
    canvas.paint(solid * canvas.occupancy(from_disc), 420 * density, box)
    canvas.paint(core, 185 * density, box)
    canvas.paint(canvas.occupancy(np.hypot(off_h - 13.5 * size - 8, off_w) - 8), 28.0, box)
