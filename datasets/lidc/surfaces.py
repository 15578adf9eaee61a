"""The surfaces of a chest: skin, thoracic cavity and diaphragm, as functions of position and of the subject.

`t` is the height along the lungs: 0 at the apices, 1 at the deepest recess. Distances are in mm and negative inside.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from ..shapes import Array
from .anatomy import Anatomy


def _profile(*knots: tuple[float, float]) -> PchipInterpolator:
    heights, values = zip(*knots, strict=True)
    return PchipInterpolator(heights, values)


# Sizes along t, as parts of the largest.
CAVITY_WIDTH = _profile((-0.6, 0), (0, 0.02), (0.03, 0.38), (0.08, 0.57), (0.17, 0.75), (0.3, 0.88), (0.45, 0.96),
                        (0.6, 0.99), (0.75, 1), (1, 0.96), (1.5, 0.9))  # fmt: skip
CAVITY_DEPTH = _profile((-0.6, 0), (0, 0.02), (0.03, 0.26), (0.08, 0.42), (0.17, 0.6), (0.3, 0.77), (0.45, 0.89),
                        (0.6, 0.96), (0.75, 1), (1, 1.02), (1.5, 1))  # fmt: skip
TRUNK_WIDTH = _profile((-0.6, 0.36), (-0.25, 0.4), (-0.12, 0.66), (-0.02, 1.02), (0.07, 1.14), (0.17, 1.13),
                       (0.3, 1.06), (0.45, 1.0), (0.6, 1), (0.8, 0.99), (1, 0.97), (1.5, 0.96))  # fmt: skip
TRUNK_DEPTH = _profile((-0.6, 0.4), (-0.2, 0.42), (-0.05, 0.52), (0.06, 0.64), (0.17, 0.75), (0.3, 0.86), (0.45, 0.95),
                       (0.6, 0.99), (0.75, 1), (1, 1.02), (1.5, 1.02))  # fmt: skip


GUTTER = 29.0  # how far the lungs reach behind the middle of the vertebral bodies
FRONT, BACK = 1.7, 0.9  # shape of the cavity's outline: 2 is an ellipse, less is boxier


@dataclass(frozen=True)
class Section:
    """Horizontal sections at some heights: centre and half axes; arrays of the shape of the heights asked for."""

    h: np.ndarray
    w: np.ndarray
    half_depth: np.ndarray
    half_width: np.ndarray


def _section(*parts: np.ndarray) -> Section:
    return Section(*(part.astype(np.float32) for part in parts))


def height(anatomy: Anatomy, d: np.ndarray) -> np.ndarray:
    """Return t at positions d."""
    return (d - anatomy.apex) / anatomy.lung_height


def spine(anatomy: Anatomy, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (h, w) of the axis through the vertebral bodies."""
    t = height(anatomy, d)
    straight = anatomy.shift[0] + anatomy.chest_depth * 0.3 + anatomy.kyphosis * 0.18
    bow = np.where(t < 0.6, 2.6, 3.2) * (np.clip(t, -0.15, 1.15) - 0.6) ** 2
    h = straight - anatomy.kyphosis * bow
    return h, anatomy.shift[1] + anatomy.scoliosis * np.sin(2.2 * np.pi * (t - 0.1))


def cavity_section(anatomy: Anatomy, d: np.ndarray) -> Section:
    """Return the thoracic and abdominal cavity, the inside of the ribs."""
    t = height(anatomy, d)
    spine_h, spine_w = spine(anatomy, d)
    half_depth = CAVITY_DEPTH(t) * anatomy.chest_depth / 2
    half_width = CAVITY_WIDTH(t) * anatomy.chest_width / 2
    middle = 0.6 * anatomy.shift[1] + 0.4 * spine_w
    return _section(spine_h + GUTTER - half_depth, middle, half_depth, half_width)


def trunk_section(anatomy: Anatomy, d: np.ndarray) -> Section:
    """Return the skin, without breasts and arms."""
    t = height(anatomy, d)
    spine_h, _ = spine(anatomy, d)
    behind = 9 + 12 * anatomy.muscle + 0.8 * anatomy.fat + 60 * np.clip(0.45 - t, 0, 0.5)
    depth = (anatomy.chest_depth + 12 + 0.9 * anatomy.fat) * TRUNK_DEPTH(t) + behind
    half_width = (anatomy.chest_width / 2 + 10 + 9 * anatomy.muscle + anatomy.fat) * TRUNK_WIDTH(t)
    return _section(spine_h + GUTTER + behind - depth / 2, np.full_like(t, anatomy.shift[1]), depth / 2, half_width)


