"""Writers of a synthetic CT in every format but NIfTI, each by the library that is at home in it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.io import imsave

from bench.dataset import Geometry
from bench.projector import project

from .scans import VOXEL_MM

h5py, pydicom, simpleitk, tifffile = map(pytest.importorskip, ("h5py", "pydicom", "SimpleITK", "tifffile"))
Dataset = pydicom.Dataset

CT_IMAGE, ENHANCED_CT, DICOS_CT = (f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("2", "2.1", "501.1"))
Change = Callable[[object, int], None]
BAG_NOTE = {"spacing_mm": (5.0, 5.0, 5.0), "axes": ("H", "D", "W")}  # what the slices of `seen` are


def write_itk(path: Path, hounsfield: np.ndarray, *, packed: bool = False, turned: bool = False) -> Path:
    """MetaImage or NRRD, stored as scanners do: z inferior→superior; `turned` with x and y reversed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored, sign = hounsfield[::-1], 1.0
    if turned:
        stored, sign = stored[:, ::-1, ::-1], -1.0
    image = simpleitk.GetImageFromArray(np.ascontiguousarray(stored))
    image.SetSpacing((VOXEL_MM,) * 3)
    image.SetDirection((sign, 0, 0, 0, sign, 0, 0, 0, 1))
    depth, height, width = hounsfield.shape
    image.SetOrigin(
        [-sign * VOXEL_MM * (width - 1) / 2, -sign * VOXEL_MM * (height - 1) / 2, -VOXEL_MM * (depth - 1) / 2]
    )
    simpleitk.WriteImage(image, str(path), packed)
    return path


def write_h5(path: Path, hounsfield: np.ndarray, ct: np.ndarray | None = None, **datasets: object) -> Path:
    """X2CT-GAN's layout: HU + 1000 from 0 to 2500, z superior→inferior, a stale spacing, and the X-rays of it.

    `ct` is stored in its place, `datasets` beside it; None leaves one out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    frontal, lateral = draw_xrays(hounsfield, (270, 0), (True, False))
    stored = np.clip(hounsfield.astype(np.int32) + 1000, 0, 2500).astype(np.int16) if ct is None else ct
    with h5py.File(path, "w") as file:
        file.create_dataset("ct", data=stored, compression="gzip")
        for name, values in {"spacing": np.ones(3), "xray1": frontal, "xray2": lateral, **datasets}.items():
            if values is not None:
                file.create_dataset(name, data=values)
    return path


def draw_xrays(hounsfield: np.ndarray, angles: Sequence[float], mirrored: Sequence[bool], side: int = 80) -> np.ndarray:
    """(V, side, side) uint8 of a cube of 320 mm, each stretched on its own to its maximum."""
    scan = torch.from_numpy(hounsfield.astype(np.float32))[None]
    voxel, geometry = 320.0 / len(hounsfield), Geometry(541.0, 949.0, 500.0)
    views = project(scan, voxel, geometry, list(angles), side, mirrored=list(mirrored))[0].numpy()
    return np.rint(255 * views / views.max((1, 2), keepdims=True).clip(1e-6)).astype(np.uint8)


def write_chest_npz(folder: Path, hounsfield: np.ndarray, offset: int = 0) -> Path:
    """CodeDiff3D's layout: half precision, z inferior→superior, eight DRRs beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(8):
        imsave(folder / f"drr_{index}.png", drr(index), check_contrast=False)
    path = folder / "x_chest128_f16.npz"
    np.savez_compressed(path, ct=(hounsfield[::-1] + offset).astype(np.float16))
    return path


def write_bag(folder: Path, values: np.ndarray) -> None:
    """The layout of the unreleased bags: a volume in a folder, two pictures in another."""
    (folder / "volumes").mkdir(parents=True)
    np.savez_compressed(folder / "volumes" / "v_f16.npz", ct=values)
    (folder / "projections_grayscale2").mkdir()
    for index, side in enumerate(("azimuth", "elevation")):
        imsave(folder / "projections_grayscale2" / f"{folder.name}_{side}_90.png", drr(index), check_contrast=False)


def seen(volume: np.ndarray) -> np.ndarray:
    """A bag (D, H, W) as slices (H, D, W) across the belt, upright on a screen."""
    return volume.transpose(1, 0, 2)


