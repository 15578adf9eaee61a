"""What lies between the lungs: fat, heart, great vessels, oesophagus and airways."""

# ruff: noqa: RUF005 – lists are added to arrays here, not joined to lists

import numpy as np

from ..shapes import AIR, EVERYWHERE, Array, Canvas, cross, curve, join_tubes, round_path, set_densities, unit
from .anatomy import Anatomy, Organ
from .lungs import BLOOD
from .surfaces import carina, cavity_section, diaphragm, hilum, spine

ABOVE, BELOW = -175.0, 175.0  # d of the ends of what runs through the whole cube


def paint_mediastinum(canvas: Canvas, anatomy: Anatomy, cavity: Array) -> None:
    """Paint everything between the lungs, the airways last."""
    _paint_septum(canvas, anatomy, cavity)
    blood, artery = BLOOD + 0.7 * anatomy.contrast, BLOOD + anatomy.contrast
    _paint_heart(canvas, anatomy, blood, artery)
    aorta = _aorta(anatomy)
    arteries = [round_path(aorta, anatomy.aorta_radius * np.linspace(1.08, 0.8, len(aorta)), artery)]
    arteries += [round_path(path, radius, artery) for path, radius in _neck_arteries(anatomy)]
    veins = [round_path(path, radius, blood) for path, radius in _veins(anatomy)]
    middle = carina(anatomy)[0] + 40
    d = np.array([ABOVE, middle, BELOW])
    h, w = spine(anatomy, d)
    gullet = round_path(curve(np.stack([d, h - [24, 25, 34], w + [3, 5, 12]], axis=1), 14), 7.5, 34.0)
    canvas.paint(*canvas.tubes(join_tubes([gullet, *veins, *arteries])), label=Organ.GREAT_VESSEL)
    if anatomy.calcification > 0.25:
        rng = np.random.default_rng([anatomy.seed, 0xCA1])
        specks = aorta[rng.integers(4, 34, 9)] + rng.normal(0, 0.6 * anatomy.aorta_radius, (9, 3))
        volumes = anatomy.calcification * rng.uniform(20, 160, 9)
        canvas.paint(*canvas.points(*(x.astype(np.float32) for x in (specks.T, volumes, np.full(9, 650)))))
    _paint_airways(canvas, anatomy)


def _paint_septum(canvas: Canvas, anatomy: Anatomy, cavity: Array) -> None:
    """Paint the tissue that parts the lungs: thin behind the sternum, as wide as the spine at the back."""
    _, h, w = canvas.axes(EVERYWHERE)
    section = cavity_section(anatomy, canvas.centres[:, None, None])
    middle = 0.5 * (section.w + spine(anatomy, canvas.centres)[1][:, None, None]).astype(np.float32)
    back = np.clip((h - section.h) / np.maximum(section.half_depth, 1), -1, 1)
    half = np.interp(back, (-1, -0.75, -0.35, 0.1, 0.45, 0.7, 1), (4, 6, 17, 23, 17, 20, 24)).astype(np.float32)
    septum = canvas.occupancy(np.abs(w - middle) - half) * canvas.occupancy(cavity)
    canvas.paint(septum, 0.4 * anatomy.fat_hounsfield + 0.6 * (anatomy.muscle_hounsfield - 30), label=Organ.MEDIASTINUM)


def heart_centre(anatomy: Anatomy) -> np.ndarray:
    """Return (d, h, w) of the middle of the ventricles; the heart rests on the diaphragm."""
    section = cavity_section(anatomy, np.array(anatomy.apex + 0.6 * anatomy.lung_height))
    h = section.h - section.half_depth + 16 + 44 * anatomy.heart
    w = section.w + anatomy.heart_left
    return np.array([diaphragm(anatomy, h, w) - 40 * anatomy.heart, h, w])


def _paint_heart(canvas: Canvas, anatomy: Anatomy, blood: float, artery: float) -> None:
    """Paint ventricles and atria as ellipsoids in fat, the blood in the ventricles if enhanced, and the vena cava."""
    centre, size = heart_centre(anatomy), anatomy.heart
    turn, down = np.deg2rad(anatomy.heart_turn), np.deg2rad(32)
    long = np.array([np.sin(down), -np.cos(down) * np.cos(turn), np.cos(down) * np.sin(turn)])
    short = unit(cross(long, np.array([1.0, 0.0, 0.0])))
    axes = np.stack([long, short, cross(long, short)])
    atria = centre - size * (22 * long + [14, 0, 10]) + [0, 2, 0]
    chambers = [
        (atria, size * np.array([44, 40, 40]), blood),
        (centre, size * np.array([62, 43, 47]), 52 + 0.3 * anatomy.contrast),
    ]
    for middle, radii, _ in chambers:
        box, filled = canvas.ellipsoid(middle, radii + 4 * anatomy.belly + 1, axes)
        canvas.paint(filled, anatomy.fat_hounsfield + 12, box, Organ.MEDIASTINUM)
    if anatomy.contrast:
        chambers.append((centre + size * (17 * short - 4 * long), size * np.array([40, 20, 25]), 0.92 * artery))
        chambers.append((centre - size * 16 * short, size * np.array([42, 17, 27]), blood))
    for middle, radii, value in chambers:
        box, filled = canvas.ellipsoid(middle, radii, axes)
        canvas.paint(filled, value, box, Organ.HEART)
    lower = np.array([diaphragm(anatomy, centre[1], centre[2]) + 60, centre[1] + 30, centre[2] - 40])
    box, distance = canvas.bar(centre + [10, 20, -38], lower, (11.0, 11.0))
    canvas.paint(canvas.occupancy(distance), blood, box, Organ.GREAT_VESSEL)