def section_distance(section: Section, h: Array, w: Array, corner: float | Array) -> Array:
    """Return the distance from a rounded outline: an ellipse for `corner` 2, a fuller one below."""
    half_depth, half_width = np.maximum(section.half_depth, 1), np.maximum(section.half_width, 1)
    v, u = ((h - section.h) / half_depth) ** 2, ((w - section.w) / half_width) ** 2
    norm = np.sqrt(np.sqrt(u * u + v * v + corner * u * v))
    slope = np.sqrt(u / half_width**2 + v / half_depth**2)
    return norm * (norm - 1) / (slope + 1e-6)


def outline_radius(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the radius of the cavity's outline, as a part of its half axes, in the direction (along h, across w)."""
    return (along**4 + across**4 + np.where(along > 0, BACK, FRONT) * (along * across) ** 2) ** -0.25


def cavity_distance(anatomy: Anatomy, d: np.ndarray, h: np.ndarray, w: np.ndarray) -> Array:
    """Return the distance from the inside of the ribs."""
    section = cavity_section(anatomy, d)
    below = cavity_section(anatomy, d + 2)
    slope = (below.half_width - section.half_width + below.half_depth - section.half_depth) / 4
    corner = np.where(h > section.h, np.float32(BACK), np.float32(FRONT))
    return section_distance(section, h, w, corner) / np.sqrt(1 + slope**2)


def diaphragm(anatomy: Anatomy, h: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return d of the diaphragm at positions h and w: a dome on each side, falling to the recess at the chest wall."""
    bottom = anatomy.apex + anatomy.lung_height
    section = cavity_section(anatomy, np.array(anatomy.apex + 0.78 * anatomy.lung_height))
    lowest = []
    for side, dome in ((-1, anatomy.right_dome), (1, anatomy.left_dome)):
        across = (w - section.w - side * 0.5 * section.half_width) / (0.52 * section.half_width)
        along = (h - section.h + 0.12 * section.half_depth) / (1.08 * section.half_depth)
        fall = np.where(along > 0, 1.0, 0.55) * along**2 + np.where(across * side > 0, 0.62, 0.28) * across**2
        lowest.append(bottom - dome + dome * fall**1.3)  # flatter than a parabola on top
    right, left = lowest
    soft = 10.0  # the two domes meet under the heart without a crease
    return -soft * np.logaddexp(-right / soft, -left / soft)


def carina(anatomy: Anatomy) -> np.ndarray:
    """Return (d, h, w) where the trachea divides."""
    d = anatomy.apex + 0.31 * anatomy.lung_height
    h, w = spine(anatomy, np.array(d))
    return np.array([d, h - 36, 0.6 * w + 0.4 * anatomy.shift[1] - 2])


def hilum(anatomy: Anatomy, left: bool, vein: bool) -> np.ndarray:
    """Return (d, h, w) where the vessels of a lung enter it."""
    side = 1 if left else -1
    return carina(anatomy) + np.array([18 - 8 * left + 20 * vein, -8 - 4 * vein, side * (38 - 8 * vein)])


def lung_points(anatomy: Anatomy, left: np.ndarray, fractions: np.ndarray, margin: np.ndarray | float) -> np.ndarray:
    """Return points (N, 3) in the lungs at fractions (N, 3): downwards, backwards and outwards; `margin` mm inside."""
    side = np.where(left, 1.0, -1.0)
    d = anatomy.apex + (0.1 + 0.82 * fractions[:, 0]) * anatomy.lung_height
    section = cavity_section(anatomy, d)
    along = 2 * fractions[:, 1] - 1
    h = section.h + along * np.maximum(section.half_depth - margin, 1)
    outer = np.sqrt(1 - 0.9 * along**2) * section.half_width - margin
    inner = np.minimum(32.0, outer)
    w = section.w + side * (inner + fractions[:, 2] * (outer - inner))
    return np.stack([np.minimum(d, diaphragm(anatomy, h, w) - margin), h, w], axis=1)
