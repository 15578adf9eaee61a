"""Who of LIDC-IDRI trains, validates and tests: the published lists of X2CT-GAN, and our repair of them by patient."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bench.dataset import PreparedCase, Split

from ..splitting import order_by_hash, small_split

LISTS = Path(__file__).resolve().parent.parent / "splits" / "lidc_x2ct.csv"
LEAST_LISTED = 100  # prepared patients of the lists, below which the lists are ignored


def read_x2ct_split() -> dict[str, tuple[str, Split]]:
    """Return the published lists, verbatim: scan → (patient, `train` or `test`), 916 + 102 scans.

    They leak: LIDC-IDRI-0442 has a scan in either. From data/train.txt and data/test.txt of the official code.
    """
    with LISTS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["scan"]: (row["patient"], "test" if row["split"] == "test" else "train") for row in rows}


def split_of_patients() -> dict[str, Split]:
    """Return the lists by patient: 102 test, a tenth of the other 908 validates, the rest trains.

    A patient with a test scan is in test only. Those validate whose sha256(PatientID) comes first, so that the split
    of a patient depends on nothing but its name.
    """
    published = read_x2ct_split().values()
    test = {patient for patient, split in published if split == "test"}
    others = order_by_hash([patient for patient, _ in published if patient not in test])
    validating = round(len(others) / 10)
    splits: dict[str, Split] = dict.fromkeys(test, "test")
    splits |= dict.fromkeys(others[:validating], "validation")
    return splits | dict.fromkeys(others[validating:], "train")


def is_small(patients: Sequence[str]) -> bool:
    """Return True where fewer than 100 of the patients are in the published lists."""
    return len(set(patients) & split_of_patients().keys()) < LEAST_LISTED


def assign_splits(records: Sequence[PreparedCase]) -> dict[str, Split]:
    """Return case → split: by the published lists, or by hash when few patients are prepared; one case a patient.

    Of several series of a patient the one with most slices is used. A patient the lists do not name is left out.
    """
    by_patient: dict[str, list[PreparedCase]] = defaultdict(list)
    for record in records:
        by_patient[record.patient].append(record)
    splits = small_split(list(by_patient)) if is_small(list(by_patient)) else split_of_patients()
    chosen = {
        patient: min(cases, key=lambda record: (-record.source_slices, record.series))
        for patient, cases in sorted(by_patient.items())
    }
    return {record.case: splits[patient] for patient, record in chosen.items() if patient in splits}
