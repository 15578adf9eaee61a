"""Predictions as files: one float32 NIfTI a case, in HU, on the case's own grid; and folders that others made.

Our own folder holds <case>.nii.gz, manifest.csv and, of a method that renders X-ray images, <case>.renders.npy; of a
method that can encode and decode the truth, also encoded_truth/<case>.nii.gz with a manifest of their own.
An outside folder holds one file a case in a format of bench.runs.volume_files, in any axis order and orientation its
affine describes, in HU or in the windowed [0, 1].
"""

import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.orientations import io_orientation, ornt_transform

from bench.cases import Cases
from bench.dataset import to_hounsfield, to_unit
from bench.errors import BenchError, UsageError
from bench.runs.manifest import ENCODED_TRUTH, Prediction, add_to_manifest, has_sha256, read_manifest, renders_file
from bench.runs.volume_files import SUFFIXES, case_of, open_volume
from bench.system.arrays import open_array
from bench.system.files import write_atomic

Unit = Literal["hu", "unit"]
TOLERANCE = 0.05  # voxels that a corner of the grid may lie off, for affines rounded to float32 or printed
SHOWN = 5  # names in a message before "and N more"


def write_prediction(
    folder: Path,
    case: str,
    unit: np.ndarray,
    cases: Cases,
    *,
    seconds: float,
    seed: int | None,
    renders: np.ndarray | None = None,
) -> Prediction:
    """Store a volume (D, H, W) in [0, 1] as HU in `folder` and enter it in the manifest, replacing an earlier one.

    `renders` (A, h, w) in [0, 1] are the method's own X-ray images at the angles that its run asked for.

    Equal volumes give equal files. Raises BenchError for a wrong shape or values that are not finite.
    """
    if unit.shape != cases.hounsfield.shape[1:]:
        raise BenchError(f"the prediction of {case} has shape {unit.shape}, not {cases.hounsfield.shape[1:]}")
    if not np.isfinite(unit).all():
        raise BenchError(f"the prediction of {case} holds NaN or infinity; it was not written")
    hounsfield = to_hounsfield(unit.astype(np.float64), cases.card.window).astype(np.float32)
    content = nifti_bytes(hounsfield, cases.affines[cases.index(case)])
    digest = write_atomic(folder / f"{case}.nii.gz", lambda file: file.write(content))
    images = ""
    if renders is not None:
        if not np.isfinite(renders).all():
            raise BenchError(f"the X-ray images rendered of {case} hold NaN or infinity; they were not written")
        images = write_atomic(renders_file(folder, case), lambda file: np.save(file, renders.astype(np.float32)))
    entry = Prediction(case, f"{case}.nii.gz", digest, round(seconds, 6), seed, images)
    add_to_manifest(folder, entry)
    return entry


def read_renders(folder: Path, case: str, shape: tuple[int, int, int]) -> np.ndarray | None:
    """A method's own X-ray images (A, h, w) of a case, None where it made none.

    Raises BenchError for a file that its manifest does not describe or of another shape.
    """
    entry = read_manifest(folder).get(case)
    if entry is None or not entry.renders_sha256:
        return None
    path = renders_file(folder, case)
    if not has_sha256(path, entry.renders_sha256):
        raise BenchError(f"{path} is not the file its manifest describes; delete it and reconstruct again")
    images = open_array(path)
    if images.shape != shape:
        raise BenchError(f"{path} holds images of shape {images.shape}, not {shape}")
    return images


def nifti_bytes(volume: np.ndarray, affine: np.ndarray) -> bytes:
    """A gzipped NIfTI-1 of a volume (D, H, W) whose stored array is (W, H, D); the same bytes at every call."""
    image = nib.Nifti1Image(np.ascontiguousarray(volume.T), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=buffer, mtime=0) as file:
        file.write(image.to_bytes())
    return buffer.getvalue()


