"""Volumes and curves that the results keep show a clone what runs made, and no score is made from them."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from bench.cli import run_command
from bench.data.store import data_root
from bench.errors import BenchError
from bench.pipeline.trainlog import TrainRow
from bench.pipeline.verify import verify_run
from bench.report.kept import KEPT_CASES, MOST_ROWS, find_kept, read_cases
from bench.report.plots import read_curves
from bench.runs.folder import RunFolder
from bench.runs.predictions import read_prediction
from bench.runs.volume_files import read_volume
from bench.scoring.store import load_results
from bench.system.csv_files import write_rows
from bench.system.progress import Progress


@pytest.fixture
def home(mean_run: Path, tmp_path: Path) -> Path:
    """A finished run and what was kept of it; it is given a long training curve."""
    shutil.copytree(mean_run, tmp_path, dirs_exist_ok=True)
    curve = [TrainRow("mean", step, "loss", f"{1 / step:.6g}") for step in range(1, 1001)]
    write_rows(only_run(tmp_path).train_csv, TrainRow, curve)
    assert run_command(["publish", "--keep", only_run(tmp_path).root.name, *places(tmp_path)]) == 0
    return tmp_path


def places(home: Path) -> list[str]:
    return ["--runs-dir", str(home / "runs"), "--results-dir", str(home / "results")]


def only_run(home: Path) -> RunFolder:
    (folder,) = (home / "runs" / "lidc" / "mean").iterdir()
    return RunFolder(folder)


def test_first_volumes_are_kept_in_whole_hu_with_their_truth_and_views_and_curves_are_thinned(home: Path) -> None:
    run = only_run(home)
    kept, record = find_kept(home / "results")[run.root.name], run.record()
    assert record
    cases = read_cases(home / "results", record.data.fingerprint)
    assert cases is not None
    assert len(cases) == KEPT_CASES
    presets = data_root() / "lidc" / "presets" / record.data.fingerprint[:16]
    assert np.array_equal(cases.hounsfield, np.load(presets / "volumes.npy")[10:])  # after those of the other splits
    integrals = np.load(presets / "integrals.npy")[10:]
    views = np.clip(integrals / cases.card.geometry.grey_scale, 0, 1)
    assert np.abs(cases.images(range(len(cases))).numpy() - views).max() <= 0.5 / 255 + 1e-6
    for case in cases.names:
        made = read_volume(run.predictions("test") / f"{case}.nii.gz")
        path = kept.predictions("test") / f"{case}.nii.gz"
        whole = read_volume(path)
        assert np.array_equal(whole, np.rint(whole))
        assert np.abs(whole - made).max() <= 0.5 + 1e-3
        assert read_prediction(path, cases, case)[1] == ""
        assert path.stat().st_size < made.size * 2 + 400
    (points,) = read_curves(kept.train_csv).values()
    steps = [step for step, _ in points]
    assert (len(steps), steps[0], steps[-1]) == (MOST_ROWS, 1, 1000)
    assert all(value == pytest.approx(1 / step, rel=1e-5) for step, value in points)


def test_the_report_of_a_clone_shows_them_without_runs_or_data(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def report(name: str) -> str:
        out = home / name
        assert run_command(["report", "--out", str(out), "--viewer-mib", "1", *places(home)]) == 0
        return out.read_text(encoding="utf-8")

    whole = report("whole.html")
    shutil.rmtree(home / "runs")
    monkeypatch.setenv("BENCH_DATA", str(home / "none"))
    clone = report("clone.html")
    assert clone.count("data:image/png") == whole.count("data:image/png") > 0
    assert clone.count("<svg") == whole.count("<svg") > 0
    assert not (home / "none").exists()
    shutil.rmtree(home / "results" / "volumes")
    assert report("bare.html").count("data:image/png") < clone.count("data:image/png")


def test_verify_says_that_they_are_pictures_and_finds_others(home: Path) -> None:
    run, results = only_run(home), home / "results"
    before = load_results(results)
    *_, last = verify_run(run, results, Progress(), torch.device("cpu"))
    assert (last.good, last.what) == (True, str(results / "volumes" / run.root.name))
    assert "for pictures alone" in last.text
    first, second, _ = sorted(find_kept(results)[run.root.name].predictions("test").glob("*.nii.gz"))
    second.write_bytes(second.read_bytes()[:-40])
    *_, last = verify_run(run, results, Progress(), torch.device("cpu"))
    assert (last.good, last.what) == (False, str(second))
    image = nibabel.load(first)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) + np.int16(5), image.affine), first)
    *_, last = verify_run(run, results, Progress(), torch.device("cpu"))
    assert (last.good, last.what, last.text) == (False, str(first), "not the prediction of the run")
    assert load_results(results).equals(before)


def test_a_run_that_is_not_there_and_a_damaged_file_of_cases_are_named(home: Path, capsys) -> None:
    assert run_command(["publish", "--keep", "other", *places(home)]) == 2
    assert "unknown run 'other'" in capsys.readouterr().err
    (path,) = (home / "results" / "volumes").glob("cases-*.npz")
    record = only_run(home).record()
    assert record
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BenchError, match=rf"{path.name} is damaged"):
        read_cases(home / "results", record.data.fingerprint)
