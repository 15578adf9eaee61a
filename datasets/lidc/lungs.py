"""The lungs: their density and texture, fluid behind them, nodules, and the branching vessels."""

import numpy as np

from ..shapes import EVERYWHERE, Array, Canvas, Tubes, cross, ribbons, set_densities, smooth_field
from .anatomy import Anatomy, Organ
from .surfaces import cavity_section, hilum, lung_points

BLOOD = 42.0  # HU without contrast medium
LEAVES = 512  # end branches of each vessel tree
LEAF_RADIUS = 1.0  # mm, of an end branch


def paint_lungs(canvas: Canvas, anatomy: Anatomy, cavity: Array, above: Array) -> None:
    """Paint both lungs: inside the cavity and above the diaphragm (occupancy)."""
    d, h, w = canvas.axes(EVERYWHERE)
    rng = np.random.default_rng([anatomy.seed, 0x1A6])
    lungs = canvas.occupancy(cavity + np.float32(1.0)) * above
    section = cavity_section(anatomy, np.array(anatomy.apex + 0.6 * anatomy.lung_height))
    towards_back = (h - np.float32(section.h)) / np.float32(section.half_depth)
    texture = smooth_field(rng, 14, canvas.grid) * np.float32(14) + smooth_field(rng, 5, canvas.grid) * np.float32(12)
    density = texture + (np.float32(anatomy.lung) + towards_back * np.float32(0.5 * anatomy.lung_gradient))
    if anatomy.emphysema > 0:
        holes = np.clip(smooth_field(rng, 18, canvas.grid) - 0.4, 0, 1.2)
        density = np.maximum(density - holes * np.float32(110 * anatomy.emphysema), -985)
    canvas.paint(lungs, density, label=Organ.RIGHT_LUNG)
    canvas.mark(lungs * (w > cavity_section(anatomy, canvas.centres[:, None, None]).w), Organ.LEFT_LUNG)
    for side, depth in zip((-1, 1), anatomy.effusion, strict=True):
        if depth:
            level = section.h + section.half_depth - depth
            tilted = level - h - 0.12 * (d - anatomy.apex - anatomy.lung_height)
            canvas.swap(lungs * canvas.occupancy(tilted) * (w * side > 0), density, 12.0, label=Organ.EFFUSION)
    for nodule in anatomy.nodules:
        places = np.array([[nodule.height, nodule.depth, nodule.lateral]])
        centre = lung_points(anatomy, np.array([nodule.left]), places, nodule.radius_mm + 2.0)[0]
        tiny = max(nodule.radius_mm, canvas.voxel / 2)  # below a voxel the mass is kept, not the size
        mass = nodule.radius_mm**3 / (tiny**3 + tiny * canvas.voxel**2 / 4)
        box, ball = canvas.ellipsoid(centre, np.full(3, tiny))
        canvas.paint(ball * mass, nodule.hounsfield, box, Organ.NODULE)
    vessels, value, box = canvas.tubes(_vessel_trees(anatomy, rng))
    canvas.paint(vessels * lungs[box], value, box, Organ.LUNG_VESSEL)


def _vessel_trees(anatomy: Anatomy, rng: np.random.Generator) -> Tubes:
    """Return arteries and veins of both lungs.

    Each tree leads from the hilum to random places in the lung, which are halved into groups at every fork.
    """
    kinds = [(left, vein) for left in (False, True) for vein in (False, True)]
    fractions = rng.random((len(kinds) * LEAVES, 3))
    fractions[:, 2] = np.sqrt(fractions[:, 2])
    left = np.repeat([left for left, _ in kinds], LEAVES)
    groups = lung_points(anatomy, left, fractions, 5.0).reshape(len(kinds), LEAVES, 3)
    parents = np.stack([hilum(anatomy, *kind) for kind in kinds])
    paths, radii = [], []
    while True:
        size = groups.shape[1]
        reach = 1.0 if size == 1 else 0.36 if size < LEAVES else 0.1
        nodes = parents + (groups.mean(1) - parents) * reach
        if size > 1:
            bend = rng.normal(0, 0.06, nodes.shape)
            nodes = nodes + bend * np.linalg.norm(nodes - parents, axis=1, keepdims=True)
        paths.append(np.stack([parents, nodes], axis=1))
        thickness = anatomy.vessels * LEAF_RADIUS * size ** (1 / 3.1)
        radii.append(np.tile([thickness, thickness * (0.82 if size > 1 else 0.5)], (len(nodes), 1)))
        if size == 1:
            break
        axis = groups.var(1).argmax(1)
        order = np.take_along_axis(groups, axis[:, None, None], 2)[:, :, 0].argsort(1)
        groups = np.take_along_axis(groups, order[:, :, None], 1).reshape(-1, size // 2, 3)
        parents = np.repeat(nodes, 2, axis=0)
    path, radius = np.concatenate(paths), np.concatenate(radii)
    aside = cross(path[:, 1:] - path[:, :1], np.array([0.37, 0.61, 0.7])).repeat(2, axis=1)
    value = BLOOD + 0.75 * anatomy.contrast
    return set_densities(ribbons(path, aside, radius, radius), value, value, 1)
