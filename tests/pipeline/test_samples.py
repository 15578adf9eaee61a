"""Runs with several samples of a case: what is drawn, resumed, extended, verified and exported, and by whom."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cases import Cases
from bench.cli import run_command
from bench.errors import UsageError
from bench.pipeline.archive import export_run, import_run
from bench.pipeline.plan import RunRequest, plan
from bench.pipeline.run import run_one
from bench.pipeline.verify import verify_run
from bench.runs.folder import RunFolder
from bench.runs.manifest import read_manifest
from bench.runs.predictions import read_prediction, sample_folder
from bench.scoring.protocol import Samples
from bench.scoring.protocols import DEFAULT, PROTOCOLS
from bench.scoring.rows import Score
from bench.scoring.store import read_run
from bench.study.runs import StudyRequest, find_runs, reconstruct_cases
from bench.sweep.grid import Grid, expand
from bench.sweep.state import is_finished
from bench.system.progress import Progress

FEW = ("data.phantoms=[4, 1, 3]",)
TOY = '''
import torch
from bench.method import Method, MethodCard, Settings

class Noise(Method):
    """Noise around one half."""
    Config = Settings
    card = MethodCard("noise", "Noise", "", 2026, "", "", frozenset({"volume"CAN}))

    def __init__(self, config, data):
        self.size = data.size

    def stages(self):
        return ()

    def reconstruct(self, views, *, seeds):
        drawn = [torch.rand((self.size,) * 3, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return 0.4 + 0.2 * torch.stack(drawn)
'''


@pytest.fixture(autouse=True)
def _samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the default protocol take samples, without its slow parts."""
    quick = replace(PROTOCOLS[DEFAULT], fidelity=None, turn=None, projections=None, likelihood=None, samples=Samples())
    monkeypatch.setitem(PROTOCOLS, DEFAULT, quick)


def asked(root: Path, samples: int = 1, *, can: bool = True, **other) -> RunRequest:
    name = "noise" if can else "silent"
    (root / f"{name}.py").write_text(TOY.replace("CAN", ', "samples"' if can else "").replace('"noise"', f'"{name}"'))
    shared = {"source": "phantom", "overrides": FEW, "runs_dir": root / "runs", "results_dir": root / "results"}
    return RunRequest(f"{root}/{name}.py:Noise", "lidc", "smoke", **{**shared, "samples": samples, **other})


def made(request: RunRequest) -> RunFolder:
    return RunFolder(run_one(request, Progress()))


def scores(request: RunRequest, folder: RunFolder) -> list[Score]:
    found = read_run(request.results_dir, folder.root.name)
    assert found is not None
    return found[1]


def metrics(request: RunRequest, folder: RunFolder) -> set[str]:
    return {row.metric for row in scores(request, folder) if row.value is not None}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def test_samples_are_those_that_studies_draw_and_the_first_is_that_of_a_plain_run(tmp_path: Path) -> None:
    plain = made(asked(tmp_path))
    predictions = plain.predictions("test")
    before = bytes_of(predictions)
    assert not sample_folder(predictions, 1).exists()
    folder = made(asked(tmp_path, 3))
    assert folder.root == plain.root
    assert bytes_of(predictions) == before
    study = StudyRequest((asked(tmp_path).method,), "lidc", "smoke", overrides=FEW, source="phantom")
    (run,) = find_runs(replace(study, runs_dir=tmp_path / "runs"), Progress())
    cases: Cases = run.cases["test"]
    for index in range(3):
        ((names, volumes, _),) = reconstruct_cases(run, cases, index)
        for name, volume in zip(names, volumes, strict=True):
            kept, _ = read_prediction(sample_folder(predictions, index) / f"{name}.nii.gz", cases, name)
            np.testing.assert_allclose(kept, volume, atol=1e-6)
    assert {"psnr_mean_of_k", "psnr_best_of_k", "interval_coverage"} <= metrics(asked(tmp_path), folder)


