"""X-rays that came with the CTs, for runs that take them instead of projected ones: `--set data.views=stored`.

They lie beside the prepared volume (bench.data.store), and their provenance states at which gantry angle each was
taken and whether its columns are mirrored. Their grey scale is that of the file, most often stretched picture by
picture, so they say less of attenuation than projected views do.
"""

import json
from collections.abc import Sequence
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch.nn import functional as F

from bench.data.store import views_path
from bench.dataset import is_mirrored
from bench.errors import BenchError
from bench.system.files import sha256_of

ELSE = "take another preset's angles, or projected views (data.views=projected)"


def stored_views(dataset: str, case: str, angles: Sequence[float], pixels: int) -> np.ndarray:
    """The X-rays (V, pixels, pixels) of a case in [0, 1] at some gantry angles, mirrored as the harness expects them.

    Raises BenchError, naming the case, where one is missing, damaged, or no square picture.
    """
    views = _opened(dataset, case)
    chosen = [_at(views, case, angle) for angle in angles]
    return np.stack([_drawn(views[name], case, name, flip, pixels) for name, flip in chosen])


def stored_views_sha256(dataset: str, case: str, angles: Sequence[float]) -> str:
    """Hash of the file with a case's X-rays. Raises BenchError where it lacks one of the angles."""
    views = _opened(dataset, case)
    for angle in angles:
        _at(views, case, angle)
    return sha256_of(views_path(dataset, case))


def _opened(dataset: str, case: str) -> dict[str, np.ndarray]:
    path = views_path(dataset, case)
    if not path.is_file():
        raise BenchError(
            f"no X-rays came with case {case} of {dataset}: leave it out with --split-file, or take projected views "
            "(data.views=projected)"
        )
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise BenchError(f"{path} is damaged; run `bench data prepare {dataset} --from DIR` again") from error


def _at(views: dict[str, np.ndarray], case: str, angle: float) -> tuple[str, bool]:
    """Name of the X-ray at a gantry angle, and whether it must be flipped."""
    known: dict[str, Any] = json.loads(str(views["provenance"])).get("angles") or {}
    if not known:
        names = ", ".join(sorted(views.keys() - {"provenance"}))
        raise BenchError(
            f"at which angles the X-rays of case {case} ({names}) were taken is not known; "
            "state view_angles in a side file and prepare it again"
        )
    for name, taken in known.items():
        if name in views and abs((taken["angle"] - angle + 180) % 360 - 180) < 1e-6:
            return name, bool(taken["mirrored"]) != is_mirrored(angle)
    have = ", ".join(f"{taken['angle']:g}°" for taken in known.values())
    raise BenchError(f"case {case} has no X-ray at {angle:g}° (it has {have}); {ELSE}")


def _drawn(picture: np.ndarray, case: str, name: str, flip: bool, pixels: int) -> np.ndarray:
    if picture.ndim != 2 or picture.shape[0] != picture.shape[1]:
        raise BenchError(f"the X-ray {name} of case {case} is {picture.shape}, no square picture; {ELSE}")
    values = picture.astype(np.float32)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise BenchError(f"the X-ray {name} of case {case} holds values outside 0 … 65535; {ELSE}")
    values /= _white(picture)
    image = torch.from_numpy(np.ascontiguousarray(values[:, ::-1] if flip else values))[None, None]
    resized = F.interpolate(image, (pixels, pixels), mode="bilinear", antialias=True, align_corners=False)
    return resized[0, 0].clamp(0, 1).numpy()


def _white(picture: np.ndarray) -> np.float32:
    """The value drawn as 1: what the number type holds, or for others the least of 1, 255 and 65535 that is enough."""
    if picture.dtype == np.uint8:
        return np.float32(255)
    return np.float32(next(limit for limit in (1, 255, 65535) if picture.max() <= limit))
