"""Density, coverage, precision, recall (Naeem et al. 2020) in the feature spaces of several random encoders.

What they cannot do: density grows when a set is blurred or collapsed, and coverage of paired reconstructions is near
one for every method. So both are read against what real training cases score, and never ranked.
"""

import io
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from bench.cases import Cases
from bench.data.store import data_root
from bench.errors import BenchError
from bench.metrics import AXES, FIDELITY
from bench.metrics.encoder import CHANNELS_LAST, RandomEncoder, make_encoder
from bench.metrics.settings import EncoderSettings
from bench.scoring.protocol import VERSIONS, Fidelity, Stretch
from bench.scoring.released import stretch_to_ct
from bench.system.files import digest_of, read_json, sha256_of, write_atomic, write_json

VOXELS_AT_ONCE = 2**22  # two volumes of 128³ or sixteen of 64³; the widest map takes 64 bytes a voxel

Features = dict[str, np.ndarray]
"""`3d` and the projections `d`, `h`, `w` → (encoders, cases, features) float32."""


class DegenerateFeatures(UserWarning):
    """Features that do not vary, so that neighbourhoods have no size."""


def prdc_scores(real: np.ndarray, generated: np.ndarray, nearest_k: int) -> dict[str, float]:
    """Density ≥ 0 and coverage, precision, recall in [0, 1] of two sets (n, features), (m, features), from prdc.

    Warns with DegenerateFeatures where a set does not vary. Raises ValueError under `nearest_k` + 2 rows, for features
    of different length, NaN or infinity.
    """
    from prdc import compute_prdc  # brings scikit-learn, which takes a second

    fewest = min(len(real), len(generated))
    if fewest < nearest_k + 2:
        raise ValueError(say_too_few(fewest, nearest_k))
    if not (np.isfinite(real).all() and np.isfinite(generated).all()):
        raise ValueError("the features hold NaN or infinity")
    if reason := say_what_is_flat(real, generated):
        warnings.warn(reason, DegenerateFeatures, stacklevel=2)
    with calling_prdc():
        scores = compute_prdc(real, generated, nearest_k)
    return {name: float(scores[name]) for name in FIDELITY}


@contextmanager
def calling_prdc() -> Iterator[None]:
    """Keep prdc from printing set sizes, and end with the block what its threads do to the filters of warnings.

    It asks scikit-learn for eight, each of which replaces the process's filters for a while; now and then they put back
    an empty list, and from then on every call of scikit-learn warns. One thread would round other distances.
    """
    with redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True):
        yield


def say_too_few(count: int, nearest_k: int, batch: int | None = None) -> str:
    """Return why `count` cases have no k-th neighbour distances to compare, or fill no batch."""
    if batch is not None:
        return f"{count} cases; a batch needs {batch}"
    return f"{count} cases; k = {nearest_k} needs at least {nearest_k + 2}"


def say_what_is_flat(real: np.ndarray, generated: np.ndarray) -> str:
    """Return which of two sets of features (n, features) does not vary, in words; empty where both do."""
    flat = [name for name, rows in (("real", real), ("generated", generated)) if not np.ptp(rows, axis=0).any()]
    return f"all {' and '.join(flat)} features are equal" if flat else ""


