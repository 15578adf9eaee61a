"""DICOM series are found by their tags in any layout, ordered by their positions, and decoded where they are packed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.scans.reading.scan import Scan

from ..helpers.scan_files import Change, pydicom, simpleitk, write_dicom
from ..helpers.scans import find_all, read_only, refusal

FIRST = (-10.0, -30.0, 200.0)


def chest(slices: int = 44, rows: int = 24, columns: int = 20) -> np.ndarray:
    """(D, H, W) HU: a block in air, a marker towards superior, anterior, right, and no two slices alike."""
    hounsfield = np.full((slices, rows, columns), -1000, np.int16)
    hounsfield[2:-2, 4:-4, 3:-3] = 40 + np.arange(slices - 4)[:, None, None]
    hounsfield[5:9, 5:8, 4:7] = 700
    return hounsfield


def write(folder: Path, hounsfield: np.ndarray, **options: Any) -> list[Path]:
    """A series of 2.5 mm slices with pixels of 1.5 by 2 mm."""
    given = {"first": FIRST, "step": (0.0, 0.0, -2.5), "PixelSpacing": [1.5, 2.0], "SliceThickness": 9.0}
    return write_dicom(folder, hounsfield, **{**given, "patient": "LIDC-IDRI-0001", "series": "1.2.3.1", **options})


def marker_ras(scan: Scan) -> np.ndarray:
    """Where in RAS millimetres the centre of the dense marker lies."""
    index = np.argwhere(scan.hounsfield > 600).mean(axis=0) - (np.array(scan.hounsfield.shape) - 1) / 2
    return np.array(scan.centre_ras_mm) - (index * scan.spacing_mm)[::-1]


@pytest.mark.parametrize("explicit", [True, False])
def test_slices_are_ordered_by_position_not_by_name(tmp_path: Path, explicit: bool) -> None:
    write(tmp_path / "NA-NA", chest(), explicit=explicit)
    scan = read_only(tmp_path)
    np.testing.assert_array_equal(scan.hounsfield, chest())
    np.testing.assert_allclose(scan.spacing_mm, (2.5, 1.5, 2.0))
    # LPS: first voxel (-10, -30, 200), extents of 19 · 2, 23 · 1.5 and 43 · -2.5 mm
    np.testing.assert_allclose(scan.centre_ras_mm, (10 - 19, 30 - 17.25, 200 - 53.75))


@pytest.mark.parametrize(
    ("orientation", "step", "back"),
    [
        ((1, 0, 0, 0, 1, 0), (0, 0, 2.5), (slice(None, None, -1), slice(None), slice(None))),
        ((-1, 0, 0, 0, 1, 0), (0, 0, -2.5), (slice(None), slice(None), slice(None, None, -1))),
        ((-1, 0, 0, 0, -1, 0), (0, 0, -2.5), (slice(None), slice(None, None, -1), slice(None, None, -1))),
    ],
)
def test_any_direction_matrix_gives_the_same_orientation(
    tmp_path: Path, orientation: tuple, step: tuple, back: tuple
) -> None:
    write(tmp_path, chest(), orientation=orientation, step=step)
    scan = read_only(tmp_path)
    np.testing.assert_array_equal(scan.hounsfield, chest()[back])
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    marker = np.array(FIRST) + 5 * 2.0 * across + 6 * 1.5 * down + 6.5 * np.array(step)
    np.testing.assert_allclose(marker_ras(scan), marker * [-1, -1, 1], atol=1e-6)


def test_a_coronal_series_is_turned(tmp_path: Path) -> None:
    coronal = chest(24, 44, 20).transpose(1, 0, 2)  # slices along H
    write(tmp_path, coronal, orientation=(1, 0, 0, 0, 0, -1), step=(0, 2.5, 0))
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest(24, 44, 20))


def test_a_tilted_gantry_is_straightened(tmp_path: Path) -> None:
    slices, shear = 60, 0.3  # each slice lies 0.3 · 2.5 mm further back
    volume = np.full((slices, 40, 40), -1000, np.int16)
    for index in range(slices):
        start = 20 - round(index * 2.5 * shear / 1.5)
        volume[index, max(0, start - 6) : start + 6, 14:26] = 300  # upright in space, drifting in the slices
    write(tmp_path, volume, step=(0, 2.5 * shear, -2.5))
    scan = read_only(tmp_path)
    tops = [np.argwhere(plane > -350)[:, 0].mean() for plane in scan.hounsfield[2:24]]
    assert np.ptp(tops) < 1.5  # voxels; unstraightened it drifts by 22 · 2.5 · 0.3 / 1.5 = 11


def test_two_readers_agree(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(-40, 40, chest().shape).astype(np.int16)
    write(tmp_path, chest() + noise)
    slices = sorted((pydicom.dcmread(p) for p in tmp_path.iterdir()), key=lambda s: -s.ImagePositionPatient[2])
    plain = np.stack([pydicom.pixels.apply_rescale(s.pixel_array, s) for s in slices])
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, plain)


def test_a_series_spread_over_folders_and_copied_twice_is_one(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", chest())
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    for path in paths[:20]:
        path.rename(tmp_path / "b" / path.name)
    for path in paths[20:]:
        (tmp_path / "c" / path.name).write_bytes(path.read_bytes())
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest())


def test_a_scout_inside_the_series_is_left_out(tmp_path: Path) -> None:
    kind = ["DERIVED", "SECONDARY", "LOCALIZER"]
    write(tmp_path, chest(), change=lambda dataset, index: None if index else setattr(dataset, "ImageType", kind))
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest()[1:])


def test_two_acquisitions_in_one_series_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", chest(40), series="1.2.3.1")
    write(tmp_path / "b", chest(40), series="1.2.3.1", change=lambda d, i: setattr(d, "SOPInstanceUID", f"1.9.{i}"))
    assert "same position" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        ("ImagePositionPatient", None, "no ImagePositionPatient"),
        ("PixelSpacing", None, "no PixelSpacing"),
        ("PixelSpacing", [1.6, 2.0], "PixelSpacing changes"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "ImageOrientationPatient changes"),
    ],
)
def test_an_odd_slice_is_refused_by_name(tmp_path: Path, tag: str, value: object, reason: str) -> None:
    write(tmp_path, chest(), change=lambda dataset, index: setattr(dataset, tag, value) if index == 5 else None)
    assert reason in refusal(tmp_path)


def test_spacing_text_of_old_scanners_is_understood(tmp_path: Path) -> None:
    for path in write(tmp_path, chest()):
        content = path.read_bytes()
        assert content.count(b"\x28\x00\x30\x00DS\x08\x001.5\\2.0 ") == 1
        text = b"001.500000e+00\\002.00000e+00 "[:28]
        path.write_bytes(content.replace(b"\x28\x00\x30\x00DS\x08\x001.5\\2.0 ", b"\x28\x00\x30\x00DS\x1c\x00" + text))
    np.testing.assert_allclose(read_only(tmp_path).spacing_mm, (2.5, 1.5, 2.0))


def stored(dataset: Any, change: Callable[[np.ndarray], np.ndarray], kind: str = "<i2", **tags: object) -> None:
    """Store other values in a slice, and say of them what is true."""
    values = np.frombuffer(dataset.PixelData, "<i2").reshape(24, 20).copy()
    dataset.PixelData = change(values).astype(kind).tobytes()
    for tag, value in tags.items():
        setattr(dataset, tag, value)


def edged(value: int) -> Callable[[np.ndarray], np.ndarray]:
    """Put a value into the first two rows, outside the field of view."""
    return lambda values: np.where(np.arange(24)[:, None] < 2, value, values)


def overlaid(values: np.ndarray) -> np.ndarray:
    values[::3] |= 0x5000
    return values


TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}
PIXELS: dict[str, tuple[Change, int]] = {  # what becomes of a slice, and what then stands in its first two rows
    "padding below air, left to clipping": (
        lambda d, i: (stored(d, edged(-2000)), d.add_new("PixelPaddingValue", "SS", -2000)),
        -3024,
    ),
    "an overlay above the stored bits": (lambda d, i: stored(d, overlaid, **TWELVE_BITS), -1000),
    "the same, unsigned": (lambda d, i: stored(d, overlaid, **TWELVE_BITS, PixelRepresentation=0), -1000),
    "a slope that is no whole number": (lambda d, i: stored(d, lambda v: 2 * v, RescaleSlope=0.5), -1000),
    "values beyond 16 bits": (lambda d, i: stored(d, edged(65535), "<u2", PixelRepresentation=0), 32767),
    "values at the upper end of their words": (
        lambda d, i: stored(d, lambda v: v << 4, "<u2", BitsStored=12, HighBit=15, PixelRepresentation=0),
        -1000,
    ),
}


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_that_are_stored_in_other_ways_are_the_same_scan(tmp_path: Path, name: str) -> None:
    change, edge = PIXELS[name]
    write(tmp_path, chest(), change=change)
    expected = chest()
    expected[:, :2] = edge
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, expected)


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
