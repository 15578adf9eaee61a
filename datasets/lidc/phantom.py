"""The chest phantom: a CT of a subject that never lived, from a seed, at any grid."""

from dataclasses import asdict
from typing import Any

import numpy as np

from ..shapes import AIR, EVERYWHERE, Array, Box, Canvas, smooth_field
from .anatomy import Anatomy, Organ, draw_anatomy
from .lungs import paint_lungs
from .mediastinum import paint_mediastinum
from .skeleton import paint_skeleton, shoulder, upper_arm
from .surfaces import cavity_distance, cavity_section, diaphragm, section_distance, spine, trunk_section

CUBE_MM = 320.0
SKIN = 40.0  # HU
Sizes = tuple[float, float, float]


def chest_phantom(seed: int, grid: int) -> np.ndarray:
    """Return the CT (D, H, W) int16 HU in [-1024, 3071] of the subject `seed` on a cube of 320 mm, always the same.

    D runs superior→inferior, H anterior→posterior, W patient right→left. All grids show the same anatomy.
    """
    return render(draw_anatomy(seed), grid)


def chest_labels(seed: int, grid: int) -> dict[str, np.ndarray]:
    """Return the map `organs` (D, H, W) uint8 of the subject `seed` on the grid of its CT: numbers of anatomy.Organ.

    A voxel has the label of what was painted last over more than half of it; what is thinner has none of its own.
    """
    canvas = Canvas(grid, CUBE_MM, 0.0)
    canvas.labels = np.zeros((grid,) * 3, np.uint8)
    anatomy = draw_anatomy(seed)
    _paint(canvas, anatomy)
    _cut_round(canvas, anatomy)
    return {"organs": canvas.labels}


def chest_factors(seed: int) -> dict[str, Any]:
    """Return all that was drawn for a subject, as plain values: mm, degrees, HU, positions (d, h, w) from the centre.

    `nodules` is their number, `nodule_list` what each is.
    """
    drawn = asdict(draw_anatomy(seed))
    del drawn["seed"]
    shift, effusion, nodules = drawn.pop("shift"), drawn.pop("effusion"), drawn.pop("nodules")
    return {
        **drawn,
        "shift_h": shift[0],
        "shift_w": shift[1],
        "effusion_right": effusion[0],
        "effusion_left": effusion[1],
        "nodules": len(nodules),
        "nodule_ml": sum(4 / 3 * np.pi * nodule["radius_mm"] ** 3 for nodule in nodules) / 1000,
        "nodule_list": list(nodules),
    }


def render(anatomy: Anatomy, grid: int, cube_mm: float = CUBE_MM) -> np.ndarray:
    """Return the CT (D, H, W) int16 HU of a subject on a grid of a cube centred like the one of 320 mm."""
    canvas = Canvas(grid, cube_mm, anatomy.blur)
    _paint(canvas, anatomy)
    canvas.add_noise(np.random.default_rng([anatomy.seed, canvas.grid, 0x401]), anatomy.noise)
    _cut_round(canvas, anatomy)
    return np.clip(np.rint(canvas.hounsfield), -1024, 3071).astype(np.int16)


def _paint(canvas: Canvas, anatomy: Anatomy) -> None:
    d, h, w = canvas.axes(EVERYWHERE)
    cavity = cavity_distance(anatomy, canvas.centres[:, None, None], h, w)
    floor = diaphragm(anatomy, h, w)[0]
    slope = np.hypot(*np.gradient(floor, canvas.voxel))
    above = canvas.occupancy(((d - floor[None]) / np.sqrt(1 + slope**2)[None]).astype(np.float32))
    _paint_trunk(canvas, anatomy, cavity)
    _paint_abdomen(canvas, anatomy, cavity)
    paint_lungs(canvas, anatomy, cavity, above)
    paint_mediastinum(canvas, anatomy, cavity)
    paint_skeleton(canvas, anatomy)


