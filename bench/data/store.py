"""The prepared real cases of a dataset: one int16 volume a case at the full grid, and a manifest with hashes.

Layout: $BENCH_DATA/<dataset>/real/manifest.json, volumes/<case>.npy and, where X-rays came with a CT,
volumes/<case>.views.npz: those as they were, by name, and `provenance`, a JSON text; see bench.data.stored_views.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from filelock import FileLock

from bench.dataset import PreparedCase
from bench.errors import BenchError
from bench.system.files import read_json, sha256_of, write_atomic, write_json


def data_root() -> Path:
    """$BENCH_DATA, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ct-from-views-bench"
    return Path(os.environ.get("BENCH_DATA", default))


def store_folder(dataset: str) -> Path:
    """Where the prepared real cases of `dataset` lie."""
    return data_root() / dataset / "real"


def read_store(dataset: str) -> list[PreparedCase]:
    """All prepared cases ordered by name; empty when nothing was prepared. Raises BenchError on a damaged manifest."""
    manifest = store_folder(dataset) / "manifest.json"
    if not manifest.exists():
        return []
    try:
        records = [PreparedCase(**_tuples(entry)) for entry in read_json(manifest)]
    except TypeError as error:
        raise BenchError(f"{manifest} does not fit this version ({error}); prepare the data again") from error
    return sorted(records, key=lambda record: record.case)


def _tuples(entry: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def views_path(dataset: str, case: str) -> Path:
    """Where the X-rays that came with a case are kept, if there were any."""
    return store_folder(dataset) / "volumes" / f"{case}.views.npz"


def add_case(
    dataset: str, record: PreparedCase, volume: np.ndarray, views: Mapping[str, np.ndarray] | None = None
) -> PreparedCase:
    """Store a volume (D, H, W) int16 HU, its record and the X-rays that came with it; an earlier one is replaced.

    `record.volume_sha256` is filled in. Safe to call from several processes.
    """
    folder = store_folder(dataset)
    kept_views = views_path(dataset, record.case)
    if views:
        write_atomic(kept_views, lambda file: np.savez(file, **views))  # type: ignore[arg-type]
    digest = write_atomic(folder / "volumes" / f"{record.case}.npy", lambda file: np.save(file, volume))
    if not views:
        kept_views.unlink(missing_ok=True)
    stored = PreparedCase(**{**asdict(record), "volume_sha256": digest})
    with FileLock(folder / "manifest.lock"):
        kept = [other for other in read_store(dataset) if other.case != record.case]
        write_json(folder / "manifest.json", [asdict(r) for r in sorted([*kept, stored], key=lambda r: r.case)])
    return stored


def load_volume(dataset: str, record: PreparedCase) -> np.ndarray:
    """The stored volume (D, H, W) int16 HU. Raises BenchError, naming the file, when its hash does not match."""
    path = store_folder(dataset) / "volumes" / f"{record.case}.npy"
    if not path.exists() or sha256_of(path) != record.volume_sha256:
        state = "damaged" if path.exists() else "missing"
        raise BenchError(f"{path} is {state}; run `bench data prepare {dataset} --from DIR` again to rebuild it")
    return np.load(path)
