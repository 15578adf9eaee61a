"""Errors whose message is one line a user can act on; anything else that escapes is a defect of ours."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class BenchError(Exception):
    """Something failed. The message says what, where, and what to do. The command exits with 1."""

    exit_code = 1


class UsageError(BenchError):
    """The command was wrong: an unknown name, key or value. The command exits with 2."""

    exit_code = 2


class PluginError(BenchError):
    """A method or dataset exists and is broken: it cannot be imported, lacks a part, or raised what is not ours."""


class BusyError(BenchError):
    """Another process is at it; nothing failed and nothing was changed."""


class StoppedError(BaseException):  # no Exception: work that passes over what fails must not pass over this
    """The process was asked to stop (SIGTERM) and what is done is kept. The command exits with 143."""

    exit_code = 143


def describe_invalid(error: "ValidationError") -> str:
    """Return what is wrong first in something that pydantic refused: the key, where it is of one, and the reason."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def unknown_name(kind: str, name: str, known: list[str]) -> UsageError:
    """The error for a `name` that no `kind` has, with the nearest valid names first."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
    return UsageError(f"unknown {kind} '{name}'; {hint}")
