"""One CT in every format is the same prepared volume, and brings its X-rays along; chests and bags alike."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.data.store import read_store, views_path
from bench.dataset import DatasetSpec, PreparedCase
from bench.plugins.registry import get_dataset

from ..helpers.scan_files import (
    BAG_NOTE,
    ENHANCED_CT,
    drr,
    seen,
    write_bag,
    write_chest_npz,
    write_dicom,
    write_dicos,
    write_h5,
    write_itk,
    write_note,
    write_tiffs,
)
from ..helpers.scans import BAG, CHEST, phantom, prepare_chests, prepare_one, write_nifti


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> np.ndarray:
    """The phantom prepared from NIfTI, as a bag with all that lies around it; the store is then another, empty one."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "first"))
    write_nifti(tmp_path / "nifti" / "p.nii.gz", phantom())
    volume = prepare_one(CHEST, tmp_path / "nifti", keep_table="bag" in request.node.name)[1]
    assert (volume > 600).sum() > 20  # the marker is in it
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "store"))
    return volume


Writer = Callable[[Path], object]
UPRIGHT = ("D", "H", "W")
CHESTS: dict[str, tuple[str, Writer]] = {
    "nifti as float": ("nifti", lambda f: write_nifti(f / "p.nii", phantom().astype(np.float32))),
    "nifti as int32": ("nifti", lambda f: write_nifti(f / "p.nii.gz", phantom().astype(np.int32))),
    "mhd": ("metaimage", lambda f: write_itk(f / "p.mhd", phantom())),
    "zraw": ("metaimage", lambda f: write_itk(f / "p.mhd", phantom(), packed=True)),
    "mhd turned": ("metaimage", lambda f: write_itk(f / "p.mhd", phantom(), turned=True)),
    "mha": ("metaimage", lambda f: write_itk(f / "p.mha", phantom(), packed=True)),
    "nrrd": ("nrrd", lambda f: write_itk(f / "p.nrrd", phantom(), packed=True)),
    "nrrd, plain": ("nrrd", lambda f: write_itk(f / "p.nrrd", phantom())),
    "nhdr": ("nrrd", lambda f: write_itk(f / "p.nhdr", phantom(), turned=True)),
    "dicom": ("dicom", lambda f: write_dicom(f / "p", phantom())),
    "enhanced dicom": ("dicom", lambda f: write_dicos(f / "p.dcm", phantom()[::-1], kind=ENHANCED_CT, patient="p")),
    "h5": ("x2ct-h5", lambda f: write_h5(f / "p" / "ct_xray_data.h5", phantom())),
    "npz in HU": ("npz", lambda f: write_chest_npz(f / "0001_chest", phantom())),
    "npz in HU + 1024": ("npz", lambda f: write_chest_npz(f / "0001_chest", phantom(), 1024)),
    "tiff": (
        "tiff",
        lambda f: (
            write_tiffs(f / "p", phantom() + np.int16(1024)),
            write_note(f / "p.toml", unit="hu+1024", spacing_mm=(5.0, 5.0, 5.0), axes=UPRIGHT),
        ),
    ),
}


@pytest.mark.parametrize("name", CHESTS)
def test_a_chest_in_any_format_becomes_the_same_volume(tmp_path: Path, reference: np.ndarray, name: str) -> None:
    form, write = CHESTS[name]
    write(tmp_path / "in")
    record, volume = prepare_one(CHEST, tmp_path / "in")
    np.testing.assert_array_equal(volume, reference)
    assert record.patient == ("LIDC-IDRI-0001" if form == "npz" else "p")
    assert (record.source_format, record.source_slices, record.table) == (form, 64, "removed")
    np.testing.assert_allclose(record.source_spacing_mm, (5.0, 5.0, 5.0))


BAGS: dict[str, tuple[str, Writer]] = {
    "nifti with axes": (
        "nifti",
        lambda f: (
            write_nifti(f / "bag7.nii.gz", seen(phantom())[::-1, ::-1]),
            write_note(f / "bag7.toml", axes=("-H", "-D", "W")),
        ),
    ),
    "nifti": ("nifti", lambda f: write_nifti(f / "bag7.nii.gz", phantom())),
    "npz": (
        "npz",
        lambda f: (
            write_bag(f / "bag7", seen(phantom()).astype(np.float32) + 1000),
            write_note(f / "scans.toml", unit="mhu", **BAG_NOTE),
        ),
    ),
    "npz in attenuation": (
        "npz",
        lambda f: (
            write_bag(f / "bag7", 0.2 * (1 + seen(phantom()).astype(np.float64) / 1000)),
            write_note(f / "bag7" / "volumes" / "scans.toml", unit="mu_per_cm", mu_water_per_cm=0.2, **BAG_NOTE),
        ),
    ),
    "tiff stack": (
        "tiff",
        lambda f: (
            write_tiffs(f / "bag7", (seen(phantom()) + 1000).astype(np.uint16)),
            write_note(f / "bag7.toml", unit="mhu", **BAG_NOTE),
        ),
    ),
    "tiff pages": (
        "tiff",
        lambda f: (
            write_tiffs(f / "bag7", (seen(phantom()) + 1024).astype(np.uint16), pages=True),
            write_note(f / "bag7" / "bag7.tif.toml", unit="hu+1024", **BAG_NOTE),
        ),
    ),
    "dicos": ("dicos", lambda f: write_dicos(f / "a.dcs", seen(phantom())[::-1])),
    "dicos, packed": ("dicos", lambda f: write_dicos(f / "a.dcs", seen(phantom())[::-1], jpeg=True)),
    "dicos in MHU": ("dicos", lambda f: write_dicos(f / "a.dcs", seen(phantom())[::-1], unit="MHU")),
    "dicos without positions": ("dicos", lambda f: write_dicos(f / "a.dcs", seen(phantom())[::-1], positions=False)),
    "dicos in a vendor's unit": (
        "dicos",
        lambda f: (
            write_dicos(f / "a.dcs", seen(phantom())[::-1], unit="unknown"),
            write_note(f / "scans.toml", unit="hu"),
        ),
    ),
    "dicom": ("dicom", lambda f: write_dicom(f / "bag7", seen(phantom()), patient="bag7")),
}


