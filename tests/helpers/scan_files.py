"""Writers of one synthetic CT in every format that is read, each by the library that is at home in it."""

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from skimage.io import imsave

h5py, pydicom, simpleitk, tifffile = map(pytest.importorskip, ("h5py", "pydicom", "SimpleITK", "tifffile"))
Dataset = pydicom.Dataset

CT_IMAGE, ENHANCED_CT, DICOS_CT = (f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("2", "2.1", "501.1"))
VOXEL_MM = 5.0
SIDE = 64  # voxels: 320 mm


def phantom() -> np.ndarray:
    """(D, H, W) int16 HU, 320 mm at 5 mm: a trunk without symmetry in air, every value exact in half precision."""
    d, h, w = (axis - (SIDE - 1) / 2 for axis in np.ogrid[:SIDE, :SIDE, :SIDE])
    hounsfield = np.full((SIDE,) * 3, -1000, np.int16)
    hounsfield[(w / 26) ** 2 + (h / 20) ** 2 < 0.8 + 0 * d] = 40
    for side in (-1, 1):
        hounsfield[((w - 12 * side) / 8) ** 2 + (h / 12) ** 2 + ((d + side) / 24) ** 2 < 1] = -860
    hounsfield[w**2 + (h - 12) ** 2 + 0 * d < 9] = 400
    hounsfield[8:14, 20:26, 22:30] = 900  # towards superior, anterior, right
    return hounsfield


def ras_affine(shape: Sequence[int], voxel: float = VOXEL_MM) -> np.ndarray:
    """Affine of (W, H, D) centred at the origin."""
    affine = np.diag([-voxel, -voxel, -voxel, 1.0])
    affine[:3, 3] = voxel * (np.array(shape[::-1]) - 1) / 2
    return affine


def write_nifti(path: Path, hounsfield: np.ndarray, dtype: type = np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(hounsfield.transpose(2, 1, 0).astype(dtype), ras_affine(hounsfield.shape))
    nibabel.save(image, path)
    return path


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


def write_h5(path: Path, hounsfield: np.ndarray, **datasets: np.ndarray) -> Path:
    """X2CT-GAN's layout: HU + 1024, z inferior→superior."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("ct", data=hounsfield[::-1] + np.int16(1024), compression="gzip")
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
    return path


def write_chest_npz(folder: Path, hounsfield: np.ndarray, offset: int = 0) -> Path:
    """CodeDiff3D's layout: half precision, z inferior→superior, eight DRRs beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(8):
        imsave(folder / f"drr_{index}.png", drr(index), check_contrast=False)
    path = folder / "x_chest128_f16.npz"
    np.savez_compressed(path, ct=(hounsfield[::-1] + offset).astype(np.float16))
    return path


def drr(seed: int) -> np.ndarray:
    """(16, 16) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (16, 16)).astype(np.uint8)


def write_dicom(
    folder: Path, hounsfield: np.ndarray, *, patient: str = "p", series: str = "1.2.3.4", **tags: object
) -> Path:
    """One file a slice (k, j, i), numbered against their order; `tags` replace what every slice says."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, plane in enumerate(hounsfield):
        dataset = _dataset(plane, patient, series)
        dataset.SOPClassUID, dataset.SOPInstanceUID = CT_IMAGE, f"{series}.{index + 1}"
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [VOXEL_MM, VOXEL_MM]
        first = -VOXEL_MM * (np.array(hounsfield.shape) - 1) / 2
        dataset.ImagePositionPatient = [float(v) for v in (first[2], first[1], -first[0] - VOXEL_MM * index)]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        for tag, value in tags.items():
            setattr(dataset, tag, value)
        _save(folder / f"1-{len(hounsfield) - index:03d}.dcm", dataset)
    return folder


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
    dataset.NumberOfFrames = len(hounsfield)
    shared, measures, plane, transform = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [VOXEL_MM, VOXEL_MM], VOXEL_MM
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 1, 0 if unit == "MHU" else -1000, unit
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.PixelValueTransformationSequence = [transform]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    first = -VOXEL_MM * (np.array(hounsfield.shape) - 1) / 2
    for index in range(len(hounsfield)):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [first[2], first[1], first[0] + VOXEL_MM * index] if positions else [0, 0, 0]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.PixelData = (hounsfield + 1000).astype("<u2").tobytes()
    dataset.PixelRepresentation = 0
    _save(path, dataset)
    if jpeg:
        packed = pydicom.dcmread(path)
        packed.compress(pydicom.uid.JPEG2000Lossless, encoding_plugin="pylibjpeg")
        packed.save_as(path)
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
    path.write_text("\n".join(lines) + "\n")
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


def _save(path: Path, dataset: object) -> None:
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
