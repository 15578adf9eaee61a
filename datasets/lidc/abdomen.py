"""What lies under the diaphragm: fat and bowel, liver, spleen, stomach, kidneys."""

import numpy as np

from ..shapes import AIR, Array, Box, Canvas, smooth_field
from .anatomy import Anatomy, Organ
from .surfaces import cavity_section

Place = tuple[float, float, float]


def paint_abdomen(canvas: Canvas, anatomy: Anatomy, cavity: Array) -> None:
    """Paint the organs in the lower part of the cavity; the lungs are painted over them."""
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
    canvas: Canvas, within: Array, box: Box, centre: Place, radii: Place, value: float, label: Organ
) -> Array:
    """Paint an ellipsoid as far as it lies `within`; return what it filled."""
    squared = sum(((x - c) / r) ** 2 for x, c, r in zip(canvas.axes(box), centre, radii, strict=True))
    filled = within * canvas.occupancy((np.sqrt(squared) - 1) * min(radii))
    canvas.paint(filled, value, box, label)
    return filled