@pytest.mark.parametrize("name", BAGS)
def test_a_bag_in_any_format_becomes_the_same_volume(tmp_path: Path, reference: np.ndarray, name: str) -> None:
    form, write = BAGS[name]
    write(tmp_path / "in")
    record, volume = prepare_one(BAG, tmp_path / "in")
    np.testing.assert_allclose(volume, reference, atol=1 if "attenuation" in name else 0)
    assert (record.patient, record.source_format, record.table) == ("bag7", form, "kept: a bag")


def views_of(spec: DatasetSpec, record: PreparedCase) -> dict[str, np.ndarray]:
    with np.load(views_path(spec.name, record.case)) as stored:
        return dict(stored)


def test_the_xrays_of_x2ct_are_kept_with_their_provenance(tmp_path: Path, reference: np.ndarray) -> None:
    case = "LIDC-IDRI-0936.20000101.5169.2.1"
    path = write_h5(tmp_path / "in" / case / "ct_xray_data.h5", phantom(), xray1=drr(1), xray2=drr(2))
    record, volume = prepare_one(CHEST, tmp_path / "in")
    np.testing.assert_array_equal(volume, reference)
    assert (record.case, record.series) == ("LIDC-IDRI-0936", case)
    views = views_of(CHEST, record)
    np.testing.assert_array_equal(views["xray1"], drr(1))
    np.testing.assert_array_equal(views["xray2"], drr(2))
    provenance = json.loads(str(views["provenance"]))
    assert provenance["format"] == "x2ct-h5"
    assert list(provenance["sha256_of_sources"]) == [f"{case}/ct_xray_data.h5"]
    path.unlink()
    write_h5(path, phantom() + np.int16(1))  # without X-rays: those of the earlier file must not stay
    assert len(prepare_chests(tmp_path / "in").prepared) == 1
    assert not views_path(CHEST.name, record.case).exists()


def test_the_drrs_of_codediff3d_and_of_bags_are_kept(tmp_path: Path, reference: np.ndarray) -> None:
    write_chest_npz(tmp_path / "chests" / "0001_chest", phantom())
    write_chest_npz(tmp_path / "chests" / "0002_chest", phantom() + np.int16(1))
    first, second = prepare_chests(tmp_path / "chests").prepared
    for record in (first, second):
        views = views_of(CHEST, record)
        assert sorted(views) == [*(f"drr_{index}" for index in range(8)), "provenance"]
        np.testing.assert_array_equal(views["drr_3"], drr(3))
    assert json.loads(str(views["provenance"]))["sha256_of_sources"].keys() == {
        f"0002_chest/drr_{index}.png" for index in range(8)
    }
    write_bag(tmp_path / "bags" / "bag7", seen(phantom()).astype(np.float32))
    write_note(tmp_path / "bags" / "scans.toml", unit="hu", **BAG_NOTE)
    record, _ = prepare_one(BAG, tmp_path / "bags")
    assert sorted(views_of(BAG, record)) == ["bag7_azimuth_90", "bag7_elevation_90", "provenance"]


def test_a_scan_of_luna16_is_that_of_its_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "store"))
    series = "1.3.6.1.4.1.14519.5.2.1.6279.6001.179049373636438705059720603192"
    write_itk(tmp_path / "in" / "subset0" / f"{series}.mhd", phantom())
    write_itk(tmp_path / "in" / "subset0" / "1.2.3.mhd", phantom() + np.int16(2))
    write_itk(tmp_path / "in" / "seg-lungs-LUNA16" / f"{series}.mhd", (phantom() == -860).astype(np.int16), packed=True)
    (tmp_path / "in" / "annotations.csv").write_text("seriesuid,coordX\n")
    spec = replace(get_dataset("lidc"), full_grid=32)
    report = prepare_chests(tmp_path / "in", spec)
    assert not report.refused
    assert [(r.case, r.patient, r.series) for r in report.prepared] == [
        ("1.2.3", "1.2.3", "1.2.3"),
        ("LIDC-IDRI-0001", "LIDC-IDRI-0001", series),
    ]
    assert [item.reason for item in report.skipped] == ["no CT: labels or a picture"]


def test_the_fullest_scan_of_a_patient_is_taken_whatever_the_format(tmp_path: Path, reference: np.ndarray) -> None:
    write_h5(tmp_path / "in" / "LIDC-IDRI-0001.1" / "ct_xray_data.h5", phantom()[::2, ::2, ::2])
    write_itk(tmp_path / "in" / "LIDC-IDRI-0001.mhd", phantom())
    report = prepare_chests(tmp_path / "in")
    assert [record.source_format for record in report.prepared] == ["metaimage"]
    assert len(report.skipped) == 1
    assert len(read_store(CHEST.name)) == 1


def test_a_changed_side_file_prepares_again(tmp_path: Path, reference: np.ndarray) -> None:
    write_tiffs(tmp_path / "in" / "bag7", (seen(phantom()) + 1024).astype(np.uint16))
    note = tmp_path / "in" / "bag7.toml"
    write_note(note, unit="mhu", **BAG_NOTE)
    wrong = prepare_one(BAG, tmp_path / "in")[1]
    write_note(note, unit="hu+1024", **BAG_NOTE)
    right = prepare_one(BAG, tmp_path / "in")[1]
    assert np.median(wrong - right) == 24
