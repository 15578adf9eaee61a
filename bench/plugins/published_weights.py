"""Checkpoints that the official code of a method wrote, as the user names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.card import MethodPlugin
from bench.errors import UsageError
from bench.plugins.registry import method_module
from bench.system.files import digest_of, sha256_of


@dataclass(frozen=True)
class Published:
    """Checkpoints of one published model, a file a stage in any order."""

    method: str  # as the user calls it
    files: tuple[Path, ...]

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """The SHA-256 of each file. Raises UsageError for one that is not there."""
        for file in self.files:
            if not file.is_file():
                raise UsageError(f"{file} is no file; give the checkpoints of the official code")
        return tuple(sha256_of(file) for file in self.files)

    @property
    def sha256(self) -> str:
        """Of the file, or of all hashes where there are several."""
        return self.hashes[0] if len(self.hashes) == 1 else digest_of(sorted(self.hashes))

    @property
    def of(self) -> str:
        """What a run says of where its weights come from."""
        named = sorted(zip((file.name for file in self.files), self.hashes, strict=True))
        return ", ".join(f"{name} (sha256 {sha256[:16]})" for name, sha256 in named)


def find_published(method: MethodPlugin, reference: str, files: Sequence[Path]) -> Published:
    """Return the checkpoints that a run takes. Raises UsageError for a method without a map of official names."""
    if method_module(reference, "published") is None:
        raise UsageError(f"{method.card.name} has no map of official tensors; train it with `bench run`")
    return Published(reference, tuple(files))
