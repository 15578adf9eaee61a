"""Look over the prepared cases of a dataset for what would make its numbers wrong."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from bench.data.store import load_volume
from bench.dataset import SPLITS, DatasetSpec, Finding, PreparedCase, Severity, Split
from bench.errors import BenchError

from .body import REMOVED
from .cube import stored_range

LEAST_COVERED = 0.75  # of the cube's side, by the scan of a patient; a bag may be as small as it likes
MOST_METAL = 0.02  # of the voxels above 1500 HU
LEAST_MATTER = {"patient": 0.05, "bag": 0.002}  # of the voxels above -500 HU; packed bags have about a fortieth


def check(spec: DatasetSpec, records: Sequence[PreparedCase], splits: Mapping[str, Split]) -> list[Finding]:
    """Return all that is worth knowing, errors first. Every stored volume is read and its hash verified.

    The dataset adds what only it can tell: `DatasetSpec.remarks` of the collection, `DatasetSpec.doubts` of a volume.
    """
    findings = _check_collection(records, splits) + (spec.remarks(records) if spec.remarks else [])
    for record in records:
        findings += _check_case(spec, record)
    order: tuple[Severity, ...] = ("error", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _check_collection(records: Sequence[PreparedCase], splits: Mapping[str, Split]) -> list[Finding]:
    counts = Counter(splits.get(record.case, "unused") for record in records)
    text = ", ".join(f"{counts[name]} {name}" for name in (*SPLITS, "unused"))
    findings = [Finding("note", f"{len(records)} cases: {text}")]

    by_patient, by_volume = defaultdict(list), defaultdict(list)
    for record in records:
        by_patient[record.patient].append(record.case)
        by_volume[record.volume_sha256].append(record.case)
    for patient, cases in by_patient.items():
        used = sorted({splits[case] for case in cases if case in splits})
        if len(used) > 1:
            text = f"patient {patient} leaks: its cases are in {' and '.join(used)}"
            findings.append(Finding("error", text, cases[0]))
    for cases in by_volume.values():
        if len(cases) > 1:
            apart = len({splits.get(case) for case in cases}) > 1
            text = f"the same volume as {', '.join(cases[1:])}; delete one source and prepare again"
            findings.append(Finding("error" if apart else "warning", text, cases[0]))
    if len({record.settings_sha256 for record in records}) > 1:
        text = "cases are prepared by different recipes; prepare all from one folder again"
        findings.append(Finding("warning", text))
    return findings


def _check_case(spec: DatasetSpec, record: PreparedCase) -> list[Finding]:
    try:
        volume = load_volume(spec.name, record)
    except BenchError as error:
        return [Finding("error", str(error), record.case)]
    shape = (spec.full_grid,) * 3
    if volume.shape != shape or volume.dtype != np.int16:
        text = f"stored as {volume.dtype} {volume.shape}, not int16 {shape}; prepare it again"
        return [Finding("error", text, record.case)]
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
    texts += spec.doubts(volume) if spec.doubts else []
    findings = [Finding("warning", text, record.case) for text in texts]
    if not record.table.startswith(REMOVED) and spec.subject == "patient":
        findings.append(Finding("note", f"table {record.table}", record.case))
    return findings
