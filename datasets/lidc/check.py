"""What makes one doubt a prepared chest, and what is wrong with the published lists."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from bench.dataset import Finding, PreparedCase

from .phantom import CUBE_MM
from .splits import is_small, read_x2ct_split, split_of_patients

LEAST_LITRES = 1.0  # of lung; adults measured: 3.3 to 7.1


def remarks(records: Sequence[PreparedCase]) -> list[Finding]:
    """Return what is worth knowing of the collection and of the lists it is split by."""
    by_patient = defaultdict(set)
    for patient, split in read_x2ct_split().values():
        by_patient[patient].add(split)
    leaks = sorted(patient for patient, splits in by_patient.items() if len(splits) > 1)
    text = f"the published lists (916 + 102 scans) have {', '.join(leaks)} in train and test; here in test only"
    findings = [Finding("note", text)]
    patients = [record.patient for record in records]
    if is_small(patients):
        text = "fewer than 100 patients of the published lists are prepared: split by sha256, unless a list is given"
        findings.append(Finding("note", text))
    elif unlisted := sorted(set(patients) - split_of_patients().keys()):
        text = f"{len(unlisted)} patients are in no published list and unused, e.g. {unlisted[0]}"
        findings.append(Finding("warning", text))
    return findings


def doubts(volume: np.ndarray) -> list[str]:
    """Return sentences about one chest (D, H, W) in HU on the cube of 320 mm; none when it looks as it should.

    Thresholds part 15 real chests from the same upside down and back to front, with and without contrast agent.
    """
    voxel = CUBE_MM / volume.shape[0]
    tissue = volume > -400
    inside = _fill_between(tissue, 1) & _fill_between(tissue, 2)
    if not inside.any():
        return ["no body"]
    texts = []
    litres = float((inside & (volume < -500)).sum()) * voxel**3 / 1e6
    if litres < LEAST_LITRES:
        texts.append(f"no lungs: {litres:.1f} litres of air in the body")

    middle = np.average(np.arange(volume.shape[2]), weights=inside.sum(axis=(0, 1)))
    strip = slice(max(0, round(middle - 40 / voxel)), round(middle + 40 / voxel) + 1)
    bone, body = (volume > 250)[:, :, strip] & inside[:, :, strip], inside[:, :, strip]
    front, back = body.argmax(axis=1), body.shape[1] - 1 - body[:, ::-1].argmax(axis=1)
    depth = (np.arange(body.shape[1])[:, None] - front[:, None]) / np.maximum(back - front, 1)[:, None]
    if (bone & (depth > 0.72)).sum() <= (bone & (depth < 0.28)).sum():
        texts.append("front to back? the midline has no more bone behind (spine) than in front (sternum)")

    soft = (inside & (volume > -150) & (volume < 200)).sum(axis=(1, 2))
    filled = np.flatnonzero(inside.any(axis=(1, 2)))
    eighth = max(1, len(filled) // 8)
    if soft[filled[-eighth:]].mean() < 0.95 * soft[filled[:eighth]].mean():
        texts.append("upside down? there is less soft tissue at the lower end (abdomen) than at the upper (shoulders)")
    return texts


def _fill_between(mask: np.ndarray, axis: int) -> np.ndarray:
    """Return a mask (D, H, W) with all between its first and its last voxel along an axis."""
    backwards = np.flip(np.maximum.accumulate(np.flip(mask, axis), axis), axis)
    return np.maximum.accumulate(mask, axis) & backwards
