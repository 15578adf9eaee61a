"""Text that was not made here: as one line of bounded length, without what a terminal or a page would obey."""

import re
from typing import Annotated

from pydantic import AfterValidator
from rich.markup import escape

from bench.errors import BenchError

LONGEST = 1000  # characters of a text in a row or a message
SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")  # colours, titles, links
# C0 and C1 but tab and line feed, separators of lines, halves of surrogate pairs, marks that turn writing around
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
BYTES = re.compile("[\udc80-\udcff]")  # of a file's name, which are no UTF-8

# of brackets, colons, dots, ampersands and low lines those that make a link, an address, a character or emphasis
MARKUP = re.compile(r"[\\`*|~$]|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|\](?=[(\[:])|:(?=//)|(?<=www)\.|&(?=#?\w+;)")


def drop_controls(text: str) -> str:
    """Return a text without control characters and the sequences they begin, but its lines; bytes of names as \\xff."""
    shown = BYTES.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)
    return CONTROLS.sub("", SEQUENCES.sub("", shown))


def plain_line(text: str, longest: int = LONGEST) -> str:
    """Return a text as one line without control characters, cut with … where it is longer than `longest` characters."""
    if len(text) <= longest and text.isprintable():  # nearly all are
        return text
    spaced = " ".join(text[: 10 * longest].split())  # first: what ends a line is a control character too
    line = " ".join(drop_controls(spaced).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


Line = Annotated[str, AfterValidator(plain_line)]
"""The type of every text in a row or a record."""


def describe_error(error: BaseException) -> str:
    """Return what went wrong, in one line; the kind of an error that is not one of ours comes first."""
    try:
        text = str(error)
    except BaseException:  # of a class of the user's
        text = "an error whose text cannot be made"
    if not isinstance(error, BenchError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return plain_line(text)


def escape_markdown(text: str) -> str:
    """Return a text as Markdown shows it unchanged: no HTML, link, picture, formula, emphasis, code or cell in it."""
    return MARKUP.sub(r"\\\g<0>", drop_controls(text))


def escape_terminal(text: str) -> str:
    """Return a text as Rich prints it unchanged, without control characters."""
    return escape(drop_controls(text))
