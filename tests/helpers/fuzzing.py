"""Hostile input for fuzz tests: how often to try, and valid files damaged in a few places."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bench.errors import BenchError

HEADER = 700  # bytes: where most formats keep what is believed first
SECONDS = 20  # that one input may take on a busy machine; more is a hang
EXTREME = (b"0", b"-1", b"1e308", b"nan", b"99999999999999999999", b"65536", b"\xff\xff\xff\xff", b"\x00" * 8, b"..")

Damage = tuple[str, int, bytes]
"""What is done, where (wrapped to the length of the file), and with which bytes."""


def tried(quick: int, whole: int) -> pytest.MarkDecorator:
    """Give a test `examples`: few of them always, many where slow tests run."""
    return pytest.mark.parametrize("examples", [quick, pytest.param(whole, marks=pytest.mark.slow)])


def profile(examples: int) -> settings:
    """Settings of a fuzz run; inputs of the quick one are the same each time."""
    return settings(
        max_examples=examples,
        deadline=SECONDS * 1000,
        derandomize=examples < 100,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def damages(text: bool = False) -> st.SearchStrategy[list[Damage]]:
    """One to four damages, most of them within the header; of `text`, no bytes that no text holds."""
    place = st.one_of(st.integers(0, HEADER), st.integers(0, 2**20))
    odd = st.text(max_size=8).map(str.encode) if text else st.binary(min_size=1, max_size=8)
    content = st.one_of(odd, st.sampled_from(EXTREME[:6] if text else EXTREME))
    kind = st.sampled_from(("replace", "replace", "insert", "cut", "drop", "repeat"))
    return st.lists(st.tuples(kind, place, content), min_size=1, max_size=4)


def damaged(content: bytes, changes: list[Damage]) -> bytes:
    """The content after all changes, one after the other."""
    for kind, place, new in changes:
        at = place % (len(content) + 1)
        if kind == "cut":
            content = content[:at]
        elif kind == "drop":
            content = content[:at] + content[at + len(new) :]
        elif kind == "repeat":
            content = content[: at + 64] + content[at:]
        else:
            content = content[:at] + new + content[at + (len(new) if kind == "replace" else 0) :]
    return content


def refused_or_fine(call: Callable[[], object]) -> bool:
    """Whether a call went through; False when it refused with a BenchError of one line. All else is a failure."""
    try:
        call()
    except BenchError as error:
        if not str(error).strip():
            raise
        return False
    return True
