"""X-rays that came with the CTs, for runs that take them instead of projected ones: `--set data.views=stored`.

They lie beside the prepared volume (bench.data.store), and their provenance states at which gantry angle each was
taken and whether its columns are mirrored. Their grey scale is that of the file, most often stretched picture by
picture, so they say less of attenuation than projected views do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.data.store import load_views, views_path
from bench.dataset import is_mirrored
from bench.errors import BenchError
from bench.system.files import sha256_of

ELSE = "take another preset's angles, or projected views (data.views=projected)"


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
    values /= _white(picture)
    import torch  # here: the hash of these files is needed to name a run, which needs no PyTorch
    from torch.nn import functional as F

    image = torch.from_numpy(np.ascontiguousarray(values[:, ::-1] if flip else values))[None, None]
    resized = F.interpolate(image, (pixels, pixels), mode="bilinear", antialias=True, align_corners=False)
    return resized[0, 0].clamp(0, 1).numpy()


def _white(picture: np.ndarray) -> np.float32:
    """Return the value drawn as 1: what the number type holds, or else the least of 1, 255 and 65535 that is enough."""
    if picture.dtype == np.uint8:
        return np.float32(255)
    return np.float32(next(limit for limit in (1, 255, 65535) if picture.max() <= limit))
