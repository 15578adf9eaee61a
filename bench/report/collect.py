"""What there is to show: the blocks of the leaderboard by the data they were measured on, and their runs on disk.

Results files and run folders are not trusted: what is missing or damaged becomes a reason that the page states.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cases import Cases
from bench.errors import BenchError
from bench.pictures.drawing import PALETTE, looks_of
from bench.pipeline.reopen import PREDICTED, open_stored
from bench.plugins.registry import find_installed_dataset
from bench.report.kept import find_kept, read_cases
from bench.results.leaderboard import build_leaderboard
from bench.results.model import Column, Entry, Results, place_of, say_source
from bench.results.table_model import Table, TableBlock
from bench.runs.folder import RunFolder
from bench.runs.predictions import read_prediction
from bench.scoring import DEFAULT
from bench.system.progress import Progress

CHARTED = ("psnr", "ssim")  # of volumes, what is shown case by case


@dataclass(frozen=True, eq=False)
class Subject:
    """One row of the tables: a method in one configuration, with the folders of its runs that can be shown."""

    entry: Entry
    colour: int  # of PALETTE, from 1, for methods; 0 for floors and ceilings
    folders: tuple[RunFolder, ...]  # of runs with predictions
    reason: str  # why those that lie in the folder of runs cannot be shown; empty when one can, or none lies there

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs; predictions made elsewhere need not have one."""
        return tuple(map(int, self.entry.runs["seed"].dropna()))

    @property
    def missing(self) -> bool:
        """True where none of its runs lies in the folder of runs."""
        return not self.folders and not self.reason


@dataclass(frozen=True)
class Part:
    """One block of one table of the leaderboard."""

    table: Table
    block: TableBlock


@dataclass(frozen=True)
class Group:
    """All that was measured on the same cases of the same data."""

    facts: Mapping[str, str]  # of the blocks, but for the protocol
    parts: tuple[Part, ...]
    subjects: tuple[Subject, ...]
    cases: Cases | None  # the split's truth and views
    reason: str  # why `cases` is None; empty otherwise

    @property
    def title(self) -> str:
        """Data set, source, preset, and the split unless it is the usual one."""
        names = [self.facts["dataset"], self.source, self.facts["preset"], self.facts["split"]]
        return " · ".join(names[:3] if names[3] == "test" else names)

    @property
    def source(self) -> str:
        """Where the cases come from and, where that is another place, what was trained on."""
        return say_source(self.facts, "")

    @property
    def heading(self) -> str:
        """The title that the data set gives itself."""
        spec = find_installed_dataset(self.facts["dataset"])
        return spec.title if spec else self.facts["dataset"]

    def values(self, subject: Subject, metric: str) -> dict[str, float]:
        """Return case → value of the volume under the group's first protocol, the mean of the seeds."""
        column: Column = ("3d", metric)
        if subject.entry.facts["protocol"] != self.parts[0].block.facts["protocol"]:
            return {}
        values = subject.entry.values([column])[column]
        return {str(case): float(value) for case, value in values.items() if np.isfinite(value)}

    def truth(self, case: str) -> np.ndarray:
        """Return the volume (D, H, W) float64 in [0, 1] of a case."""
        assert self.cases is not None
        return self.cases.truth(case)

    def prediction(self, folder: RunFolder, case: str) -> np.ndarray:
        """Return the volume (D, H, W) float64 in [0, 1] that a run made of a case.

        Raises BenchError where it cannot be read.
        """
        assert self.cases is not None
        path = folder.predictions(self.facts["split"]) / f"{case}.nii.gz"
        if not path.is_file():
            raise BenchError(f"{folder.root.name} has no prediction of {case}")
        return read_prediction(path, self.cases, case)[0]


def collect_groups(results: Results, results_dir: Path, runs_dir: Path, by: str, progress: Progress) -> list[Group]:
    """Return the groups, in the order of the leaderboard, and in each the tables of the default protocol first.

    Of a run without a folder it is what the results keep of it. Raises UsageError for a metric nothing is sorted by.
    """
    by_data: dict[tuple[str, ...], list[Part]] = {}
    for table in build_leaderboard(results, by):
        for block in table.blocks:
            by_data.setdefault(tuple(place_of(block.facts).values()), []).append(Part(table, block))
    folders = find_kept(results_dir) | find_folders(runs_dir)
    looks = looks_of(row.method for parts in by_data.values() for part in parts for row in part.block.methods)
    for parts in by_data.values():
        parts.sort(key=lambda part: part.block.facts["protocol"] != DEFAULT)
    return [_collect_group(parts, results_dir, folders, looks, progress) for parts in by_data.values()]


def find_folders(runs_dir: Path) -> dict[str, RunFolder]:
    """Return run id → folder. Ids of a results file only ever name what this found, so none leads out of `runs_dir`."""
    return {path.name: RunFolder(path) for path in sorted(runs_dir.glob("*/*/*")) if path.is_dir()}


def _collect_group(
    parts: Sequence[Part],
    results_dir: Path,
    folders: Mapping[str, RunFolder],
    looks: Mapping[str, int],
    progress: Progress,
) -> Group:
    facts = place_of(parts[0].block.facts)
    subjects = tuple(_collect_subjects(parts, facts, folders, looks))
    cases, reason = None, "no run of this table lies in the folder of runs"
    shown = [folder for subject in subjects for folder in subject.folders]
    for folder in (folder for folder in shown if folder.run_json.exists()):
        try:
            stored = open_stored(folder, progress)
            cases, reason = stored.cases[stored.facts.split], ""
            break
        except BenchError as error:
            reason = str(error)
    if cases is None and shown:
        try:
            cases = read_cases(results_dir, facts["data_fingerprint"])
            reason = reason if cases is None else ""
        except BenchError as error:
            reason = str(error)
    return Group(facts, tuple(parts), subjects, cases, reason)


def _collect_subjects(
    parts: Sequence[Part], facts: Mapping[str, str], folders: Mapping[str, RunFolder], looks: Mapping[str, int]
) -> Iterator[Subject]:
    entries = (row.entry for part in parts for row in part.block.rows if row.entry)
    seen: set[str] = set()
    for entry in entries:
        if seen.issuperset(entry.run_ids):
            continue
        seen.update(entry.run_ids)
        found = {run_id: _why_unusable(folders[run_id], facts) for run_id in entry.run_ids if run_id in folders}
        good = tuple(folders[run_id] for run_id, why in found.items() if not why)
        reason = "" if good else "; ".join(f"{run_id}: {why}" for run_id, why in found.items())
        colour = looks[entry.method] % len(PALETTE) + 1 if entry.kind == "method" else 0
        yield Subject(entry, colour, good, reason)


def _why_unusable(folder: RunFolder, facts: Mapping[str, str]) -> str:
    """Return why the predictions of a run cannot be shown; nothing when they can."""
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
