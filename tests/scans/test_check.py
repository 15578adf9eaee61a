"""What is looked over before it is used, and written for other programs: leaks, damage, chests the wrong way round."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bench.data.store import read_store, store_folder
from bench.datasets.lidc import DATASET as LIDC
from bench.scans.check import check
from bench.scans.export import export_prepared

from ..helpers.scans import BAG, CHEST, prepare_chests, torso, write_nifti

pytestmark = pytest.mark.usefixtures("data_folder")


def test_export_puts_every_voxel_back_where_it_was(tmp_path: Path) -> None:
    centre = (3.0, -8.0, 40.0)
    scan = torso()
    scan[16:24, 28:36, 18:26] = 3000  # 40 mm
    write_nifti(tmp_path / "in" / "a.nii.gz", scan, centre=centre)
    prepare_chests(tmp_path / "in")
    written, failed = export_prepared(CHEST, tmp_path / "out")
    assert [path.name for path in written] == ["a.nii.gz"]
    assert not failed
    image = nibabel.load(written[0])
    assert image.get_data_dtype() == np.int16
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "I")
    weights = np.clip(np.asarray(image.dataobj).astype(float) - 600, 0, None)
    index = np.array([(axis * weights).sum() / weights.sum() for axis in np.indices(weights.shape)])
    position = image.affine[:3, :3] @ index + image.affine[:3, 3]
    marker = np.array([19.5, 31.5, 21.5]) - (np.array(scan.shape) - 1) / 2  # d, h, w
    np.testing.assert_allclose(position, np.array(centre) - 5.0 * marker[::-1], atol=1.0)
    assert (tmp_path / "out" / "splits.csv").read_text() == "case,patient,split\na,a,unused\n"


def test_check_finds_what_makes_results_wrong(tmp_path: Path) -> None:
    for name in "abcd":
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", torso(width=200.0 + ord(name)))
    prepare_chests(tmp_path / "in")
    records = read_store("chest")
    clean = check(CHEST, records, dict.fromkeys("abcd", "train"))
    assert [(f.severity, f.text) for f in clean] == [("note", "4 cases: 4 train, 0 validation, 0 test, 0 unused")]

    (store_folder("chest") / "volumes" / "c.npy").write_bytes(b"damaged")
    altered = [
        replace(records[0], patient="p"),
        replace(records[1], patient="p"),
        replace(records[2], settings_sha256="other"),
        replace(records[3], volume_sha256=records[0].volume_sha256, table="kept: no body found"),
    ]
    found = {
        (f.severity, f.case, f.text.split(";")[0])
        for f in check(CHEST, altered, {"a": "train", "b": "test", "d": "test"})
    }
    assert ("error", "a", "patient p leaks: its cases are in test and train") in found
    assert ("error", "a", "the same volume as d") in found
    assert ("warning", "", "cases are prepared by different recipes") in found
    assert ("note", "d", "table kept: no body found") not in found  # its hash no longer fits: an error instead
    assert {case for severity, case, text in found if "is damaged" in text and severity == "error"} == {"c", "d"}


def test_check_warns_of_a_short_scan(tmp_path: Path) -> None:
    write_nifti(tmp_path / "in" / "a.nii.gz", torso((30, 80, 80)))
    prepare_chests(tmp_path / "in")
    texts = [f.text for f in check(CHEST, read_store("chest"), {}) if f.severity == "warning"]
    assert texts == ["the scan covers 150 of 320 mm; the rest is air"]


def test_check_expects_a_bag_to_be_small_and_mostly_air(tmp_path: Path) -> None:
    bag = np.full((30, 64, 64), -1000, np.int16)
    bag[5:25, 20:40, 25:40] = -200
    assert 0.01 < np.mean(bag > -500) * 30 / 64 < 0.04  # of the cube
    write_nifti(tmp_path / "in" / "a.nii.gz", bag)
    prepare_chests(tmp_path / "in", BAG)
    assert [f.text for f in check(BAG, read_store("bags"), {}) if f.severity == "warning"] == []


def test_a_chest_the_wrong_way_round_raises_doubts() -> None:
    chest = torso()
    assert chest.shape[0] * 5.0 == 320.0
    assert LIDC.doubts(chest) == []
    assert [text.split("?")[0] for text in LIDC.doubts(chest[:, ::-1])] == ["front to back"]
    assert [text.split("?")[0] for text in LIDC.doubts(chest[::-1])] == ["upside down"]
    solid = np.where(chest == -860, 30, chest)
    assert LIDC.doubts(solid)[0].startswith("no lungs: 0.0 litres")
    assert LIDC.doubts(np.full_like(chest, -1000)) == ["no body"]
