"""Bad input of every kind ends in one line that names the file and says what to do, and the good scans are kept."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bench.data.store import load_volume, read_store, store_folder
from bench.errors import BenchError, UsageError
from bench.scans.prepare import PrepareReport, prepare

from ..helpers.scan_files import (
    h5py,
    phantom,
    pydicom,
    ras_affine,
    simpleitk,
    tifffile,
    write_chest_npz,
    write_dicom,
    write_dicos,
    write_h5,
    write_itk,
    write_nifti,
    write_note,
    write_tiffs,
)
from .test_reading_formats import CHEST

CUT = 0.7
BAD_NPZ_HEADER = {"descr": "<i2", "fortran_order": False, "shape": (900, 900, 900)}


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "store"))


def noisy() -> np.ndarray:
    return phantom() + np.random.default_rng(0).integers(-20, 20, phantom().shape).astype(np.int16)


def cut(path: Path, part: float = CUT) -> None:
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def replaced(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def retagged(folder: Path, only: int | None = None, **tags: object) -> None:
    for index, path in enumerate(sorted(folder.glob("*.dcm"))):
        if only is None or index == only:
            dataset = pydicom.dcmread(path)
            for tag, value in tags.items():
                setattr(dataset, tag, value)
            dataset.save_as(path)


def recompressed(folder: Path, syntax: str, lossy: str | None) -> None:
    """Give slices another transfer syntax; the pixels themselves need not fit for it to be refused."""
    for path in folder.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
        if lossy:
            dataset.LossyImageCompression = lossy
        dataset.save_as(path)


def huge_npz(folder: Path) -> None:
    """An archive of a few bytes that declares 1.5 GB."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "bomb.npz", "w") as archive, archive.open("ct.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, BAD_NPZ_HEADER)
        file.write(b"\0" * 64)


def huge_nifti(path: Path) -> None:
    write_nifti(path, phantom())
    image = nibabel.load(path)
    header = image.header.copy()
    header.set_data_shape((900, 900, 900))
    import gzip

    content = bytearray(image.to_bytes())
    content[: header.sizeof_hdr] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)))


def packed_bomb(path: Path) -> None:
    """A NIfTI with gigabytes of zeros after its voxels."""
    import gzip

    write_nifti(path, noisy())
    with gzip.open(path) as file:
        content = file.read()
    path.write_bytes(gzip.compress(content) + gzip.compress(b"\0" * 2**24) * 8)


