"""`bench export` and `bench import`: a run goes out and comes back whole, and nothing else comes in."""

import csv
import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import signal
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from bench.cli import run_command
from bench.data import sources
from bench.pipeline.archive import import_run
from bench.scoring.evidence import level_of, read_evidence
from bench.scoring.store import load_results

from ..helpers.disturbed_runs import prepare_processes
from ..helpers.small_runs import change_json, places, with_cells

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def run(mean_run: Path) -> Path:
    return next((mean_run / "runs" / "lidc" / "mean").iterdir())


@pytest.fixture(scope="module")
def archive(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("archive") / "run.bench.zip"
    assert run_command(["export", run.name, "--runs-dir", str(run.parents[2]), "--out", str(out)]) == 0
    return out


@pytest.fixture
def bring(tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    """Import an archive into empty folders: exit code and message."""

    def call(file: Path, *options: str) -> tuple[int, str]:
        capsys.readouterr()
        return run_command(["import", str(file), *options, *places(tmp_path)]), capsys.readouterr().err

    return call


def members(archive: Path) -> Files:
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name) for name in file.namelist()}


def first_volume(archive: Path) -> str:
    return next(name for name in members(archive) if name.endswith(".nii.gz"))


def indexed(files: Files) -> Files:
    """The same files with the hashes that they now have."""
    others = {name: content for name, content in files.items() if name != "index.json"}
    index = json.loads(files["index.json"])
    index["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in others.items()}
    return {"index.json": json.dumps(index).encode(), **others}


def packed(path: Path, files: Files, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return path


@pytest.fixture
def refuse(archive: Path, tmp_path: Path, bring: Callable[..., tuple[int, str]]) -> Callable[..., str]:
    """Return the one line with which a file is refused, or the archive once members were changed; nothing is left."""

    def call(changed: Path | Files, compression: int = zipfile.ZIP_STORED) -> str:
        if isinstance(changed, dict):
            changed = packed(tmp_path / "a.zip", indexed({**members(archive), **changed}), compression)
        code, error = bring(changed)
        assert code == 1
        assert len(error.strip().splitlines()) == 1
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".zip"]
        assert not list((tmp_path / "runs").iterdir())
        return error

    return call


def test_a_run_goes_out_and_comes_back(run: Path, archive: Path, tmp_path: Path, bring) -> None:
    assert bring(archive) == (0, "")
    back = tmp_path / "runs" / "lidc" / "mean" / run.name
    kept = [path.relative_to(back) for path in back.rglob("*") if path.is_file()]
    assert all((back / name).read_bytes() == (run / name).read_bytes() for name in kept)
    assert {"run.json", "scores.csv", "checkpoints/mean.safetensors"} <= {name.as_posix() for name in kept}
    of_test = [name for name in kept if name.parts[:2] == ("predictions", "test")]
    assert sum(name.suffixes == [".nii", ".gz"] for name in of_test) == 3
    assert load_results(tmp_path / "results").equals(load_results(run.parents[3] / "results"))
    assert run_command(["verify", run.name, *places(tmp_path)]) == 0
    assert bring(archive) == (0, "")
    assert not list((tmp_path / "runs").glob(".import-*"))


def test_what_is_submitted_comes_in_marked_by_how_far_it_was_checked(
    run: Path, tmp_path: Path, bring, capsys: pytest.CaptureFixture
) -> None:
    mine = tmp_path / "mine" / "lidc" / "mean" / run.name
    shutil.copytree(run, mine)
    file = tmp_path / "sent.zip"
    command = ["submit", run.name, "--submitter", "=A. Nyone", "--runs-dir", str(tmp_path / "mine"), "--out", str(file)]
    assert run_command([*command, "--code", "https://example.org/code"]) == 0
    assert run_command([*command[:3], "", *command[4:]]) == 2
    assert "--submitter" in capsys.readouterr().err
    assert bring(file) == (0, "")
    (line,) = read_evidence(tmp_path / "results").values()
    assert (line.run_id, line.level, line.code) == (run.name, "re-scored", "https://example.org/code")
    assert line.submitter == "'=A. Nyone"  # which no spreadsheet computes
    made = load_results(tmp_path / "results")["predictions_sha256"].iloc[0]
    assert level_of(line, made) == "re-scored"
    assert level_of(line, "of others") == "self-reported"
    assert level_of(None, made) == "run here"
    shutil.rmtree(tmp_path / "runs")
    assert bring(file, "--unscored") == (0, "")
    assert read_evidence(tmp_path / "results")[run.name].level == "self-reported"


def test_an_archive_of_an_earlier_version_comes_in_with_all_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bring
) -> None:
    file = Path(__file__).with_name("earlier.bench.zip")
    assert bring(file, "--unscored") == (0, "")
    with zipfile.ZipFile(file) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("scores.csv").decode())))
        record = json.loads(archive.read("run.json"))
    results = load_results(tmp_path / "results")
    assert set(results["run_id"]) == {record["run_id"]}
    assert sorted(results["value"].dropna()) == sorted(float(row["value"]) for row in rows if row["value"])
    assert len(results) == len(rows) > 200
    assert results["predictions_sha256"].unique().tolist() == [record["predictions_sha256"]]
    assert results["steps"].unique().tolist() == [0.0]


