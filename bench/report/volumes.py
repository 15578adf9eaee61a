"""Volumes for the viewer: truth and predictions of a few cases as gzipped NIfTI in HU, under a cap on their size."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.dataset import to_hounsfield
from bench.errors import BenchError
from bench.report.collect import Group
from bench.report.pictures import white_of
from bench.runs.predictions import nifti_bytes

MIB = 2**20


@dataclass
class Budget:
    """How many bytes of the page volumes may still take."""

    left: int


def view_case(group: Group, case: str, budget: Budget) -> tuple[dict[str, Any] | None, str]:
    """Return what the viewer needs of a case, None where it is over the budget, and why something is left out.

    Voxels are rounded to whole HU. A case is shown with all its predictions or not at all.
    """
    assert group.cases is not None
    cases = group.cases
    volumes = [{"title": "Truth", "kind": "truth", "data": _encode(group, group.truth(case), case)}]
    reasons = []
    for subject in group.subjects:
        if not subject.folders:
            continue
        try:
            made = group.prediction(subject.folders[0], case)
        except BenchError as error:
            reasons.append(str(error))
            continue
        volumes.append({"title": subject.title, "kind": subject.kind, "data": _encode(group, made, case)})
    size = sum(len(volume["data"]) for volume in volumes)
    if size > budget.left:
        reasons.append(f"{case} needs {size / MIB:.1f} MiB and {max(budget.left, 0) / MIB:.1f} MiB are left")
        return None, "; ".join(reasons)
    budget.left -= size
    white = float(to_hounsfield(np.array(white_of(group.truth(case))), cases.card.window))
    shown = {"group": group.title, "case": case, "window": cases.card.window, "white": white, "volumes": volumes}
    return shown, "; ".join(reasons)


def explain_cap(reasons: Sequence[str], mib: float) -> str:
    """Return one line on what the viewer does not hold; empty when it holds all."""
    return f"Not in the viewer, whose volumes may take {mib:g} MiB: {'; '.join(reasons)}." if reasons else ""


def _encode(group: Group, unit: np.ndarray, case: str) -> str:
    assert group.cases is not None
    hounsfield = np.rint(to_hounsfield(unit, group.cases.card.window)).astype(np.int16)
    affine = group.cases.affines[group.cases.index(case)]
    return base64.b64encode(nifti_bytes(hounsfield, affine)).decode()
