"""The prepared real cases of a dataset: one int16 volume a case at the full grid, and a manifest with hashes.

Layout: $BENCH_DATA/<dataset>/real/manifest.json, volumes/<case>.npy and, where X-rays came with a CT,
volumes/<case>.views.npz: those as they were, by name, and `provenance`, a JSON text; see bench.data.stored_views.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from bench.dataset import PreparedCase
from bench.errors import BenchError
from bench.system.files import read_json, sha256_of, write_atomic, write_json

RECORDS = TypeAdapter(list[PreparedCase])


def data_root() -> Path:
    """Return $BENCH_DATA, or the user's cache folder where that is not set or empty."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("BENCH_DATA") or cache / "ct-from-views-bench")


def store_folder(dataset: str) -> Path:
    """Return the folder with the prepared real cases of a dataset."""
    return data_root() / dataset / "real"


def read_store(dataset: str) -> list[PreparedCase]:
    """Return all prepared cases ordered by name, none when nothing was prepared.

    Raises BenchError on a damaged manifest.
    """
    manifest = store_folder(dataset) / "manifest.json"
    if not manifest.exists():
        return []
    try:
        records = RECORDS.validate_python(read_json(manifest))
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise BenchError(f"{manifest} does not fit this version ({what}); prepare the data again") from error
    return sorted(records, key=lambda record: record.case)


def views_path(dataset: str, case: str) -> Path:
    """Return the file with the X-rays that came with a case; it exists if there were any."""
    return store_folder(dataset) / "volumes" / f"{case}.views.npz"


def add_case(
    dataset: str, record: PreparedCase, volume: np.ndarray, views: Mapping[str, np.ndarray] | None = None
) -> PreparedCase:
    """Store a volume (D, H, W) int16 HU, its record and the X-rays that came with it, in place of an earlier one.

    Return the record with `volume_sha256` filled in. Safe to call from several processes.
    """
    folder = store_folder(dataset)
    kept_views = views_path(dataset, record.case)
    if views:
        write_atomic(kept_views, lambda file: np.savez(file, **views))  # type: ignore[arg-type]
    digest = write_atomic(folder / "volumes" / f"{record.case}.npy", lambda file: np.save(file, volume))
    if not views:
        kept_views.unlink(missing_ok=True)
    stored = replace(record, volume_sha256=digest)
    with FileLock(folder / "manifest.lock"):
        kept = [other for other in read_store(dataset) if other.case != record.case]
        write_json(folder / "manifest.json", [asdict(r) for r in sorted([*kept, stored], key=lambda r: r.case)])
    return stored


def load_volume(dataset: str, record: PreparedCase) -> np.ndarray:
    """Return the stored volume (D, H, W) int16 HU. Raises BenchError, naming the file, when its hash does not match."""
    path = store_folder(dataset) / "volumes" / f"{record.case}.npy"
    if not path.exists() or sha256_of(path) != record.volume_sha256:
        state = "damaged" if path.exists() else "missing"
        raise BenchError(f"{path} is {state}; run `bench data prepare {dataset} --from DIR` again to rebuild it")
    return np.load(path)


def load_views(dataset: str, case: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the X-rays (rows, columns) that came with a case, by name, and their provenance.

    Raises BenchError, naming the file, when it is damaged.
    """
    path = views_path(dataset, case)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            views = dict(stored)
        return views, json.loads(str(views.pop("provenance")))
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise BenchError(f"{path} is damaged; run `bench data prepare {dataset} --from DIR` again") from error