def h5_without_data(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("ct", shape=(900, 900, 900), dtype=np.int16, chunks=(64, 64, 64))


def h5_link(path: Path) -> None:
    write_h5(path.parent / "other" / "target.h5", noisy())
    (path.parent / "other" / "target.h5").rename(path.parent.parent / "target.bin")
    with h5py.File(path, "w") as file:
        file["ct"] = h5py.ExternalLink("../target.bin", "ct")


def mhd_elsewhere(path: Path, target: str) -> None:
    write_itk(path, noisy())
    shutil.move(path.with_suffix(".raw"), path.parent.parent / "elsewhere.raw")
    replaced(path, b"ElementDataFile = a.raw", f"ElementDataFile = {target}".encode())


def mixed_series(folder: Path) -> None:
    write_dicom(folder, noisy())
    other = write_dicom(folder.parent / "other", noisy()[:, :32, :32], series="1.2.3.9")
    for index, path in enumerate(sorted(other.glob("*.dcm"))[:9]):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = "1.2.3.4"
        dataset.save_as(folder / f"2-{index}.dcm")
    shutil.rmtree(other)


def rotated(values: np.ndarray) -> nibabel.Nifti1Image:
    """All of it turned by 90 degrees about an axis that is none of the scanner's, and sheared flat."""
    affine = ras_affine(values.shape)
    affine[:3, 1] = affine[:3, 0]
    return nibabel.Nifti1Image(values.transpose(2, 1, 0), affine)


def of_slices(folder: Path, change: Callable[[list[Path]], object], **tags: object) -> None:
    write_dicom(folder, noisy(), **tags)
    change(sorted(folder.glob("*.dcm")))


Write = Callable[[Path], object]
BAD: dict[str, tuple[Write, str]] = {  # what writes it into a folder, and what the line says
    "dicom, missing slice": (lambda f: of_slices(f / "s", lambda p: p[30].unlink()), "slices are missing.*: 10 mm"),
    "dicom, mixed series": (lambda f: mixed_series(f / "s"), "Rows changes within the series, at 2-.*keep one"),
    "dicom, empty file": (lambda f: of_slices(f / "s", lambda p: p[30].write_bytes(b"")), "the file is empty; copy"),
    "dicom, cut slice": (lambda f: of_slices(f / "s", lambda p: cut(p[9])), "1-010.dcm cannot be decoded.*copy"),
    "dicom, cut in the header": (lambda f: of_slices(f / "s", lambda p: [cut(q, 0.04) for q in p]), "header"),
    "dicom, JPEG": (
        lambda f: (write_dicom(f / "s", noisy()), recompressed(f / "s", "1.2.840.10008.1.2.4.50", None)),
        "lossy compression; take the original",
    ),
    "dicom, lossy JPEG 2000": (
        lambda f: (write_dicom(f / "s", noisy()), recompressed(f / "s", "1.2.840.10008.1.2.4.91", "01")),
        "lossy compression; take the original",
    ),
    "dicom, once lossy": (lambda f: write_dicom(f / "s", noisy(), LossyImageCompression="01"), "lossy compression"),
    "dicom, unknown syntax": (
        lambda f: (write_dicom(f / "s", noisy()), recompressed(f / "s", "1.2.840.10008.1.2.4.103", None)),
        "transfer syntax 1.2.840.10008.1.2.4.103, which nothing decodes; convert",
    ),
    "dicom, damaged JPEG 2000": (
        lambda f: (write_dicom(f / "s", noisy()), recompressed(f / "s", "1.2.840.10008.1.2.4.90", None)),
        "cannot be decoded.*copy",
    ),
    "dicom, spacing": (lambda f: write_dicom(f / "s", noisy(), PixelSpacing=[0.001, 5]), "5 × 0.001 × 5 mm.*correct"),
    "dicom, no spacing": (lambda f: write_dicom(f / "s", noisy(), PixelSpacing=None), "has no PixelSpacing"),
    "dicom, spacing not a number": (lambda f: write_dicom(f / "s", noisy(), PixelSpacing=[0, 0]), "spacing"),
    "dicom, huge": (lambda f: write_dicom(f / "s", noisy(), Rows=60000, Columns=60000), "64 × 60000 × 60000 voxels"),
    "dicom, orientation": (
        lambda f: write_dicom(f / "s", noisy(), ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
        "same position|not independent",
    ),
    "dicom, colours": (lambda f: write_dicom(f / "s", noisy(), SamplesPerPixel=3), "no grey picture"),
    "dicom, all air": (lambda f: write_dicom(f / "s", np.full_like(noisy(), -1000)), "all air"),
    "dicos, cut": (lambda f: (write_dicos(f / "a.dcs", noisy()), cut(f / "a.dcs")), "cut short|damaged"),
    "dicos, vendor's unit": (lambda f: write_dicos(f / "a.dcs", noisy(), unit="unknown"), 'unit = "hu"'),
    "nifti, empty": (lambda f: (f / "a.nii.gz").write_bytes(b""), "the file is empty; copy"),
    "nifti, cut": (lambda f: cut(write_nifti(f / "a.nii.gz", noisy())), "damaged"),
    "nifti, huge": (lambda f: huge_nifti(f / "a.nii.gz"), "900 × 900 × 900 voxels"),
    "nifti, bomb": (lambda f: packed_bomb(f / "a.nii.gz"), "more than its header declares"),
    "nifti, flat": (lambda f: nibabel.save(rotated(noisy()), f / "a.nii.gz"), "not independent; correct"),
    "nifti, all air": (lambda f: write_nifti(f / "a.nii.gz", np.full_like(noisy(), -1000)), "all air"),
    "nifti, HU + 1024": (lambda f: write_nifti(f / "a.nii.gz", noisy() + np.int16(1024)), "HU \\+ 1024.*side file"),
    "mhd, empty": (lambda f: (f / "a.mhd").write_bytes(b""), "the file is empty; copy"),
    "mhd, no data": (lambda f: write_itk(f / "a.mhd", noisy()).with_suffix(".raw").unlink(), "a.raw is missing; copy"),
    "mhd, cut": (lambda f: cut(write_itk(f / "a.mhd", noisy()).with_suffix(".raw")), "cut short.*copy"),
    "zraw, cut": (lambda f: cut(write_itk(f / "a.mhd", noisy(), packed=True).with_suffix(".zraw")), "copy it again"),
    "zraw, flipped bit": (
        lambda f: flip_bit(write_itk(f / "a.mhd", noisy(), packed=True).with_suffix(".zraw")),
        "compressed voxels in a.zraw are damaged; copy",
    ),
    "mha, flipped bit": (lambda f: flip_bit(write_itk(f / "a.mha", noisy(), packed=True)), "damaged; copy"),
    "mhd, huge": (
        lambda f: replaced(write_itk(f / "a.mhd", noisy()), b"DimSize = 64 64 64", b"DimSize = 9000 900 900"),
        "9000 × 900 × 900 voxels, more than a CT has",
    ),
    "mhd, larger than its data": (
        lambda f: replaced(write_itk(f / "a.mhd", noisy()), b"DimSize = 64 64 64", b"DimSize = 64 64 99"),
        "cut short",
    ),
    "mhd, above its folder": (lambda f: mhd_elsewhere(f / "a.mhd", "../elsewhere.raw"), "outside its folder"),
    "mhd, absolute": (lambda f: mhd_elsewhere(f / "a.mhd", str(f.parent / "elsewhere.raw")), "outside its folder"),
    "mhd, a drive": (lambda f: mhd_elsewhere(f / "a.mhd", "C:\\elsewhere.raw"), "outside its folder"),
    "mhd, no header": (lambda f: (f / "a.mhd").write_text("nothing"), "header cannot be read"),
    "nrrd, cut": (lambda f: cut(write_itk(f / "a.nrrd", noisy(), packed=True)), "cannot be read; copy"),
    "nrrd, no space": (
        lambda f: replaced(write_itk(f / "a.nrrd", noisy()), b"space: left-posterior-superior", b"space dimension: 3"),
        "no space",
    ),
    "nhdr, outside": (
        lambda f: replaced(write_itk(f / "a.nhdr", noisy()), b"data file: a.raw", b"data file: ../a.raw"),
        "outside its folder",
    ),
    "h5, empty": (lambda f: (f / "a.h5").write_bytes(b""), "the file is empty; copy"),
    "h5, cut": (lambda f: cut(write_h5(f / "a.h5", noisy())), "damaged"),
    "h5, no ct": (lambda f: h5py.File(f / "a.h5", "w").close(), "no array 'ct'"),
    "h5, huge": (lambda f: h5_without_data(f / "a" / "a.h5"), "900 × 900 × 900 voxels"),
    "h5, link": (lambda f: h5_link(f / "b" / "a.h5"), "no array 'ct'"),
    "h5, scaled": (lambda f: write_h5(f / "a.h5", (noisy() > 0).astype(np.int16) - np.int16(1024)), "all air"),
    "npz, empty": (lambda f: (f / "a.npz").write_bytes(b""), "the file is empty; copy"),
    "npz, cut": (lambda f: cut(write_chest_npz(f / "0001_chest", noisy())), "damaged"),
    "npz, flipped bit": (lambda f: flip_bit(write_chest_npz(f / "0001_chest", noisy())), "damaged"),
    "npz, pickled": (lambda f: np.savez(f / "a.npz", ct=np.array([{}], object)), "no 3-D array of numbers"),
    "npz, no ct": (lambda f: np.savez(f / "a.npz", image=noisy()), "holds image and no array 'ct'"),
    "npz, huge": (lambda f: huge_npz(f / "0001_chest"), "900 × 900 × 900 voxels"),
    "npz, bag without side file": (lambda f: np.savez(f / "a.npz", ct=noisy()), 'unit = "hu"; spacing_mm = .*; axes'),
    "npz, scaled chest": (lambda f: np.savez(_folder(f / "0001_chest") / "a.npz", ct=noisy() / 2000 + 0.5), "its unit"),
    "tiff, empty": (lambda f: (f / "a.tif").write_bytes(b""), "the file is empty; copy"),
    "tiff, gap": (lambda f: (write_tiffs(f / "b", noisy()) / "slice_20.tif").unlink(), "between 19 and 21; copy"),
    "tiff, no side file": (lambda f: write_tiffs(f / "b", noisy(), pages=True), "write a .toml beside it"),
    "tiff, cut": (lambda f: cut(write_tiffs(f / "b", noisy(), pages=True) / "b.tif"), "damaged|cut short"),
    "tiff, odd slice": (
        lambda f: tifffile.imwrite(write_tiffs(f / "b", noisy()) / "slice_20.tif", noisy()[0, :9, :9]),
        "slice_20.tif differs in size",
    ),
    "side file, misspelt": (
        lambda f: (write_nifti(f / "a.nii.gz", noisy()), write_note(f / "a.toml", units="hu")),
        "side file a.toml is wrong: units",
    ),
    "side file, axes": (
        lambda f: (write_nifti(f / "a.nii.gz", noisy()), write_note(f / "a.toml", axes=("D", "D", "W"))),
        "axes must name D, H and W",
    ),
    "side file, no TOML": (
        lambda f: (write_nifti(f / "a.nii.gz", noisy()), (f / "scans.toml").write_text("unit: hu")),
        "side file scans.toml cannot be read",
    ),
    "side file, no water": (
        lambda f: (write_nifti(f / "a.nii.gz", noisy()), write_note(f / "a.toml", unit="mu_per_cm")),
        "mu_water_per_cm",
    ),
}  # fmt: skip


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_one_line_and_the_good_is_kept(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write, expected = BAD[name]
    write(_folder(tmp_path / "in" / "bad"))
    write_nifti(tmp_path / "in" / "good.nii.gz", phantom())
    report = prepare(CHEST, tmp_path / "in", workers=1)
    assert [record.case for record in report.prepared] == ["good"]
    assert report.refused, report.skipped
    for item in report.refused:
        assert "bad" in item.path.parts
        assert "\n" not in item.reason
        assert "unexpected" not in item.reason
        assert 10 < len(item.reason) < 250
    assert any(re.search(expected, item.reason) for item in report.refused), report.refused
    if "dicom" not in name:
        assert len(report.refused) == 1


def of(report: PrepareReport) -> dict[str, str]:
    return {item.path.name: item.reason for item in (*report.refused, *report.skipped)}


def test_other_modalities_alone_are_wrong_usage(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "mr", noisy(), Modality="MR")
    with pytest.raises(UsageError, match=r"no CT found in .*/mr is no CT: Modality MR; name a folder"):
        prepare(CHEST, tmp_path / "in", workers=1)


def test_other_modalities_beside_a_ct_are_passed_over(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "pet", noisy(), Modality="PT", series="1.2.9")
    write_nifti(tmp_path / "in" / "good.nii.gz", phantom())
    write_dicos(tmp_path / "in" / "low.dcs", noisy(), energy="LOW ENERGY")
    write_itk(tmp_path / "in" / "labels.nrrd", (phantom() > 0).astype(np.uint8))
    np.savez(tmp_path / "in" / "nodulemnist3d.npz", train_images=np.zeros((2, 28, 28, 28), np.uint8))
    report = prepare(CHEST, tmp_path / "in", workers=1)
    assert [record.case for record in report.prepared] == ["good"]
    assert not report.refused
    assert {name: reason.split(" of ")[0] for name, reason in of(report).items()} == {
        "pet": "no CT: Modality PT",
        "low.dcs": "the low-energy image",
        "labels.nrrd": "no CT: labels or a picture",
        "nodulemnist3d.npz": "crops",
    }


def test_a_rotated_scan_is_turned_upright(tmp_path: Path) -> None:
    straight = simpleitk.ReadImage(str(write_itk(tmp_path / "a" / "p.nrrd", phantom())))
    turned = simpleitk.PermuteAxes(straight, [2, 0, 1])
    assert not np.allclose(turned.GetDirection(), np.eye(3).ravel())
    (tmp_path / "b").mkdir()
    simpleitk.WriteImage(simpleitk.Flip(turned, [True, False, True]), str(tmp_path / "b" / "q.mha"))
    first = prepare(CHEST, tmp_path / "a", workers=1).prepared[0]
    second = prepare(CHEST, tmp_path / "b", workers=1)
    (record,) = second.skipped or second.prepared  # the volume decides, not the file
    np.testing.assert_array_equal(load_volume("chest", first), load_volume("chest", record))


def test_names_of_any_script_are_read(tmp_path: Path) -> None:
    root = tmp_path / "病人 ü" / "a b'c\"d" / "x\ny"
    write_nifti(root / "ñ.nii.gz", noisy())
    write_itk(root / "患者.mhd", noisy() + np.int16(1), packed=True)
    write_itk(root / "é.nrrd", noisy() + np.int16(2))
    write_h5(root / "ж" / "ct_xray_data.h5", noisy() + np.int16(3))
    write_dicom(root / "ø", noisy() + np.int16(4))
    write_tiffs(root / "袋", noisy() + np.int16(5))
    write_note(root / "袋.toml", unit="hu", spacing_mm=(5.0, 5.0, 5.0), axes=("D", "H", "W"))
    report = prepare(CHEST, root, workers=1)
    assert not report.refused
    assert len(report.prepared) == 6
    assert all(record.case.isascii() for record in report.prepared)


def test_a_link_out_of_the_folder_is_not_taken_by_a_header(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(phantom().tobytes())
    mhd_elsewhere(_folder(tmp_path / "in" / "deep") / "a.mhd", "../../secret.raw")
    report = prepare(CHEST, tmp_path / "in", workers=1)
    assert not report.prepared
    assert "outside its folder, at ../../secret.raw" in of(report)["a.mhd"]


def test_a_full_disk_stops_with_one_line_and_leaves_what_was_stored(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the write breaks off in the middle."""
    write_nifti(tmp_path / "first" / "a.nii.gz", phantom())
    prepare(CHEST, tmp_path / "first", workers=1)
    write_nifti(tmp_path / "second" / "b.nii.gz", noisy())
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests_formats import CHEST\n"
        "from bench.scans.prepare import prepare\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "prepare(CHEST, Path(sys.argv[1]), workers=1)\n"
    )
    (tmp_path / "tests_formats.py").write_text(
        "from bench.dataset import DatasetSpec, Geometry\n"
        "CHEST = DatasetSpec('chest', 'chest', (-1000.0, 1000.0), 320.0, 32, Geometry(541.0, 949.0, 500.0), {},"
        " None, 1, lambda records: {}, '')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "second")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(r"BenchError: cannot write .*/b\.npy: .*; free or change the disk", last)
    assert [record.case for record in read_store("chest")] == ["a"]
    assert sorted(path.name for path in (store_folder("chest") / "volumes").iterdir()) == ["a.npy"]
    assert [record.case for record in prepare(CHEST, tmp_path / "second", workers=1).prepared] == ["b"]


def test_a_disk_without_room_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nifti(tmp_path / "in" / "a.nii.gz", phantom())
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(BenchError, match=r"preparing needs .* GiB are free; make room, or set BENCH_DATA"):
        prepare(CHEST, tmp_path / "in", workers=1)


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "file"))
    write_nifti(tmp_path / "in" / "a.nii.gz", phantom())
    with pytest.raises(BenchError, match=r"cannot write .*: .*; free or change the disk"):
        prepare(CHEST, tmp_path / "in", workers=1)


def test_a_half_written_volume_is_never_loaded(tmp_path: Path) -> None:
    write_nifti(tmp_path / "in" / "a.nii.gz", phantom())
    record = prepare(CHEST, tmp_path / "in", workers=1).prepared[0]
    cut(store_folder("chest") / "volumes" / "a.npy")
    with pytest.raises(BenchError, match="is damaged; run `bench data prepare chest --from DIR` again"):
        load_volume("chest", record)
    assert [r.case for r in prepare(replace(CHEST), tmp_path / "in", workers=1).prepared] == ["a"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
def test_headers_that_declare_gigabytes_take_no_memory(tmp_path: Path) -> None:
    bombs = ("nifti, huge", "nifti, bomb", "mhd, huge", "h5, huge", "npz, huge", "dicom, huge")
    for index, name in enumerate(bombs):
        BAD[name][0](_folder(tmp_path / str(index)))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from bench.scans.reading.find import find_scans\n"
        "from bench.scans.reading.scan import ScanError\n"
        "refused = 0\n"
        "for source in find_scans(Path(sys.argv[1])):\n"
        "    try:\n"
        "        source.read()\n"
        "    except ScanError:\n"
        "        refused += 1\n"
        # not ru_maxrss, which a child inherits from the process that started it
        "peak = Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]\n"
        "print(refused, peak)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    refused, kibibytes = map(int, done.stdout.split())
    assert refused == len(bombs)
    assert kibibytes < 700 * 1024
