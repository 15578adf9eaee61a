"""Splits by hash, for collections without published lists: a name alone decides, not the order of files."""

from collections.abc import Sequence
from hashlib import sha256

from bench.dataset import Split


def by_hash(names: Sequence[str]) -> list[str]:
    """The distinct names in the order of their sha256."""
    return sorted(set(names), key=lambda name: sha256(name.encode()).hexdigest())


def small_split(names: Sequence[str]) -> dict[str, Split]:
    """For a small collection, in the order of sha256: the first half (rounded up) trains, the next sixth (rounded
    down) validates, the rest tests."""
    ordered = by_hash(names)
    return cut(ordered, (len(ordered) + 1) // 2, len(ordered) // 6)


def tenths_split(names: Sequence[str]) -> dict[str, Split]:
    """For a large collection, in the order of sha256: the last tenth tests, the tenth before validates, both rounded,
    the rest trains."""
    ordered = by_hash(names)
    tenth = round(len(ordered) / 10)
    return cut(ordered, len(ordered) - 2 * tenth, tenth)


def cut(ordered: Sequence[str], training: int, validating: int) -> dict[str, Split]:
    """The first `training` names train, the next `validating` validate, the rest tests."""
    splits: dict[str, Split] = dict.fromkeys(ordered[:training], "train")
    splits |= dict.fromkeys(ordered[training : training + validating], "validation")
    return splits | dict.fromkeys(ordered[training + validating :], "test")
