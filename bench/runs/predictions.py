"""Predictions as files: one float32 NIfTI a case, in HU, on the case's own grid; and folders that others made.

Our own folder holds <case>.nii.gz, manifest.csv and, of a method that renders X-ray images, <case>.renders.npy; of a
method that can encode and decode the truth, also encoded_truth/<case>.nii.gz with a manifest of their own. Of several
samples of a case the first lies there and the others in samples/001/, samples/002/ and so on, each with its manifest.
An outside folder holds one file a case in a format of bench.runs.volume_files, in any axis order and orientation its
affine describes, in a unit of bench.runs.prediction_card; a card beside it says what files cannot. Further samples lie
in folders of the same names.
"""

import gzip
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import io_orientation, ornt_transform

from bench.cases import Cases
from bench.dataset import to_hounsfield
from bench.errors import BenchError, UsageError
from bench.runs.manifest import (
    ENCODED_TRUTH,
    Prediction,
    add_to_manifest,
    folder_sha256,
    has_sha256,
    predictions_sha256,
    read_manifest,
    renders_file,
)
from bench.runs.prediction_card import (
    ENDS,
    FAR,
    OFFSETS,
    UNITS,
    PredictionCard,
    Unit,
    card_of,
    errors_by_unit,
    name_unit,
)
from bench.runs.volume_files import SUFFIXES, case_of, open_array, open_volume, read_voxels
from bench.system.files import write_atomic

SAMPLES = "samples"  # in the folder of the predictions, of the folders of further samples
TOLERANCE = 0.05  # voxels that a corner of the grid may lie off, for affines rounded to float32 or printed
AIR_BELOW = -500  # HU
MOST_HU = 1e5  # lead and gold have 2e5 to 3e5, and no scanner shows them
SLACK = 0.25  # of the width of a unit's range, which a network without a last bound may leave …
MOST_OUTSIDE = 0.01  # … in this share of the voxels
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
    files = [(case, path) for path in sorted(folder.iterdir()) if (case := case_of(path)) is not None]
    if not files:
        known = ", ".join(SUFFIXES)
        raise UsageError(f"{folder} holds no volume ({known}); name one after each case, e.g. {names[0]}.nii.gz")
    found = dict(files)
    extra = [case for case in found if case not in set(names)]
    missing = [case for case in names if case not in found]
    if duplicates := [case for case, times in Counter(case for case, _ in files).items() if times > 1]:
        raise BenchError(f"{folder}: more than one file for {_join_names(duplicates)}; keep one a case")
    if extra:
        raise BenchError(f"{folder}: no such case in the split: {_join_names(extra)}; cases are named like {names[0]}")
    if missing and not allow_missing:
        raise BenchError(
            f"{folder}: {len(missing)} of {len(names)} cases have no file: {_join_names(missing)}; "
            "add them or pass --allow-missing"
        )
    return {case: found[case] for case in names if case in found}


def sample_folder(folder: Path, index: int) -> Path:
    """Return where sample `index` of each case lies, below a folder of predictions, which holds sample 0 itself."""
    return folder if index == 0 else folder / SAMPLES / f"{index:03d}"


def count_samples(folder: Path) -> int:
    """Return how many samples of a case a folder of predictions has room for: one, and a folder for each further."""
    return next(index for index in count(1) if not sample_folder(folder, index).is_dir())


def samples_sha256(folder: Path, samples: int) -> str | None:
    """Return one hash of all further samples below a folder of predictions of ours; None where there is none."""
    further = {f"{index}": folder_sha256(sample_folder(folder, index)) for index in range(1, samples)}
    return predictions_sha256(further) if further else None


def find_samples(folder: Path, files: Mapping[str, Path], cases: Cases, samples: int) -> list[dict[str, Path]]:
    """Return the files of each of some samples by case, the first those in `files`.

    Raises BenchError, naming folder and case, for a sample that is missing.
    """
    found = [dict(files)]
    for index in range(1, samples):
        inner = sample_folder(folder, index)
        mine = find_predictions(inner, cases.names, allow_missing=True)
        if missing := [case for case in files if case not in mine]:
            raise BenchError(f"{inner}: no sample of {_join_names(missing)}; reconstruct it, or take {index} samples")
        found.append({case: mine[case] for case in files})
    return found


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