def drr(seed: int) -> np.ndarray:
    """(16, 16) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (16, 16)).astype(np.uint8)


def write_dicom(
    folder: Path,
    hounsfield: np.ndarray,
    *,
    patient: str = "p",
    series: str = "1.2.3.4",
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    first: Sequence[float] | None = None,
    step: Sequence[float] = (0, 0, -VOXEL_MM),
    explicit: bool = True,
    change: Change | None = None,
    **tags: object,
) -> list[Path]:
    """One file a slice (k, j, i), `step` LPS millimetres from one to the next, numbered against their order in space.

    `first` is the place of the first voxel, by default that of a scan around the origin. `tags` replace what every
    slice says, `change(dataset, index)` what one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if first is None:
        first = (VOXEL_MM * (np.array(hounsfield.shape) - 1) / 2)[::-1] * [-1, -1, 1]
    paths = []
    for index, plane in enumerate(hounsfield):
        dataset = _dataset(plane, patient, series)
        dataset.SOPClassUID, dataset.SOPInstanceUID = CT_IMAGE, f"{series}.{index + 1}"
        dataset.InstanceNumber = index * 7 % len(hounsfield) + 1  # no order to rely on
        dataset.ImageOrientationPatient = list(orientation)
        dataset.ImagePositionPatient = [float(v) for v in np.array(first) + index * np.array(step)]
        dataset.PixelSpacing = [VOXEL_MM, VOXEL_MM]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        for tag, value in tags.items():
            setattr(dataset, tag, value)
        if change:
            change(dataset, index)
        paths.append(folder / f"1-{dataset.InstanceNumber:03d}.dcm")
        _save(paths[-1], dataset, explicit)
    return paths


def write_dicos(
    path: Path,
    hounsfield: np.ndarray,
    *,
    kind: str = DICOS_CT,
    unit: str = "HU",
    positions: bool = True,
    jpeg: bool = False,
    patient: str = "bag7",
    energy: str = "HIGH ENERGY",
) -> Path:
    """All slices (k, j, i) in one file with functional groups; without `positions` all lie at 0, 0, 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = _dataset(hounsfield[0], patient, f"1.2.3.{len(energy)}")
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, "1.2.3.9.1"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", energy]
    first = -VOXEL_MM * (np.array(hounsfield.shape) - 1) / 2
    places = [[first[2], first[1], first[0] + VOXEL_MM * index] for index in range(len(hounsfield))]
    transform = 0 if unit == "MHU" else -1000, unit
    _group(dataset, places if positions else [[0, 0, 0]] * len(places), [VOXEL_MM] * 2, VOXEL_MM, transform)
    dataset.PixelData = (hounsfield + 1000).astype("<u2").tobytes()
    dataset.PixelRepresentation = 0
    _save(path, dataset)
    if jpeg:
        packed = pydicom.dcmread(path)
        packed.compress(pydicom.uid.JPEG2000Lossless, encoding_plugin="pylibjpeg")
        packed.save_as(path)
    return path


def write_frames(
    path: Path,
    hounsfield: np.ndarray,
    indices: Sequence[int],
    *,
    kind: str = ENHANCED_CT,
    number: int = 1,
    shift: float = 0.0,
    intercept: int = -1024,
    change: Change | None = None,
    **tags: object,
) -> Path:
    """Some slices (k, j, i) of 2.5 by 1.5 by 2 mm in one file of a series, all they are stated in functional groups."""
    dataset = _dataset(hounsfield[0], "LIDC-IDRI-0001", "1.2.3.1")
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.InstanceNumber = kind, f"1.2.3.1.{number}", number
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    places = [[-10, -30, 200 - 2.5 * int(index) - shift] for index in indices]
    _group(dataset, places, [1.5, 2.0], 2.5, (intercept, "HU"))
    dataset.PixelData = (hounsfield[list(indices)].astype(np.int32) - intercept).astype("<i2").tobytes()
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    if change:
        change(dataset, 0)
    _save(path, dataset)
    return path


def write_tiffs(folder: Path, values: np.ndarray, *, pages: bool = False) -> Path:
    """One file a slice, or one file with a page a slice."""
    folder.mkdir(parents=True, exist_ok=True)
    if pages:
        tifffile.imwrite(folder / f"{folder.name}.tif", values, photometric="minisblack", compression="zlib")
    else:
        for index, plane in enumerate(values):
            tifffile.imwrite(folder / f"slice_{index + 8}.tif", plane)  # 8, 9, 10: no order of names
    return folder


def write_note(path: Path, **values: object) -> Path:
    """A side file."""
    lines = [f"{key} = {value!r}".replace("(", "[").replace(")", "]") for key, value in values.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _dataset(plane: np.ndarray, patient: str, series: str) -> object:
    dataset = Dataset()
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = patient, "1.2.3", series
    dataset.Rows, dataset.Columns = plane.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = (plane + 1024).astype("<i2").tobytes()
    return dataset


def _group(
    dataset: Any, places: Sequence[Sequence[float]], spacing: list[float], thickness: float, rescale: tuple[int, str]
) -> None:
    """Say in functional groups where frames lie, how large their voxels are, and intercept and unit of their values."""
    shared, measures, plane, transform = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = spacing, thickness
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    transform.RescaleSlope, (transform.RescaleIntercept, transform.RescaleType) = 1, rescale
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.PixelValueTransformationSequence = [transform]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.NumberOfFrames, frames = len(places), []
    for place in places:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = place
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames


def _save(path: Path, dataset: object, explicit: bool = True) -> None:
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    uids = pydicom.uid
    dataset.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian if explicit else uids.ImplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