def find_predictions(folder: Path, names: Sequence[str], *, allow_missing: bool = False) -> dict[str, Path]:
    """Case → file, in the order of `names`.

    Raises BenchError that names them for cases with two files, files of no case, and (unless allowed) cases without
    a file; UsageError when the folder is missing or holds no NIfTI file.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}")
    files = sorted(path for path in folder.iterdir() if case_of(path) is not None)
    if not files:
        known = ", ".join(SUFFIXES)
        raise UsageError(f"{folder} holds no volume ({known}); name one after each case, e.g. {names[0]}.nii.gz")
    found: dict[str, Path] = {}
    duplicates = []
    for path in files:
        case = case_of(path) or ""
        if case in found:
            duplicates.append(case)
        found[case] = path
    extra = [case for case in found if case not in set(names)]
    missing = [case for case in names if case not in found]
    if duplicates:
        raise BenchError(f"{folder}: more than one file for {_join_names(duplicates)}; keep one a case")
    if extra:
        raise BenchError(f"{folder}: no such case in the split: {_join_names(extra)}; cases are named like {names[0]}")
    if missing and not allow_missing:
        raise BenchError(
            f"{folder}: {len(missing)} of {len(names)} cases have no file: {_join_names(missing)}; "
            "add them or pass --allow-missing"
        )
    return {case: found[case] for case in names if case in found}


def encoded_truth(folder: Path, cases: Cases, names: Sequence[str]) -> dict[str, Path]:
    """Case → the file of its truth as the method itself encodes it; empty where the predictions hold none.

    Raises BenchError unless all of `names` have one, on their grid and as its manifest describes it.
    """
    inner = folder / ENCODED_TRUTH
    if not inner.is_dir():
        return {}
    files, entries = find_predictions(inner, cases.names, allow_missing=True), read_manifest(inner)
    for case in names:
        if case not in files or case not in entries or not has_sha256(files[case], entries[case].sha256):
            raise BenchError(f"{inner}: {case} is missing or not the file its manifest describes; reconstruct again")
        check_grid(files[case], cases, case)
    return {case: files[case] for case in names}


def check_grid(path: Path, cases: Cases, case: str) -> None:
    """Raise BenchError unless the file's header describes the grid of `case`; the voxels are not read."""
    _read_reoriented(path, cases, case)


def read_prediction(path: Path, cases: Cases, case: str, unit: Unit = "hu") -> tuple[np.ndarray, str]:
    """The volume (D, H, W) float64 in [0, 1] of a file, turned to the case's axes; and a note, empty if all is well.

    Values outside the window are clipped, which the note says. Raises BenchError, naming the file, for another grid,
    NaN, a file that cannot be read, and values that contradict `unit`.
    """
    image = _read_reoriented(path, cases, case)
    volume = check_values(path, image, unit).T
    low, high = cases.card.window if unit == "hu" else (0.0, 1.0)
    outside = float(np.mean((volume < low) | (volume > high)))
    note = f"{100 * outside:.3g} % of voxels clipped to {low:g}..{high:g}" if outside else ""
    exact = volume.astype(np.float64)
    return (to_unit(exact, cases.card.window) if unit == "hu" else np.clip(exact, 0.0, 1.0)), note


def _read_reoriented(path: Path, cases: Cases, case: str) -> Any:
    """The image with its axes permuted and flipped to the case's (W, H, D) and checked against its affine."""
    expected = cases.affines[cases.index(case)]
    shape = cases.hounsfield.shape[:0:-1]
    image = open_volume(path, expected)
    turn = ornt_transform(io_orientation(image.affine), io_orientation(expected))
    image = image.as_reoriented(turn)
    if image.shape != shape:
        raise BenchError(
            f"{path} has {image.shape} voxels (right-left, front-back, top-down), not {shape}; "
            "--resample brings it to this grid"
        )
    corners = np.array(np.meshgrid(*[(0, side - 1) for side in shape], [1.0])).reshape(4, -1)
    off = np.linalg.norm(((image.affine - expected) @ corners)[:3], axis=0).max() / cases.card.voxel_mm
    if off > TOLERANCE:
        raise BenchError(
            f"{path} lies on another grid: a corner is {off:.2f} voxels off that of {case}; "
            f"the affine must be {np.round(expected[:3], 3).tolist()} or a flip or permutation of it; "
            "--resample brings it to this grid"
        )
    return image


def check_values(path: Path, image: Any, unit: Unit) -> np.ndarray:
    """The voxels of an opened image, float32 in its own axes. Raises BenchError, naming the file, as above."""
    try:
        volume = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, TypeError, zlib.error) as error:
        raise BenchError(f"{path} is damaged: {error}") from error
    if not np.isfinite(volume).all():
        bad = int((~np.isfinite(volume)).sum())
        raise BenchError(f"{path}: {bad} of {volume.size} voxels are NaN or infinite")
    _check_unit(path, volume, unit)
    return volume


def _check_unit(path: Path, volume: np.ndarray, unit: Unit) -> None:
    low, high = float(volume.min()), float(volume.max())
    if unit == "hu" and low >= 0.0 and low < high <= 1.0:
        raise BenchError(f"{path}: all values lie in {low:g}..{high:g}, which is not HU; pass --unit unit")
    if unit == "unit" and (low < -1.0 or high > 2.0):
        raise BenchError(f"{path}: values lie in {low:g}..{high:g}, far outside [0, 1]; pass --unit hu")


def _join_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