def _cut_round(canvas: Canvas, anatomy: Anatomy) -> None:
    """Leave air outside the scanned circle."""
    _, h, w = canvas.axes(EVERYWHERE)
    outside = np.hypot(h, w) - np.float32(anatomy.field_of_view / 2)
    canvas.paint(np.clip(0.5 + outside / np.float32(canvas.voxel), 0, 1), AIR, label=Organ.OUTSIDE)


def _paint_trunk(canvas: Canvas, anatomy: Anatomy, cavity: Array) -> None:
    """Paint skin, fat and muscle, with breasts and shoulders."""
    d, h, w = canvas.axes(EVERYWHERE)
    rng = np.random.default_rng([anatomy.seed, 0x7A])
    skin = section_distance(trunk_section(anatomy, d), h, w, 1.1)
    for centre, radius in _breasts(anatomy):
        squared = sum(
            ((x - np.float32(c)) / np.float32(s)) ** 2 for x, c, s in zip((d, h, w), centre, radius, strict=True)
        )
        skin = np.minimum(skin, (np.sqrt(squared) - 1) * np.float32(min(radius)))
    arms = [upper_arm(anatomy, side) for side in (-1, 1)]
    flesh = 36 * anatomy.muscle**0.5
    for head, elbow in arms:
        box, distance = canvas.bar(head, elbow, (flesh + anatomy.fat + 4, flesh + 0.5 * anatomy.fat))
        skin[box] = np.minimum(skin[box], distance)
    canvas.paint(canvas.occupancy(skin), SKIN, label=Organ.SKIN)
    strands = smooth_field(rng, 26, canvas.grid)
    body = canvas.occupancy(skin + np.float32(2.2))
    fat = np.float32(anatomy.fat_hounsfield) + strands * np.float32(7)
    canvas.swap(body, SKIN, fat, label=Organ.FAT)
    for centre, radius in _breasts(anatomy):
        box, gland = canvas.ellipsoid(np.array(centre), np.array(radius) * 0.7)
        canvas.paint(gland * np.clip(0.45 + 0.6 * strands[box], 0, 1), anatomy.fat_hounsfield + 110, box, Organ.BREAST)
    value = np.float32(anatomy.muscle_hounsfield) + strands * np.float32(6)
    canvas.paint(body * canvas.occupancy(cavity - _muscle_thickness(canvas, anatomy)), value, label=Organ.MUSCLE)
    bulks = [*_shoulder_muscles(anatomy), *((head, elbow, (flesh, flesh - 4)) for head, elbow in arms)]
    for start, end, radii in bulks:
        box, distance = canvas.bar(start, end, radii)
        canvas.paint(np.minimum(canvas.occupancy(distance), body[box]), value[box], box, Organ.MUSCLE)


def _breasts(anatomy: Anatomy) -> list[tuple[Sizes, Sizes]]:
    if not anatomy.breast:
        return []
    d = anatomy.apex + 0.5 * anatomy.lung_height
    section = trunk_section(anatomy, np.array(d))
    h = float(section.h - 0.72 * section.half_depth)
    size = anatomy.breast
    return [
        ((d, h, float(section.w) + side * 0.5 * float(section.half_width)), (1.1 * size, 0.8 * size, 1.2 * size))
        for side in (-1, 1)
    ]


def _muscle_thickness(canvas: Canvas, anatomy: Anatomy) -> Array:
    """Return the reach of muscle from the inside of the ribs, mm: far beside the spine and under the collar bones."""
    d, h, w = canvas.axes(EVERYWHERE)
    section = cavity_section(anatomy, d)
    t = (d - anatomy.apex) / anatomy.lung_height
    back = np.clip((h - section.h) / np.maximum(section.half_depth, 20), -1.5, 1.5)
    middle = np.exp(-(((w - section.w) / 42.0) ** 2))
    upper = np.clip(1.1 - 2.2 * t, 0, 1)
    chest = np.clip(-back, 0, 1) * upper * (1 - middle) * 9 + np.clip(back, 0, 1) * (4 + 10 * middle)
    return 8 + anatomy.muscle * (4 + chest)


