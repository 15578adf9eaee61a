"""Files that are whole or absent: write beside the target, flush to disk, rename; and hashes to detect damage."""

import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from bench.errors import BenchError, BusyError
from bench.system.text import describe_error

PARTIAL = ".partial"  # ends the name of a file that is being written


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> str:
    """Let `write` fill a temporary file beside `path`, then rename it there; return the SHA-256 of the content.

    What killed processes left of writing `path` is removed. Raises BenchError when the disk is full or read-only, and
    `path` then is what it was before.
    """
    temporary: Path | None = None
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path.parent.glob(f".{glob.escape(path.name)}.????????{PARTIAL}"))
            descriptor, temporary = _make_and_hold(lambda: _make_file(path))
            with os.fdopen(descriptor, "wb") as file:  # held until it has its name
                write(file)
                file.flush()
                os.fsync(file.fileno())
                digest = sha256_of(temporary)
                os.replace(temporary, path)
            temporary = None
            return digest
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, which is removed in the end; so are those of this prefix that killed processes left.

    Raises BenchError when the disk is full or read-only.
    """
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent.glob(f"{glob.escape(prefix)}????????"))
        descriptor, folder = _make_and_hold(lambda: Path(tempfile.mkdtemp(dir=parent, prefix=prefix)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def free_bytes(folder: Path) -> int:
    """Return how many bytes are free on the disk of `folder`, which need not exist yet."""
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def _make_file(path: Path) -> Path:
    """A new file beside `path`, whose rights are those that the umask leaves: it becomes `path`."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        with suppress(FileExistsError):
            os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
            return temporary


def _make_and_hold(make: Callable[[], Path]) -> tuple[int, Path]:
    """A temporary file or folder from `make`, locked while its descriptor is open, which only a living process has."""
    while True:
        path = make()
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        with suppress(OSError):  # a disk without locks, where nothing is swept either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            return descriptor, path
        os.close(descriptor)  # swept between these lines


def _sweep(paths: Iterable[Path]) -> None:
    """Remove temporary files and folders that no living process holds."""
    for path in paths:
        with suppress(OSError):  # held, not ours to open, or another process was faster
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it an OSError is a BenchError that says that `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror or error}; free or change the disk and try again"
        ) from error


@contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[None]:
    """Hold the lock file `path`. While another process has it, wait; or raise BusyError with the text `busy`."""
    lock = FileLock(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=-1 if busy is None else 0)
        except Timeout as error:
            raise BusyError(busy) from error
    try:
        yield
    finally:
        lock.release()


def drop_partial(folder: Path) -> None:
    """Remove what killed processes left half written in a folder; for who alone may write there now."""
    for path in folder.glob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> str:
    """Write UTF-8 `text` atomically; return its SHA-256."""
    return write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> str:
    """Write `value` as indented JSON atomically; return the SHA-256 of the file."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises BenchError, naming the file, when it is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise BenchError(f"{path} is missing") from error
    except (ValueError, RecursionError, OSError) as error:
        reason = describe_error(error)
        raise BenchError(f"{path} is not readable JSON ({reason}); delete it and run the command again") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, sha256: str) -> bool:
    """Return whether a file has this hash, which is remembered beside it with its size and the time it was changed.

    While those are what they were, the file is not read again: that of a large preset takes minutes.
    """
    known, now = path.with_name(f"{path.name}.checked"), path.stat()
    state = {"sha256": sha256, "size": now.st_size, "changed": now.st_mtime_ns}
    with suppress(BenchError):
        if known.exists() and read_json(known) == state:
            return True
    intact = sha256_of(path) == sha256
    if intact:
        with suppress(BenchError):  # a cache that is read-only is as good
            write_json(known, state)
    return intact


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
