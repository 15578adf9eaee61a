"""Texts that are made from results and kept in files beside what people write: found out of date, and written again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, UsageError
from bench.system.files import write_text


@dataclass(frozen=True)
class Generated:
    """A text made from results: a whole file or, with `block`, what stands between its marks in one.

    `empty` is the file that a missing one begins as; without it a block needs a file that is there.
    """

    path: Path
    text: str
    block: str = ""
    empty: str = ""


def find_stale(parts: Iterable[Generated]) -> dict[Path, str]:
    """Return what each file that is out of date should hold. Raises UsageError as `fill_block`."""
    wanted: dict[Path, str] = {}
    for part in parts:
        content = wanted.get(part.path) or _read(part)
        wanted[part.path] = fill_block(content, part.block, part.text, part.path) if part.block else part.text
    return {path: text for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text}


def refresh(parts: Iterable[Generated], renew: str, *, check: bool) -> str:
    """Write what is out of date and return one line that says what was written.

    With `check` nothing is written; raises BenchError that names the files out of date and the command `renew`.
    """
    stale = find_stale(parts)
    if not stale:
        return "up to date"
    names = ", ".join(map(str, stale))
    if check:
        raise BenchError(f"{names} out of date; run `{renew}`")
    write_all(stale)
    return f"wrote {names}"


def write_all(texts: Mapping[Path, str]) -> None:
    """Write each file whole or not at all."""
    for path, text in texts.items():
        write_text(path, text)


def has_block(path: Path, name: str) -> bool:
    """Return whether a file exists and has the first mark of a block."""
    return path.is_file() and f"<!-- {name} -->" in path.read_text("utf-8")


def fill_block(content: str, name: str, text: str, path: Path) -> str:
    """Return `content` with `text` between its lines <!-- name --> and <!-- /name -->.

    Raises UsageError, naming `path`, unless it holds each of them once, in this order.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = content.partition(start)
    _, closed, after = rest.partition(end)
    if content.count(start) != 1 or content.count(end) != 1 or not closed:
        raise UsageError(f"{path} needs one line {start} and, after it, one line {end}")
    return f"{before}{start}\n{text.strip()}\n{end}{after}"


def replace_block(path: Path, name: str, text: str) -> None:
    """Put `text` between the marks of a block in a file. Raises UsageError as `fill_block`."""
    write_all(find_stale([Generated(path, text, name)]))


def _read(part: Generated) -> str:
    if not part.block or (part.empty and not part.path.exists()):
        return part.empty
    try:
        return part.path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{part.path} cannot be read: {error.strerror}") from error