def read_prediction(path: Path, cases: Cases, case: str, unit: Unit | PredictionCard = "hu") -> tuple[np.ndarray, str]:
    """The volume (D, H, W) float64 in [0, 1] of a file, turned to the case's axes; and a note, empty if all is well.

    Values outside the window are clipped, which the note says. Raises BenchError, naming the file, for another grid,
    NaN, a file that cannot be read, and values that contradict the unit.
    """
    return card_of(unit).to_unit(read_values(path, cases, case, unit).astype(np.float64), cases.card.window)


def read_values(path: Path, cases: Cases, case: str, unit: Unit | PredictionCard = "hu") -> np.ndarray:
    """The values (D, H, W) float32 of a file as they are stored, turned to the case's axes. Raises as above."""
    card = card_of(unit)
    if not card.places:
        return check_values(path, _read_reoriented(path, cases, case), card).T
    image = open_volume(path, cases.affines[cases.index(case)], placed=True)
    array = check_values(path, image, card)
    volume = card.turn(array.T if path.suffix == ".npy" else array)
    if volume.shape != cases.hounsfield.shape[1:]:
        raise BenchError(
            f"{path}, as its card says, has {volume.shape} voxels (D, H, W), not {cases.hounsfield.shape[1:]}"
        )
    return volume


def check_prediction(path: Path, cases: Cases, case: str, unit: Unit | PredictionCard) -> None:
    """Raise BenchError as `read_prediction` does, and for HU that cannot be HU, as the truth shows.

    A prediction may be as bad as it likes. But where the truth holds air and it holds none, it is of another unit when
    all of it lies above 0, or fits the truth far better in another; unless a card states it to be HU.
    """
    values, card = read_values(path, cases, case, unit), card_of(unit)
    low, high = float(values.min()), float(values.max())
    if (card.unit or "hu") in OFFSETS and max(-low, high) > MOST_HU:
        raise BenchError(f"{path}: values reach from {low:g} to {high:g}, which no HU do; correct their scale")
    stated = isinstance(unit, PredictionCard) and card.unit is not None
    air = float(cases.hounsfield[cases.index(case)].min()) < AIR_BELOW < low < high
    if (card.unit or "hu") != "hu" or stated or not air:
        return
    errors = errors_by_unit(values.astype(np.float64), cases.truth(case), card, cases.card.window)
    best = min(errors, key=errors.__getitem__)
    advice = f"pass {name_unit(best)}" if errors[best] < FAR * errors[card] else "state their unit with --unit"
    if low >= 0 or advice.startswith("pass"):
        raise BenchError(f"{path}: all values lie in {low:g}..{high:g} and none is air, which is not HU; {advice}")


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


def check_values(path: Path, image: Any, unit: Unit | PredictionCard) -> np.ndarray:
    """The voxels of an opened image, float32 in its own axes. Raises BenchError, naming the file, as above."""
    volume = read_voxels(path, image)
    if bad := int((~np.isfinite(volume)).sum()):
        raise BenchError(f"{path}: {bad} of {volume.size} voxels are NaN or infinite")
    _check_unit(path, volume, card_of(unit).unit or "hu")
    return volume


def _check_unit(path: Path, volume: np.ndarray, unit: Unit) -> None:
    """Raise BenchError for values whose range is that of another unit, whatever the truth is."""
    low, high = float(volume.min()), float(volume.max())
    values = f"{path}: all values lie in {low:g}..{high:g}"
    if unit in (*OFFSETS, "byte") and -1.0 <= low < high <= 1.0:
        raise BenchError(f"{values}, which is not {UNITS[unit]}; pass --unit {'unit' if low >= 0 else 'signed'}")
    if unit in ENDS:
        start, end = ENDS[unit]
        least, most = _widen(unit)
        far = np.mean((volume < least) | (volume > most))
        if far > MOST_OUTSIDE or low < 2 * start - end or high > 2 * end - start:
            wider = {name: _widen(name) for name in ("signed", "byte")}
            other = next((name for name, (least, most) in wider.items() if least <= low and high <= most), "hu")
            raise BenchError(f"{values}, {far:.0%} of them far outside {UNITS[unit]}; pass --unit {other}")


def _widen(unit: str) -> tuple[float, float]:
    """Return the ends of a unit with the slack on both sides."""
    start, end = ENDS[unit]
    return start - SLACK * (end - start), end + SLACK * (end - start)


def _join_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
