"""Splits by hash, for collections without published lists: a name alone decides, not the order of files."""

from collections.abc import Sequence
from hashlib import sha256

from bench.dataset import Split


def order_by_hash(names: Sequence[str]) -> list[str]:
    """Return the distinct names in the order of their sha256."""
    return sorted(set(names), key=lambda name: sha256(name.encode()).hexdigest())


def small_split(names: Sequence[str]) -> dict[str, Split]:
    """Return name → split for a small collection, in the order of sha256.

    The first half (rounded up) trains, the next sixth (rounded down) validates, the rest tests.
    """
    ordered = order_by_hash(names)
    return cut(ordered, (len(ordered) + 1) // 2, len(ordered) // 6)


def tenths_split(names: Sequence[str]) -> dict[str, Split]:
    """Return name → split for a large collection, in the order of sha256.

    The last tenth tests, the tenth before validates, both rounded, the rest trains.
    """
    ordered = order_by_hash(names)
    tenth = round(len(ordered) / 10)
    return cut(ordered, len(ordered) - 2 * tenth, tenth)


def cut(ordered: Sequence[str], training: int, validating: int) -> dict[str, Split]:
    """Return name → split: the first `training` names train, the next `validating` validate, the rest tests."""
    splits: dict[str, Split] = dict.fromkeys(ordered[:training], "train")
    splits |= dict.fromkeys(ordered[training : training + validating], "validation")
    return splits | dict.fromkeys(ordered[training + validating :], "test")
