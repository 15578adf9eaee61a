"""Preparation: the right part of a scan, without aliasing, without the table, once a patient, whatever goes wrong."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bench.data.store import load_volume, read_store, store_folder
from bench.dataset import DatasetSpec, Geometry, PreparedCase, Split
from bench.datasets.lidc.check import doubts
from bench.scans.body import without_table
from bench.scans.check import check
from bench.scans.export import export
from bench.scans.prepare import PrepareReport, case_name, prepare
from bench.scans.reading.scan import Scan
from bench.scans.resampling import cube_centre, resampled


def no_splits(records: Sequence[PreparedCase]) -> dict[str, Split]:
    return {}


def no_phantom(seed: int, grid: int) -> np.ndarray:
    raise NotImplementedError


SPEC = DatasetSpec(
    name="chest", title="chest", window=(-1000.0, 1000.0), cube_mm=320.0, full_grid=32,
    geometry=Geometry(541.0, 949.0, 500.0), presets={}, phantom=no_phantom, phantom_version=1,
    assign_splits=no_splits, citation="",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "store"))


def torso(
    shape: tuple[int, int, int] = (64, 80, 80), voxel: float = 5.0, width: float = 300.0, wall: float = 0.15
) -> np.ndarray:
    """(D, H, W) HU: an elliptic trunk, wider at the lower end, with two lungs above a diaphragm, spine and sternum."""
    d, h, w = np.meshgrid(*[(np.arange(size) - (size - 1) / 2) * voxel for size in shape], indexing="ij")
    lower = (d + shape[0] * voxel / 2) / (shape[0] * voxel)  # 0 at the upper end, 1 at the lower
    hounsfield = np.full(shape, -1000, np.int16)
    hounsfield[(w / (width / 2)) ** 2 + (h / 110) ** 2 < 0.75 + 0.25 * lower] = 30
    cavity = (w / (width / 2)) ** 2 + (h / 110) ** 2 < 0.75 - wall + 0.25 * lower
    for side in (-1, 1):
        lung = ((w - side * width / 4) / 55) ** 2 + (h / 85) ** 2 + ((d + 10) / 120) ** 2 < 1
        hounsfield[lung & cavity] = -860
    hounsfield[(w**2 + (h - 70) ** 2 < 22**2)] = 400
    hounsfield[(np.abs(w) < 18) & (np.abs(h + 85) < 6) & (d < 40)] = 350
    return hounsfield


def with_table(hounsfield: np.ndarray, gap: int) -> np.ndarray:
    """The same on a flat plate, one voxel thick and as wide as the field of view, `gap` voxels behind the back."""
    back = int(np.argwhere(hounsfield > -400)[:, 1].max())
    result = hounsfield.copy()
    result[:, back + 1 + gap] = 100
    return result


def write(path: Path, hounsfield: np.ndarray, voxel: float = 5.0, centre: Sequence[float] = (3.0, -8.0, 40.0)) -> Path:
    """A NIfTI of (D, H, W) HU around a centre in RAS millimetres."""
    affine = np.diag([-voxel, -voxel, -voxel, 1.0])
    affine[:3, 3] = np.array(centre) + voxel * (np.array(hounsfield.shape[::-1]) - 1) / 2
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(hounsfield.transpose(2, 1, 0), affine), path)
    return path


def run(source: Path, **options: object) -> PrepareReport:
    return prepare(SPEC, source, workers=1, **options)


def names(report: PrepareReport) -> tuple[list[str], list[str], list[str]]:
    """Cases prepared, cases kept, files refused."""
    prepared, already = ([record.case for record in group] for group in (report.prepared, report.already))
    return prepared, already, [item.path.name for item in report.refused]


@pytest.mark.parametrize(("spacing", "voxel"), [((2.5, 0.7, 0.9), 2.5), ((1.0, 1.0, 1.0), 2.5), ((3.0, 3.0, 3.0), 2.5)])
def test_a_wave_comes_out_with_the_amplitude_of_the_low_pass(spacing: tuple[float, float, float], voxel: float) -> None:
    """A Gaussian of sigma s multiplies a wave of frequency f by exp(-2 π² s² f²)."""
    offset, wavelength = (3.3, -2.1, 1.7), (40.0, 25.0, 20.0)
    axes = [(np.arange(round(140 / step)) - (round(140 / step) - 1) / 2) * step for step in spacing]
    waves = [np.cos(2 * np.pi * axis / length) for axis, length in zip(axes, wavelength, strict=True)]
    scan = 1000 * waves[0][:, None, None] * waves[1][None, :, None] * waves[2]
    result = resampled(scan.astype(np.float32), spacing, offset, 32, voxel)

    sigmas = [0.5 * max(step, voxel) for step in spacing]
    factor = np.prod([np.exp(-2 * (np.pi * s / length) ** 2) for s, length in zip(sigmas, wavelength, strict=True)])
    centres = [(np.arange(32) - 15.5) * voxel + shift for shift in offset]
    expected = [np.cos(2 * np.pi * axis / length) for axis, length in zip(centres, wavelength, strict=True)]
    expected = 1000 * factor * expected[0][:, None, None] * expected[1][None, :, None] * expected[2]
    # Sampled at one sigma a voxel of the scan the Gaussian is exact; at half of one, the sum of its weights ripples
    # by 2 exp(-2π²/4) = 1.4 %, and their centre by π/2 as much of a voxel.
    ripple = sum(
        0.015 + 0.023 * 2 * np.pi * step / length
        for step, length in zip(spacing, wavelength, strict=True)
        if step >= voxel
    )
    np.testing.assert_allclose(result, expected, atol=1000 * ripple + 3)


def test_what_the_grid_cannot_hold_does_not_alias() -> None:
    """A wave of 4 mm on voxels of 5 mm would come back as one of 20 mm."""
    wave = np.broadcast_to(1000 * np.cos(2 * np.pi * np.arange(320) / 4.0), (320, 320, 320))[:40, :40]
    result = resampled(wave.astype(np.float32), (5.0, 5.0, 1.0), (0.0, 0.0, 0.0), 30, 5.0)
    assert np.abs(result).max() < 1000 * np.exp(-2 * (np.pi * 2.5 / 4) ** 2) * 1.2 < 1000 * 0.001


def test_outside_the_scan_is_air_and_inside_nothing_is() -> None:
    result = resampled(np.full((20, 20, 20), 50, np.int16), (2.0, 2.0, 2.0), (0.0, 6.0, 0.0), 32, 2.0)
    assert (result[:6] == -1000).all()
    assert (result[26:] == -1000).all()
    np.testing.assert_allclose(result[6:26, 3:23, 6:26], 50, atol=1e-3)
    assert (result[:, 23:] == -1000).all()


def scan_of(hounsfield: np.ndarray, spacing: float = 5.0, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Scan:
    return Scan(hounsfield, (spacing,) * 3, centre)


def test_the_cranial_end_of_a_long_scan_is_kept() -> None:
    scan = scan_of(torso((120, 80, 80)), centre=(0.0, 0.0, 100.0))  # 600 mm, up to 400 mm
    assert cube_centre(scan, 320.0)[2] == 400 - 160 - 0.0


def test_a_short_scan_is_padded_evenly() -> None:
    scan = scan_of(torso((50, 80, 80)), centre=(0.0, 0.0, 100.0))
    assert cube_centre(scan, 320.0)[2] == 100.0


def test_the_cube_follows_a_body_beside_the_centre_of_the_field_of_view() -> None:
    moved = np.roll(torso(width=240.0), (7, -11), axis=(1, 2))  # 35 mm to the back, 55 mm to the right
    right, anterior, _ = cube_centre(scan_of(with_table(moved, 1)), 320.0)
    assert (right, anterior) == (55.0, -35.0)


def test_the_same_scan_at_two_resolutions_becomes_the_same_case(tmp_path: Path) -> None:
    fine = torso((160, 200, 200), voxel=2.0)
    coarse = fine.reshape(80, 2, 100, 2, 100, 2).mean(axis=(1, 3, 5)).round().astype(np.int16)
    write(tmp_path / "in" / "fine.nii.gz", with_table(fine, 4), voxel=2.0)
    write(tmp_path / "in" / "coarse.nii.gz", with_table(coarse, 2), voxel=4.0)
    first, second = run(tmp_path / "in").prepared
    assert first.centre_ras_mm == second.centre_ras_mm
    one, other = (np.clip(load_volume("chest", r).astype(float), -1000, 1000) / 2000 for r in (first, second))
    assert -10 * np.log10(((one - other) ** 2).mean()) > 40


@pytest.mark.parametrize("gap", [0, 3])
def test_the_table_goes_and_the_body_stays(gap: int) -> None:
    body = torso((64, 90, 90), voxel=4.0, width=260.0)
    lying = with_table(body, gap)
    result, decision = without_table(lying, 4.0)
    assert decision == "removed"
    inside = body > -1000
    np.testing.assert_array_equal(result[inside], body[inside])  # lungs, spine and skin
    left = (result != -1000) & ~inside
    assert left.sum() < 0.25 * ((lying != -1000) & ~inside).sum()
    assert not left[:, :, :10].any()
    if gap:
        assert not left.any()


def test_a_thin_chest_wall_is_no_table() -> None:
    """Also where the scan ends in an open windpipe and is padded above."""
    body = torso((64, 90, 90), voxel=4.0, width=260.0, wall=0.1)  # 8 mm
    body[:20, 44:47, 22:26] = -980
    assert body[20, 45, 24] == -860
    padding = np.full((8, 90, 90), -1000, np.int16)
    result, decision = without_table(np.concatenate([padding, with_table(body, 3)]), 4.0)
    assert decision == "removed"
    np.testing.assert_array_equal(result[8:][body > -900], body[body > -900])


def test_a_sealed_gap_above_the_table_is_no_lung() -> None:
    body = torso((64, 90, 90), voxel=4.0, width=260.0)
    lying = with_table(body, 5)
    table = int(np.argwhere(lying > 0)[:, 1].max())
    box = lying[:, 45 : table + 1, 20:70]
    walls = np.zeros(box.shape, bool)
    walls[[0, -1]] = walls[:, :, [0, -1]] = True
    box[walls & (box == -1000)] = 100
    result, decision = without_table(lying, 4.0)
    assert decision == "removed"
    assert (result[:, table] == -1000).all()


def test_lungs_cut_by_the_field_of_view_are_kept() -> None:
    body = torso((64, 90, 90), voxel=4.0, width=260.0)[:, :, 26:]  # through the right lung
    assert (body[28, :, 0] == -860).any()
    result, decision = without_table(with_table(body, 3), 4.0)
    assert decision == "removed"
    assert (result[body == -860] == -860).all()


def test_arms_beside_the_body_stop_the_removal() -> None:
    body = torso((64, 90, 90), voxel=4.0, width=200.0)
    body[:, 30:56, 2:12] = 30
    result, decision = without_table(body, 4.0)
    assert decision.startswith("kept: removing it would take")
    np.testing.assert_array_equal(result, body)


def test_a_folder_is_prepared_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(
            tmp_path / "in" / f"{name}.nii.gz", with_table(torso(), 2) + np.int16(len(name)), centre=(0, 0, ord(name))
        )
    assert names(run(tmp_path / "in")) == (["a", "b"], [], [])
    volumes = sorted((store_folder("chest") / "volumes").iterdir())
    before = [(path.name, path.stat().st_mtime_ns) for path in volumes]
    assert names(run(tmp_path / "in")) == ([], ["a", "b"], [])
    assert [(path.name, path.stat().st_mtime_ns) for path in volumes] == before
    record = read_store("chest")[0]
    volume = load_volume("chest", record)
    assert volume.shape == (32, 32, 32)
    assert volume.dtype == np.int16
    assert (record.patient, record.table, record.source, record.source_slices) == ("a", "removed", "a.nii.gz", 64)


def test_a_case_is_prepared_again_when_recipe_file_or_volume_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "in" / "a.nii.gz", with_table(torso(), 2))
    run(tmp_path / "in")
    assert names(run(tmp_path / "in", keep_table=True))[0] == ["a"]
    kept = load_volume("chest", read_store("chest")[0])
    assert read_store("chest")[0].table == "kept: as asked"
    assert names(run(tmp_path / "in"))[0] == ["a"]
    assert (kept > -800).sum() > 1.1 * (load_volume("chest", read_store("chest")[0]) > -800).sum()
    (store_folder("chest") / "volumes" / "a.npy").write_bytes(b"damaged")
    assert names(run(tmp_path / "in"))[0] == ["a"]
    write(path, torso())
    assert names(run(tmp_path / "in"))[0] == ["a"]
    assert len(read_store("chest")) == 1


def test_bad_files_are_named_and_the_good_ones_kept(tmp_path: Path) -> None:
    write(tmp_path / "in" / "deep" / "good.nii.gz", torso())
    write(tmp_path / "in" / "unsigned.nii.gz", torso() + np.int16(1024))
    (tmp_path / "in" / "empty.nii.gz").touch()
    (tmp_path / "in" / "cut.nii.gz").write_bytes((tmp_path / "in" / "deep" / "good.nii.gz").read_bytes()[:2000])
    report = run(tmp_path / "in")
    assert names(report) == (["good"], [], ["empty.nii.gz", "cut.nii.gz", "unsigned.nii.gz"])
    assert all(item.reason for item in report.refused)


def test_a_defect_in_one_scan_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bench.scans.prepare as module

    whole = module.prepared_volume

    def failing(scan: Scan, recipe: object) -> tuple:
        if scan.hounsfield.shape[0] == 60:
            raise ZeroDivisionError("odd")
        return whole(scan, recipe)

    monkeypatch.setattr(module, "prepared_volume", failing)
    write(tmp_path / "in" / "a.nii.gz", torso((60, 80, 80)))
    write(tmp_path / "in" / "b.nii.gz", torso())
    report = run(tmp_path / "in")
    assert names(report) == (["b"], [], ["a.nii.gz"])
    assert "ZeroDivisionError: odd" in report.refused[0].reason


def test_a_patient_is_kept_once(tmp_path: Path) -> None:
    write(tmp_path / "in" / "LIDC-IDRI-0132_5mm.nii.gz", torso())
    write(tmp_path / "in" / "LIDC-IDRI-0132_long.nii.gz", torso((70, 80, 80)))
    report = run(tmp_path / "in")
    assert [(record.case, record.series) for record in report.prepared] == [("LIDC-IDRI-0132", "LIDC-IDRI-0132_long")]
    assert [item.path.name for item in report.skipped] == ["LIDC-IDRI-0132_5mm.nii.gz"]
    write(tmp_path / "later" / "LIDC-IDRI-0132_longest.nii.gz", torso((72, 80, 80)))
    assert names(run(tmp_path / "later")) == ([], ["LIDC-IDRI-0132"], [])


def test_the_next_series_is_used_when_the_first_is_unusable(tmp_path: Path) -> None:
    broken = torso((70, 80, 80)).astype(np.float32)
    broken[5, 5, 5] = np.nan
    write(tmp_path / "in" / "LIDC-IDRI-0132_a.nii.gz", broken)
    write(tmp_path / "in" / "LIDC-IDRI-0132_b.nii.gz", torso())
    report = run(tmp_path / "in")
    assert names(report) == (["LIDC-IDRI-0132"], [], ["LIDC-IDRI-0132_a.nii.gz"])
    assert report.prepared[0].series == "LIDC-IDRI-0132_b"


def test_the_same_file_under_another_name_is_no_second_patient(tmp_path: Path) -> None:
    path = write(tmp_path / "in" / "a.nii.gz", torso())
    (tmp_path / "in" / "b.nii.gz").write_bytes(path.read_bytes())
    report = run(tmp_path / "in")
    assert names(report) == (["a"], [], [])
    assert report.skipped[0].reason == "the same scan as a"


def test_processes_give_the_same_bytes_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(3):
        write(tmp_path / "in" / f"case{index}.nii.gz", with_table(torso(width=240.0 + 20 * index), 2))
    run(tmp_path / "in")
    alone = [replace(record) for record in read_store("chest")]
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "other"))
    seen = []
    prepare(SPEC, tmp_path / "in", workers=2, on_progress=lambda done, total, line: seen.append((done, total)))
    assert read_store("chest") == alone
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_stopped_preparation_goes_on_where_it_was(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / "in" / f"{name}.nii.gz", torso(width=200.0 + ord(name)))

    def stop(done: int, total: int, line: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "in", on_progress=stop)
    assert names(run(tmp_path / "in")) == (["c"], ["a", "b"], [])


@pytest.mark.parametrize("patient", ["../../etc/passwd", "a b", "a/b", "é", "", "..", "x" * 300, "患者", "a:b"])
def test_case_names_are_safe(patient: str) -> None:
    name = case_name(patient)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not name.startswith(".")
    assert 0 < len(name) < 100


def test_case_names_are_distinct_and_plain_names_stay() -> None:
    assert case_name("LIDC-IDRI-0001") == "LIDC-IDRI-0001"
    assert len({case_name(patient) for patient in ("a b", "a/b", "a_b", "a  b")}) == 4


def test_export_puts_every_voxel_back_where_it_was(tmp_path: Path) -> None:
    centre = (3.0, -8.0, 40.0)
    scan = torso()
    scan[16:24, 28:36, 18:26] = 3000  # 40 mm
    write(tmp_path / "in" / "a.nii.gz", scan, centre=centre)
    run(tmp_path / "in")
    written, failed = export(SPEC, tmp_path / "out")
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
        write(tmp_path / "in" / f"{name}.nii.gz", torso(width=200.0 + ord(name)))
    run(tmp_path / "in")
    records = read_store("chest")
    clean = check(SPEC, records, dict.fromkeys("abcd", "train"))
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
        for f in check(SPEC, altered, {"a": "train", "b": "test", "d": "test"})
    }
    assert ("error", "a", "patient p leaks: its cases are in test and train") in found
    assert ("error", "a", "the same volume as d") in found
    assert ("warning", "", "cases are prepared by different recipes") in found
    assert ("note", "d", "table kept: no body found") not in found  # its hash no longer fits: an error instead
    assert {case for severity, case, text in found if "is damaged" in text and severity == "error"} == {"c", "d"}


def test_check_warns_of_a_short_scan(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.nii.gz", torso((30, 80, 80)))
    run(tmp_path / "in")
    texts = [f.text for f in check(SPEC, read_store("chest"), {}) if f.severity == "warning"]
    assert texts == ["the scan covers 150 of 320 mm; the rest is air"]


def test_check_expects_a_bag_to_be_small_and_mostly_air(tmp_path: Path) -> None:
    bags = replace(SPEC, name="bags", subject="bag")
    bag = np.full((30, 64, 64), -1000, np.int16)
    bag[5:25, 20:40, 25:40] = -200
    assert 0.01 < np.mean(bag > -500) * 30 / 64 < 0.04  # of the cube
    write(tmp_path / "in" / "a.nii.gz", bag)
    prepare(bags, tmp_path / "in", workers=1)
    assert [f.text for f in check(bags, read_store("bags"), {}) if f.severity == "warning"] == []


def test_a_chest_the_wrong_way_round_raises_doubts() -> None:
    chest = torso()
    assert chest.shape[0] * 5.0 == 320.0
    assert doubts(chest) == []
    assert [text.split("?")[0] for text in doubts(chest[:, ::-1])] == ["front to back"]
    assert [text.split("?")[0] for text in doubts(chest[::-1])] == ["upside down"]
    solid = np.where(chest == -860, 30, chest)
    assert doubts(solid)[0].startswith("no lungs: 0.0 litres")
    assert doubts(np.full_like(chest, -1000)) == ["no body"]
