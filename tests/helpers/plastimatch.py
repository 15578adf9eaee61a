"""X-ray images of plastimatch, the tool of the published data sets, to compare the projector with."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.dataset import Geometry


def find_plastimatch() -> str | None:
    """Return the path of the program; None where it is not installed."""
    return shutil.which("plastimatch", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


def compare_images(image: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Return root mean square error over the reference's maximum, nothing fitted, and Pearson's r of images (h, w)."""
    error = float(np.sqrt(np.mean((image - reference) ** 2)) / reference.max())
    return error, float(np.corrcoef(image.ravel(), reference.ravel())[0, 1])


def draw_views(
    hounsfield: np.ndarray, voxel_mm: float, geometry: Geometry, angles: Sequence[float], pixels: int
) -> tuple[np.ndarray, float]:
    """Return exact line integrals (V, pixels, pixels) of a volume (D, H, W) in HU, and the program's CPU seconds.

    Angles must be equally spaced, as one run draws them all; no image is mirrored. The seconds hold what the program
    spends on reading and writing files, as any use of it does.
    """
    depth, height, width = hounsfield.shape
    corner = [-(side - 1) / 2 * voxel_mm for side in (width, height, depth)]
    step = angles[1] - angles[0] if len(angles) > 1 else 0.0
    assert all(abs((b - a - step + 180) % 360 - 180) < 1e-6 for a, b in pairwise(angles)), "angles not equally spaced"
    header = (
        f"NDims = 3\nDimSize = {width} {height} {depth}\nElementSpacing = {voxel_mm} {voxel_mm} {voxel_mm}\n"
        f"Offset = {corner[0]} {corner[1]} {corner[2]}\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "ct.mha"
        scan.write_bytes(header.encode() + hounsfield[::-1].astype("<f4").tobytes())  # MetaImage runs towards the head
        turn = np.deg2rad(angles[0])  # the first angle is taken in radians, the step in degrees
        command = [
            str(find_plastimatch()), "drr", "-t", "pfm", "-i", "exact", "-P", "preprocess",
            "--sad", f"{geometry.source_axis_mm}", "--sid", f"{geometry.source_panel_mm}",
            "-z", f"{geometry.panel_mm} {geometry.panel_mm}", "-r", f"{pixels} {pixels}", "-o", "0 0 0",
            "-y", f"{turn:.9f}", "-N", f"{step % 360:g}", "-a", f"{len(angles)}", "-O", f"{folder}/view", str(scan),
        ]  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        images = np.stack([_read_float_map(file, pixels) for file in sorted(Path(folder).glob("view*.pfm"))])
    assert len(images) == len(angles)
    return images, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _read_float_map(path: Path, pixels: int) -> np.ndarray:
    """The image (pixels, pixels) in a little-endian .pfm file, as plastimatch writes it: the upper row first."""
    kind, size, _, values = path.read_bytes().split(b"\n", 3)
    assert (kind, size.split()) == (b"Pf", [str(pixels).encode()] * 2)
    return np.frombuffer(values, "<f4").reshape(pixels, pixels)
