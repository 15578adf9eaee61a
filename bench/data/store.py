"""The prepared real cases of a dataset: one int16 volume a case at the full grid, and a manifest with hashes.

Layout: $BENCH_DATA/<dataset>/real/manifest.json, volumes/<case>.npy and, where X-rays came with a CT,
volumes/<case>.views.npz: those as they were, by name, and `provenance`, a JSON text that states at which gantry angle
each was taken and whether its columns are mirrored. Runs take them instead of projected ones with
`--set data.views=stored`. Their grey scale is that of the file, most often stretched picture by picture, so they say
less of attenuation than projected views do.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from bench.dataset import PreparedCase, is_mirrored
from bench.errors import BenchError, describe_invalid
from bench.system.files import read_json, sha256_of, write_atomic, write_json

RECORDS = TypeAdapter(list[PreparedCase])
ELSE = "take another preset's angles, or projected views (data.views=projected)"


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
        what = describe_invalid(error)
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


def load_stored_views(dataset: str, case: str, angles: Sequence[float], pixels: int) -> np.ndarray:
    """Return the X-rays (V, pixels, pixels) of a case in [0, 1] at some angles, mirrored as the harness expects them.

    Raises BenchError, naming the case, where one is missing, damaged, or no square picture.
    """
    pictures, places = _load(dataset, case, angles)
    return np.stack([_draw(pictures[name], case, name, flip, pixels) for name, flip in places])


def hash_stored_views(dataset: str, case: str, angles: Sequence[float]) -> str:
    """Return the hash of the file with a case's X-rays. Raises BenchError where it lacks one of the angles."""
    _load(dataset, case, angles)
    return sha256_of(views_path(dataset, case))


def _load(dataset: str, case: str, angles: Sequence[float]) -> tuple[dict[str, np.ndarray], list[tuple[str, bool]]]:
    """Return the X-rays of a case by name, and of each angle the name and whether that picture must be flipped."""
    if not views_path(dataset, case).is_file():
        raise BenchError(
            f"no X-rays came with case {case} of {dataset}: leave it out with --split-file, or take projected views "
            "(data.views=projected)"
        )
    pictures, provenance = load_views(dataset, case)
    known = provenance.get("angles") or {}
    if not known:
        raise BenchError(
            f"at which angles the X-rays of case {case} ({', '.join(sorted(pictures))}) were taken is not known; "
            "state view_angles in a side file and prepare it again"
        )
    taken = {name: how for name, how in known.items() if name in pictures}
    return pictures, [_find(taken, case, angle) for angle in angles]


def _find(taken: Mapping[str, Mapping[str, Any]], case: str, angle: float) -> tuple[str, bool]:
    for name, how in taken.items():
        if abs((how["angle"] - angle + 180) % 360 - 180) < 1e-6:
            return name, bool(how["mirrored"]) != is_mirrored(angle)
    have = ", ".join(f"{how['angle']:g}°" for how in taken.values())
    raise BenchError(f"case {case} has no X-ray at {angle:g}° (it has {have}); {ELSE}")


def _draw(picture: np.ndarray, case: str, name: str, flip: bool, pixels: int) -> np.ndarray:
    if picture.ndim != 2 or picture.shape[0] != picture.shape[1]:
        raise BenchError(f"the X-ray {name} of case {case} is {picture.shape}, no square picture; {ELSE}")
    values = picture.astype(np.float32)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise BenchError(f"the X-ray {name} of case {case} holds values outside 0 … 65535; {ELSE}")
    white = 255 if picture.dtype == np.uint8 else next(limit for limit in (1, 255, 65535) if picture.max() <= limit)
    values /= np.float32(white)  # what the number type holds, or else the least of these that is enough
    import torch  # here: the hash of these files is needed to name a run, which needs no PyTorch
    from torch.nn import functional as F

    image = torch.from_numpy(np.ascontiguousarray(values[:, ::-1] if flip else values))[None, None]
    resized = F.interpolate(image, (pixels, pixels), mode="bilinear", antialias=True, align_corners=False)
    return resized[0, 0].clamp(0, 1).numpy()
