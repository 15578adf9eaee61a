"""Splits are by patient or bag, follow the published lists, and do not depend on what else is prepared."""

from collections import Counter
from collections.abc import Callable
from hashlib import sha256

import pytest

from bench.dataset import SPLITS, PreparedCase
from bench.datasets.lidc.check import remarks
from bench.datasets.lidc.splits import assign_splits, read_x2ct_split, split_of_patients
from bench.datasets.splitting import assign_splits as assign_bags

SMALL = [  # 15 patients of several collections
    "LIDC-IDRI-0001", "LIDC-IDRI-0002", "LIDC-IDRI-0004", "LIDC-IDRI-0005", "LIDC-IDRI-0006", "LIDC-IDRI-0007",
    "LIDC-IDRI-0008", "LIDC-IDRI-0010", "LIDC-IDRI-0028", "LIDC-IDRI-0293", "LIDC-IDRI-0295", "LIDC-IDRI-0350",
    "Lung_Dx-A0001", "TCGA-DE-A4MA", "ACRIN-NSCLC-FDG-PET-042",
]  # fmt: skip
SMALL_COUNTS = {0: (0, 0, 0), 1: (1, 0, 0), 2: (1, 0, 1), 8: (4, 1, 3), 99: (50, 16, 33)}
BAG_COUNTS = {15: (8, 2, 5), 99: (50, 16, 33), 100: (80, 10, 10), 200: (160, 20, 20), 2126: (1700, 213, 213)}


def anyone(number: int) -> list[str]:
    return [f"p{index}" for index in range(number)]


def record(patient: str, case: str | None = None, slices: int = 133, series: str = "1.2") -> PreparedCase:
    return PreparedCase(
        case or patient, patient, series, "", "", "dicom", (2.5, 0.7, 0.7), slices, (0.0, 0.0, 0.0), "removed", "", ""
    )


def everyone() -> list[str]:
    return sorted({patient for patient, _ in read_x2ct_split().values()})


def test_the_published_lists_are_verbatim() -> None:
    lists = read_x2ct_split()
    assert Counter(split for _, split in lists.values()) == {"train": 916, "test": 102}
    assert len(everyone()) == 1010
    assert lists["LIDC-IDRI-0001.20000101.3000566.1"] == ("LIDC-IDRI-0001", "train")
    assert lists["LIDC-IDRI-0003.20000101.3000611.1"] == ("LIDC-IDRI-0003", "test")
    leaking = {scan: split for scan, (patient, split) in lists.items() if patient == "LIDC-IDRI-0442"}
    assert leaking == {"LIDC-IDRI-0442.20000101.5405.1": "test", "LIDC-IDRI-0442.20000101.5472.1": "train"}


def test_all_of_lidc_is_split_by_patient_without_the_leak() -> None:
    splits = assign_splits([record(patient) for patient in everyone()])
    assert Counter(splits.values()) == {"train": 817, "validation": 91, "test": 102}
    assert splits["LIDC-IDRI-0442"] == "test"
    published = read_x2ct_split().values()
    test = {patient for patient, split in published if split == "test"}
    assert {patient for patient, split in splits.items() if split == "test"} == test
    others = sorted(set(everyone()) - test, key=lambda patient: sha256(patient.encode()).digest())
    assert {patient for patient, split in splits.items() if split == "validation"} == set(others[:91])


def test_one_series_a_patient_the_one_with_most_slices() -> None:
    records = [record(patient) for patient in everyone()[:120]]
    patient = records[7].patient
    records += [record(patient, "longer", slices=140), record(patient, "equal", slices=140, series="1.1")]
    splits = assign_splits(records)
    assert len(splits) == 120
    assert splits["equal"] == split_of_patients()[patient]
    assert assign_splits(records[::-1]) == splits


def test_patients_outside_the_lists_are_left_out_of_a_large_collection() -> None:
    records = [record(patient) for patient in [*everyone()[:100], "somebody-else"]]
    assert assign_splits(records).keys() == set(everyone()[:100])
    assert any("somebody-else" in finding.text for finding in remarks(records) if finding.severity == "warning")


@pytest.mark.parametrize(
    ("assign", "names", "counts"),
    [
        (assign_splits, SMALL, (8, 2, 5)),
        *((assign_splits, anyone(number), counts) for number, counts in SMALL_COUNTS.items()),
        *((assign_bags, anyone(number), counts) for number, counts in BAG_COUNTS.items()),
    ],
)
def test_what_no_list_names_is_split_in_the_order_of_sha256(
    assign: Callable[..., dict[str, str]], names: list[str], counts: tuple[int, int, int]
) -> None:
    splits = assign([record(name) for name in reversed(names)])
    ordered = sorted(names, key=lambda name: int(sha256(name.encode()).hexdigest(), 16))
    expected = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    assert [splits[name] for name in ordered] == expected


def test_the_lists_count_from_a_hundred_listed_patients() -> None:
    assert assign_splits([record(p) for p in everyone()[:100]]) == {p: split_of_patients()[p] for p in everyone()[:100]}
    ninety_nine = assign_splits([record(p) for p in everyone()[:99]])
    assert Counter(ninety_nine.values())["train"] == 50


def test_scans_of_one_bag_stay_together() -> None:
    records = [record(f"bag{index}", f"bag{index}-{scan}") for index in range(120) for scan in "ab"]
    splits = assign_bags(records)
    assert all(splits[f"bag{index}-a"] == splits[f"bag{index}-b"] for index in range(120))
