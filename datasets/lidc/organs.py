"""What lies inside the ribs: lungs with their vessels and airways, mediastinum, heart and abdomen."""

import numpy as np

from .anatomy import Anatomy
from .shapes import AIR, Array, Box, Canvas, Tubes, cross, curve, joined, ribbons, round_path, smooth_field, walled
from .surfaces import cavity_section, diaphragm, lung_points, spine

BLOOD = 42.0
LEAVES = 512  # end branches of each vessel tree
LEAF_RADIUS = 1.0  # mm, of an end branch


def paint_lungs(canvas: Canvas, anatomy: Anatomy, cavity: Array, above: Array) -> Array:
    """Paint both lungs with their texture, fluid, nodules and vessel trees; return their occupancy."""
    d, h, w = canvas.axes((slice(None),) * 3)
    rng = np.random.default_rng([anatomy.seed, 0x1A6])
    lungs = canvas.occupancy(cavity + np.float32(1.0)) * above
    section = cavity_section(anatomy, np.array(anatomy.apex + 0.6 * anatomy.lung_height))
    towards_back = (h - np.float32(section.h)) / np.float32(section.half_depth)
    texture = smooth_field(rng, 14, canvas.grid) * np.float32(14) + smooth_field(rng, 5, canvas.grid) * np.float32(12)
    density = texture + (np.float32(anatomy.lung) + towards_back * np.float32(0.35 * anatomy.lung_gradient))
    if anatomy.emphysema > 0:
        holes = np.clip(smooth_field(rng, 18, canvas.grid) - 0.4, 0, 1.2)
        density = np.maximum(density - holes * np.float32(110 * anatomy.emphysema), -985)
    canvas.paint(lungs, density)
    for side, depth in zip((-1, 1), anatomy.effusion, strict=True):
        if depth:
            level = section.h + section.half_depth - depth
            fluid = lungs * canvas.occupancy(level - h - 0.12 * (d - anatomy.apex - anatomy.lung_height)) * (w * side > 0)
            canvas.paint(fluid, 12.0)
    for nodule in anatomy.nodules:
        places = np.array([[nodule.height, nodule.depth, nodule.lateral]])
        centre = lung_points(anatomy, np.array([nodule.left]), places, nodule.radius_mm + 2.0)[0]
        tiny = max(nodule.radius_mm, canvas.voxel / 2)  # below a voxel the mass is kept, not the size
        mass = nodule.radius_mm**3 / (tiny**3 + tiny * canvas.voxel**2 / 4)
        box, ball = canvas.ellipsoid(centre, np.full(3, tiny))
        canvas.paint(ball * mass, nodule.hounsfield, box)
    vessels, value, box = canvas.tubes(_vessel_trees(anatomy, rng))
    canvas.paint(vessels * lungs[box], value, box)
    return lungs


def carina(anatomy: Anatomy) -> np.ndarray:
    """(d, h, w) where the trachea divides."""
    d = anatomy.apex + 0.31 * anatomy.lung_height
    h, w = spine(anatomy, np.array(d))
    return np.array([d, h - 36.0, 0.6 * w + 0.4 * anatomy.shift[1] - 2.0])


def _hilum(anatomy: Anatomy, left: int, vein: int) -> np.ndarray:
    side = 1 if left else -1
    return carina(anatomy) + [18.0 - 8 * left + 20 * vein, -8.0 - 4 * vein, side * (38.0 - 8 * vein)]


def _vessel_trees(anatomy: Anatomy, rng: np.random.Generator) -> Tubes:
    """Arteries and veins of both lungs. Each tree leads from the hilum to random places, halved into groups at every fork."""
    kinds = [(left, vein) for left in (0, 1) for vein in (0, 1)]
    fractions = rng.random((len(kinds) * LEAVES, 3))
    fractions[:, 2] = np.sqrt(fractions[:, 2])
    left = np.repeat([bool(left) for left, _ in kinds], LEAVES)
    groups = lung_points(anatomy, left, fractions, 5.0).reshape(len(kinds), LEAVES, 3)
    parents = np.stack([_hilum(anatomy, *kind) for kind in kinds])
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
    return walled(ribbons(path, aside, radius, radius), value, value, 1)


