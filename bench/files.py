"""Files that are whole or absent: write beside the target, flush to disk, rename; and hashes to detect damage."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from bench.errors import BenchError


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> str:
    """Let `write` fill a temporary file beside `path`, then rename it there; return the SHA-256 of the content.

    Raises BenchError when the disk is full or read-only; `path` then is what it was before.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        digest = sha256_of(Path(temporary))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
        return digest
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror or error}; free or change the disk and try again"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> str:
    """Write UTF-8 `text` atomically; return its SHA-256."""
    return write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> str:
    """Write `value` as indented JSON atomically; return the SHA-256 of the file."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises BenchError, naming the file, when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BenchError(f"{path} is missing") from error
    except (ValueError, OSError) as error:
        raise BenchError(f"{path} is not readable JSON ({error}); delete it and run the command again") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