def encode(
    volumes: Iterable[Tensor],
    grid: int,
    settings: Fidelity,
    device: torch.device,
    advance: Callable[[], None] = lambda: None,
) -> Features:
    """Return the features of volumes (D, H, W) in [0, 1] of one `grid` a side, and of their maximum-intensity
    projections, by every encoder.

    They are resampled to the protocol's side first. `advance` is called after each volume. Raises BenchError for a side
    that the encoder cannot take.
    """
    side, taken = settings.side(grid), settings.encoder
    if side < taken.smallest_side or side % taken.side_step:
        raise BenchError(
            f"the encoder takes multiples of {taken.side_step} from {taken.smallest_side} a side, not {side}"
        )
    encoders = {d: [_load_encoder(seed, d, taken, device) for seed in settings.encoder_seeds] for d in (2, 3)}
    batches: dict[str, list[np.ndarray]] = {"3d": [], **{axis: [] for axis in AXES}}
    waiting = iter(volumes)
    while batch := list(islice(waiting, max(1, VOXELS_AT_ONCE // side**3))):
        stacked = torch.stack(batch).to(device, torch.float32)
        batches["3d"].append(_encode_batch(encoders[3], stacked, side, settings.interpolation))
        for dimension, axis in enumerate(AXES, start=1):
            batches[axis].append(_encode_batch(encoders[2], stacked.amax(dimension), side, settings.interpolation))
        for _ in batch:
            advance()
    return {name: np.concatenate(parts, axis=1) for name, parts in batches.items()}


def encode_real(
    cases: Cases,
    indices: np.ndarray,
    settings: Fidelity,
    device: torch.device,
    advance: Callable[[], None] = lambda: None,
    blur_voxels: float = 0.0,
) -> Features:
    """Return the features of some true volumes, from the cache under the data root where they were computed before.

    `blur_voxels` is the σ of a Gaussian that the volumes are blurred by first. A damaged file of the cache is rebuilt.
    """
    path = _cache_path(cases, indices, settings, blur_voxels)
    features = _read_cache(path)
    if features is None:
        whole = (cases.volumes([index])[0] for index in indices.tolist())
        blurred = ((blur(volume, blur_voxels, settings.blur_edge), volume) for volume in whole)
        volumes = (bring_to_scale(volume, ct, settings.stretch) for volume, ct in blurred)
        features = encode(volumes, cases.card.size, settings, device, advance)
        digest = write_atomic(path, lambda file: np.savez(file, **features))  # type: ignore[arg-type]
        write_json(path.with_suffix(".json"), {"sha256": digest})
    return features


def bring_to_scale(volume: Tensor, ct: Tensor, stretch: Stretch | None) -> Tensor:
    """Return a volume in [0, 1] of the window as it is encoded: as it is, or on the scale of its CT's own extremes."""
    return volume if stretch is None else torch.from_numpy(stretch_to_ct(volume.numpy(), ct.numpy(), stretch))


def blur(volume: Tensor, sigma: float, edge: str) -> Tensor:
    """Return a volume (D, H, W) blurred by a Gaussian of `sigma` voxels; `edge` is SciPy's mode of continuing it."""
    return torch.from_numpy(gaussian_filter(volume.numpy(), sigma, mode=edge)) if sigma else volume


def count_uncached(cases: Cases, indices: np.ndarray, settings: Fidelity, blur_voxels: float = 0.0) -> int:
    """Return how many of these volumes `encode_real` has to encode: all or none."""
    return len(indices) if _read_cache(_cache_path(cases, indices, settings, blur_voxels)) is None else 0


def draw_baseline(training: int, count: int, settings: Fidelity) -> np.ndarray:
    """Return (draws, count) indices of training cases, without repetition within a draw; the same for every method."""
    random = np.random.default_rng(settings.baseline_seed)
    return np.stack([random.choice(training, count, replace=False) for _ in range(settings.baseline_draws)])


def prdc_by_encoder(
    real: np.ndarray, generated: np.ndarray, nearest_k: int, batch: int | None = None
) -> list[dict[str, float]]:
    """Return `prdc_scores` of features (encoders, n, f) and (encoders, m, f), one result an encoder.

    With `batch`, the mean over whole batches of so many rows, in their order; the rows left over are dropped.
    """
    return [_average_batches(r, g, nearest_k, batch) for r, g in zip(real, generated, strict=True)]


def average_axes(per_axis: Mapping[str, list[dict[str, float]]]) -> list[dict[str, float]]:
    """Return the mean of the three projections' scores, entry by entry."""
    return [
        {name: float(np.mean([scores[name] for scores in same])) for name in FIDELITY}
        for same in zip(*(per_axis[axis] for axis in AXES), strict=True)
    ]


def _average_batches(real: np.ndarray, generated: np.ndarray, nearest_k: int, batch: int | None) -> dict[str, float]:
    if batch is None:
        return prdc_scores(real, generated, nearest_k)
    starts = range(0, min(len(real), len(generated)) - batch + 1, batch)
    if not starts:
        raise ValueError(say_too_few(min(len(real), len(generated)), nearest_k, batch))
    scores = [prdc_scores(real[i : i + batch], generated[i : i + batch], nearest_k) for i in starts]
    return {name: float(np.mean([score[name] for score in scores])) for name in FIDELITY}


@lru_cache(maxsize=32)
def _load_encoder(seed: int, dimensions: int, settings: EncoderSettings, device: torch.device) -> RandomEncoder:
    return make_encoder(seed, dimensions, settings).to(device)


@torch.inference_mode()
def _encode_batch(
    encoders: list[RandomEncoder], images: Tensor, side: int, interpolation: tuple[str, str]
) -> np.ndarray:
    """(B, s, s[, s]) → (encoders, B, features)."""
    dimensions, images = images.ndim - 1, images[:, None]
    if images.shape[2:] != (side,) * dimensions:
        images = F.interpolate(images, size=(side,) * dimensions, mode=interpolation[dimensions - 2])
    images = images.contiguous(memory_format=CHANNELS_LAST[dimensions])
    # full float32 on GPUs too, so that numbers do not depend on the device
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        return torch.stack([encoder(images) for encoder in encoders]).cpu().numpy()


def _cache_path(cases: Cases, indices: np.ndarray, settings: Fidelity, blur_voxels: float) -> Path:
    """Return the file of these features; its name holds the hash of all that they depend on."""
    key = digest_of(
        {
            "versions": {name: VERSIONS[name] for name in ("features", "encoder", "blur", "stretch")},
            "data": cases.card.fingerprint,
            "split": cases.split,
            "cases": [cases.names[index] for index in indices.tolist()],
            "encoder": asdict(settings.encoder),
            "seeds": settings.encoder_seeds,
            "side": settings.side(cases.card.size),
            "interpolation": settings.interpolation,
            "stretch": settings.stretch and asdict(settings.stretch),
            "blur": (blur_voxels, settings.blur_edge) if blur_voxels else None,
        }
    )
    return data_root() / "features" / f"{cases.card.name}-{cases.split}-{key[:16]}.npz"


def _read_cache(path: Path) -> Features | None:
    try:
        if read_json(path.with_suffix(".json"))["sha256"] != sha256_of(path):
            return None
        with np.load(path) as archive:
            return {name: archive[name] for name in ("3d", *AXES)}
    except (BenchError, OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return None