def paint_mediastinum(canvas: Canvas, anatomy: Anatomy, cavity: Array) -> None:
    """Paint the tissue between the lungs, the heart, the great vessels, the oesophagus and the airways."""
    d, h, w = canvas.axes((slice(None),) * 3)
    section = cavity_section(anatomy, canvas.centres)
    _, spine_w = spine(anatomy, canvas.centres)
    depth = np.maximum(section.half_depth, 1)[:, None, None]
    back = np.clip((h - section.h[:, None, None]) / depth, -1, 1)
    half = np.interp(back, (-1, -0.75, -0.35, 0.1, 0.45, 0.7, 1), (4, 6, 17, 23, 17, 20, 24)).astype(np.float32)
    middle = (0.5 * (section.w + spine_w))[:, None, None].astype(np.float32)
    septum = canvas.occupancy(np.abs(w - middle) - half) * canvas.occupancy(cavity)
    canvas.paint(septum, 0.4 * anatomy.fat_hounsfield + 0.6 * (anatomy.muscle_hounsfield - 30))
    blood, artery = BLOOD + 0.7 * anatomy.contrast, BLOOD + anatomy.contrast
    _paint_heart(canvas, anatomy, blood, artery)
    top = carina(anatomy)
    start = canvas.centres[0] - 5
    spine_h, spine_w = (x + 0.0 for x in spine(anatomy, np.array([start, top[0] + 40, 170.0])))
    gullet = np.stack([[start, top[0] + 40, 170.0], spine_h - [24, 25, 34], spine_w + [3, 5, 12]], axis=1)
    arteries, veins = _great_vessels(anatomy, top, artery, blood)
    canvas.paint(*canvas.tubes(joined([round_path(curve(gullet, 14), 7.5, 34.0), veins, arteries])))
    if anatomy.calcification > 0.25:
        rng = np.random.default_rng([anatomy.seed, 0xCA1])
        arch = arteries.start[rng.integers(0, 26, 9)] + rng.normal(0, 1, (9, 3)) * anatomy.aorta_radius * 0.6
        specks = rng.uniform(20, 160, 9) * anatomy.calcification
        canvas.paint(*canvas.points(arch.T.astype(np.float32), specks.astype(np.float32), np.full(9, 650, np.float32)))
    _paint_airways(canvas, anatomy, top)


def _paint_heart(canvas: Canvas, anatomy: Anatomy, blood: float, artery: float) -> None:
    centre = heart_centre(anatomy)
    turn = np.deg2rad(anatomy.heart_turn)
    down = np.deg2rad(32)
    long = np.array([np.sin(down), -np.cos(down) * np.cos(turn), np.cos(down) * np.sin(turn)])
    short = np.cross(long, [1.0, 0.0, 0.0])
    short /= np.linalg.norm(short)
    axes = np.stack([long, short, np.cross(long, short)])
    ventricles, atria = np.array([62, 43, 47]) * anatomy.heart, np.array([44, 40, 40]) * anatomy.heart
    atria_centre = centre - long * 22 * anatomy.heart + [-14 * anatomy.heart, 2, -10 * anatomy.heart]
    muscle = 52 + 0.3 * anatomy.contrast
    chambers = ((atria_centre, atria, blood), (centre, ventricles, muscle))
    for middle, radii, _ in chambers:
        box, filled = canvas.ellipsoid(middle, radii + 4 * anatomy.belly + 1, axes)
        canvas.paint(filled, anatomy.fat_hounsfield + 12, box)
    if anatomy.contrast:  # the two ventricles
        chambers += (
            (centre + (short * 17 - long * 4) * anatomy.heart, np.array([40, 20, 25]) * anatomy.heart, 0.92 * artery),
            (centre - short * 16 * anatomy.heart, np.array([42, 17, 27]) * anatomy.heart, blood),
        )
    for middle, radii, value in chambers:
        box, filled = canvas.ellipsoid(middle, radii, axes)
        canvas.paint(filled, value, box)
    below = diaphragm(anatomy, centre[1], centre[2])
    box, caval = canvas.bar(centre + [10, 20, -38], np.array([below + 60, centre[1] + 30, centre[2] - 40]), (11.0, 11.0))
    canvas.paint(canvas.occupancy(caval), blood, box)


