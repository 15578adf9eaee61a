"""Splits by hash, for collections without published lists: a name alone decides, not the order of files."""

from collections.abc import Sequence
from hashlib import sha256

from bench.dataset import PreparedCase, Split

LEAST_LARGE = 100  # bags from which a tenth tests and a tenth validates


def order_by_hash(names: Sequence[str]) -> list[str]:
    """Return the distinct names in the order of their sha256."""
    return sorted(set(names), key=lambda name: sha256(name.encode()).hexdigest())


def assign_splits(records: Sequence[PreparedCase]) -> dict[str, Split]:
    """Return case → split by sha256 of the bag's name: 80 / 10 / 10 from 100 bags on, else half, a sixth, and the rest.

    Several scans of one bag stay together. Tenths are rounded; the last tests, the one before validates.
    """
    ordered = order_by_hash([record.patient for record in records])
    tenth = round(len(ordered) / 10)
    large = len(ordered) >= LEAST_LARGE
    splits = _cut(ordered, len(ordered) - 2 * tenth, tenth) if large else small_split(ordered)
    return {record.case: splits[record.patient] for record in records}


def small_split(names: Sequence[str]) -> dict[str, Split]:
    """Return name → split for a small collection, in the order of sha256.

    The first half (rounded up) trains, the next sixth (rounded down) validates, the rest tests.
    """
    ordered = order_by_hash(names)
    return _cut(ordered, (len(ordered) + 1) // 2, len(ordered) // 6)


def _cut(ordered: Sequence[str], training: int, validating: int) -> dict[str, Split]:
    """Return name → split: the first `training` names train, the next `validating` validate, the rest tests."""
    splits: dict[str, Split] = dict.fromkeys(ordered[:training], "train")
    splits |= dict.fromkeys(ordered[training : training + validating], "validation")
    return splits | dict.fromkeys(ordered[training + validating :], "test")
