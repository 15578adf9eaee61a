"""Volumes as others write them, opened as one kind of image: NIfTI, NRRD and MetaImage (SimpleITK), and .npy.

A file is named after its case. All but .npy say where their voxels lie. A .npy array is (D, H, W) on the case's own
grid: D superior→inferior, H anterior→posterior, W patient right→left.
"""

import importlib.util
import warnings
import zlib
from pathlib import Path, PureWindowsPath
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError

from bench.dataset import affine_from_lps
from bench.errors import BenchError, UsageError
from bench.runs.manifest import RENDERS
from bench.system.itk_headers import data_file, lacks_directions, lacks_spacing, millimetres
from bench.system.text import describe_error

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
PATIENT_AXES = ("L", "P", "I")  # where W, H and D of a volume lead to
SUFFIXES = (".nii.gz", ".nii", ".npy", *ITK_SUFFIXES)


def case_of(path: Path) -> str | None:
    """The case that a file is named after; None for a file that is no volume."""
    if path.name.startswith(".") or path.name.endswith(RENDERS) or not path.is_file():
        return None
    return next((path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix)), None)


def open_volume(path: Path, case_affine: np.ndarray, *, placed: bool = False) -> Any:
    """A nibabel image of one 3-D volume with a usable affine in RAS millimetres; voxels may be read later.

    `case_affine` is what a .npy array is taken to lie on; `placed` says that a card states how voxels lie, so that a
    file need not. Raises BenchError, naming the file, for what cannot be read or does not say how it lies.
    """
    if path.suffix == ".npy":
        image = _open_numpy(path, case_affine)
    elif path.suffix in ITK_SUFFIXES:
        image = _open_itk(path, placed)
    else:
        try:
            loaded: Any = nib.load(path)
            if not placed:
                _check_handedness(path, loaded.header)
            image = nib.funcs.squeeze_image(loaded)
        except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
            raise BenchError(f"{path} cannot be read as NIfTI: {error}") from error
    if len(image.shape) != 3 or image.get_data_dtype().kind not in "iuf":
        raise BenchError(f"{path} holds {image.get_data_dtype()} of shape {image.shape}; one number a voxel is needed")
    if not np.isfinite(image.affine).all() or np.linalg.matrix_rank(image.affine[:3, :3]) < 3:
        raise BenchError(f"{path} has no usable affine")
    return image


def read_volume(path: Path) -> np.ndarray:
    """Return a volume as it is stored, (D, H, W) float32: D superior→inferior, H anterior→posterior, W right→left.

    Values are those of the file, HU in what the harness writes. Raises BenchError as `open_volume` does.
    """
    image = open_volume(path, np.diag([-1.0, -1.0, -1.0, 1.0]))
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(PATIENT_AXES))
    return read_voxels(path, image.as_reoriented(turn)).T


def read_voxels(path: Path, image: Any) -> np.ndarray:
    """Return the voxels of an opened image, float32 in its own axes. Raises BenchError, naming the file, for damage."""
    try:
        return np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, TypeError, zlib.error) as error:
        raise BenchError(f"{path} is damaged: {error}") from error


def open_array(path: Path) -> np.ndarray:
    """Return the array in a .npy file, memory-mapped. Raises BenchError, naming the file, for anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # the header is a line of Python: its parser raises what Python's does
        reason = describe_error(error)
        raise BenchError(f"{path} cannot be read as a plain .npy array, as numpy.save writes one: {reason}") from error


def _open_numpy(path: Path, affine: np.ndarray) -> Any:
    array = open_array(path)
    if array.dtype.kind not in "iuf":
        raise BenchError(f"{path} is not an array of numbers; save the volume (D, H, W) alone with numpy.save")
    return nib.spatialimages.SpatialImage(array.T, affine)


def _open_itk(path: Path, placed: bool) -> Any:
    if importlib.util.find_spec("SimpleITK") is None:
        raise UsageError(f"{path}: reading {path.suffix} needs SimpleITK; pip install 'ct-from-views-bench[data]'")
    import SimpleITK as itk  # noqa: N813

    _check_header(path, placed)
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
            raise BenchError(f"{path} holds {reader.GetSize()} voxels of {reader.GetNumberOfComponents()} numbers")
        affine = affine_from_lps(reader.GetDirection(), reader.GetSpacing(), reader.GetOrigin())
        affine = np.diag([millimetres(path)] * 3 + [1.0]) @ affine
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BenchError(f"{path} cannot be read: {reason}") from error
    except ValueError as error:
        raise BenchError(f"{path} has no usable affine: {error}") from error
    return nib.spatialimages.SpatialImage(itk.GetArrayFromImage(image).transpose(2, 1, 0), affine)


def _check_header(path: Path, placed: bool) -> None:
    """Raise BenchError for voxels outside the file's folder, and for a header that does not say how they lie."""
    name = data_file(path)
    if name and (PureWindowsPath(name).name != name or " " in name or "%" in name):
        raise BenchError(f"{path} takes its voxels from '{name}'; save it as one file, or keep one data file beside it")
    lacking = lacks_directions(path) or lacks_spacing(path)
    if lacking and not placed:
        raise BenchError(
            f"{path} states no {lacking}, so where it lies is unknown; save it with that, or state axes in a card"
        )


def _check_handedness(path: Path, header: Any) -> None:
    """Raise BenchError for a NIfTI whose two matrices say different things of left and right."""
    if header["qform_code"] > 0 and header["sform_code"] > 0:
        hands = [np.sign(np.linalg.det(matrix[:3, :3])) for matrix in (header.get_qform(), header.get_sform())]
        if hands[0] * hands[1] < 0:
            raise BenchError(
                f"{path}: qform and sform are mirrored against each other; set the code of the wrong one to 0"
            )