def heart_centre(anatomy: Anatomy) -> np.ndarray:
    """(d, h, w) of the middle of the ventricles; the heart rests on the diaphragm."""
    d = anatomy.apex + 0.6 * anatomy.lung_height
    section = cavity_section(anatomy, np.array(d))
    h = section.h - section.half_depth + 16 + 44 * anatomy.heart
    w = section.w + anatomy.heart_left
    floor = diaphragm(anatomy, h, w)
    return np.array([floor - 40 * anatomy.heart, h, w])


def _great_vessels(anatomy: Anatomy, top: np.ndarray, artery: float, blood: float) -> tuple[Tubes, Tubes]:
    """Arteries (the aorta first) and veins with the pulmonary trunk."""
    heart, r, unfold = heart_centre(anatomy), anatomy.aorta_radius, anatomy.aorta_unfolding
    arch = top[0] - 14 - 8 * unfold
    down_d = np.array([top[0] + 25, top[0] + 90, 110.0, 175.0])
    spine_h, spine_w = spine(anatomy, down_d)
    descending = np.stack([down_d, spine_h - [14, 15, 20, 30], spine_w + np.array([24, 22, 14, 8]) + unfold * np.array([10, 9, 4, 0])], 1)
    rising = np.array([
        heart + [-30, 4, -26], [top[0] + 22, heart[1] + 2, top[2] - 16 - 5 * unfold], [arch, top[1] - 18, top[2] - 4],
        [arch - 3, top[1] + 4, top[2] + 20 + 8 * unfold],
    ])  # fmt: skip
    aorta = curve(np.concatenate([rising, descending]), 56)
    sizes = r * np.linspace(1.08, 0.8, len(aorta))
    above = -175.0
    neck = [round_path(np.array([[arch - 8, top[1] - 12 + 6 * k, top[2] - 8 + 13 * k], [(arch + above) / 2, top[1] - 14 + 3 * k, top[2] - 22 + 24 * k], [above, top[1] - 8, top[2] - 30 + 30 * k]]), 4.0 if k else 5.5, artery) for k in range(3)]  # fmt: skip
    caval = np.array([heart + [-26, 2, -46], [top[0] + 5, top[1] - 14, top[2] - 26], [arch - 12, top[1] - 16, top[2] - 27]])
    veins = [round_path(curve(caval, 10), 9.0, blood)]
    for side in (-1, 1):
        reach = np.array([[arch - 12, top[1] - 18, top[2] - 24], [arch - 30 - 4 * side, top[1] - 24, top[2] + side * 30], [anatomy.apex - 2, top[1] - 12, top[2] + side * 62], [anatomy.apex - 14, top[1] - 8, top[2] + side * 150]])  # fmt: skip
        veins.append(round_path(curve(reach, 12), 5.5, blood))
    fork = top + [16, -22, 12]
    trunk = np.stack([heart + [-34, -14, 8], fork + [8, -8, 4], fork])
    veins.append(round_path(curve(trunk, 8), 13.0, blood))
    for left in (0, 1):
        veins.append(round_path(curve(np.stack([fork, (fork + _hilum(anatomy, left, 0)) / 2 + [-4, 2, 0], _hilum(anatomy, left, 0)]), 8), 10.0, blood))
        veins.append(round_path(np.stack([heart + [-24, 22, -14 + 12 * left], _hilum(anatomy, left, 1)]), 7.0, blood))
    return joined([round_path(aorta, sizes, artery), *neck]), joined(veins)


