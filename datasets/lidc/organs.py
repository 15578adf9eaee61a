"""What a voxel of the chest phantom can be."""

from enum import IntEnum


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


NAMES = {organ.value: organ.name.lower().replace("_", " ") for organ in Organ}
