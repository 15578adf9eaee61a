"""Volumes as others write them, opened as one kind of image: NIfTI, NRRD and MetaImage (SimpleITK), and .npy.

A file is named after its case. All but .npy say where their voxels lie. A .npy array is (D, H, W) on the case's own
grid: D superior→inferior, H anterior→posterior, W patient right→left.
"""

import importlib.util
import re
import zlib
from pathlib import Path, PureWindowsPath
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from bench.dataset import affine_from_lps
from bench.errors import BenchError, UsageError
from bench.runs.manifest import RENDERS
from bench.system.arrays import open_array

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
SUFFIXES = (".nii.gz", ".nii", ".npy", *ITK_SUFFIXES)
HEADER_BYTES = 65536
DATA_FILE = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file\s*:)\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
SPACE = re.compile(rb"^space\s*:", re.IGNORECASE | re.MULTILINE)


def case_of(path: Path) -> str | None:
    """The case that a file is named after; None for a file that is no volume."""
    if path.name.startswith(".") or path.name.endswith(RENDERS) or not path.is_file():
        return None
    return next((path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix)), None)


def open_volume(path: Path, case_affine: np.ndarray) -> Any:
    """A nibabel image of one 3-D volume with a usable affine in RAS millimetres; voxels may be read later.

    `case_affine` is what a .npy array is taken to lie on. Raises BenchError, naming the file, for what cannot be read.
    """
    if path.suffix == ".npy":
        image = _open_numpy(path, case_affine)
    elif path.suffix in ITK_SUFFIXES:
        image = _open_itk(path)
    else:
        try:
            image = nib.funcs.squeeze_image(nib.load(path))  # type: ignore[arg-type]
        except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
            raise BenchError(f"{path} cannot be read as NIfTI: {error}") from error
    if len(image.shape) != 3 or image.get_data_dtype().kind not in "iuf":
        raise BenchError(f"{path} holds {image.get_data_dtype()} of shape {image.shape}; one number a voxel is needed")
    if not np.isfinite(image.affine).all() or np.linalg.matrix_rank(image.affine[:3, :3]) < 3:
        raise BenchError(f"{path} has no usable affine")
    return image


def _open_numpy(path: Path, affine: np.ndarray) -> Any:
    array = open_array(path)
    if array.dtype.kind not in "iuf":
        raise BenchError(f"{path} is not an array of numbers; save the volume (D, H, W) alone with numpy.save")
    return nib.spatialimages.SpatialImage(array.T, affine)


def _open_itk(path: Path) -> Any:
    if importlib.util.find_spec("SimpleITK") is None:
        raise UsageError(f"{path}: reading {path.suffix} needs SimpleITK; pip install 'ct-from-views-bench[data]'")
    import SimpleITK as itk  # noqa: N813

    _check_header(path)
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
            raise BenchError(f"{path} holds {reader.GetSize()} voxels of {reader.GetNumberOfComponents()} numbers")
        affine = affine_from_lps(reader.GetDirection(), reader.GetSpacing(), reader.GetOrigin())
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BenchError(f"{path} cannot be read: {reason}") from error
    except ValueError as error:
        raise BenchError(f"{path} has no usable affine: {error}") from error
    return nib.spatialimages.SpatialImage(itk.GetArrayFromImage(image).transpose(2, 1, 0), affine)


def _check_header(path: Path) -> None:
    """Raise BenchError for voxels outside the file's folder, and for a NRRD that does not say how it lies."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if path.suffix == ".nrrd":
        header = header.split(b"\n\n")[0]
    named = DATA_FILE.search(header)
    name = named.group(1).decode("utf-8", "replace") if named else ""
    if name and name != "LOCAL" and (PureWindowsPath(name).name != name or " " in name or "%" in name):
        raise BenchError(f"{path} takes its voxels from '{name}'; save it as one file, or keep one data file beside it")
    if path.suffix in (".nrrd", ".nhdr") and not SPACE.search(header):
        raise BenchError(f"{path} states no space, so its orientation is unknown; save it with a space and directions")
