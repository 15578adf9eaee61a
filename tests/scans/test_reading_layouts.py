"""Copies of LIDC-IDRI come in several layouts of folders; all are the same scans, and only tags are believed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ..helpers.scan_files import pydicom, simpleitk, write_dicom
from ..helpers.scans import find_all, read_only
from .test_reading_dicom import chest

CT, DX = "1.3.6.1.4.1.14519.5.2.1.6279.6001.3", "1.3.6.1.4.1.14519.5.2.1.6279.6001.4"


def retriever(root: Path, patient: str, ct: str, dx: str) -> tuple[Path, Path]:
    """Descriptive names, as the NBIA Data Retriever gives them since 2020."""
    (root / "LICENSE").write_text("CC BY 3.0")
    lines = ["Series UID,Modality,File Location", f"{ct},CT,.\\LIDC-IDRI\\{patient}\\01-01-2000-NA-NA-30178\\x"]
    lines += [f"{ct},CT,..\\..\\elsewhere", f"{ct},CT,/etc"]  # nothing is looked for where a manifest points
    (root / "metadata.csv").write_text("\n".join(lines))
    study = root / patient / "01-01-2000-NA-NA-30178"
    return study / f"3000566.000000-NA-{ct[-5:]}", root / patient / "01-01-2000-NA-NA-35511" / "3000923.000000-NA-62357"


def manifest(root: Path, patient: str, ct: str, dx: str) -> tuple[Path, Path]:
    inner = root / "manifest-1600709154662" / "LIDC-IDRI"
    inner.mkdir(parents=True, exist_ok=True)
    return retriever(inner, patient, ct, dx)


def older(root: Path, patient: str, ct: str, dx: str) -> tuple[Path, Path]:
    return root / patient / "01-01-2000-30178" / f"3000566-{ct[-5:]}", root / patient / "01-01-2000-35511" / "3000923-1"


def classic(root: Path, patient: str, ct: str, dx: str) -> tuple[Path, Path]:
    return root / patient / "1.2.3" / ct, root / patient / "1.2.4" / dx


def misnamed(root: Path, patient: str, ct: str, dx: str) -> tuple[Path, Path]:
    return root / "LIDC-IDRI-1028" / "1.2.3" / ct, root / "LIDC-IDRI-1028" / "1.2.4" / dx


@pytest.mark.parametrize("layout", [retriever, manifest, older, classic, misnamed])
def test_every_layout_of_the_archive_is_read(
    tmp_path: Path, layout: Callable[[Path, str, str, str], tuple[Path, Path]]
) -> None:
    expected: dict[str, np.ndarray] = {}
    for number in (28, 132):
        patient, hounsfield = f"LIDC-IDRI-{number:04d}", chest() + np.int16(number)
        root = tmp_path / "in" / str(number) if layout is misnamed else tmp_path / "in"
        root.mkdir(parents=True, exist_ok=True)
        ct, dx = f"{CT}.{number}", f"{DX}.{number}"
        folder, other = layout(root, patient, ct, dx)
        write_dicom(folder, hounsfield, series=ct, patient=patient)
        (folder / "069.xml").write_text("<LidcReadMessage/>")
        siblings = {"DX": other, "SEG": folder.parent / "1000.000000-Segmentation of Nodule 1-77"}
        for tail, (modality, sibling) in enumerate(siblings.items()):
            write_dicom(sibling, chest(2), series=f"{dx}.{tail}", patient=patient, Modality=modality)
        expected[patient] = hounsfield
    elsewhere = tmp_path / "elsewhere"
    write_dicom(elsewhere, chest(), series="1.9", patient="LIDC-IDRI-0999")
    sources, rejected = find_all(tmp_path / "in")
    assert {source.patient for source in sources} == expected.keys()
    assert {source.series for source in sources} == {f"{CT}.28", f"{CT}.132"}
    for source in sources:
        np.testing.assert_array_equal(source.read().hounsfield, expected[source.patient])
    assert sorted({item.reason for item in rejected}) == ["no CT: Modality DX", "no CT: Modality SEG"]
    assert all(item.expected for item in rejected)


def packed_by_itk(folder: Path, dataset: object) -> None:
    writer = simpleitk.ImageFileWriter()
    writer.SetFileName(str(folder / "packed.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(simpleitk.GetImageFromArray(dataset.pixel_array[None]))
    packed = pydicom.dcmread(folder / "packed.dcm")
    dataset.PixelData = packed.PixelData
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("syntax", ["JPEGLosslessSV1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"])
def test_losslessly_packed_slices_are_decoded(tmp_path: Path, syntax: str) -> None:
    if syntax == "JPEGLSLossless":
        pytest.importorskip("jpeg_ls", reason="needs an encoder: pip install pyjpegls")
    expected = chest(rows=64, columns=64)
    for path in write_dicom(tmp_path / "in", expected):
        dataset = pydicom.dcmread(path)
        if syntax == "JPEGLosslessSV1":
            packed_by_itk(tmp_path, dataset)
        else:
            dataset.compress(getattr(pydicom.uid, syntax))
        assert dataset.file_meta.TransferSyntaxUID == getattr(pydicom.uid, syntax)
        dataset.save_as(path)
    np.testing.assert_array_equal(read_only(tmp_path / "in").hounsfield, expected)
