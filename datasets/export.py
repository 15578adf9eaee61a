"""Write prepared cases as NIfTI files that any viewer opens at the right place and the right way round."""

import csv
import gzip
import io
from functools import partial
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np

from bench.dataset import DatasetSpec, centred_affine
from bench.errors import BenchError
from bench.files import write_atomic, write_text
from bench.store import load_volume, read_store

from .reading.scan import Rejected


def export(spec: DatasetSpec, folder: Path) -> tuple[list[Path], list[Rejected]]:
    """Write each prepared case as `folder`/<case>.nii.gz, int16 HU, and splits.csv; return the files and the failures.

    Voxels are stored in NIfTI's order (W, H, D) with the affine to the scanner's RAS millimetres. Raises BenchError
    when nothing is prepared.
    """
    records = read_store(spec.name)
    if not records:
        raise BenchError(f"no {spec.name} case is prepared; run `bench data prepare {spec.name} --from DIR` first")
    written, failed = [], []
    for record in records:
        path = folder / f"{record.case}.nii.gz"
        try:
            volume = load_volume(spec.name, record)
        except BenchError as error:
            failed.append(Rejected(path, str(error)))
            continue
        content = gzip.compress(_nifti(volume, spec.cube_mm, record.centre_ras_mm), mtime=0)
        write_atomic(path, partial(_put, content))
        written.append(path)
    splits = spec.assign_splits(records)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("case", "patient", "split"))
    rows.writerows((record.case, record.patient, splits.get(record.case, "unused")) for record in records)
    write_text(folder / "splits.csv", text.getvalue())
    return written, failed


def _put(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _nifti(volume: np.ndarray, cube_mm: float, centre_ras_mm: tuple[float, float, float]) -> bytes:
    size = volume.shape[0]
    image = nibabel.Nifti1Image(volume.transpose(2, 1, 0), centred_affine(size, cube_mm / size, centre_ras_mm))
    image.set_sform(image.affine, code="scanner")
    image.set_qform(image.affine, code="scanner")
    image.header.set_xyzt_units("mm")
    return image.to_bytes()