def test_equal_runs_give_equal_archives(run: Path, archive: Path, tmp_path: Path) -> None:
    assert run_command(["export", str(run), "--out", str(tmp_path / "again.zip")]) == 0
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


OUTSIDE = (
    *("../evil.csv", "predictions/../../evil.csv", "/etc/evil.csv", "C:\\evil.csv", "evil.sh", "scores.csv/evil"),
    *("predictions\\test\\evil.nii.gz", "predictions/test/../evil.nii.gz", "predictions/test/.evil.nii.gz"),
)
PICKLES = ("checkpoints/mean.pt", "model.pkl", "checkpoints/x.ckpt")


@pytest.mark.parametrize(
    ("name", "word"), [*((name, "not a name") for name in OUTSIDE), *((name, "pickle") for name in PICKLES)]
)
def test_names_outside_the_run_and_of_pickles_are_refused(name: str, word: str, tmp_path: Path, refuse) -> None:
    error = refuse({name: pickle.dumps(1)})
    assert repr(name) in error
    assert word in error
    assert not (tmp_path.parent / "evil.csv").exists()


def test_a_pickle_under_another_name_is_refused(archive: Path, refuse) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    case = first_volume(archive).removesuffix(".nii.gz")
    for name, content in (
        ("checkpoints/mean.safetensors", pickle.dumps([1.0])),
        (f"{case}.renders.npy", buffer.getvalue()),
        (f"{case}.nii.gz", pickle.dumps([1.0])),
    ):
        assert name in refuse({name: content})


def test_a_link_is_refused(archive: Path, tmp_path: Path, refuse) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for name, content in members(archive).items():
            info = zipfile.ZipInfo(name)
            if name == "run.json":
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            made.writestr(info, content)
    assert "link" in refuse(tmp_path / "a.zip")


def test_a_file_that_is_not_the_one_indexed_or_recorded_is_refused(archive: Path, tmp_path: Path, refuse) -> None:
    files, name = members(archive), first_volume(archive)
    assert name in refuse(packed(tmp_path / "a.zip", {**files, name: files[name][:-1] + b"x"}))
    missing = {key: content for key, content in files.items() if key != name}
    refuse(packed(tmp_path / "a.zip", missing))
    refuse(packed(tmp_path / "a.zip", indexed(missing)))
    other = save({"volume.mean": np.zeros((16, 16, 16), np.float32)})
    assert "weights mean" in refuse({"checkpoints/mean.safetensors": other})


def test_what_blows_up_is_refused_unread(archive: Path, tmp_path: Path, refuse) -> None:
    zeros = bytes(2**24)
    assert "blow up" in refuse({"train.csv": zeros}, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "a.zip").stat().st_size < len(zeros) / 10
    error = refuse({first_volume(archive): gzip.compress(zeros)})
    assert first_volume(archive) in error
    assert "more than" in error


