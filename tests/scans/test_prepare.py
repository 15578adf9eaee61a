"""Preparation: once a patient, whatever goes wrong or lies beside, and on from where it was stopped."""

import os
from dataclasses import replace
from pathlib import Path

import joblib
import nibabel
import numpy as np
import pytest

from bench.cli import run_command
from bench.data.store import load_volume, read_store, store_folder
from bench.errors import BenchError, UsageError
from bench.scans.prepare import case_name, prepare
from bench.scans.reading.scan import Scan

from ..helpers.scan_files import write_chest_npz, write_dicom, write_h5, write_itk
from ..helpers.scans import CHEST, affine_of, names, noisy, phantom, prepare_chests, torso, with_table, write_nifti

pytestmark = pytest.mark.usefixtures("data_folder")


def test_a_folder_is_prepared_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", with_table(torso(), 2), centre=(0, 0, ord(name)))
    assert names(prepare_chests(tmp_path / "in")) == (["a", "b"], [], [])
    volumes = sorted((store_folder("chest") / "volumes").iterdir())
    before = [(path.name, path.stat().st_mtime_ns) for path in volumes]
    assert names(prepare_chests(tmp_path / "in")) == ([], ["a", "b"], [])
    assert [(path.name, path.stat().st_mtime_ns) for path in volumes] == before
    record = read_store("chest")[0]
    volume = load_volume("chest", record)
    assert volume.shape == (32, 32, 32)
    assert volume.dtype == np.int16
    assert (record.patient, record.source, record.source_slices) == ("a", "a.nii.gz", 64)
    assert record.table.startswith("removed with ")


def test_a_case_is_prepared_again_when_recipe_file_or_volume_changed(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "in" / "a.nii.gz", with_table(torso(), 2))
    prepare_chests(tmp_path / "in")
    assert names(prepare_chests(tmp_path / "in", keep_table=True))[0] == ["a"]
    kept = load_volume("chest", read_store("chest")[0])
    assert read_store("chest")[0].table == "kept: as asked"
    assert names(prepare_chests(tmp_path / "in"))[0] == ["a"]
    assert (kept > -800).sum() > 1.1 * (load_volume("chest", read_store("chest")[0]) > -800).sum()
    volume = store_folder("chest") / "volumes" / "a.npy"
    volume.write_bytes(volume.read_bytes()[:-1000])
    with pytest.raises(BenchError, match="is damaged; run `bench data prepare chest --from DIR` again"):
        load_volume("chest", read_store("chest")[0])
    assert names(prepare_chests(tmp_path / "in"))[0] == ["a"]
    write_nifti(path, torso())
    assert names(prepare_chests(tmp_path / "in"))[0] == ["a"]
    assert len(read_store("chest")) == 1


def test_a_defect_in_one_scan_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bench.scans.prepare as module

    whole = module.prepare_volume

    def failing(scan: Scan, recipe: object) -> tuple:
        if scan.hounsfield.shape[0] == 60:
            raise ZeroDivisionError("odd")
        return whole(scan, recipe)

    monkeypatch.setattr(module, "prepare_volume", failing)
    write_nifti(tmp_path / "in" / "a.nii.gz", torso((60, 80, 80)))
    write_nifti(tmp_path / "in" / "b.nii.gz", torso())
    report = prepare_chests(tmp_path / "in")
    assert names(report) == (["b"], [], ["a.nii.gz"])
    assert "ZeroDivisionError: odd" in report.refused[0].reason


def test_a_patient_is_kept_once(tmp_path: Path) -> None:
    write_nifti(tmp_path / "in" / "LIDC-IDRI-0132_5mm.nii.gz", torso())
    write_nifti(tmp_path / "in" / "LIDC-IDRI-0132_long.nii.gz", torso((70, 80, 80)))
    report = prepare_chests(tmp_path / "in")
    assert [(record.case, record.series) for record in report.prepared] == [("LIDC-IDRI-0132", "LIDC-IDRI-0132_long")]
    assert [item.path.name for item in report.skipped] == ["LIDC-IDRI-0132_5mm.nii.gz"]
    write_nifti(tmp_path / "later" / "LIDC-IDRI-0132_longest.nii.gz", torso((72, 80, 80)))
    assert names(prepare_chests(tmp_path / "later")) == ([], ["LIDC-IDRI-0132"], [])


