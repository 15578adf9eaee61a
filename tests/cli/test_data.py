"""`bench data`: what a person sees, and the exit codes, when scans come in, go out and are looked over."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from bench.cli import run_command
from bench.cli.data import app
from bench.data.cases import load_dataset
from bench.data.sources import choose_source
from bench.data.splits import assign_splits
from bench.data.store import read_store, store_folder
from bench.errors import BenchError, UsageError
from bench.plugins.registry import get_dataset
from bench.scoring.store import load_results


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")


def write(path: Path, size: int = 64) -> Path:
    """A block of tissue of one size in air, 5 mm voxels."""
    hounsfield = np.full((72, 72, 72), -1000, np.int16)
    hounsfield[4:-4, 16:-16, 10:size] = 40
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(hounsfield.transpose(2, 1, 0), np.diag([-5.0, -5.0, -5.0, 1.0])), path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def prepare(folder: Path, *options: object) -> Result:
    return run("prepare", "lidc", "--from", folder, "--workers", 1, *options)


def test_prepare_stores_what_is_good_names_what_is_not_and_exits_with_1(tmp_path: Path) -> None:
    write(tmp_path / "in" / "LIDC-IDRI-0001_2mm.nii.gz")
    np.savez(tmp_path / "in" / "mnist.npz", train_images=np.zeros(3))
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"\x1f\x8b nothing")
    result = prepare(tmp_path / "in")
    assert result.exit_code == 1, result.output
    (refused,) = [line for line in result.output.splitlines() if line.startswith("refused")]
    assert "broken.nii.gz: the file is damaged" in refused
    assert "mnist.npz: crops of a collection" in " ".join(result.output.split())
    assert [record.case for record in read_store("lidc")] == ["LIDC-IDRI-0001"]
    (tmp_path / "in" / "broken.nii.gz").unlink()
    again = prepare(tmp_path / "in")
    assert again.exit_code == 0
    assert "LIDC-IDRI-0001: already there" in again.output


def test_a_folder_without_scans_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert isinstance(prepare(tmp_path).exception, UsageError)
    assert isinstance(prepare(tmp_path / "nowhere").exception, UsageError)


@pytest.mark.parametrize("arguments", [("check", "lidc"), ("export", "lidc", "out")])
def test_export_and_check_need_prepared_cases(arguments: tuple[str, ...]) -> None:
    error = run(*arguments).exception
    assert isinstance(error, BenchError)
    assert "bench data prepare lidc --from DIR" in str(error)


def test_what_methods_are_given_is_written_for_programs_of_ones_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("export", "lidc", out, "--preset", "smoke", "--split", "test").exit_code == 0
    spec = get_dataset("lidc")
    cases = load_dataset(spec, spec.presets["smoke"], "phantom")["test"]
    truths, views = (sorted((out / "test" / part).iterdir()) for part in ("truth", "views"))
    assert [path.name for path in truths] == [f"{name}.nii.gz" for name in cases.names]
    assert [path.stem for path in views] == list(cases.names)
    assert np.array_equal(np.load(views[1]), cases.images([1])[0].numpy())
    facts = json.loads((out / "data.json").read_text())
    assert (facts["fingerprint"], facts["size"], facts["angles"]) == (cases.card.fingerprint, 16, [270.0, 0.0])
    command = ["score", str(out / "test" / "truth"), "--dataset", "lidc", "--preset", "smoke", "--method", "Truth"]
    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results")]
    assert run_command([*command, *places, "--protocol", "x2ct-2019"]) == 0
    rows = load_results(tmp_path / "results").query("metric == 'mse' and status == 'ok'")
    assert set(rows["value"]) == {0.0}
    error = run("export", "lidc", out, "--preset", "tinny").exception
    assert isinstance(error, UsageError)
    assert "did you mean tiny" in str(error)


def test_export_and_check_exit_with_1_when_a_volume_is_damaged(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.nii.gz", 50)
    write(tmp_path / "in" / "b.nii.gz", 60)
    prepare(tmp_path / "in")
    assert run("export", "lidc", tmp_path / "out").exit_code == 0
    result = run("check", "lidc")
    assert result.exit_code == 0
    assert "2 cases: 1 train, 0 validation, 1 test" in result.output
    assert "LIDC-IDRI-0442" in result.output
    (store_folder("lidc") / "volumes" / "b.npy").write_bytes(b"damaged")
    assert run("check", "lidc").exit_code == 1
    result = run("export", "lidc", tmp_path / "out2")
    assert result.exit_code == 1
    assert "1 cases of lidc written to" in result.output
    assert sorted(path.name for path in (tmp_path / "out2").iterdir()) == ["a.nii.gz", "splits.csv"]


def test_a_split_of_ones_own_is_used_until_another_replaces_it(tmp_path: Path) -> None:
    for index, size in enumerate((50, 54, 58, 62)):
        write(tmp_path / "in" / f"c{index}.nii.gz", size)
    own = tmp_path / "own.csv"
    own.write_text("\ufeffcase,split\nc0,test\nc1,train\nc2,validation\nelsewhere,train\n", encoding="utf-8")
    result = prepare(tmp_path / "in", "--split-file", own)
    assert result.exit_code == 0, result.output
    assert "your split is used: 1 train, 1 validation, 1 test, 1 unused; not prepared: elsewhere\n" in result.output
    assert "4 cases: 1 train, 1 validation, 1 test, 1 unused" in run("check", "lidc").output
    assert run("export", "lidc", tmp_path / "out").exit_code == 0
    lines = (tmp_path / "out" / "splits.csv").read_text().splitlines()
    assert lines[1:] == ["c0,c0,test", "c1,c1,train", "c2,c2,validation", "c3,c3,unused"]
    assert choose_source(get_dataset("lidc"), "real")[1] == "real: 1 training and 1 test cases are prepared"

    again = prepare(tmp_path / "in", "--split-file", tmp_path / "out" / "splits.csv")
    assert "1 train, 1 validation, 1 test, 1 unused\n" in again.output
    assert assign_splits(get_dataset("lidc"), read_store("lidc")) == {"c0": "test", "c1": "train", "c2": "validation"}


def test_a_split_of_ones_own_that_names_no_prepared_case_is_a_failure_and_says_how_cases_are_called(
    tmp_path: Path,
) -> None:
    write(tmp_path / "in" / "a.nii.gz", 50)
    own = tmp_path / "own.csv"
    own.write_text("case,split\n" + "".join(f"{name}.nii.gz,train\n" for name in "abcd"))
    result = prepare(tmp_path / "in", "--split-file", own)
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "not prepared: a.nii.gz, b.nii.gz, c.nii.gz, …; here a case is called such as a: correct the list" in said
    with pytest.raises(BenchError, match="of 1 prepared cases of lidc 0 train and 0 test"):
        choose_source(get_dataset("lidc"), "real")


@pytest.mark.parametrize("text", ["patient,split\na,test\na,train\n", None])
def test_a_split_file_that_cannot_be_used_or_is_not_there_is_refused_first(tmp_path: Path, text: str | None) -> None:
    write(tmp_path / "in" / "a.nii.gz", 50)
    if text:
        (tmp_path / "own.csv").write_text(text)
    error = prepare(tmp_path / "in", "--split-file", tmp_path / "own.csv").exception
    assert isinstance(error, UsageError)
    assert not text or "line 3: a is in test and train" in str(error)
    assert not read_store("lidc")
