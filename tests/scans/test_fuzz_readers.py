"""Scans that are damaged or made to do harm: each is read, or refused in words; none crashes, hangs or writes."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from bench.scans.reading.find import find_scans
from bench.scans.reading.itk import HEADER_BYTES
from bench.scans.reading.scan import MAX_VOXELS, Rejected, ScanSource

from ..helpers.fuzzing import HEADER, Damage, damaged, damages, profile, refused_or_fine, tried
from ..helpers.scan_files import write_dicom, write_dicos, write_h5, write_itk, write_note, write_tiffs
from ..helpers.scans import write_nifti


def scan(depth: int = 16, side: int = 16) -> np.ndarray:
    """(D, H, W) int16 HU: a noisy block in air that lacks a corner."""
    hounsfield = np.full((depth, side, side), -1000, np.int16)
    block = hounsfield[depth // 4 : -(depth // 4), side // 4 : -(side // 4), side // 4 : -(side // 4)]
    block[:] = np.random.default_rng(0).integers(0, 80, block.shape)
    block[: depth // 4, : side // 4, : side // 4] = -1000
    return hounsfield


def write_npz(path: Path) -> None:
    np.savez(path.with_name("a.npz"), ct=scan())
    write_note(path.with_name("a.toml"), unit="hu", spacing_mm=(2, 2, 2), axes=("D", "H", "W"))


def write_tiff(path: Path) -> None:
    write_tiffs(path.parent, scan(), pages=True)
    write_note(path.parent / "scans.toml", unit="hu", spacing_mm=(2, 2, 2), axes=("D", "H", "W"))


FORMATS: dict[str, Callable[[Path], object]] = {  # the file that is damaged, and what writes it
    "a.nii": lambda path: write_nifti(path, scan()),
    "a.nii.gz": lambda path: write_nifti(path, scan()),
    "a.mha": lambda path: write_itk(path, scan()),
    "a.mhd": lambda path: write_itk(path, scan()),
    "a.nrrd": lambda path: write_itk(path, scan()),
    "a.nhdr": lambda path: write_itk(path, scan()),
    "a.h5": lambda path: write_h5(path, scan(32, 32)),
    "a.npz": write_npz,
    "a.toml": write_npz,
    "in.tif": write_tiff,
    "1-020.dcm": lambda path: write_dicom(path.parent, scan(40)),
    "a.dcs": lambda path: write_dicos(path, scan()),
}
TEXT = ("a.mhd", "a.nhdr", "a.toml")
INSIDE = ("a.nii.gz", "a.npz")  # packed: also damaged inside, and packed again so that its checksum holds


def tamper(name: str, content: bytes, changes: list[Damage]) -> bytes:
    """The file with what is packed in it damaged."""
    if name.endswith(".gz"):
        return gzip.compress(damaged(gzip.decompress(content), changes), 1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(buffer, "w") as other:
        other.writestr("ct.npy", damaged(whole.read("ct.npy"), changes))
    return buffer.getvalue()


def read_all(folder: Path) -> int:
    """Read what is found in a folder; the number of scans. All but a BenchError escapes."""
    scans = 0
    for found in find_scans(folder):
        if isinstance(found, Rejected):
            assert found.reason
            continue
        scans += refused_or_fine(partial(read_one, found))
    return scans


def read_one(source: ScanSource) -> None:
    read = source.read()
    assert read.hounsfield.ndim == 3
    assert read.hounsfield.size <= 8 * MAX_VOXELS
    assert np.isfinite(read.spacing_mm).all()
    if source.view_reader:
        source.view_reader(source)


@tried(12, 450)
@pytest.mark.parametrize(("name", "inside"), [*((name, False) for name in FORMATS), *((name, True) for name in INSIDE)])
def test_damaged_scans_are_read_or_refused(name: str, inside: bool, examples: int, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / name
    FORMATS[name](path)
    content = path.read_bytes()
    files = sorted(folder.iterdir())
    assert read_all(folder) == 1

    @profile(examples)
    @given(damages(name in TEXT))
    def check(changes: list[Damage]) -> None:
        path.write_bytes(tamper(name, content, changes) if inside else damaged(content, changes))
        read_all(folder)
        assert sorted(folder.iterdir()) == files

    check()


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.mhd", b"NDims = 3", b"NDims = 99999"),
        ("a.mha", b"NDims = 3", b"NDims = -1"),
        ("a.mhd", b"NDims = 3", b"NDims = 3\nNDims =\n 1e308"),
        ("a.mhd", b"1 0 0 0 1 0 0 0 1", b"1 0 0 0 1 0 0 01e308 1"),
        ("a.nrrd", b"space directions: (", b"space directions: (1e308"),
        ("a.nhdr", b"kinds: ", b"kinds: " + 2000 * b"x"),
        ("a.nhdr", b"kinds: ", b"#" + HEADER_BYTES * b"x" + b"\nkinds: " + 2000 * b"x"),
        ("a.nhdr", b"kinds: ", b"a:=b\rkinds: " + 2000 * b"x"),
        ("a.nrrd", b"\n\n", b"\n" + 2000 * b"x" + b"\n\n"),
    ],
)
def test_headers_that_would_end_or_hang_the_process_in_their_reader_are_refused(
    name: str, before: bytes, after: bytes, tmp_path: Path
) -> None:
    FORMATS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert before in content
    (tmp_path / name).write_bytes(content.replace(before, after, 1))
    (found,) = find_scans(tmp_path)
    assert isinstance(found, Rejected)
    assert "header cannot be read" in found.reason


@pytest.mark.parametrize("name", ["a.dcs", "1-020.dcm"])
def test_dicom_cut_anywhere_in_its_header_is_read_or_refused(name: str, tmp_path: Path) -> None:
    FORMATS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for length in range(132, HEADER, 3):
        (tmp_path / name).write_bytes(content[:length])
        for found in find_scans(tmp_path / name):
            assert isinstance(found, ScanSource) or found.reason


@pytest.mark.timeout(60)
def test_pages_of_a_tiff_that_go_round_in_a_circle_are_refused(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16, 16), np.int16), photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        first, *_, last = (page.offset for page in file.pages)
    content = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from("<H", content, last)
    struct.pack_into("<I", content, last + 2 + 12 * tags, first)  # where the next page lies: none, until now
    path.write_bytes(content)
    (found,) = find_scans(tmp_path)
    assert isinstance(found, Rejected)
    assert "go round in a circle" in found.reason


def test_the_content_of_a_file_chooses_no_reader_that_did_not_check_it(tmp_path: Path) -> None:
    FORMATS["a.mhd"](tmp_path / "a.mhd")
    header = (tmp_path / "a.mhd").read_bytes()
    (tmp_path / "a.mhd").write_bytes(b"NRRD0004\nkinds: " + 2000 * b"x" + b"\n" + header)
    assert read_all(tmp_path) == 1  # as the MetaImage it is named; NRRD's reader would end the process


def test_long_comments_and_keys_of_a_header_are_fine(tmp_path: Path) -> None:
    FORMATS["a.nrrd"](tmp_path / "a.nrrd")
    content = (tmp_path / "a.nrrd").read_bytes()
    longer = b"# " + 2000 * b"x" + b"\nkey:=" + 2000 * b"y" + b"\nkinds: "
    (tmp_path / "a.nrrd").write_bytes(content.replace(b"kinds: ", longer))
    assert read_all(tmp_path) == 1