def _shoulder_muscles(anatomy: Anatomy) -> list[tuple[np.ndarray, np.ndarray, tuple[float, float]]]:
    """Return bars of muscle round the neck and the shoulder blades: start, end and radii."""
    d = anatomy.apex + np.array([-90.0, -5.0, 0.4 * anatomy.lung_height])
    h, w = spine(anatomy, d)
    strength, reach = anatomy.muscle, anatomy.chest_width / 2
    neck, base = np.array([d[0], h[0] - 8, w[0]]), np.array([d[1], h[1], w[1]])
    bulks = [(neck, base, (44 * strength, 44 * strength))]
    for side in (-1, 1):
        joint = shoulder(anatomy, side)
        tip = np.array([d[2], h[1] + 24, w[1] + side * reach * 0.95])
        bulks.append((base + np.array([-10, 14, side * 20]), joint, (20 * strength, 28 * strength)))
        bulks.append((joint, tip, (28 * strength, 9 * strength)))
    return bulks


def _paint_abdomen(canvas: Canvas, anatomy: Anatomy, cavity: Array) -> None:
    """Paint bowel, liver, spleen, stomach and kidneys low in the cavity; the lungs are painted over them."""
    base = anatomy.apex + anatomy.lung_height
    right, left = base - anatomy.right_dome, base - anatomy.left_dome
    half = canvas.grid * canvas.voxel / 2
    box = canvas.box(np.array([min(right, left) - canvas.edge, -half, -half]), np.full(3, half))
    if box[0].start >= canvas.grid:
        return
    inside = canvas.occupancy(cavity[box])
    rng = np.random.default_rng([anatomy.seed, 0xAB])
    bowel = smooth_field(rng, 11, canvas.grid)[box] * 1.5 + np.float32(0.9 - 1.6 * anatomy.belly)
    canvas.paint(inside, anatomy.fat_hounsfield + 4 + np.clip(bowel, 0, 1) * np.float32(125), box, Organ.BOWEL)
    section = cavity_section(anatomy, np.array(base - 0.05 * anatomy.lung_height))
    h, w, deep, wide = (float(x) for x in (section.h, section.w, section.half_depth, section.half_width))
    organ = 4 + 0.85 * anatomy.muscle_hounsfield + 0.16 * anatomy.contrast
    liver = (right + 78, h - 0.1 * deep, w - 0.36 * wide), (96, 0.98 * deep, 0.78 * wide)
    spleen = (left + 62, h + 0.5 * deep, w + 0.68 * wide), (50, 0.4 * deep, 0.27 * wide)
    stomach = (left + 48, h - 0.18 * deep, w + 0.42 * wide), (44, 0.48 * deep, 0.36 * wide)
    _paint_part(canvas, inside, box, *liver, organ + 8, Organ.LIVER)
    _paint_part(canvas, inside, box, *spleen, organ, Organ.SPLEEN)
    content = _paint_part(canvas, inside, box, *stomach, 32.0, Organ.STOMACH)
    if anatomy.stomach_gas:  # in front, as the subject lies on the back
        level = stomach[0][1] - stomach[1][1] + 1.4 * anatomy.stomach_gas
        canvas.paint(content * canvas.occupancy(canvas.axes(box)[1] - level), AIR, box)
    for side in (-1, 1):
        kidney = (base + 46, h + 0.55 * deep, w + side * 0.45 * wide), (54, 27, 28)
        _paint_part(canvas, inside, box, *kidney, 32 + 0.5 * anatomy.contrast, Organ.KIDNEY)


def _paint_part(
    canvas: Canvas, within: Array, box: Box, centre: Sizes, radii: Sizes, value: float, label: Organ
) -> Array:
    """Paint an ellipsoid as far as it lies `within`; return what it filled."""
    squared = sum(((x - c) / r) ** 2 for x, c, r in zip(canvas.axes(box), centre, radii, strict=True))
    filled = within * canvas.occupancy((np.sqrt(squared) - 1) * min(radii))
    canvas.paint(filled, value, box, label)
    return filled
