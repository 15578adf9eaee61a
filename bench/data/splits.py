"""Which prepared case trains, validates or tests: by the dataset's own rule, or by a list a person brought.

A list lies in the store as splits.csv. It stays until another replaces it; deleting it brings the rule back.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.store import store_folder
from bench.dataset import SPLITS, DatasetSpec, PreparedCase, Split
from bench.errors import BenchError, UsageError
from bench.system.files import write_text
from bench.system.text import describe_error, plain_line

NAMES = ("case", "patient")  # what a list may go by
NAMED = 3  # entries that a message names


@dataclass(frozen=True)
class OwnSplit:
    """A list: case or patient → split."""

    by: str  # case or patient
    entries: dict[str, Split]

    def assign(self, records: Sequence[PreparedCase]) -> dict[str, Split]:
        """Return case → split; a case that is not listed is left out."""
        named = ((record.case, self._name(record)) for record in records)
        return {case: self.entries[name] for case, name in named if name in self.entries}

    def describe(self, records: Sequence[PreparedCase]) -> str:
        """Return in words how many prepared cases each split has, and which entries no prepared case answers to."""
        splits = list(self.assign(records).values())
        text = ", ".join(f"{splits.count(split)} {split}" for split in SPLITS)
        text += f", {len(records) - len(splits)} unused"
        missing = sorted(self.entries.keys() - {self._name(record) for record in records})
        if missing:
            text += f"; not prepared: {', '.join(missing[:NAMED])}{', …' if len(missing) > NAMED else ''}"
        if records and not splits:
            text += f"; here a {self.by} is called such as {self._name(records[0])}: correct the list"
        return text

    def _name(self, record: PreparedCase) -> str:
        return record.case if self.by == "case" else record.patient


def assign_splits(spec: DatasetSpec, records: Sequence[PreparedCase]) -> dict[str, Split]:
    """Return case → split by the list in the store, or by the dataset's rule without one; a case left out is unused.

    Raises BenchError when the list puts one patient into two splits, or is damaged.
    """
    own = own_split(spec.name)
    if own is None:
        return spec.assign_splits(records)
    splits = own.assign(records)
    of_patient: dict[str, Split] = {}
    for record in records:
        split = splits.get(record.case)
        if split and of_patient.setdefault(record.patient, split) != split:
            raise BenchError(
                f"{_path(spec.name)} puts patient {record.patient} into {of_patient[record.patient]} and {split}; "
                "correct it and bring it again with --split-file"
            )
    return splits


def keep_split_file(dataset: str, path: Path) -> None:
    """Check a list and keep it in the store. Raises UsageError, naming file and line, when it cannot be used."""
    text = _read(path)
    _parse(text, path)
    write_text(_path(dataset), text)


def own_split(dataset: str) -> OwnSplit | None:
    """Return the list in the store, or None."""
    path = _path(dataset)
    return read_split_file(path) if path.is_file() else None


def read_split_file(path: Path) -> OwnSplit:
    """Return the list in a file. Raises UsageError, naming file and line, when it cannot be used."""
    return _parse(_read(path), path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = describe_error(error)
        raise UsageError(f"cannot read {path} ({reason}); name a CSV file with the columns case and split") from error


def _parse(text: str, path: Path) -> OwnSplit:
    try:
        return _parse_rows(csv.DictReader(io.StringIO(text), strict=True), path)
    except csv.Error as error:
        raise UsageError(f"{path} cannot be read as CSV: {error}") from error


def _path(dataset: str) -> Path:
    return store_folder(dataset) / "splits.csv"


def _parse_rows(rows: csv.DictReader, path: Path) -> OwnSplit:
    columns = rows.fieldnames or []
    by = next((name for name in NAMES if name in columns), None)
    if by is None or "split" not in columns:
        there = plain_line(", ".join(columns), 200) or "none"
        raise UsageError(f"{path} has the columns {there}; it needs case (or patient) and split, separated by commas")
    entries: dict[str, Split] = {}
    for row in rows:
        name, split = (row[by] or "").strip(), (row["split"] or "").strip()
        if split == "unused":  # as `bench data export` writes it
            continue
        if split not in SPLITS or not name:
            stated = f"'{plain_line(split, 99)}' of '{plain_line(name, 99)}'"
            raise UsageError(f"{path}, line {rows.line_num}: {stated} is none of {', '.join(SPLITS)}")
        if entries.setdefault(name, split) != split:
            raise UsageError(f"{path}, line {rows.line_num}: {name} is in {entries[name]} and {split}; keep one")
    return OwnSplit(by, entries)
