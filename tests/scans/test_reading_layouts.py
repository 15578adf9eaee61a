"""Copies of LIDC-IDRI come in several layouts of folders; all are the same scans, and only tags are believed."""

from pathlib import Path

import numpy as np
import pytest

from ..helpers.scan_files import pydicom, simpleitk, write_dicom
from ..helpers.scans import find_all, read_only
from .test_reading_dicom import chest

LAYOUTS = {  # where the series {ct} of {patient} lies
    "descriptive, as of 2020": "{patient}/01-01-2000-NA-NA-30178/3000566.000000-NA-{ct}",
    "with a manifest": "manifest-1600709154662/LIDC-IDRI/{patient}/01-01-2000-NA-NA-30178/3000566.000000-NA-{ct}",
    "older": "{patient}/01-01-2000-30178/3000566-{ct}",
    "by identifiers": "{patient}/1.2.3/{ct}",
    "misnamed": "LIDC-IDRI-1028/1.2.3/{ct}",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_archive_is_read(tmp_path: Path, layout: str) -> None:
    expected = {f"LIDC-IDRI-{number:04d}": chest() + np.int16(number) for number in (28, 132)}
    lines = ["Series UID,Modality,File Location", "1.9,CT,..\\..\\elsewhere", f"1.9,CT,{tmp_path / 'elsewhere'}"]
    for patient, hounsfield in expected.items():
        series = f"1.3.6.{int(patient[-4:])}"
        folder = tmp_path / "in" / LAYOUTS[layout].format(patient=patient, ct=series)
        write_dicom(folder, hounsfield, series=series, patient=patient)
        (folder / "069.xml").write_text("<LidcReadMessage/>")
        for tail, (modality, sibling) in enumerate({"DX": "3000923-1", "SEG": "1000.000000-Segmentation-77"}.items()):
            other = folder.parents[1] / patient / sibling
            write_dicom(other, chest(2), series=f"{series}.{tail}", patient=patient, Modality=modality)
    (tmp_path / "in" / "metadata.csv").write_text("\n".join(lines))  # nothing is looked for where a manifest points
    write_dicom(tmp_path / "elsewhere", chest(), series="1.9", patient="LIDC-IDRI-0999")
    sources, rejected = find_all(tmp_path / "in")
    assert {source.patient for source in sources} == expected.keys()
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
