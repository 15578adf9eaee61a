"""One run as one file that anyone can check: a plain ZIP of data that nothing executes, and a hash of each file.

The members are stored, not compressed (predictions are compressed already), so that an archive cannot unpack to more
than its own size. What is not on the list below, or is not what its manifest says, is refused before anything of it
reaches the runs.
"""

import csv
import gzip
import json
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from bench.errors import BenchError, UsageError
from bench.pipeline.verify import check_files
from bench.plugins.config import RUN_NAME
from bench.runs.folder import RunFolder
from bench.runs.record import RunLine, RunRecord
from bench.runs.submission import read_submission
from bench.runs.volume_files import open_array
from bench.scoring import laplace
from bench.scoring.evidence import Evidence, Level, put_evidence
from bench.scoring.protocols import carry_hash
from bench.scoring.rows import read_scores
from bench.scoring.store import put_run
from bench.system.csv_files import is_formula, text_of_rows
from bench.system.files import sha256_of, temporary_folder, write_atomic, writing
from bench.system.text import describe_error

VERSION = 1
UNPACKED = ".import-"  # begins the name of a folder that an archive is unpacked to before it is checked
INDEX = "index.json"  # {"version", "run_id", "files": {name: sha256}}
NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
MEMBERS = re.compile(
    rf"run\.json|submission\.json|scores\.csv|train\.csv|checkpoints/{NAME}\.safetensors"
    r"|predictions/(train|validation|test)/(encoded_truth/|samples/[0-9]{3}/)?"
    rf"({NAME}\.nii\.gz|{NAME}\.renders\.npy|manifest\.csv)"
    r"|predictions/(train|validation|test)/(likelihood\.csv|laplace\.json)"
)
MOST_MEMBERS = 100_000
MOST_TEXT = 64 * 2**20  # bytes of a JSON or CSV file
NIFTI_HEADER = 352  # bytes before the voxels
DATE = (1980, 1, 1, 0, 0, 0)  # of every member: equal runs give equal archives
CHUNK = 2**20

Check = Callable[[RunFolder], None]
"""Raises BenchError for a run that must not be added."""


