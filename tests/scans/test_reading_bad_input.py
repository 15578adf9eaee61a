"""Bad input of every kind ends in one line that names the file and says what to do, and the good scans are kept."""

import gzip
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bench.data.store import load_volume, read_store, store_folder
from bench.errors import BenchError, UsageError

from ..helpers.scan_files import (
    h5py,
    pydicom,
    simpleitk,
    tifffile,
    write_chest_npz,
    write_dicom,
    write_dicos,
    write_h5,
    write_itk,
    write_note,
    write_tiffs,
)
from ..helpers.scans import noisy, phantom, prepare_chests, refusals, write_nifti

pytestmark = pytest.mark.usefixtures("data_folder")
FLAT = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])  # two axes along one direction
SIDE_OF_BOMB = 900  # voxels: 1.5 GB


def cut(path: Path, part: float = 0.7) -> None:
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def edit(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def write_slices(folder: Path, change: Callable[[list[Path]], object]) -> None:
    """A series whose files are then changed, in the order of their names."""
    change(sorted(write_dicom(folder / "s", noisy())))


def write_packed(folder: Path, syntax: str, lossy: str = "") -> None:
    """A series of another transfer syntax, with pixels that need not fit for it to be refused."""
    for path in write_dicom(folder / "s", noisy(), **({"LossyImageCompression": lossy} if lossy else {})):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
        dataset.save_as(path)


def write_mixed(folder: Path) -> None:
    """A series with nine smaller slices among the others."""
    write_dicom(folder / "s", noisy())
    for index, path in enumerate(write_dicom(folder / "t", noisy()[:9, :32, :32], series="1.2.9")):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = "1.2.3.4"
        dataset.save_as(folder / "s" / f"2-{index}.dcm")
        path.unlink()


def save_nifti(folder: Path, values: np.ndarray, affine: np.ndarray | None) -> None:
    """An array as it is; without an affine it lies nowhere."""
    nibabel.save(nibabel.Nifti1Image(values, affine), folder / "a.nii.gz")


def padded(offset: float, padding: float) -> np.ndarray:
    values = noisy().astype(np.float32) + np.float32(offset)
    values[:6] = padding
    return values


def store_packed(path: Path) -> Path:
    """The same file packed without compression, so that only the checksum can tell of damage."""
    packed = path.with_suffix(".nii.gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), compresslevel=0))
    path.unlink()
    return packed


def write_huge_nifti(path: Path) -> None:
    content = bytearray(gzip.decompress(write_nifti(path, phantom()).read_bytes()))
    content[42:48] = np.full(3, SIDE_OF_BOMB, "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))


def write_nifti_bomb(path: Path) -> None:
    """A NIfTI with more zeros after its voxels than voxels."""
    content = write_nifti(path, noisy()).read_bytes()
    path.write_bytes(content + gzip.compress(b"\0" * 2**24) * 8)


def write_huge_npz(folder: Path) -> None:
    """An archive of a few bytes that declares 1.5 GB."""
    header = {"descr": "<i2", "fortran_order": False, "shape": (SIDE_OF_BOMB,) * 3}
    with zipfile.ZipFile(_folder(folder) / "a.npz", "w") as archive, archive.open("ct.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"\0" * 64)


def write_huge_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("ct", shape=(SIDE_OF_BOMB,) * 3, dtype=np.int16, chunks=(64, 64, 64))


def write_linked_h5(path: Path) -> None:
    write_h5(path.parents[1] / "target.h5", noisy()).rename(path.parents[1] / "target.bin")
    with h5py.File(path, "w") as file:
        file["ct"] = h5py.ExternalLink("../target.bin", "ct")


def write_mhd(path: Path, target: str) -> None:
    """A MetaImage whose header names a file outside of its folder."""
    write_header(path, b"ElementDataFile = a.raw", f"ElementDataFile = {target}".encode())
    path.with_suffix(".raw").rename(path.parents[1] / "elsewhere.raw")


def write_header(path: Path, old: bytes, new: bytes) -> None:
    """A MetaImage or NRRD whose header says something else."""
    edit(write_itk(path, noisy()), old, new)


def write_beside(note: Path, text: str) -> None:
    """A NIfTI with a side file."""
    write_nifti(note.with_name("a.nii.gz"), noisy())
    note.write_text(text, encoding="utf-8")


Write = Callable[[Path], object]
BAD: dict[str, tuple[Write, str]] = {  # what writes it into a folder, and what the line says
    "dicom, missing slice": (
        lambda f: write_slices(f, lambda p: p[30].unlink()),
        "missing.*: 10 mm between slices 13 and 14 of 63, median 5 mm",  # counted from the lower end
    ),
    "dicom, mixed series": (write_mixed, "Rows changes within the series, at 2-.*keep one"),
    "dicom, 39 slices": (lambda f: write_dicom(f / "s", noisy()[:39]), "39 slices are no chest or bag .at least 40"),
    "dicom, text": (lambda f: (f / "text.dcm").write_text("no image" * 100), "it is no DICOM file"),
    "dicom, nothing after the marker": (
        lambda f: (f / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50), "header",
    ),
    "dicom, empty file": (lambda f: write_slices(f, lambda p: p[30].write_bytes(b"")), "the file is empty; copy"),
    "dicom, cut slice": (lambda f: write_slices(f, lambda p: cut(p[9])), "1-010.dcm cannot be decoded.*copy"),
    "dicom, cut in the header": (lambda f: write_slices(f, lambda p: [cut(q, 0.04) for q in p]), "header"),
    "dicom, JPEG": (lambda f: write_packed(f, "50"), "lossy compression; take the original"),
    "dicom, lossy JPEG 2000": (lambda f: write_packed(f, "91", "01"), "lossy compression; take the original"),
    "dicom, once lossy": (lambda f: write_dicom(f / "s", noisy(), LossyImageCompression="01"), "lossy compression"),
    "dicom, unknown syntax": (lambda f: write_packed(f, "103"), "transfer syntax .*4.103, which nothing decodes; conv"),
    "dicom, no syntax": (lambda f: write_slices(f, lambda p: edit(p[9], b"1.2.1\0", b"1%2.1\0")), "nothing decodes"),
    "dicom, damaged JPEG 2000": (lambda f: write_packed(f, "90"), "cannot be decoded.*copy"),
    "dicom, spacing": (lambda f: write_dicom(f / "s", noisy(), PixelSpacing=[0.001, 5]), "5 × 0.001 × 5 mm.*correct"),
    "dicom, no spacing": (lambda f: write_dicom(f / "s", noisy(), PixelSpacing=None), "has no PixelSpacing"),
    "dicom, huge": (lambda f: write_dicom(f / "s", noisy(), Rows=60000, Columns=60000), "64 × 60000 × 60000 voxels"),
    "dicom, orientation": (lambda f: write_dicom(f / "s", noisy(), orientation=[1, 0, 0] * 2), "same position"),
    "dicom, colours": (lambda f: write_dicom(f / "s", noisy(), SamplesPerPixel=3), "no grey picture"),
    "dicom, all air": (lambda f: write_dicom(f / "s", np.full_like(noisy(), -1000)), "all air"),
    "dicos, cut": (lambda f: (write_dicos(f / "a.dcs", noisy()), cut(f / "a.dcs")), "cut short|damaged"),
    "dicos, vendor's unit": (lambda f: write_dicos(f / "a.dcs", noisy(), unit="unknown"), 'unit = "hu"'),
    "nifti, empty": (lambda f: (f / "a.nii.gz").write_bytes(b""), "the file is empty; copy"),
    "nifti, cut": (lambda f: cut(write_nifti(f / "a.nii.gz", noisy())), "damaged"),
    "nifti, huge": (lambda f: write_huge_nifti(f / "a.nii.gz"), "900 × 900 × 900 voxels"),
    "nifti, bomb": (lambda f: write_nifti_bomb(f / "a.nii.gz"), "more than its header declares"),
    "nifti, all air": (lambda f: write_nifti(f / "a.nii.gz", np.full_like(noisy(), -1000)), "all air"),
    "nifti, HU + 1024 and padded": (lambda f: write_nifti(f / "a.nii", padded(1024, -1024)), "HU \\+ 1024.*side file"),
    "nifti, NaN": (lambda f: write_nifti(f / "a.nii.gz", padded(0.0, np.nan)), "NaN"),
    "nifti, scaled": (lambda f: write_nifti(f / "a.nii.gz", (noisy() / 2000 + 0.5).astype(np.float32)), "not HU"),
    "nifti, 4-D": (lambda f: save_nifti(f, np.stack([noisy(), noisy()], -1), np.eye(4)), "4-D.*; save one"),
    "nifti, a slice": (lambda f: save_nifti(f, noisy()[:, :, :1], np.eye(4)), "not a volume"),
    "nifti, a picture": (lambda f: save_nifti(f, noisy()[:, :, 0], np.eye(4)), "2-D"),
    "nifti, nowhere": (lambda f: save_nifti(f, noisy(), None), "no orientation"),
    "nifti, spacing": (lambda f: save_nifti(f, noisy(), np.diag([50.0, 2, 3, 1])), "spacing 50 × 2 × 3 mm.*correct"),
    "nifti, flat": (lambda f: save_nifti(f, noisy(), FLAT), "not independent; correct"),
    "nifti, text": (lambda f: (f / "a.nii").write_text("no image at all" * 40), "damaged or no NIfTI"),
    "nifti, cut in the header": (lambda f: cut(write_nifti(f / "a.nii.gz", noisy()), 0.001), "damaged"),
    "nifti, cut at the end": (lambda f: cut(write_nifti(f / "a.nii.gz", noisy()), 0.999), "damaged"),
    "nifti, cut and not packed": (lambda f: cut(write_nifti(f / "a.nii", noisy()), 0.99), "damaged|cut short"),
    "nifti, flipped bit": (lambda f: flip_bit(store_packed(write_nifti(f / "a.nii", noisy()))), "damaged"),
    "nifti, HU + 1024": (lambda f: write_nifti(f / "a.nii.gz", noisy() + np.int16(1024)), "HU \\+ 1024.*side file"),
    "mhd, no data": (lambda f: write_itk(f / "a.mhd", noisy()).with_suffix(".raw").unlink(), "a.raw is missing; copy"),
    "mhd, cut": (lambda f: cut(write_itk(f / "a.mhd", noisy()).with_suffix(".raw")), "cut short.*copy"),
    "zraw, cut": (lambda f: cut(write_itk(f / "a.mhd", noisy(), packed=True).with_suffix(".zraw")), "copy it again"),
    "zraw, flipped bit": (
        lambda f: flip_bit(write_itk(f / "a.mhd", noisy(), packed=True).with_suffix(".zraw")),
        "compressed voxels in a.zraw are damaged; copy",
    ),
    "mha, flipped bit": (lambda f: flip_bit(write_itk(f / "a.mha", noisy(), packed=True)), "damaged; copy"),
    "mhd, huge": (lambda f: write_header(f / "a.mhd", b"= 64 64 64", b"= 9000 900 900"), "9000 × 900 × 900 .*more"),
    "mhd, larger than its data": (lambda f: write_header(f / "a.mhd", b"= 64 64 64", b"= 64 64 99"), "cut short"),
    "mhd, a long name": (lambda f: write_header(f / "a.mhd", b"= a.raw", b"= " + 300 * b"x"), "x is missing; copy"),
    "mhd, above its folder": (lambda f: write_mhd(f / "a.mhd", "../elsewhere.raw"), "outside its folder"),
    "mhd, absolute": (lambda f: write_mhd(f / "a.mhd", str(f.parent / "elsewhere.raw")), "outside its folder"),
    "mhd, a drive": (lambda f: write_mhd(f / "a.mhd", "C:\\elsewhere.raw"), "outside its folder"),
    "mhd, no header": (lambda f: (f / "a.mhd").write_text("nothing"), "header cannot be read"),
    "nrrd, cut": (lambda f: cut(write_itk(f / "a.nrrd", noisy(), packed=True)), "cannot be read; copy"),
    "nrrd, no space": (
        lambda f: write_header(f / "a.nrrd", b"space: left-posterior-superior", b"space dimension: 3"),
        "no space",
    ),
    "nhdr, outside": (lambda f: write_header(f / "a.nhdr", b"file: a.raw", b"file: ../a.raw"), "outside its folder"),
    "h5, cut": (lambda f: cut(write_h5(f / "a.h5", noisy())), "damaged"),
    "h5, no ct": (lambda f: h5py.File(f / "a.h5", "w").close(), "no array 'ct'"),
    "h5, huge": (lambda f: write_huge_h5(f / "a.h5"), "900 × 900 × 900 voxels"),
    "h5, link": (lambda f: write_linked_h5(f / "a.h5"), "no array 'ct'"),
    "h5, scaled": (lambda f: write_h5(f / "a.h5", noisy(), ct=(noisy() > 0).astype(np.int16)), "not state its unit"),
    "npz, cut": (lambda f: cut(write_chest_npz(f / "0001_chest", noisy())), "damaged"),
    "npz, flipped bit": (lambda f: flip_bit(write_chest_npz(f / "0001_chest", noisy())), "damaged"),
    "npz, pickled": (lambda f: np.savez(f / "a.npz", ct=np.array([{}], object)), "no 3-D array of numbers"),
    "npz, no ct": (lambda f: np.savez(f / "a.npz", image=noisy()), "holds image and no array 'ct'"),
    "npz, huge": (lambda f: write_huge_npz(f / "0001_chest"), "900 × 900 × 900 voxels"),
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
    "side file, misspelt": (lambda f: write_beside(f / "a.toml", 'units = "hu"'), "side file a.toml is wrong: units"),
    "side file, axes": (lambda f: write_beside(f / "a.toml", 'axes = ["D", "D", "W"]'), "axes must name D, H and W"),
    "side file, no TOML": (lambda f: write_beside(f / "scans.toml", "unit: hu"), "file scans.toml cannot be read"),
    "side file, no water": (lambda f: write_beside(f / "a.toml", 'unit = "mu_per_cm"'), "mu_water_per_cm"),
}  # fmt: skip


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


FILL_THE_DISK = """
import resource, sys
from pathlib import Path
from tests.helpers.scans import prepare_chests
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
prepare_chests(Path(sys.argv[1]))
"""
READ_ALL = """
import sys
from pathlib import Path
from bench.scans.reading.find import find_scans
from bench.scans.reading.scan import ScanError
refused = 0
for source in find_scans(Path(sys.argv[1])):
    try:
        source.read()
    except ScanError:
        refused += 1
# not ru_maxrss, which a child inherits from the process that started it
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(refused, peak)
"""


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command, root = [sys.executable, "-c", code, str(folder)], Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line_that_says_what_to_do(tmp_path: Path, name: str) -> None:
    write, expected = BAD[name]
    write(_folder(tmp_path / "bad"))
    refused = refusals(tmp_path)
    assert any(re.search(expected, item.reason) for item in refused), refused
    for item in refused:
        assert "bad" in item.path.parts
        assert not item.expected
        assert "\n" not in item.reason
        assert 10 < len(item.reason) < 250
    if "dicom" not in name:
        assert len(refused) == 1


def test_other_modalities_alone_are_wrong_usage(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "mr", noisy(), Modality="MR")
    with pytest.raises(UsageError, match=r"no CT found in .*/mr is no CT: Modality MR; name a folder"):
        prepare_chests(tmp_path / "in")


def test_other_modalities_beside_a_ct_are_passed_over(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "pet", noisy(), Modality="PT", series="1.2.9")
    write_nifti(tmp_path / "in" / "good.nii.gz", phantom())
    write_dicos(tmp_path / "in" / "low.dcs", noisy(), energy="LOW ENERGY")
    write_itk(tmp_path / "in" / "labels.nrrd", (phantom() > 0).astype(np.uint8))
    np.savez(tmp_path / "in" / "nodulemnist3d.npz", train_images=np.zeros((2, 28, 28, 28), np.uint8))
    report = prepare_chests(tmp_path / "in")
    assert [record.case for record in report.prepared] == ["good"]
    assert not report.refused
    assert {item.path.name: item.reason.split(" of ")[0] for item in report.skipped} == {
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
    first = prepare_chests(tmp_path / "a").prepared[0]
    second = prepare_chests(tmp_path / "b")
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
    report = prepare_chests(root)
    assert not report.refused
    assert len(report.prepared) == 6
    assert all(record.case.isascii() for record in report.prepared)


def test_a_full_disk_stops_with_one_line_and_leaves_what_was_stored(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the write breaks off in the middle."""
    write_nifti(tmp_path / "first" / "a.nii.gz", phantom())
    prepare_chests(tmp_path / "first")
    write_nifti(tmp_path / "second" / "b.nii.gz", noisy())
    done = run_python(FILL_THE_DISK, tmp_path / "second")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(r"BenchError: cannot write .*/b\.npy: .*; free or change the disk", last)
    assert [record.case for record in read_store("chest")] == ["a"]
    assert sorted(path.name for path in (store_folder("chest") / "volumes").iterdir()) == ["a.npy"]
    assert [record.case for record in prepare_chests(tmp_path / "second").prepared] == ["b"]


def test_a_disk_without_room_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nifti(tmp_path / "in" / "a.nii.gz", phantom())
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(BenchError, match=r"preparing needs .* GiB are free; make room, or set BENCH_DATA"):
        prepare_chests(tmp_path / "in")


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "file"))
    write_nifti(tmp_path / "in" / "a.nii.gz", phantom())
    with pytest.raises(BenchError, match=r"cannot write .*: .*; free or change the disk"):
        prepare_chests(tmp_path / "in")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
def test_headers_that_declare_gigabytes_take_no_memory(tmp_path: Path) -> None:
    bombs = ("nifti, huge", "nifti, bomb", "mhd, huge", "h5, huge", "npz, huge", "dicom, huge")
    for index, name in enumerate(bombs):
        BAD[name][0](_folder(tmp_path / str(index)))
    done = run_python(READ_ALL, tmp_path)
    refused, kibibytes = map(int, done.stdout.split())
    assert refused == len(bombs)
    assert kibibytes < 700 * 1024
