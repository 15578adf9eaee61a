"""A .npy file of anyone's is an array or is refused in one line, whatever its header says."""

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from bench.errors import BenchError
from bench.runs.volume_files import open_array

HEADERS = [
    "",
    "{",
    "[]",
    "(" * 3000,
    "-" * 5000 + "1",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4, -4)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (4,)}",
    "{'descr': 5, 'fortran_order': False, 'shape': (4,)}",
]


def whole() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(64, dtype=np.float32).reshape(4, 4, 4))
    return buffer.getvalue()


def refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(BenchError, match=r"a\.npy cannot be read as a plain \.npy array") as caught:
        open_array(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_header_that_describes_no_array_is_refused(header: str, tmp_path: Path) -> None:
    text = header.encode() + b"\n"
    refuse(tmp_path / "a.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64))


def test_what_is_cut_or_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04", b"\x93NUMPY\x09\x00", whole()[:9], whole()[:-1]):
        refuse(tmp_path / "a.npy", content)
    np.savez(tmp_path / "b.npz", a=np.zeros(3))
    refuse(tmp_path / "a.npy", (tmp_path / "b.npz").read_bytes())


def test_an_array_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(whole())
    assert np.array_equal(open_array(tmp_path / "a.npy"), np.arange(64).reshape(4, 4, 4))


def test_any_damage_of_a_header_is_refused_or_harmless(tmp_path: Path) -> None:
    random, path = np.random.default_rng(0), tmp_path / "a.npy"
    for _ in range(300):
        content = bytearray(whole())
        for place in random.integers(0, 100, random.integers(1, 4)):
            content[place] = random.integers(256)
        path.write_bytes(content)
        with suppress(BenchError):
            assert isinstance(open_array(path), np.ndarray)
