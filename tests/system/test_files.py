"""Files are whole or absent, and as open to others as the umask says."""

import os
import stat
from pathlib import Path

import pytest

from bench.data.store import data_root
from bench.errors import BenchError
from bench.system.files import read_json, write_text


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_rights_follow_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "folder" / "file.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "folder" / "file.txt").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~mask


def test_an_empty_data_folder_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("BENCH_DATA", "")
    assert data_root() == tmp_path / "ct-from-views-bench"
    monkeypatch.setenv("BENCH_DATA", "mine")
    assert data_root() == Path("mine")


def test_a_json_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none\.json is missing"):
        read_json(tmp_path / "none.json")