def _paint_airways(canvas: Canvas, anatomy: Anatomy, top: np.ndarray) -> None:
    """Trachea, main and lobar bronchi: a wall round air."""
    start = canvas.centres[0] - 5
    spine_h, spine_w = spine(anatomy, np.array([start, (start + top[0]) / 2]))
    path = np.stack([[start, (start + top[0]) / 2, top[0]], [*(spine_h - 34), top[1]], [*(0.6 * spine_w - 1), top[2]]], 1)
    size = 9.6 if anatomy.female else 10.8  # with the wall
    parts = [round_path(curve(path, 10), size)]
    for side, root in ((-1, [24.0, 4.0, -30.0]), (1, [30.0, 6.0, 42.0])):
        split = top + root
        parts.append(round_path(np.stack([top, split]), np.array([size * 0.85, size * 0.65])))
        for branch in ([-26.0, -6.0, side * 34.0], [34.0, -26.0, side * 30.0], [58.0, 16.0, side * 26.0]):
            parts.append(round_path(np.stack([split, split + branch]), np.array([4.8, 2.4])))
    canvas.paint(*canvas.tubes(walled(joined(parts), AIR, 15.0, 0.84)))


def paint_abdomen(canvas: Canvas, anatomy: Anatomy, cavity: Array, above: Array) -> None:
    """Paint what lies under the diaphragm: fat and bowel, liver, spleen, stomach, kidneys."""
    lowest = anatomy.apex + anatomy.lung_height - max(anatomy.right_dome, anatomy.left_dome) - 2 * canvas.edge
    box = canvas.box(np.array([lowest, -160, -160]), np.array([160, 160, 160]))
    if box[0].start >= canvas.grid:
        return
    h = canvas.axes(box)[1]
    inside = canvas.occupancy(cavity[box])
    under = inside * (1 - above[box])
    organ = 4 + 0.85 * anatomy.muscle_hounsfield + 0.16 * anatomy.contrast
    rng = np.random.default_rng([anatomy.seed, 0xAB])
    bowel = np.clip(smooth_field(rng, 11, canvas.grid)[box] * np.float32(1.5) + np.float32(0.9 - 1.6 * anatomy.belly), 0, 1)
    canvas.paint(under, anatomy.fat_hounsfield + 4 + bowel * np.float32(125), box)
    section = cavity_section(anatomy, np.array(anatomy.apex + 0.95 * anatomy.lung_height))
    mid, wide, deep = float(section.w), float(section.half_width), float(section.half_depth)
    base = anatomy.apex + anatomy.lung_height
    _part(canvas, under, box, np.array([base - anatomy.right_dome + 78, section.h - 0.1 * deep, mid - 0.36 * wide]),
          np.array([96, 0.98 * deep, 0.78 * wide]), organ + 8)  # fmt: skip
    _part(canvas, under, box, np.array([base - anatomy.left_dome + 62, section.h + 0.5 * deep, mid + 0.68 * wide]),
          np.array([50, 0.4 * deep, 0.27 * wide]), organ)  # fmt: skip
    stomach = np.array([base - anatomy.left_dome + 48, section.h - 0.18 * deep, mid + 0.42 * wide])
    room = np.array([44, 0.48 * deep, 0.36 * wide])
    filled = _part(canvas, under, box, stomach, room, 32.0)
    if anatomy.stomach_gas:
        level = np.float32(stomach[1] - room[1] + anatomy.stomach_gas * 1.4)
        canvas.paint(filled * canvas.occupancy(h - level), AIR, box)
    for side in (-1, 1):
        centre = np.array([base + 46.0, float(section.h) + 0.55 * deep, mid + side * 0.45 * wide])
        _part(canvas, under, box, centre, np.array([54, 27, 28]), 32 + 0.5 * anatomy.contrast)


def _part(canvas: Canvas, within: Array, box: Box, centre: np.ndarray, radii: np.ndarray, value: float) -> Array:
    """Paint an ellipsoid where it lies `within`; return what was filled."""
    axes = [((x - np.float32(c)) / np.float32(r)) ** 2 for x, c, r in zip(canvas.axes(box), centre, radii, strict=True)]
    norm = np.sqrt(axes[0] + axes[1] + axes[2])
    filled = within * canvas.occupancy((norm - 1) * np.float32(radii.min()))
    canvas.paint(filled, value, box)
    return filled
