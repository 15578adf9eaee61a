"""How far the projector is from plastimatch, the tool of the published data sets, and what either of them costs."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from bench.dataset import LEFT_LATERAL_ANGLE, PA_ANGLE, Geometry
from bench.errors import BenchError
from bench.projector import project

PIXELS = 128
REPEATS = 5  # of which the fastest counts, taken in turns
VIEWS = {"PA": PA_ANGLE, "lateral": LEFT_LATERAL_ANGLE}


@dataclass(frozen=True)
class Agreement:
    """One view of one volume, drawn by both."""

    rmse_of_max: float  # root mean square error over the maximum of plastimatch's exact image; nothing is fitted
    pearson: float


def agreement(image: np.ndarray, reference: np.ndarray) -> Agreement:
    """Compare two images (h, w) of line integrals."""
    error = float(np.sqrt(np.mean((image - reference) ** 2)) / reference.max())
    return Agreement(error, float(np.corrcoef(image.ravel(), reference.ravel())[0, 1]))


def agreement_table(volumes: Mapping[str, np.ndarray], voxel_mm: float, geometry: Geometry) -> str:
    """Markdown: both views of volumes (D, H, W) in HU against plastimatch, and CPU seconds for the pair of them.

    Raises BenchError where plastimatch is not installed or fails.
    """
    angles = list(VIEWS.values())
    rows = [
        "| volume | view | RMSE / maximum | Pearson | CPU time of both views, here / plastimatch |",
        "|---|---|---|---|---|",
    ]
    for name, volume in volumes.items():
        scan = torch.from_numpy(volume.astype(np.float32))[None]
        ours, theirs = [], []
        for _ in range(REPEATS):
            images, seconds = _own_views(scan, voxel_mm, geometry, angles)
            ours.append(seconds)
            references, seconds = plastimatch_views(volume, voxel_mm, geometry, angles, PIXELS)
            theirs.append(seconds)
        cost = f"{min(ours):.2f} s / {min(theirs):.2f} s = {min(ours) / min(theirs):.2f}"
        for view, image, reference in zip(VIEWS, images, references, strict=True):
            found = agreement(image, reference)
            rows.append(f"| {name} | {view} | {found.rmse_of_max:.2%} | {found.pearson:.5f} | {cost} |")
    return "\n".join(rows)


def _own_views(
    scan: torch.Tensor, voxel_mm: float, geometry: Geometry, angles: Sequence[float]
) -> tuple[np.ndarray, float]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other count as work
    began = time.process_time()
    images = project(scan, voxel_mm, geometry, angles, PIXELS, mirrored=[False] * len(angles))[0].numpy()
    seconds = time.process_time() - began
    torch.set_num_threads(threads)
    return images, seconds


def plastimatch_views(
    hounsfield: np.ndarray, voxel_mm: float, geometry: Geometry, angles: Sequence[float], pixels: int
) -> tuple[np.ndarray, float]:
    """plastimatch's exact line integrals (V, pixels, pixels) of a volume (D, H, W) in HU, and its CPU seconds.

    Angles must be equally spaced, as one run draws them all; no image is mirrored. The seconds hold what the program
    spends on reading and writing files, as any use of it does. Raises BenchError where it is missing or fails.
    """
    depth, height, width = hounsfield.shape
    corner = [-(side - 1) / 2 * voxel_mm for side in (width, height, depth)]
    step = angles[1] - angles[0] if len(angles) > 1 else 0.0
    if any(abs((b - a - step + 180) % 360 - 180) > 1e-6 for a, b in pairwise(angles)):
        raise BenchError(f"the angles {', '.join(f'{angle:g}' for angle in angles)} are not equally spaced")
    binary = _binary()
    if binary is None:
        raise BenchError("plastimatch is not installed; run `pip install 'ct-from-views-bench[drr]'`")
    header = (
        f"NDims = 3\nDimSize = {width} {height} {depth}\nElementSpacing = {voxel_mm} {voxel_mm} {voxel_mm}\n"
        f"Offset = {corner[0]} {corner[1]} {corner[2]}\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "ct.mha"
        scan.write_bytes(header.encode() + hounsfield[::-1].astype("<f4").tobytes())  # MetaImage runs towards the head
        turn = np.deg2rad(angles[0])  # the first angle is taken in radians, the step in degrees
        command = [
            str(binary), "drr", "-t", "pfm", "-i", "exact", "-P", "preprocess",
            "--sad", f"{geometry.source_axis_mm}", "--sid", f"{geometry.source_panel_mm}",
            "-z", f"{geometry.panel_mm} {geometry.panel_mm}", "-r", f"{pixels} {pixels}", "-o", "0 0 0",
            "-y", f"{turn:.9f}", "-N", f"{step % 360:g}", "-a", f"{len(angles)}", "-O", f"{folder}/view", str(scan),
        ]  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        files = sorted(Path(folder).glob("view*.pfm"))
        if done.returncode or len(files) != len(angles):
            lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
            raise BenchError(f"plastimatch failed: {lines[-1]}")
        images = np.stack([_portable_float_map(file, pixels) for file in files])
    return images, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def has_plastimatch() -> bool:
    """Whether plastimatch is installed."""
    return _binary() is not None


def _binary() -> Path | None:
    beside = Path(sys.executable).parent / "plastimatch"
    found = shutil.which("plastimatch") or (str(beside) if beside.exists() else None)
    return Path(found) if found else None


def _portable_float_map(path: Path, pixels: int) -> np.ndarray:
    """The image (pixels, pixels) in a little-endian .pfm file, as plastimatch writes it: the upper row first."""
    kind, size, _, values = path.read_bytes().split(b"\n", 3)
    if kind != b"Pf" or size.split() != [str(pixels).encode()] * 2:
        raise BenchError(f"plastimatch wrote {kind!r} of {size!r} pixels instead of {pixels} × {pixels}")
    return np.frombuffer(values, "<f4").reshape(pixels, pixels)