def _arch(anatomy: Anatomy) -> float:
    """Return d of the top of the aortic arch."""
    return float(carina(anatomy)[0]) - 14 - 8 * anatomy.aorta_unfolding


def _aorta(anatomy: Anatomy) -> np.ndarray:
    """Return the centre line (K, 3) from the heart over the arch and down along the spine."""
    d, h, w = carina(anatomy)
    heart, arch, unfold = heart_centre(anatomy), _arch(anatomy), anatomy.aorta_unfolding
    rising = [
        heart + [-30, 4, -26],
        [d + 22, heart[1] + 2, w - 16 - 5 * unfold],
        [arch, h - 18, w - 4],
        [arch - 3, h + 4, w + 20 + 8 * unfold],
    ]
    down = np.array([d + 25, d + 90, 110.0, BELOW])
    spine_h, spine_w = spine(anatomy, down)
    left = spine_w + [24, 22, 14, 8] + unfold * np.array([10, 9, 4, 0])
    return curve(np.concatenate([rising, np.stack([down, spine_h - [14, 15, 20, 30], left], axis=1)]), 56)


def _neck_arteries(anatomy: Anatomy) -> list[tuple[np.ndarray, float]]:
    """Return the paths and radii of the three branches of the arch, from right to left."""
    _, h, w = carina(anatomy)
    arch = _arch(anatomy)
    paths = []
    for k, radius in enumerate((5.5, 4.0, 4.0)):
        root, top = [arch - 8, h - 12 + 6 * k, w - 8 + 13 * k], [ABOVE, h - 8, w - 30 + 30 * k]
        paths.append((np.array([root, [(arch + ABOVE) / 2, h - 14 + 3 * k, w - 22 + 24 * k], top]), radius))
    return paths


def _veins(anatomy: Anatomy) -> list[tuple[np.ndarray, float]]:
    """Return the paths and radii of the upper vena cava, what leads to it, and pulmonary vessels up to the hila."""
    d, h, w = carina(anatomy)
    heart, arch = heart_centre(anatomy), _arch(anatomy)
    caval = np.array([heart + [-26, 2, -46], [d + 5, h - 14, w - 26], [arch - 12, h - 16, w - 27]])
    paths = [(curve(caval, 10), 9.0)]
    for side in (-1, 1):
        knots = [
            [arch - 12, h - 18, w - 24],
            [arch - 30 - 4 * side, h - 24, w + side * 30],
            [anatomy.apex - 2, h - 12, w + side * 62],
            [anatomy.apex - 14, h - 8, w + side * 150],
        ]
        paths.append((curve(np.array(knots), 12), 5.5))
    fork = np.array([d + 16, h - 22, w + 12])
    paths.append((curve(np.stack([heart + [-34, -14, 8], fork + [8, -8, 4], fork]), 8), 13.0))
    for left in (False, True):
        artery, vein = hilum(anatomy, left, False), hilum(anatomy, left, True)
        paths.append((curve(np.stack([fork, (fork + artery) / 2 + [-4, 2, 0], artery]), 8), 10.0))
        paths.append((np.stack([heart + [-24, 22, -14 + 12 * left], vein]), 7.0))
    return paths


def _paint_airways(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint trachea, main and lobar bronchi: a wall round air."""
    fork = carina(anatomy)
    d = np.array([ABOVE, (ABOVE + fork[0]) / 2])
    h, w = spine(anatomy, d)
    trachea = np.concatenate([np.stack([d, h - 34, 0.6 * w - 1], axis=1), fork[None]])
    radius = 9.6 if anatomy.female else 10.8  # with the wall
    parts = [round_path(curve(trachea, 10), radius)]
    for side, root in ((-1, [24.0, 4.0, -30.0]), (1, [30.0, 6.0, 42.0])):
        split = fork + root
        parts.append(round_path(np.stack([fork, split]), radius * np.array([0.85, 0.65])))
        for branch in ([-26.0, -6.0, side * 34.0], [34.0, -26.0, side * 30.0], [58.0, 16.0, side * 26.0]):
            parts.append(round_path(np.stack([split, split + branch]), np.array([4.8, 2.4])))
    canvas.paint(*canvas.tubes(set_densities(join_tubes(parts), AIR, 15.0, 0.84)), label=Organ.AIRWAY)
