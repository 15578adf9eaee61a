"""Prepare real scans once: read, cut the cube, resample, remove the table, store as int16 HU at the full grid."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np
from joblib import cpu_count

from bench.data.store import add_case, load_views, load_volume, read_store, store_folder, views_path
from bench.dataset import DatasetSpec, PreparedCase
from bench.errors import BenchError, UsageError
from bench.system.files import free_bytes, sha256_of
from bench.system.workers import map_in_workers

from .cube import Recipe, prepare_volume, stored_range
from .reading.find import FORMATS, find_scans
from .reading.scan import NoScanError, Rejected, Scan, ScanError, ScanSource, TakenAt, printable, stand_upright

MAX_WORKERS = 8  # unless asked for more: each holds a native scan, up to 1.5 GB
SLICED_FORMATS = ("dicom", "dicos")  # whose pictures stand upright in a scanner for bags
SPARE_BYTES = 100 * 2**20  # left free on the disk

OnProgress = Callable[[int, int, str], None]
"""`on_progress(done, total, line)`, called once the scans are found and after each patient."""


@dataclass(frozen=True)
class PrepareReport:
    """What became of everything found in a folder."""

    prepared: list[PreparedCase] = field(default_factory=list)
    already: list[PreparedCase] = field(default_factory=list)  # kept as they were
    refused: list[Rejected] = field(default_factory=list)  # CTs that could not be used
    skipped: list[Rejected] = field(default_factory=list)  # no CTs, or second series of a patient

    def reject(self, items: Iterable[Rejected]) -> None:
        """Sort what is not prepared into refused and skipped."""
        for item in items:
            (self.skipped if item.expected else self.refused).append(item)


@dataclass(frozen=True)
class _Job:
    """The series of one patient, the preferred one first."""

    case: str
    patient: str
    root: Path
    sources: tuple[ScanSource, ...]
    recipe: Recipe
    stored: PreparedCase | None  # undamaged and of the same recipe


@dataclass(frozen=True)
class _Outcome:
    job: _Job
    record: PreparedCase | None = None
    volume: np.ndarray | None = None  # None where the stored one is kept
    views: dict[str, np.ndarray] | None = None  # X-rays that came with it, and their provenance
    rejected: tuple[Rejected, ...] = ()


def prepare(
    spec: DatasetSpec,
    source: Path,
    *,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    keep_table: bool = False,
) -> PrepareReport:
    """Add every usable scan in the folder `source` to the store of a dataset; one case a patient, the rest is named.

    A patient that is stored already is kept unless the recipe or the file changed or the stored volume is damaged.
    Several series of a patient: the one with most slices, or the next when it is unusable. A stopped run goes on where
    it was. `workers` processes, by default one a core, at most 8. Raises UsageError when there is nothing to read.
    """
    found = list(find_scans(source))
    report = PrepareReport()
    report.reject(item for item in found if isinstance(item, Rejected))
    if not found:
        raise UsageError(f"no scan found in {source}: no file of {FORMATS}")
    if len(report.skipped) == len(found):
        raise _no_ct(source, report)

    recipe = Recipe(spec.cube_mm, spec.full_grid, keep_table, spec.subject, stored_range(spec))
    sources = _name_patients([item for item in found if isinstance(item, ScanSource)], spec)
    jobs = _plan_jobs(sources, spec.name, source, recipe)
    _check_room(spec.name, sum(job.stored is None for job in jobs) * spec.full_grid**3 * 2)
    owners = {record.source_sha256: record.case for record in read_store(spec.name)}
    if on_progress and jobs:
        on_progress(0, len(jobs), "")
    scans = 0
    processes = min(len(jobs), workers or min(MAX_WORKERS, cpu_count()))
    outcomes = map_in_workers(_work, jobs, processes, "fewer --workers")
    for done, outcome in enumerate(outcomes, start=1):
        scans += outcome.record is not None
        line = _settle(outcome, spec.name, owners, report)
        if on_progress:
            on_progress(done, len(jobs), line)
    if not scans and not report.refused:
        raise _no_ct(source, report)
    return report


def _no_ct(source: Path, report: PrepareReport) -> UsageError:
    first = report.skipped[0]
    return UsageError(f"no CT found in {source}: {first.path} is {first.reason}; name a folder that holds CTs")


def _name_patients(sources: Sequence[ScanSource], spec: DatasetSpec) -> list[ScanSource]:
    """Return the sources, and with it the patient of each that names only its SeriesInstanceUID, as LUNA16 does."""
    known = {one.series: one.patient for one in spec.series()} if spec.series else {}
    return [
        replace(source, patient=known[source.series])
        if source.patient == source.series and source.series in known
        else source
        for source in sources
    ]


def _check_room(dataset: str, needed: int) -> None:
    """Raise BenchError when the disk of the store cannot take `needed` bytes more."""
    folder = store_folder(dataset)
    free = free_bytes(folder)
    if free < needed + SPARE_BYTES:
        raise BenchError(
            f"preparing needs {needed / 2**30:.2f} GiB in {folder} and {free / 2**30:.2f} GiB are free; "
            "make room, or set BENCH_DATA to a folder on another disk"
        )


def _settle(outcome: _Outcome, dataset: str, owners: dict[str, str], report: PrepareReport) -> str:
    """Store what was prepared, sort it into the report, and say so in a line."""
    job, record = outcome.job, outcome.record
    report.reject(outcome.rejected)
    if record is None:
        return f"{job.case}: {'passed over' if all(item.expected for item in outcome.rejected) else 'refused'}"
    if outcome.volume is None:
        report.already.append(record)
        return f"{job.case}: already there"
    owner = owners.setdefault(record.source_sha256, record.case)
    if owner != record.case:
        report.reject([Rejected(job.root / record.source, f"the same scan as {owner}", expected=True)])
        return f"{job.case}: the same scan as {owner}"
    report.prepared.append(add_case(dataset, record, outcome.volume, outcome.views))
    return f"{job.case}: prepared"


def _plan_jobs(sources: Sequence[ScanSource], dataset: str, root: Path, recipe: Recipe) -> list[_Job]:
    records = {record.case: record for record in read_store(dataset)}
    jobs, of_patient = [], attrgetter("patient")
    for patient, series in groupby(sorted(sources, key=of_patient), of_patient):
        case = case_name(patient)
        stored = records.get(case)
        if stored and not (stored.settings_sha256 == recipe.sha256 and _is_whole(dataset, stored)):
            stored = None
        ordered = sorted(
            series, key=lambda source: (stored is None or source.series != stored.series, -source.slices, source.series)
        )
        jobs.append(_Job(case, patient, root, tuple(ordered), recipe, stored))
    return jobs


def _is_whole(dataset: str, record: PreparedCase) -> bool:
    """Return True where the stored volume is undamaged, and its X-rays say how they were taken, as far as is known."""
    try:
        load_volume(dataset, record)
        return not views_path(dataset, record.case).exists() or "angles" in load_views(dataset, record.case)[1]
    except BenchError:
        return False


def _work(job: _Job) -> _Outcome:
    """Prepare the first usable series of a patient."""
    rejected: list[Rejected] = []
    for index, source in enumerate(job.sources):
        if job.stored and source.series != job.stored.series:
            return _Outcome(job, job.stored, rejected=(*rejected, *_pass_over(job, index, job.stored.source, "")))
        others = _pass_over(job, index + 1, _relative_path(source.path, job.root), source.study)
        try:
            if job.stored and job.stored.source_sha256 == source.sha256():
                return _Outcome(job, job.stored, rejected=(*rejected, *others))
            with ThreadPoolExecutor(1) as pool:
                hashing = pool.submit(source.sha256)
                scan = _read_upright(source, job.recipe)
                volume, centre, table = prepare_volume(scan, job.recipe)
                digest = hashing.result()
            views = _read_views(source, job.root)
        except BenchError as error:
            rejected.append(Rejected(source.path, str(error), expected=isinstance(error, NoScanError)))
        except Exception as error:  # one odd file must not stop the others
            rejected.append(Rejected(source.path, f"unexpected {type(error).__name__}: {error}"))
        else:
            record = PreparedCase(
                case=job.case,
                patient=job.patient,
                series=source.series,
                source=_relative_path(source.path, job.root),
                source_sha256=digest,
                source_format=source.format,
                source_spacing_mm=scan.spacing_mm,
                source_slices=scan.hounsfield.shape[0],
                centre_ras_mm=centre,
                table=table,
                settings_sha256=job.recipe.sha256,
                volume_sha256="",  # filled in by the store
            )
            return _Outcome(job, record, volume, views, (*rejected, *others))
    return _Outcome(job, rejected=tuple(rejected))


def _read_upright(source: ScanSource, recipe: Recipe) -> Scan:
    scan = source.read()
    pictures_stand = source.format in SLICED_FORMATS and source.side_file.axes is None
    return stand_upright(scan) if recipe.subject == "bag" and pictures_stand else scan


def _read_views(source: ScanSource, root: Path) -> dict[str, np.ndarray] | None:
    """Return the X-rays that came with a scan, as stored, and where they are from; None when there are none."""
    if not source.view_files or source.view_reader is None:
        return None
    hashes = {_relative_path(path, root): sha256_of(path) for path in source.view_files}
    views, stated = source.view_reader(source), source.side_file
    if stated.view_angles is None:
        angles = {name: taken for name, taken in source.view_angles.items() if name in views}
    else:
        angles = {name: TakenAt(at, name in stated.mirrored_views) for name, at in stated.view_angles.items()}
    if unknown := angles.keys() - views.keys():
        raise ScanError(f"view_angles names {', '.join(sorted(unknown))}; its X-rays are {', '.join(sorted(views))}")
    provenance = {
        "format": source.format,
        "series": source.series,
        "sha256_of_sources": hashes,
        "angles": {name: asdict(taken) for name, taken in angles.items()},
    }
    return {**views, "provenance": np.array(json.dumps(provenance, sort_keys=True))}


def _pass_over(job: _Job, start: int, chosen: str, study: str) -> list[Rejected]:
    """Return the series of a patient from `start` on, which are not needed.

    Those of another study than the `study` that is prepared may be of another person under the same name.
    """
    plain = f"another series of {job.patient}, which is prepared from {chosen}"
    doubt = f"another study of {job.patient}, which is prepared from {chosen}; a PatientID for each if they are not one"
    return [
        Rejected(source.path, doubt if study and source.study and study != source.study else plain, expected=True)
        for source in job.sources[start:]
    ]


def _relative_path(path: Path, root: Path) -> str:
    return printable(path.relative_to(root).as_posix() if path != root else path.name)


def case_name(patient: str) -> str:
    """Return a file name of letters, digits, `.`, `_` and `-` for a patient; distinct for distinct patients."""
    ascii_only = unicodedata.normalize("NFKD", patient).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_only).strip("._-")[:80]
    return safe if safe and safe == patient else f"{safe or 'case'}-{sha256(patient.encode()).hexdigest()[:8]}"
