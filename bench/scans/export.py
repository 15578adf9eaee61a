"""Write cases as NIfTI files that any viewer opens at the right place and the right way round.

Prepared scans at their full grid, or what a method is given at a preset's resolution, views and all, for those who
reconstruct with programs of their own.
"""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import nibabel
import numpy as np

from bench.cases import Cases
from bench.data.splits import assign_splits
from bench.data.store import load_volume, read_store
from bench.dataset import DatasetSpec, centred_affine
from bench.errors import BenchError
from bench.system.csv_files import csv_text
from bench.system.files import write_atomic, write_json, write_text

from .reading.scan import Rejected


def export_prepared(spec: DatasetSpec, folder: Path) -> tuple[list[Path], list[Rejected]]:
    """Write each prepared case as `folder`/<case>.nii.gz, int16 HU, and splits.csv; return the files and the failures.

    Voxels are stored in NIfTI's order (W, H, D) with the affine to the scanner's RAS millimetres. Raises BenchError
    when nothing is prepared.
    """
    records = read_store(spec.name)
    if not records:
        raise BenchError(
            f"no {spec.name} case is prepared; run `bench data prepare {spec.name} --from DIR` first, or write what "
            "runs use, phantoms too, with --preset tiny"
        )
    written, failed = [], []
    for record in records:
        path = folder / f"{record.case}.nii.gz"
        try:
            volume = load_volume(spec.name, record)
        except BenchError as error:
            failed.append(Rejected(path, str(error)))
            continue
        size = volume.shape[0]
        _write(path, volume, centred_affine(size, spec.cube_mm / size, record.centre_ras_mm))
        written.append(path)
    splits = assign_splits(spec, records)
    lines = ((record.case, record.patient, splits.get(record.case, "unused")) for record in records)
    write_text(folder / "splits.csv", csv_text(("case", "patient", "split"), lines))
    return written, failed


def export_cases(splits: Sequence[Cases], folder: Path, on_progress: Callable[[int, int], None] | None = None) -> int:
    """Write the cases of some splits as a method is given them; return how many. `on_progress(done, total)` a case.

    <split>/truth/<case>.nii.gz: the volume, int16 HU, as `export_prepared` stores it. <split>/views/<case>.npy: its
    views (V, h, w) float32 in [0, 1]. data.json says of both what they are: angles, geometry, window, grid.
    """
    facts = {name: value for name, value in asdict(splits[0].card).items() if name != "counts"}
    write_json(folder / "data.json", facts | {"volumes": "D, H, W: to feet, back, left", "views": "V, rows, columns"})
    count, total = 0, sum(map(len, splits))
    for cases in splits:
        for index, case in enumerate(cases.names):
            _write(folder / cases.split / "truth" / f"{case}.nii.gz", cases.hounsfield[index], cases.affines[index])
            save_views = partial(np.lib.format.write_array, array=cases.images([index])[0].numpy())
            write_atomic(folder / cases.split / "views" / f"{case}.npy", save_views)
            count += 1
            if on_progress:
                on_progress(count, total)
    return count


def _write(path: Path, volume: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume (D, H, W) as a gzipped NIfTI in the order (W, H, D), with its affine to RAS millimetres."""
    image = nibabel.Nifti1Image(np.asarray(volume).transpose(2, 1, 0), affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    content = gzip.compress(image.to_bytes(), mtime=0)
    write_atomic(path, lambda file: file.write(content))
