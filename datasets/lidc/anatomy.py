"""Whose chest it is: the factors of one phantom, drawn from a seed alone, with the spread of a real population.

Means and spreads were measured on 19 adult chest CTs of public collections. Positions are (d, h, w) in mm from the
cube's centre, towards the feet, the back and the patient's left.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Organ(IntEnum):
    """Numbers in the label map `organs`; 0 is air outside the body."""

    OUTSIDE = 0
    SKIN = 1
    FAT = 2  # under the skin
    BREAST = 3
    MUSCLE = 4  # and what else lies between the inside of the ribs and the fat
    RIGHT_LUNG = 5
    LEFT_LUNG = 6
    LUNG_VESSEL = 7
    NODULE = 8
    EFFUSION = 9
    MEDIASTINUM = 10  # fat and connective tissue
    HEART = 11
    GREAT_VESSEL = 12  # with the oesophagus
    AIRWAY = 13  # lumen and wall
    BOWEL = 14  # and the fat of the belly
    LIVER = 15
    SPLEEN = 16
    STOMACH = 17
    KIDNEY = 18
    BONE = 19  # with the cartilage of the ribs
    DISC = 20
    SPINAL_CANAL = 21


ORGAN_NAMES = {organ.value: organ.name.lower().replace("_", " ") for organ in Organ}


@dataclass(frozen=True)
class Nodule:
    """A round lesion in a lung, placed by fractions of the lung so that it always lies inside."""

    left: bool
    height: float  # 0 apex … 1 diaphragm
    depth: float  # 0 front … 1 back
    lateral: float  # 0 mediastinum … 1 chest wall
    radius_mm: float
    hounsfield: float


@dataclass(frozen=True)
class Anatomy:
    """Everything that differs between two subjects, before any grid is chosen. Lengths in mm, densities in HU."""

    seed: int  # decides textures, the layout of the vessels, and noise
    # Seen well by two views: the sizes and places of large things.
    female: bool
    chest_width: float  # of the thoracic cavity, at its widest
    chest_depth: float  # front to back, at its deepest
    lung_height: float  # apex to the deepest recess
    apex: float  # d of the lung apices
    shift: tuple[float, float]  # (h, w) of the trunk's axis from the cube's centre
    fat: float  # thickness under the skin, at the side
    belly: float  # visceral fat, 0 … 1
    muscle: float  # scale of the muscle layer
    kyphosis: float  # bow of the spine backwards
    scoliosis: float  # bow of the spine to the left
    right_dome: float  # height of the right diaphragm above the deepest recess
    left_dome: float
    heart: float  # scale
    heart_turn: float  # degrees from the sagittal plane to the heart's long axis
    heart_left: float  # offset of the heart's centre to the left
    aorta_radius: float
    aorta_unfolding: float  # how far the arch and the descending aorta bulge to the left
    arms_up: bool
    breast: float  # radius; 0 for none
    rib_slope: float  # fall of a rib from back to front
    # Seen poorly or not at all: densities, and what lies in front of one another.
    lung: float  # most frequent value
    lung_gradient: float  # rise from front to back
    emphysema: float  # 0 none … 1 severe
    fat_hounsfield: float
    muscle_hounsfield: float
    bone_density: float  # scale
    contrast: float  # enhancement of arterial blood; 0 without contrast medium
    vessels: float  # scale of the lung vessels' thickness
    stomach_gas: float  # radius of the bubble; 0 for none
    effusion: tuple[float, float]  # depth of fluid behind the right and the left lung
    calcification: float  # 0 none … 1 heavy, in the arterial wall and the rib cartilage
    nodules: tuple[Nodule, ...]
    field_of_view: float  # diameter of the scanned circle; outside is air, but never in the lungs
    blur: float  # sigma of the scanner's point spread
    noise: float  # HU, sd in voxels of 1 mm³


def draw_anatomy(seed: int) -> Anatomy:
    """Return the subject of a seed, a non-negative integer; the same whatever the grid."""
    rng = np.random.default_rng([seed, 0x1DC])

    def normal(mean: float, spread: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, spread), low, high))

    def uniform(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    female = chance(0.45)
    size = normal(-0.35 if female else 0.3, 0.85, -2.2, 2.2)  # stature, shared by the skeletal measures
    weight = normal(0, 1, -1.9, 2.3)
    lung_height = normal(293 + 18 * size, 17, 232, 345)
    chest_width = normal(257 + 15 * size + 6 * weight, 9, 215, 296)
    shift = (normal(0, 7, -18, 18), normal(0, 5, -11, 11))
    right_dome = normal(80, 11, 52, 110)
    return Anatomy(
        seed=seed,
        female=female,
        chest_width=chest_width,
        chest_depth=normal(185 + 9 * size + 10 * weight, 12, 145, 238),
        lung_height=lung_height,
        apex=normal(-8, 13, -40, 30) - lung_height / 2,
        shift=shift,
        fat=float(np.clip(9.5 * np.exp(0.65 * weight + rng.normal(0, 0.2)), 2.5, 42)),
        belly=float(np.clip(0.45 + 0.22 * weight + rng.normal(0, 0.12), 0.05, 1)),
        muscle=normal(1.0 - 0.08 * female, 0.12, 0.7, 1.35),
        kyphosis=normal(46, 12, 18, 78),
        scoliosis=normal(0, 4, -12, 12),
        right_dome=right_dome,
        left_dome=right_dome - normal(15, 8, -6, 32),
        heart=normal(1 + 0.03 * size + 0.03 * weight, 0.09, 0.78, 1.32),
        heart_turn=normal(46, 8, 25, 65),
        heart_left=normal(22, 6, 6, 38),
        aorta_radius=normal(14.3 + 0.4 * size, 1.5, 11.5, 19),
        aorta_unfolding=normal(0.3, 0.3, 0, 1),
        arms_up=chance(0.9),
        breast=normal(56 + 9 * weight, 9, 36, 85) if female else 0.0,
        rib_slope=normal(58, 9, 35, 82),
        lung=normal(-863, 34, -935, -780),
        lung_gradient=uniform(50, 100),
        emphysema=float(np.clip(rng.normal(-0.35, 0.5), 0, 1)),
        fat_hounsfield=normal(-102, 9, -122, -82),
        muscle_hounsfield=normal(54, 8, 36, 72),
        bone_density=normal(1, 0.15, 0.62, 1.4),
        contrast=uniform(110, 300) if chance(0.45) else 0.0,
        vessels=normal(1, 0.1, 0.8, 1.25),
        stomach_gas=uniform(10, 34) if chance(0.75) else 0.0,
        effusion=(uniform(6, 35) if chance(0.06) else 0.0, uniform(6, 35) if chance(0.06) else 0.0),
        calcification=float(np.clip(rng.normal(0.1, 0.4), 0, 1)),
        nodules=tuple(_draw_nodule(rng) for _ in range(rng.poisson(1.6))),
        field_of_view=chest_width + 2 * float(np.hypot(*shift)) + uniform(22, 75) if chance(0.34) else 500.0,
        blur=uniform(0.6, 1.1),
        noise=uniform(10, 34),
    )


def _draw_nodule(rng: np.random.Generator) -> Nodule:
    kind = rng.random()
    solid = float(rng.uniform(20, 60))
    hounsfield = solid if kind < 0.7 else float(rng.uniform(-680, -450)) if kind < 0.9 else float(rng.uniform(200, 800))
    radius = float(np.clip(np.exp(rng.normal(1.35, 0.6)), 1.5, 15))
    left, places = bool(rng.random() < 0.45), rng.uniform(0.08, 0.92, 3)
    return Nodule(left, *map(float, places), radius if hounsfield < 100 else min(radius, 4.0), hounsfield)
