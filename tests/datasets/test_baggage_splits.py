"""Bags are split by the hash of their names, all scans of a bag together."""

from collections import Counter
from hashlib import sha256

import pytest

from bench.dataset import PreparedCase
from bench.datasets.baggage.splits import assign_splits


def record(bag: str, case: str | None = None) -> PreparedCase:
    return PreparedCase(case or bag, bag, "s", "", "", "npz", (1.0, 1.0, 1.0), 500, (0.0, 0.0, 0.0), "removed", "", "")


@pytest.mark.parametrize(
    ("bags", "counts"), [(15, (8, 2, 5)), (99, (50, 16, 33)), (100, (80, 10, 10)), (2126, (1700, 213, 213))]
)
def test_counts(bags: int, counts: tuple[int, int, int]) -> None:
    splits = Counter(assign_splits([record(f"bag{index}") for index in range(bags)]).values())
    assert (splits["train"], splits["validation"], splits["test"]) == counts


def test_the_order_of_sha256_decides() -> None:
    names = [f"bag{index}" for index in range(200)]
    splits = assign_splits([record(name) for name in reversed(names)])
    ordered = sorted(names, key=lambda name: int(sha256(name.encode()).hexdigest(), 16))
    assert [splits[name] for name in ordered] == ["train"] * 160 + ["validation"] * 20 + ["test"] * 20


def test_scans_of_one_bag_stay_together() -> None:
    records = [record(f"bag{index}", f"bag{index}-{scan}") for index in range(120) for scan in "ab"]
    splits = assign_splits(records)
    assert len(splits) == 240
    assert all(splits[f"bag{index}-a"] == splits[f"bag{index}-b"] for index in range(120))