def test_the_next_series_is_used_when_the_first_is_unusable(tmp_path: Path) -> None:
    broken = torso((70, 80, 80)).astype(np.float32)
    broken[5, 5, 5] = np.nan
    write_nifti(tmp_path / "in" / "LIDC-IDRI-0132_a.nii.gz", broken)
    write_nifti(tmp_path / "in" / "LIDC-IDRI-0132_b.nii.gz", torso())
    report = prepare_chests(tmp_path / "in")
    assert names(report) == (["LIDC-IDRI-0132"], [], ["LIDC-IDRI-0132_a.nii.gz"])
    assert report.prepared[0].series == "LIDC-IDRI-0132_b"


def test_the_same_file_under_another_name_is_no_second_patient(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "in" / "a.nii.gz", torso())
    (tmp_path / "in" / "b.nii.gz").write_bytes(path.read_bytes())
    report = prepare_chests(tmp_path / "in")
    assert names(report) == (["a"], [], [])
    assert report.skipped[0].reason == "the same scan as a"
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "c.nii.gz").write_bytes(path.read_bytes())
    assert [item.reason for item in prepare_chests(tmp_path / "later").skipped] == ["the same scan as a"]


def test_processes_give_the_same_bytes_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(3):
        write_nifti(tmp_path / "in" / f"case{index}.nii.gz", with_table(torso(width=240.0 + 20 * index), 2))
    prepare_chests(tmp_path / "in")
    alone = [replace(record) for record in read_store("chest")]
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "other"))
    seen = []
    with joblib.parallel_config(backend="loky"):
        prepare(CHEST, tmp_path / "in", workers=2, on_progress=lambda done, total, line: seen.append((done, total)))
    assert read_store("chest") == alone
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_stopped_preparation_goes_on_where_it_was(tmp_path: Path) -> None:
    for name in "abc":
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", torso(width=200.0 + ord(name)))

    def stop(done: int, total: int, line: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_chests(tmp_path / "in", on_progress=stop)
    assert names(prepare_chests(tmp_path / "in")) == (["c"], ["a", "b"], [])


@pytest.mark.parametrize("patient", ["../../etc/passwd", "a b", "a/b", "é", "", "..", "x" * 300, "患者", "a:b"])
def test_case_names_are_safe(patient: str) -> None:
    name = case_name(patient)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not name.startswith(".")
    assert 0 < len(name) < 100


def test_case_names_are_distinct_and_plain_names_stay() -> None:
    assert case_name("LIDC-IDRI-0001") == "LIDC-IDRI-0001"
    assert len({case_name(patient) for patient in ("a b", "a/b", "a_b", "a  b")}) == 4


def test_the_same_scan_at_two_resolutions_becomes_the_same_case(tmp_path: Path) -> None:
    fine = torso((160, 200, 200), voxel=2.0)
    coarse = fine.reshape(80, 2, 100, 2, 100, 2).mean(axis=(1, 3, 5)).round().astype(np.int16)
    write_nifti(tmp_path / "in" / "fine.nii.gz", with_table(fine, 4), (2.0,) * 3, (3.0, -8.0, 40.0))
    write_nifti(tmp_path / "in" / "coarse.nii.gz", with_table(coarse, 2), (4.0,) * 3, (3.0, -8.0, 40.0))
    first, second = prepare_chests(tmp_path / "in").prepared
    assert first.centre_ras_mm == second.centre_ras_mm
    one, other = (np.clip(load_volume("chest", r).astype(float), -1000, 1000) / 2000 for r in (first, second))
    assert -10 * np.log10(((one - other) ** 2).mean()) > 40


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
