"""What a DICOM series holds is read whole, split or refused: frames in many files, acquisitions, jumps, padding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..helpers.scan_files import DICOS_CT, ENHANCED_CT, Change, pydicom, write_dicom, write_frames
from ..helpers.scans import find_all, read_only, refusal
from .test_reading_dicom import chest, write

SPACING = (2.5, 1.5, 2.0)


def moved(hounsfield: np.ndarray) -> np.ndarray:
    return np.roll(hounsfield, 3, axis=1)


@pytest.mark.parametrize("kind", [ENHANCED_CT, DICOS_CT])
@pytest.mark.parametrize("parts", [1, 2, 5, 44])
def test_the_frames_of_a_series_are_gathered_from_all_its_files(tmp_path: Path, kind: str, parts: int) -> None:
    for number, indices in enumerate(np.array_split(np.arange(44), parts)):
        write_frames(tmp_path / f"{parts - number}.dcm", chest(), indices, kind=kind, number=number + 1)
    scan = read_only(tmp_path)
    np.testing.assert_array_equal(scan.hounsfield, chest())
    np.testing.assert_allclose(scan.spacing_mm, SPACING)


def test_files_that_each_hold_a_whole_volume_are_volumes_of_their_own(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.dcm", chest(), np.arange(44), number=1)
    write_frames(tmp_path / "b.dcm", moved(chest()), np.arange(44), number=2, shift=1.25)
    sources, rejected = find_all(tmp_path)
    assert not rejected
    assert len({source.series for source in sources}) == 2
    for source, expected in zip(sources, (chest(), moved(chest())), strict=True):
        np.testing.assert_array_equal(source.read().hounsfield, expected)


def test_a_missing_part_of_a_series_is_refused(tmp_path: Path) -> None:
    for number, indices in enumerate(np.array_split(np.arange(44), 4)):
        if number != 2:
            write_frames(tmp_path / f"{number}.dcm", chest(), indices, number=number + 1)
    assert "missing or uneven" in refusal(tmp_path)


@pytest.mark.parametrize(
    "tag", ["AcquisitionNumber", "InstanceNumber", "TemporalPositionIdentifier", "AcquisitionTime"]
)
def test_two_acquisitions_that_mix_are_told_apart(tmp_path: Path, tag: str) -> None:
    """Half a slice apart they would be one evenly spaced volume of twice the slices."""

    def number(turn: int) -> Change:
        def change(dataset: Any, index: int) -> None:
            dataset.SOPInstanceUID = f"1.2.3.{turn}.{index}"
            dataset.InstanceNumber = index + 1 + (44 * turn if tag == "InstanceNumber" else 0)
            if tag != "InstanceNumber":
                setattr(dataset, tag, str(101010 + turn))

        return change

    first = np.array((-10.0, -30.0, 200.0))
    write(tmp_path / "a", chest(), change=number(0))
    write(tmp_path / "b", moved(chest()), first=first - (0, 0, 1.25), change=number(1))
    sources, rejected = find_all(tmp_path)
    assert not rejected
    assert [source.slices for source in sources] == [44, 44]
    for source, expected in zip(sources, (chest(), moved(chest())), strict=True):
        np.testing.assert_array_equal(source.read().hounsfield, expected)


def test_a_missing_end_of_a_concatenation_is_refused(tmp_path: Path) -> None:
    """Half a chest would be read without a gap."""
    whole = {"ConcatenationUID": "1.2.9.7", "InConcatenationTotalNumber": 2, "InConcatenationNumber": 1}
    write_frames(tmp_path / "a.dcm", chest(88), np.arange(44), **whole)
    assert "1 of the 2 files" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("tag", "value"), [("AcquisitionNumber", lambda k: 1 + k // 4), ("AcquisitionTime", lambda k: f"{101010 + k % 3}")]
)
def test_turns_of_a_scanner_and_slices_with_a_time_each_are_one_volume(
    tmp_path: Path, tag: str, value: Callable[[int], object]
) -> None:
    write(tmp_path, chest(), change=lambda dataset, index: setattr(dataset, tag, value(index)))
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest())


def test_a_few_test_slices_within_a_series_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a", chest(), AcquisitionNumber=2)
    write(
        tmp_path / "b", chest()[:3], first=(-10.0, -30.0, 150.3), AcquisitionNumber=1,
        change=lambda dataset, index: setattr(dataset, "SOPInstanceUID", f"1.9.{index}"),
    )  # fmt: skip
    sources, rejected = find_all(tmp_path)
    np.testing.assert_array_equal(sources[0].read().hounsfield, chest())
    assert [(item.expected, "3 slices" in item.reason) for item in rejected] == [(True, True)]


def place(offset: Callable[[int], tuple[float, float, float]]) -> Change:
    def change(dataset: Any, index: int) -> None:
        dataset.ImagePositionPatient = [v + o for v, o in zip(dataset.ImagePositionPatient, offset(index), strict=True)]

    return change


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        (lambda index: (40.0 if index >= 22 else 0.0, 0.0, 0.0), "not above one another"),
        (lambda index: (0.0, 2.0 if index == 30 else 0.0, 0.0), "not above one another"),
        (lambda index: (0.0, -6.0 if index < 5 else 0.0, 0.0), "not above one another"),
        (lambda index: (1.5 * (index % 2), 0.0, 0.0), "not above one another"),
        (lambda index: (0.02 * index**2, 0.0, 0.0), "not above one another"),
        (lambda index: (0.0, 0.0, -0.12 * 2.5 if index >= 20 else 0.0), "missing or uneven"),
    ],
)
def test_slices_whose_origin_jumps_are_refused(tmp_path: Path, offset: Callable, reason: str) -> None:
    write(tmp_path, chest(), change=place(offset))
    assert reason in refusal(tmp_path)


@pytest.mark.parametrize(
    "offset",
    [
        lambda index: (0.2 * index, 0.5 * index, 0.0),
        lambda index: (0.7 * (index % 2),) * 2 + (0.0,),
        lambda index: (0.0, 0.0, -0.09 * 2.5 if index >= 20 else 0.0),
    ],
)
def test_a_tilt_a_sway_and_a_gap_within_bounds_are_read(tmp_path: Path, offset: Callable) -> None:
    write(tmp_path, chest(), change=place(offset))
    assert len(read_only(tmp_path).hounsfield) == 44


@pytest.mark.parametrize(("step", "digits"), [(0.625, 1), (0.3, 1), (1.25, 1), (0.3333, 2)])
def test_positions_written_with_few_decimals_are_read(tmp_path: Path, step: float, digits: int) -> None:
    def rounded(dataset: Any, index: int) -> None:
        dataset.ImagePositionPatient = [-10, -30, round(200 - step * index, digits)]

    write(tmp_path, chest(60), change=rounded)
    scan = read_only(tmp_path)
    np.testing.assert_array_equal(scan.hounsfield, chest(60))
    np.testing.assert_allclose(scan.spacing_mm[0], step, rtol=1e-2)


@pytest.mark.parametrize("lost", [1, 30, 58])
def test_a_slice_missing_among_fine_ones_is_still_refused(tmp_path: Path, lost: int) -> None:
    paths = write(tmp_path, chest(60), step=(0, 0, -0.3))
    paths[lost].unlink()
    assert "missing or uneven" in refusal(tmp_path)


PADDINGS = {  # bits stored, signed, the words outside the field of view, PixelPaddingValue and its VR
    "unsigned, twelve bits, above them": (12, 0, 63536, ("US", 63536)),
    "unsigned, twelve bits, the sign lost": (12, 0, 63536, ("SS", -2000)),
    "unsigned, within": (12, 0, 4000, ("US", 4000)),
    "unsigned, sixteen bits": (16, 0, 60000, ("US", 60000)),
    "signed, twelve bits, sign extended": (12, 1, 1900, ("SS", 1900)),
    "signed, sixteen bits, under the unsigned name": (16, 1, -600, ("US", 2**16 - 600)),
    "a range": (16, 0, 61000, ("US", 60000, 62000)),
}


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("name", PADDINGS)
def test_padding_is_told_by_the_stored_words(tmp_path: Path, name: str, framed: bool) -> None:
    used, signed, outside, (kind, *bounds) = PADDINGS[name]
    intercept = 0 if signed else -1024
    hounsfield = chest()

    def change(dataset: Any, index: int) -> None:
        values = (hounsfield if framed else hounsfield[index]).astype(np.int32) - intercept
        values[..., :2, :] = outside
        dataset.PixelData = (values & 0xFFFF).astype("<u2").tobytes()
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = used, used - 1, signed
        dataset.add_new("PixelPaddingValue", kind, bounds[0])
        if len(bounds) > 1:
            dataset.add_new("PixelPaddingRangeLimit", kind, bounds[1])

    if framed:
        write_frames(tmp_path / "a.dcm", hounsfield, np.arange(44), change=change, intercept=intercept)
    else:
        write(tmp_path, hounsfield, RescaleIntercept=intercept, change=change)
    expected = hounsfield.copy()
    expected[:, :2] = -1000
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, expected)


def strip_preamble(path: Path) -> None:
    """Write a file as its bare data set, as some archives store it."""
    dataset = pydicom.dcmread(path)
    del dataset.file_meta
    dataset.preamble = None
    pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert path.read_bytes()[128:132] != b"DICM"


@pytest.mark.parametrize("suffix", [".dcm", "", ".7"])
def test_files_without_a_preamble_are_read(tmp_path: Path, suffix: str) -> None:
    for path in write(tmp_path, chest()):
        strip_preamble(path)
        path.rename(path.with_name(path.stem.replace(".", "") + suffix))
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest())


def test_a_file_that_only_begins_like_one_is_no_dicom(tmp_path: Path) -> None:
    write(tmp_path, chest())
    (tmp_path / "notes").write_bytes(b"\x08\x00\x05\x00" + bytes(400))
    (tmp_path / "data.bin").write_bytes(b"\x08\x00\x00\x00rubbish" * 40)
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest())


@pytest.mark.parametrize("syntax", ["DeflatedExplicitVRLittleEndian", "ExplicitVRBigEndian"])
def test_other_lossless_syntaxes_are_read(tmp_path: Path, syntax: str) -> None:
    for path in write(tmp_path, chest()):
        dataset = pydicom.dcmread(path)
        little = syntax != "ExplicitVRBigEndian"
        if not little:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
        copy = pydicom.Dataset(dataset)  # without the encoding of the file
        copy.file_meta = dataset.file_meta
        copy.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        pydicom.dcmwrite(path, copy, implicit_vr=False, little_endian=little)
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, chest())


def test_one_fault_of_many_files_is_one_line(tmp_path: Path) -> None:
    for path in write(tmp_path / "bad", chest(), series="1.2.3.2"):
        content = path.read_bytes()
        assert content.count(b"1.5\\2.0 ") == 1
        path.write_bytes(content.replace(b"1.5\\2.0 ", b"1,5\\2,0 "))
    write(tmp_path / "good", chest())
    sources, rejected = find_all(tmp_path)
    assert [source.series for source in sources] == ["1.2.3.1"]
    (item,) = rejected
    assert item.path.name == "bad"
    assert item.reason.startswith("44 files, such as 1-0")


def test_what_an_export_lays_beside_a_chest_is_no_failure(tmp_path: Path) -> None:
    """Bolus tracking at one place, a scout, a dose screen in colours, directory records of any name."""
    write(tmp_path / "chest", chest())
    bolus = np.repeat(chest()[20:21], 50, axis=0)
    write(tmp_path / "bolus", bolus, series="1.2.3.2", step=(0, 0, 0))
    write(tmp_path / "short", chest()[:24], series="1.2.3.3")
    write(tmp_path / "scout", chest(2), series="1.2.3.10", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    write(
        tmp_path / "dose", chest()[:1], series="1.2.3.4", SamplesPerPixel=3,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7",
    )  # fmt: skip
    for name in ("chest", "bolus"):
        record = pydicom.dataset.FileDataset(None, pydicom.Dataset(), preamble=b"\0" * 128)
        record.file_meta = pydicom.dataset.FileMetaDataset()
        record.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
        record.file_meta.MediaStorageSOPInstanceUID = "1.2.3.5"
        record.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        record.FileSetID = "PHILIPS"
        pydicom.dcmwrite(tmp_path / name / "DIRFILE", record, enforce_file_format=True)
    sources, rejected = find_all(tmp_path)
    assert [source.series for source in sources] == ["1.2.3.1"]
    assert all(item.expected for item in rejected)
    assert {item.path.name for item in rejected} == {"bolus", "short", "scout", "dose"}
    assert any("50 slices at 1 places" in item.reason for item in rejected)


def test_alone_they_are(tmp_path: Path) -> None:
    write_dicom(tmp_path / "bolus", np.repeat(chest()[20:21], 50, axis=0), step=(0, 0, 0))
    write(tmp_path / "chest", chest(), patient="another")
    (item,) = find_all(tmp_path)[1]
    assert not item.expected
    assert "50 slices at 1 places" in refusal(tmp_path / "bolus")
