"""The manifest of a folder of predictions: which file holds which case, and its hash, so that whole ones are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from bench.system.csv_files import read_rows, write_rows
from bench.system.files import digest_of, sha256_of

MANIFEST = "manifest.csv"
LIKELIHOOD = "likelihood.csv"  # one line a case, of a method that has one
ENCODED_TRUTH = "encoded_truth"  # folder in that of the predictions
RENDERS = ".renders.npy"  # ends the file of a case's X-ray images, which stands beside its volume


@dataclass(frozen=True)
class Prediction:
    """One written prediction."""

    case: str
    file: str
    sha256: str
    seconds: float  # inference time of this case
    seed: int | None
    renders_sha256: str = ""  # of <case>.renders.npy, where the method renders images of its own


def read_manifest(folder: Path) -> dict[str, Prediction]:
    """Return case → its entry; empty without a manifest. Raises BenchError for a damaged one."""
    return {entry.case: entry for entry in read_rows(folder / MANIFEST, Prediction)}


def add_to_manifest(folder: Path, entry: Prediction) -> None:
    """Enter a prediction in place of an earlier one of its case; safe among processes."""
    with FileLock(folder / ".lock"):
        entries = {**read_manifest(folder), entry.case: entry}
        write_rows(folder / MANIFEST, Prediction, [entries[name] for name in sorted(entries)])


def find_intact(folder: Path) -> dict[str, Prediction]:
    """Return the entries whose files are there with the right hash: what need not be reconstructed again."""
    return {
        case: entry
        for case, entry in read_manifest(folder).items()
        if has_sha256(folder / entry.file, entry.sha256)
        and (not entry.renders_sha256 or has_sha256(renders_file(folder, case), entry.renders_sha256))
    }


def renders_file(folder: Path, case: str) -> Path:
    """Return where the X-ray images that a method rendered of a case lie."""
    return folder / f"{case}{RENDERS}"


def has_sha256(path: Path, sha256: str) -> bool:
    """Return whether a file is there and has this hash."""
    return path.is_file() and sha256_of(path) == sha256


def predictions_sha256(files: Mapping[str, str]) -> str:
    """Return one hash of a set of predictions, from the SHA-256 of the file of each case."""
    return digest_of(dict(files))


def folder_sha256(folder: Path) -> str:
    """Return the hash of a folder of ours as `predictions_sha256` gives it, from its manifest."""
    return predictions_sha256({case: entry.sha256 for case, entry in read_manifest(folder).items()})


def beside_sha256(folder: Path) -> str:
    """Return one hash of what lies beside the volumes of ours: rendered images, encoded truths and likelihoods."""
    renders = {case: entry.renders_sha256 for case, entry in read_manifest(folder).items() if entry.renders_sha256}
    likelihood = folder / LIKELIHOOD
    bits = sha256_of(likelihood) if likelihood.is_file() else ""
    return digest_of([renders, folder_sha256(folder / ENCODED_TRUTH), bits])
