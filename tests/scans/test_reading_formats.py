"""One CT in every format is the same prepared volume, and brings its X-rays along; chests and bags alike."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.data.store import load_views, views_path
from bench.plugins.registry import get_dataset

from ..helpers.scan_files import (
    BAG_NOTE,
    ENHANCED_CT,
    draw_xrays,
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

pytestmark = pytest.mark.usefixtures("data_folder")


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """The phantom prepared from NIfTI: as a chest, and with all that lies around it, as a bag."""
    folder = tmp_path_factory.mktemp("reference")
    write_nifti(folder / "in" / "p.nii.gz", phantom())
    volumes = []
    for keep_table in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BENCH_DATA", str(folder / str(keep_table)))
            volumes.append(prepare_one(CHEST, folder / "in", keep_table=keep_table)[1])
    assert (volumes[0] > 600).sum() > 20  # the marker is in it
    return volumes


Writer = Callable[[Path], object]


def note(path: Path, unit: str, **values: object) -> None:
    """A side file for what `seen` makes of a bag."""
    write_note(path, **{"unit": unit, **BAG_NOTE, **values})


CHESTS: dict[str, Writer] = {  # their formats, and what differs
    "nifti, float": lambda f: write_nifti(f / "p.nii", phantom().astype(np.float32)),
    "nifti, int32": lambda f: write_nifti(f / "p.nii.gz", phantom().astype(np.int32)),
    "metaimage, mhd": lambda f: write_itk(f / "p.mhd", phantom()),
    "metaimage, zraw": lambda f: write_itk(f / "p.mhd", phantom(), packed=True),
    "metaimage, turned": lambda f: write_itk(f / "p.mhd", phantom(), turned=True),
    "metaimage, mha": lambda f: write_itk(f / "p.mha", phantom(), packed=True),
    "nrrd, packed": lambda f: write_itk(f / "p.nrrd", phantom(), packed=True),
    "nrrd": lambda f: write_itk(f / "p.nrrd", phantom()),
    "nrrd, nhdr": lambda f: write_itk(f / "p.nhdr", phantom(), turned=True),
    "dicom": lambda f: write_dicom(f / "p", phantom()),
    "dicom, enhanced": lambda f: write_dicos(f / "p.dcm", phantom()[::-1], kind=ENHANCED_CT, patient="p"),
    "x2ct-h5": lambda f: write_h5(f / "p" / "ct_xray_data.h5", phantom()),
    "npz, HU": lambda f: write_chest_npz(f / "0001_chest", phantom()),
    "npz, HU + 1024": lambda f: write_chest_npz(f / "0001_chest", phantom(), 1024),
    "tiff": lambda f: (
        write_tiffs(f / "p", phantom() + np.int16(1024)), note(f / "p.toml", "hu+1024", axes=("D", "H", "W")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHESTS)
def test_a_chest_in_any_format_becomes_the_same_volume(tmp_path: Path, references: list[np.ndarray], name: str) -> None:
    form = name.split(",")[0]
    CHESTS[name](tmp_path / "in")
    record, volume = prepare_one(CHEST, tmp_path / "in")
    np.testing.assert_array_equal(volume, references[0])
    assert record.patient == ("LIDC-IDRI-0001" if form == "npz" else "p")
    assert (record.source_format, record.source_slices) == (form, 64)
    assert record.table.startswith("removed with ")
    np.testing.assert_allclose(record.source_spacing_mm, (5.0, 5.0, 5.0))


SEEN = seen(phantom())
BAGS: dict[str, Writer] = {
    "nifti": lambda f: write_nifti(f / "bag7.nii.gz", phantom()),
    "nifti, axes": lambda f: (
        write_nifti(f / "bag7.nii.gz", SEEN[::-1, ::-1]), write_note(f / "bag7.toml", axes=("-H", "-D", "W")),
    ),
    "npz": lambda f: (write_bag(f / "bag7", SEEN + np.float32(1000)), note(f / "scans.toml", "mhu")),
    "npz, attenuation": lambda f: (
        write_bag(f / "bag7", 0.2 * (1 + SEEN / 1000)),
        note(f / "bag7" / "volumes" / "scans.toml", "mu_per_cm", mu_water_per_cm=0.2),
    ),
    "tiff, stack": lambda f: (
        write_tiffs(f / "bag7", (SEEN + 1000).astype(np.uint16)), note(f / "bag7.toml", "mhu"),
    ),
    "tiff, pages": lambda f: (
        write_tiffs(f / "bag7", (SEEN + 1024).astype(np.uint16), pages=True),
        note(f / "bag7" / "bag7.tif.toml", "hu+1024"),
    ),
    "dicos": lambda f: write_dicos(f / "a.dcs", SEEN[::-1]),
    "dicos, packed": lambda f: write_dicos(f / "a.dcs", SEEN[::-1], jpeg=True),
    "dicos, MHU": lambda f: write_dicos(f / "a.dcs", SEEN[::-1], unit="MHU"),
    "dicos, no positions": lambda f: write_dicos(f / "a.dcs", SEEN[::-1], positions=False),
    "dicos, a vendor's unit": lambda f: (
        write_dicos(f / "a.dcs", SEEN[::-1], unit="unknown"), write_note(f / "scans.toml", unit="hu"),
    ),
    "dicom": lambda f: write_dicom(f / "bag7", SEEN, patient="bag7"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAGS)
def test_a_bag_in_any_format_becomes_the_same_volume(tmp_path: Path, references: list[np.ndarray], name: str) -> None:
    BAGS[name](tmp_path / "in")
    record, volume = prepare_one(BAG, tmp_path / "in")
    np.testing.assert_allclose(volume, references[1], atol=1 if "attenuation" in name else 0)
    assert (record.patient, record.source_format, record.table) == ("bag7", name.split(",")[0], "kept: a bag")


def test_the_xrays_of_x2ct_are_kept_with_their_provenance(tmp_path: Path) -> None:
    case = "LIDC-IDRI-0936.20000101.5169.2.1"
    path = write_h5(tmp_path / "in" / case / "ct_xray_data.h5", phantom())
    xray1, xray2 = draw_xrays(phantom(), (270, 0), (True, False))
    record, _ = prepare_one(CHEST, tmp_path / "in")
    assert (record.case, record.series) == ("LIDC-IDRI-0936", case)
    views, provenance = load_views("chest", record.case)
    np.testing.assert_array_equal(views["xray1"], xray1)
    np.testing.assert_array_equal(views["xray2"], xray2)
    assert provenance["format"] == "x2ct-h5"
    assert list(provenance["sha256_of_sources"]) == [f"{case}/ct_xray_data.h5"]
    path.unlink()
    write_h5(path, phantom(), xray1=None, xray2=None)  # the X-rays of the earlier file must not stay
    write_note(path.parent / "scans.toml", axes=("D", "H", "W"))
    assert len(prepare_chests(tmp_path / "in").prepared) == 1
    assert not views_path(CHEST.name, record.case).exists()


def test_the_drrs_of_codediff3d_and_of_bags_are_kept(tmp_path: Path) -> None:
    write_chest_npz(tmp_path / "chests" / "0001_chest", phantom())
    write_chest_npz(tmp_path / "chests" / "0002_chest", phantom() + np.int16(1))
    names = [f"drr_{index}" for index in range(8)]
    for record, folder in zip(prepare_chests(tmp_path / "chests").prepared, ("0001", "0002"), strict=True):
        views, provenance = load_views("chest", record.case)
        assert sorted(views) == names
        np.testing.assert_array_equal(views["drr_3"], drr(3))
        assert list(provenance["sha256_of_sources"]) == [f"{folder}_chest/{name}.png" for name in names]
    write_bag(tmp_path / "bags" / "bag7", SEEN.astype(np.float32))
    note(tmp_path / "bags" / "scans.toml", "hu")
    record, _ = prepare_one(BAG, tmp_path / "bags")
    assert sorted(load_views("bags", record.case)[0]) == ["bag7_azimuth_90", "bag7_elevation_90"]


def test_a_scan_of_luna16_is_that_of_its_patient(tmp_path: Path) -> None:
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


def test_a_changed_side_file_prepares_again(tmp_path: Path) -> None:
    write_tiffs(tmp_path / "in" / "bag7", (SEEN + 1024).astype(np.uint16))
    path = tmp_path / "in" / "bag7.toml"
    note(path, "mhu")
    wrong = prepare_one(BAG, tmp_path / "in")[1]
    note(path, "hu+1024")
    right = prepare_one(BAG, tmp_path / "in")[1]
    assert np.median(wrong - right) == 24