def test_a_stopped_run_draws_only_what_is_missing(tmp_path: Path) -> None:
    folder = made(asked(tmp_path, 3))
    inner = sample_folder(folder.predictions("test"), 2)
    whole, first = bytes_of(inner), (inner / "manifest.csv").stat().st_mtime_ns
    others = [sample_folder(folder.predictions("test"), index) / "manifest.csv" for index in (0, 1)]
    times = [path.stat().st_mtime_ns for path in others]
    next(iter(inner.glob("*.nii.gz"))).unlink()
    made(asked(tmp_path, 3))
    assert bytes_of(inner) == whole
    assert (inner / "manifest.csv").stat().st_mtime_ns != first
    assert [path.stat().st_mtime_ns for path in others] == times


def test_a_finished_run_keeps_the_samples_it_has(tmp_path: Path) -> None:
    folder = made(asked(tmp_path, 3))
    before = folder.run_json.read_bytes(), scores(asked(tmp_path), folder)
    made(asked(tmp_path, 2))
    assert (folder.run_json.read_bytes(), scores(asked(tmp_path), folder)) == before
    assert plan(asked(tmp_path)).samples == 3


def test_what_says_that_it_draws_nothing_is_reconstructed_once(tmp_path: Path) -> None:
    folder = made(asked(tmp_path, 3, can=False))
    assert not sample_folder(folder.predictions("test"), 1).exists()
    rows = {(row.metric, row.case): row.value for row in scores(asked(tmp_path), folder) if row.level == "case"}
    means = {case: value for (metric, case), value in rows.items() if metric == "psnr_mean_of_k"}
    assert means == {case: value for (metric, case), value in rows.items() if metric == "psnr"}


def test_verify_finds_a_sample_that_changed_or_is_gone(tmp_path: Path) -> None:
    folder, results = made(asked(tmp_path, 3)), tmp_path / "results"

    def wrong() -> list[str]:
        found = verify_run(folder, results, Progress(), torch.device("cpu"))
        return [f"{finding.what}: {finding.text}" for finding in found if not finding.good]

    # the dataset stands in this package, the method in a file: numbers are made from the predictions alone
    assert wrong() == []
    inner = sample_folder(folder.predictions("test"), 1)
    one, other = sorted(inner.glob("*.nii.gz"))[:2]
    whole = one.read_bytes()
    one.write_bytes(other.read_bytes())
    assert wrong() == [f"sample 2: not as the manifest describes them: {one.name.removesuffix('.nii.gz')}"]
    one.write_bytes(whole)
    entries = (inner / "manifest.csv").read_text().splitlines()
    (inner / "manifest.csv").write_text("\n".join(entries[:-1]) + "\n")
    last = sorted(read_manifest(folder.predictions("test")))[-1]
    (inner / f"{last}.nii.gz").unlink()
    assert wrong() == ["samples: they are not those that were scored"]


def test_an_archive_holds_the_samples(tmp_path: Path) -> None:
    folder = made(asked(tmp_path, 3))
    export_run(folder, tmp_path / "run.zip")
    again, new = import_run(tmp_path / "run.zip", tmp_path / "elsewhere", tmp_path / "there")
    assert new
    for index in range(3):
        left, right = (sample_folder(one.predictions("test"), index) for one in (folder, again))
        assert bytes_of(left) == bytes_of(right)


def test_a_sweep_takes_a_run_for_finished_only_with_all_samples(tmp_path: Path) -> None:
    request = asked(tmp_path, 2)
    made(request)
    shared = {"overrides": FEW, "source": "phantom", "runs_dir": request.runs_dir, "results_dir": request.results_dir}
    grid = Grid(methods=(request.method,), datasets=("lidc",), presets=("smoke",), samples=2, **shared)
    (job,), (more,) = expand(grid), expand(grid.model_copy(update={"samples": 3}))
    assert "--samples 2" in job.command
    assert is_finished(job)
    assert not is_finished(more)
    (sample_folder(job.folder.predictions("test"), 1) / "manifest.csv").unlink()
    assert not is_finished(job)


def test_numbers_of_samples_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UsageError, match="1 to 1000 samples of a case, not 0"):
        plan(asked(tmp_path, 0))
    with pytest.raises(
        UsageError, match=f"x2ct-2019 scores one sample of a case; --samples is for protocols {DEFAULT}"
    ):
        plan(asked(tmp_path, 2, protocol="x2ct-2019"))
    assert plan(asked(tmp_path, 1, protocol="x2ct-2019")).samples == 1
    assert run_command(["run", "--method", "mean", "--dataset", "lidc", "--samples", "0"]) == 2
    assert "samples" in capsys.readouterr().err