def test_members_that_overlap_or_repeat_are_refused(archive: Path, tmp_path: Path, bring, refuse) -> None:
    file = packed(tmp_path / "a.zip", members(archive))
    with zipfile.ZipFile(file, "a") as made, pytest.warns(UserWarning, match="Duplicate"):
        made.writestr("run.json", b"{}")
    refuse(file)
    for content in (archive.read_bytes()[: archive.stat().st_size // 2], b"no archive"):
        file.write_bytes(content)
        refuse(file)
    assert bring(tmp_path / "none.zip")[0] == 2


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", '+cmd|"/C calc"!A0', "-2+3+cmd", "\t=1", "|x"])
def test_cells_that_a_spreadsheet_would_compute_are_refused(cell: str, archive: Path, refuse) -> None:
    files = members(archive)
    error = refuse({"scores.csv": with_cells(files["scores.csv"].decode(), {}, note=cell).encode()})
    assert "spreadsheet" in error
    assert "scores.csv" in error
    record = json.loads(files["run.json"])
    record["provenance"]["device"] = cell
    assert "spreadsheet" in refuse({"run.json": json.dumps(record).encode()})


def test_numbers_that_the_predictions_do_not_give_are_refused(archive: Path, refuse) -> None:
    wanted = {"metric": "ssim", "space": "3d", "level": "set", "stat": "sd"}
    error = refuse({"scores.csv": with_cells(members(archive)["scores.csv"].decode(), wanted, value="0.99").encode()})
    assert "ssim" in error
    assert "0.99 is stated" in error


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("config", "dataset"), "../../x"),
        (("config", "method"), "other"),
        (("run_id",), "../x"),
        (("seed",), 5),
        (("status",), "failed"),
        (("data", "fingerprint"), "0" * 64),
        (("stages",), None),
        (("scored",), {}),
        (("seed",), 10**20),
        (("parameters",), -1),
        (("remark",), 12),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(
    place: tuple[str, ...], value: object, archive: Path, refuse
) -> None:
    record = json.loads(members(archive)["run.json"])
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    refuse({"run.json": json.dumps(record).encode()})


def test_another_run_of_the_same_name_is_kept(run: Path, archive: Path, tmp_path: Path, bring) -> None:
    assert bring(archive)[0] == 0
    mine = tmp_path / "runs" / "lidc" / "mean" / run.name / "run.json"
    change_json(mine, predictions_sha256="0" * 64)
    before = mine.read_bytes()
    code, error = bring(archive)
    assert code == 1
    assert "differs" in error
    assert mine.read_bytes() == before


def test_a_run_without_its_data_is_added_only_when_asked(archive: Path, bring, refuse, monkeypatch) -> None:
    monkeypatch.setattr(sources, "CACHE_VERSION", 99)  # the same cases, projected otherwise
    assert "--unscored" in refuse(archive)
    assert bring(archive, "--unscored")[0] == 0


def test_an_unfinished_or_damaged_run_is_not_exported(archive: Path, tmp_path: Path, run: Path, bring) -> None:
    assert bring(archive)[0] == 0
    folder = tmp_path / "runs" / "lidc" / "mean" / run.name
    file = next((folder / "predictions" / "test").glob("*.nii.gz"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    assert run_command(["export", str(folder), "--out", str(tmp_path / "o.zip")]) == 1
    file.write_bytes(whole)
    change_json(folder / "run.json", status="stopped")
    assert run_command(["export", str(folder), "--out", str(tmp_path / "o.zip")]) == 2
    assert run_command(["export", "no-such-run", "--runs-dir", str(tmp_path / "runs")]) == 2
    assert not (tmp_path / "o.zip").exists()


def import_until_killed(archive: Path, folder: Path) -> None:
    """Import an archive until its run would be checked, when the process is killed."""
    import_run(archive, folder / "runs", folder / "other", check=lambda run: os.kill(os.getpid(), signal.SIGKILL))


def test_what_a_killed_import_left_goes_with_the_next(
    archive: Path, tmp_path: Path, bring: Callable[..., tuple[int, str]]
) -> None:
    killed = prepare_processes().Process(target=import_until_killed, args=(archive, tmp_path))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    (left,) = (tmp_path / "runs").glob(".import-*")
    assert any(left.rglob("*.nii.gz"))
    assert bring(archive)[0] == 0
    assert not list((tmp_path / "runs").glob(".import-*"))
