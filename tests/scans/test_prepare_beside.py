"""What lies beside good scans takes none of them down: odd names, masks, other people of the same name."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bench.cli import run_command
from bench.data.store import read_store
from bench.errors import UsageError

from ..helpers.scan_files import write_chest_npz, write_dicom, write_h5, write_itk
from ..helpers.scans import affine_of, names, noisy, phantom, prepare_chests, torso, write_nifti

pytestmark = pytest.mark.usefixtures("data_folder")


def write_mask(path: Path, kind: type = np.uint8, most: int = 1) -> None:
    labels = (torso() > 0).astype(kind) * kind(most)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0), affine_of(labels.shape)), path)


def test_masks_beside_a_ct_are_passed_over(tmp_path: Path) -> None:
    """Of the kinds that TotalSegmentator, nnU-Net and the Medical Segmentation Decathlon write."""
    write_nifti(tmp_path / "in" / "s0001" / "ct.nii.gz", torso())
    for number, kind in enumerate((np.uint8, np.float64, np.int16, np.float32), start=1):
        write_mask(tmp_path / "in" / "s0001" / "labels" / f"{number}.nii.gz", kind, number)
    write_mask(tmp_path / "in" / "labelsTr" / "all.nii.gz", np.int16, 117)
    report = prepare_chests(tmp_path / "in")
    assert [record.source for record in report.prepared] == ["s0001/ct.nii.gz"]
    assert not report.refused
    assert len(report.skipped) == 5


def test_masks_alone_are_no_scans(tmp_path: Path) -> None:
    write_mask(tmp_path / "in" / "a.nii.gz", np.int16)
    with pytest.raises(UsageError, match="no CT found"):
        prepare_chests(tmp_path / "in")


def test_eight_bits_with_a_slope_may_be_a_ct(tmp_path: Path) -> None:
    stored = ((torso() + 1000) / 10).round().astype(np.uint8)
    image = nibabel.Nifti1Image(stored.transpose(2, 1, 0), affine_of(stored.shape))
    image.header.set_slope_inter(10, -1000)
    (tmp_path / "in").mkdir()
    nibabel.save(image, tmp_path / "in" / "a.nii.gz")
    assert names(prepare_chests(tmp_path / "in")) == (["a"], [], [])


def test_names_that_are_no_utf8_stop_nothing(tmp_path: Path) -> None:
    root = tmp_path / "in"
    write_nifti(root / "good.nii.gz", torso())
    odd = Path(os.fsdecode(os.fsencode(root) + b"/Sch\xe4del"))
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("this file system refuses such names")
    write_nifti(odd / os.fsdecode(b"gr\xfc\xdfe.nii.gz"), torso() + np.int16(1))
    write_itk(root / "plain.mha", torso() + np.int16(2)).rename(odd / "a.mha")
    (odd / os.fsdecode(b"\xff.dcm")).write_bytes(b"no DICOM")
    write_h5(odd / "case" / "ct_xray_data.h5", phantom())
    write_chest_npz(odd / "0007_chest", phantom() + np.int16(3))
    write_dicom(odd / os.fsdecode(b"\xfe"), noisy(), patient="d")
    report = prepare_chests(root)
    patients = sorted(record.patient for record in report.prepared)
    assert patients == ["LIDC-IDRI-0007", "case", "d", "good", "gr\\xfc\\xdfe"]
    assert len({record.case for record in report.prepared}) == 5
    reasons = sorted(item.reason.split(",")[0] for item in report.refused)
    assert reasons == ["it is no DICOM file", "its name or that of a folder is no valid UTF-8"]
    assert len(read_store("chest")) == 5
    assert len(prepare_chests(root).already) == 5


def test_people_of_one_name_are_warned_of(tmp_path: Path) -> None:
    for number in range(3):
        write_dicom(
            tmp_path / "in" / str(number), noisy() + np.int16(number), patient="ANON", series=f"1.2.{number}",
            StudyInstanceUID=f"1.9.{number}",
        )  # fmt: skip
    write_dicom(tmp_path / "in" / "again", noisy()[:50], patient="ANON", series="1.2.7", StudyInstanceUID="1.9.0")
    for count in (1, 0):  # and when it is prepared already
        report = prepare_chests(tmp_path / "in")
        assert len(report.prepared) == count
        reasons = sorted(item.reason for item in report.skipped)
        assert [reason.startswith("another study of ANON") for reason in reasons] == [False, True, True]
        assert "PatientID" in reasons[1]


def test_every_case_is_told_what_share_was_removed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_nifti(tmp_path / "in" / "a.nii.gz", torso())
    assert run_command(["data", "prepare", "lidc", "--from", str(tmp_path / "in"), "--workers", "1"]) == 0
    assert "a: table removed with 0.0% of all matter" in capsys.readouterr().out