def export_run(folder: RunFolder, out: Path) -> int:
    """Write a finished run to `out`; return the number of its files. Raises BenchError for a run that is not whole."""
    record = folder.finished_record()
    wrong = [finding for finding in check_files(folder) if not finding.good]
    if wrong:
        raise BenchError(f"{folder.root.name}, {wrong[0].what}: {wrong[0].text}; run it again, then export it")
    paths = (path for path in folder.root.rglob("*") if path.is_file() and not path.is_symlink())
    found = {path.relative_to(folder.root).as_posix(): path for path in paths}
    names = {name: found[name] for name in sorted(found) if MEMBERS.fullmatch(name)}
    hashes = {name: sha256_of(path) for name, path in names.items()}
    index = {"version": VERSION, "run_id": record.run_id, "files": hashes}

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_make_member(INDEX), json.dumps(index, indent=1))
            for name, path in names.items():
                with path.open("rb") as source, archive.open(_make_member(name), "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, CHUNK)

    write_atomic(out, write)
    return len(names)


def import_run(file: Path, runs_dir: Path, results_dir: Path, check: Check | None = None) -> tuple[RunFolder, bool]:
    """Add the run in an archive to `runs_dir` and its rows to `results_dir`; return it and whether it was new.

    Raises BenchError, naming archive and member, for anything that is not a whole run of ours, or that `check`
    refuses; nothing is left behind then.
    """
    if not file.is_file():
        raise UsageError(f"no file {file}")
    with temporary_folder(runs_dir, UNPACKED) as temporary:
        unpacked = temporary / "run"
        _unpack(file, unpacked)
        record = _check_run(RunFolder(unpacked), file)
        folder = RunFolder(unpacked.rename(temporary / record.run_id))
        target = RunFolder(runs_dir / record.config.dataset / record.config.method / record.run_id)
        new = not target.root.exists()
        if not new and not _hold_same_run(folder, target):
            raise BenchError(f"{target.root} is there and differs from {file}; move it away to add the other")
        if new:
            if check is not None:
                check(folder)
            with writing(target.root):
                target.root.parent.mkdir(parents=True, exist_ok=True)
                folder.root.rename(target.root)
        try:
            line = target.finished_record().line
            if new:  # before its rows, which are never more than they are said to be
                said = read_submission(target)
                level: Level = "re-scored" if check else "self-reported"
                known = {"run_id": line.run_id, "level": level, "predictions_sha256": line.predictions_sha256}
                put_evidence(results_dir, Evidence.model_validate(known | (said.model_dump() if said else {})))
            put_run(results_dir, line, read_scores(target.scores_csv, line))
        except BaseException:
            if new:
                shutil.rmtree(target.root)
                for parent in (target.root.parent, target.root.parent.parent):
                    with suppress(OSError):  # it holds other runs
                        parent.rmdir()
            raise
        return target, new


def _make_member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, DATE)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def _unpack(file: Path, target: Path) -> None:
    """Write the members of an archive to `target`. Raises BenchError for one that is damaged or not of ours."""
    try:
        with zipfile.ZipFile(file) as archive:
            _unpack_members(archive, file, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise BenchError(f"{file} is no whole archive of `bench export`: {error}") from error


def _unpack_members(archive: zipfile.ZipFile, file: Path, target: Path) -> None:
    """Write the members to `target` after all names and sizes were checked; then check their hashes."""
    infos = archive.infolist()
    names = {info.filename for info in infos}
    if len({name.lower() for name in names}) < len(infos) or len(infos) > MOST_MEMBERS:
        raise BenchError(f"{file}: {len(infos)} members, too many or some whose names differ in case at most")
    for info in infos:
        _check_member(info, file)
    if sum(info.file_size for info in infos) > file.stat().st_size:
        raise BenchError(f"{file}: its members are larger than the archive; they overlap")
    if INDEX not in names:
        raise BenchError(f"{file} is no archive of `bench export`: it has no {INDEX}")
    try:
        index = json.loads(archive.read(INDEX))
        version, stated = index["version"], dict(index["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BenchError(f"{file}: {INDEX} is damaged") from error
    if version != VERSION:
        raise BenchError(f"{file} is of version {version}; this one reads version {VERSION}")
    if odd := set(stated) ^ (names - {INDEX}):
        raise BenchError(f"{file}: {min(odd)!r} is in the archive or in its {INDEX}, not in both")
    for name, sha256 in stated.items():
        with archive.open(name) as source:
            copied = write_atomic(target / name, partial(shutil.copyfileobj, source, length=CHUNK))
        if copied != sha256:
            raise BenchError(f"{file}: {name} is not the file that {INDEX} describes")


def _check_member(info: zipfile.ZipInfo, file: Path) -> None:
    where = f"{file}: {info.filename!r}"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or not info.filename or info.is_dir():
        raise BenchError(f"{where} is a link, a folder or a device, not a plain file")
    if info.filename.endswith((".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin")):
        raise BenchError(f"{where} may be a pickle, which runs code when it is read; weights are safetensors")
    if info.filename != INDEX and not MEMBERS.fullmatch(info.filename):
        raise BenchError(f"{where} is not a name that a run's archive has")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
        raise BenchError(f"{where} is compressed or encrypted; an archive only stores, so that it cannot blow up")
    if info.filename.endswith((".json", ".csv")) and info.file_size > MOST_TEXT:
        raise BenchError(f"{where} is {info.file_size >> 20} MiB of text; at most {MOST_TEXT >> 20} are read")


def _check_run(folder: RunFolder, file: Path) -> RunRecord:
    """Return the record of an unpacked run. Raises BenchError unless every file is of its kind and they agree."""
    what = "run.json"
    try:
        record = folder.record()
        if record is None or record.status != "done" or not RUN_NAME.fullmatch(record.run_id):
            raise BenchError("it is missing or names no finished run that can be stored")
        what = "run.json cannot stand in the results"
        text_of_rows(RunLine, [record.line])  # refuses what a spreadsheet would compute
        read_submission(folder)
        what = "scores.csv"
        scores = read_scores(folder.scores_csv, record.line)
    except (ValidationError, BenchError) as error:
        raise BenchError(f"{file}, {what}: {describe_error(error)}".replace(f"{folder.root}/", "")) from error
    for path in sorted(folder.root.rglob("*")):
        if path.is_file():
            _check_kind(path, path.relative_to(folder.root).as_posix(), record.config.data.size, file)
    wrong = [finding for finding in check_files(folder) if not finding.good]
    if wrong:
        raise BenchError(f"{file}, {wrong[0].what}: {wrong[0].text}".replace(str(folder.root), record.run_id))
    scored = {protocol: carry_hash(sha256) for protocol, sha256 in record.scored.items()}
    if not scores or {score.protocol: score.protocol_hash for score in scores} != scored:
        raise BenchError(f"{file}: scores.csv is empty or not of the protocols that run.json names")
    return record


def _check_kind(path: Path, name: str, size: int, file: Path) -> None:
    """Raise BenchError unless a file is what its suffix says, read without running or unpacking more than it may."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as tensors:
                tensors.keys()
        elif path.suffix == ".npy":
            open_array(path)
        elif path.suffix == ".gz":
            _check_nifti(path, NIFTI_HEADER + 4 * size**3)
        elif path.name == laplace.FILE_NAME:
            laplace.read_fit(path)
        elif path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as lines:
                for row in csv.reader(lines, strict=True):
                    if odd := next(filter(is_formula, row), ""):
                        raise BenchError(f"{file}: {name} has a cell that a spreadsheet would compute: {odd[:40]!r}")
    except (SafetensorError, ValueError, OSError, EOFError, zlib.error, csv.Error) as error:
        raise BenchError(f"{file}: {name} is not what its name says ({error})") from error


def _check_nifti(path: Path, expected: int) -> None:
    """Raise ValueError for no float32 NIfTI of the run's grid; it is unpacked in pieces, no further than it may go."""
    length = 0
    with gzip.open(path) as content:
        while length <= expected and (piece := content.read(CHUNK)):
            length += len(piece)
    if length != expected:
        than = "more" if length > expected else "less"
        raise ValueError(f"it unpacks to {than} than the {expected} bytes of its grid")


def _hold_same_run(folder: RunFolder, target: RunFolder) -> bool:
    """Return whether two folders hold the same run: predictions, weights and configuration (times may differ)."""
    one, other = folder.finished_record(), target.finished_record()
    parts = ("config_sha256", "predictions_sha256", "samples_sha256", "plugin_sha256")
    weights = [{name: stage.sha256 for name, stage in record.stages.items()} for record in (one, other)]
    return weights[0] == weights[1] and all(getattr(one, part) == getattr(other, part) for part in parts)
