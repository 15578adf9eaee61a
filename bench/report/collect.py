"""What there is to show: the blocks of the leaderboard by the data they were measured on, and their runs on disk.

Results files and run folders are not trusted: what is missing or damaged becomes a reason that the page states.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.cases import Cases
from bench.errors import BenchError
from bench.pictures.drawing import PALETTE, looks_of
from bench.pipeline.reopen import PREDICTED, open_stored
from bench.plugins.registry import find_installed_dataset
from bench.results.entries import Entry, entries_of, read_rows
from bench.results.leaderboard import leaderboard_tables
from bench.results.table_model import Block, Kind, Row, Table
from bench.runs.folder import RunFolder
from bench.runs.predictions import read_prediction
from bench.system.progress import Progress

DATA_KEYS = ("dataset", "source", "split", "preset", "views", "data_fingerprint")
PLACE = re.compile(r"(?:(\d+)\.|–) (.*)", re.DOTALL)  # how the leaderboard numbers its rows


@dataclass(frozen=True)
class Subject:
    """One row of the tables: a method in one configuration, with the folders of its runs that can be shown."""

    title: str
    method: str
    kind: Kind
    colour: int  # of PALETTE, from 1, for methods; 0 for floors and ceilings
    run_ids: tuple[str, ...]
    seeds: tuple[int, ...]  # of the runs
    folders: tuple[RunFolder, ...]  # of runs with predictions
    reason: str  # why those that lie in the folder of runs cannot be shown; empty when one can, or none lies there

    @property
    def missing(self) -> bool:
        """Whether none of its runs lies in the folder of runs."""
        return not self.folders and not self.reason


@dataclass(frozen=True)
class Part:
    """One block of one table of the leaderboard."""

    table: Table
    block: Block

    @property
    def notes(self) -> list[tuple[int, str]]:
        """The footnotes that this block refers to."""
        rows = (*self.block.methods, *self.block.references)
        used = {mark for row in rows for cell in row.cells for mark in cell.marks}
        return [(number, text) for number, text in enumerate(self.table.footnotes, start=1) if number in used]


@dataclass(frozen=True)
class Group:
    """All that was measured on the same cases of the same data."""

    facts: Mapping[str, str]  # by DATA_KEYS
    parts: tuple[Part, ...]
    subjects: tuple[Subject, ...]
    entries: Mapping[tuple[str, ...], Entry]  # by run ids: values of single cases, under the first protocol
    protocol: str
    cases: Cases | None  # the split's truth and views
    reason: str  # why `cases` is None; empty otherwise

    @property
    def title(self) -> str:
        """Data set, source, preset, and the split unless it is the usual one."""
        names = [self.facts[name] for name in ("dataset", "source", "preset", "split")]
        return " · ".join(names[:3] if names[3] == "test" else names)

    @property
    def heading(self) -> str:
        """What the data set calls itself."""
        spec = find_installed_dataset(self.facts["dataset"])
        return spec.title if spec else self.facts["dataset"]

    def truth(self, case: str) -> np.ndarray:
        """The volume (D, H, W) float64 in [0, 1] of a case."""
        assert self.cases is not None
        return self.cases.truth(case)

    def prediction(self, folder: RunFolder, case: str) -> np.ndarray:
        """The volume (D, H, W) float64 in [0, 1] a run made of a case. Raises BenchError where it cannot be read."""
        assert self.cases is not None
        path = folder.predictions(self.facts["split"]) / f"{case}.nii.gz"
        if not path.is_file():
            raise BenchError(f"{folder.root.name} has no prediction of {case}")
        return read_prediction(path, self.cases, case)[0]


def collect(results_dir: Path, runs_dir: Path, by: str, progress: Progress) -> list[Group]:
    """The groups, by data set. Raises UsageError for a metric nothing is sorted by, BenchError for damaged results."""
    tables = leaderboard_tables(results_dir, by)
    rows = read_rows(results_dir)
    found = _folders(runs_dir)
    by_data: dict[tuple[str, ...], list[Part]] = {}
    for table in tables:
        for block in table.blocks:
            if block.facts:
                key = tuple(block.facts[name] for name in DATA_KEYS)
                by_data.setdefault(key, []).append(Part(table, block))
    looks = looks_of(row.method for parts in by_data.values() for part in parts for row in part.block.methods)
    return [
        _group(dict(zip(DATA_KEYS, key, strict=True)), parts, rows, found, looks, progress)
        for key, parts in by_data.items()
    ]


def place_and_title(row: Row, numbered: bool) -> tuple[str, str]:
    """The place of a row that the leaderboard numbered, empty where it has none, and its title."""
    matched = PLACE.fullmatch(row.title) if numbered else None
    return (matched[1] or "", matched[2]) if matched else ("", row.title)


def _folders(runs_dir: Path) -> dict[str, RunFolder]:
    """Run id → folder. Ids of a results file only ever name what this found, so none leads out of `runs_dir`."""
    folders = sorted(path for path in runs_dir.glob("*/*/*") if path.is_dir())
    return {path.name: RunFolder(path) for path in folders}


def _group(
    facts: Mapping[str, str],
    parts: Sequence[Part],
    rows: pd.DataFrame,
    found: Mapping[str, RunFolder],
    looks: Mapping[str, int],
    progress: Progress,
) -> Group:
    first = parts[0].block.facts
    protocol = first["protocol"]
    mine = rows[(rows["protocol"] == protocol) & (rows["protocol_hash"] == first["protocol_hash"])]
    for name, value in facts.items():
        mine = mine[mine[name] == value]
    entries = {entry.run_ids: entry for entry in entries_of(mine)}
    seeded = mine[["run_id", "seed"]].dropna().drop_duplicates()  # predictions made elsewhere need not have one
    seeds = {str(run_id): int(seed) for run_id, seed in seeded.to_numpy()}
    subjects = tuple(_subjects(parts, facts, found, looks, seeds))
    cases, reason = None, "no run of this table lies in the folder of runs"
    for folder in (folder for subject in subjects for folder in subject.folders):
        try:
            stored = open_stored(folder, progress)
            cases, reason = stored.cases[stored.facts.split], ""
            break
        except BenchError as error:
            reason = str(error)
    return Group(facts, tuple(parts), subjects, entries, protocol, cases, reason)


def _subjects(
    parts: Sequence[Part],
    facts: Mapping[str, str],
    found: Mapping[str, RunFolder],
    looks: Mapping[str, int],
    seeds: Mapping[str, int],
) -> Iterator[Subject]:
    seen = set()
    for part in parts:
        numbered = [(row, True) for row in part.block.methods] + [(row, False) for row in part.block.references]
        for row, is_method in numbered:
            if not row.run_ids or row.run_ids in seen:
                continue
            seen.add(row.run_ids)
            good, reasons = [], []
            for run_id in row.run_ids:
                if run_id in found:
                    why = _unusable(found[run_id], facts)
                    good += [] if why else [found[run_id]]
                    reasons += [f"{run_id}: {why}"] if why else []
            colour = looks[row.method] % len(PALETTE) + 1 if is_method else 0
            title = place_and_title(row, is_method)[1]
            reason = "" if good else "; ".join(reasons)
            own = tuple(seeds[run_id] for run_id in row.run_ids if run_id in seeds)
            yield Subject(title, row.method, row.kind, colour, row.run_ids, own, tuple(good), reason)


def _unusable(folder: RunFolder, facts: Mapping[str, str]) -> str:
    """Why the predictions of a run cannot be shown; empty when they can."""
    try:
        record = folder.record()
    except BenchError as error:
        return str(error)
    if record is not None:  # predictions made elsewhere and resampled have none
        if record.status not in PREDICTED:
            return f"the run is {record.status}"
        if record.data.fingerprint != facts["data_fingerprint"]:
            return "it was made of other data"
    if not folder.predictions(facts["split"]).is_dir():
        return "it has no predictions"
    return ""
