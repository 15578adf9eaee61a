"""Look over the prepared cases of a dataset for what would make its numbers wrong.

A dataset's folder may hold a module `check` of its own with `doubts(volume)`, sentences about one prepared volume
(D, H, W) in HU, and `remarks(records)`, pairs of a severity and a sentence about the collection.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.data.store import load_volume
from bench.dataset import SPLITS, DatasetSpec, PreparedCase, Split
from bench.errors import BenchError

from .prepare import own_module, stored_range

Severity = Literal["error", "warning", "note"]
LEAST_COVERED = 0.75  # of the cube's side, by the scan of a patient; a bag may be as small as it likes
MOST_METAL = 0.02  # of the voxels above 1500 HU
LEAST_MATTER = {"patient": 0.05, "bag": 0.002}  # of the voxels above -500 HU; packed bags have about a fortieth


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing; an error makes results wrong, a warning may."""

    severity: Severity
    case: str  # empty where it concerns the collection
    text: str


def check(spec: DatasetSpec, records: Sequence[PreparedCase], splits: Mapping[str, Split]) -> list[Finding]:
    """Everything found, errors first. Every stored volume is read and its hash verified."""
    own = own_module(spec.name, "check")
    findings = _collection(records, splits)
    findings += [Finding(severity, "", text) for severity, text in (own.remarks(records) if own else ())]
    for record in records:
        findings += _case(spec, record, own.doubts if own else None)
    order: tuple[Severity, ...] = ("error", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _collection(records: Sequence[PreparedCase], splits: Mapping[str, Split]) -> list[Finding]:
    counts = Counter(splits.get(record.case, "unused") for record in records)
    text = ", ".join(f"{counts[name]} {name}" for name in (*SPLITS, "unused"))
    findings = [Finding("note", "", f"{len(records)} cases: {text}")]

    by_patient, by_volume = defaultdict(list), defaultdict(list)
    for record in records:
        by_patient[record.patient].append(record.case)
        by_volume[record.volume_sha256].append(record.case)
    for patient, cases in by_patient.items():
        used = sorted({splits[case] for case in cases if case in splits})
        if len(used) > 1:
            findings.append(
                Finding("error", cases[0], f"patient {patient} leaks: its cases are in {' and '.join(used)}")
            )
    for cases in by_volume.values():
        if len(cases) > 1:
            apart = len({splits.get(case) for case in cases}) > 1
            text = f"the same volume as {', '.join(cases[1:])}; delete one source and prepare again"
            findings.append(Finding("error" if apart else "warning", cases[0], text))
    if len({record.settings_sha256 for record in records}) > 1:
        findings.append(
            Finding("warning", "", "cases are prepared by different recipes; prepare all from one folder again")
        )
    return findings


def _case(spec: DatasetSpec, record: PreparedCase, doubts: Callable[[np.ndarray], list[str]] | None) -> list[Finding]:
    try:
        volume = load_volume(spec.name, record)
    except BenchError as error:
        return [Finding("error", record.case, str(error))]
    shape = (spec.full_grid,) * 3
    if volume.shape != shape or volume.dtype != np.int16:
        return [
            Finding(
                "error", record.case, f"stored as {volume.dtype} {volume.shape}, not int16 {shape}; prepare it again"
            )
        ]
    low, high = int(volume.min()), int(volume.max())
    texts = []
    lowest, highest = stored_range(spec)
    if low < lowest or high > highest:
        texts.append(f"values {low} to {high} HU leave {lowest} to {highest}")
    if (share := float(np.mean(volume > 1500))) > MOST_METAL:
        texts.append(f"{share:.1%} of it lies above 1500 HU: metal, or not HU")
    if (share := float(np.mean(volume > -500))) < LEAST_MATTER[spec.subject]:
        texts.append(f"only {share:.1%} of it is matter")
    covered = record.source_slices * record.source_spacing_mm[0]
    if spec.subject == "patient" and covered < LEAST_COVERED * spec.cube_mm:
        texts.append(f"the scan covers {covered:.0f} of {spec.cube_mm:.0f} mm; the rest is air")
    texts += doubts(volume) if doubts else []
    findings = [Finding("warning", record.case, text) for text in texts]
    if record.table != "removed" and spec.subject == "patient":
        findings.append(Finding("note", record.case, f"table {record.table}"))
    return findings
