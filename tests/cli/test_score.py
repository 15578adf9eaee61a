"""`bench score`: predictions that were made elsewhere, from the folder to the table."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bench.cases import Cases
from bench.cli import run_command
from bench.dataset import centred_affine
from bench.results.model import read_results
from bench.results.tables import build_tables
from bench.runs.predictions import sample_folder, write_prediction
from bench.scoring.protocol import Samples
from bench.scoring.protocols import get_protocol
from bench.scoring.store import load_results, load_runs

SCORE = ["score", "p", "--dataset", "toy", "--method", "mine"]


@pytest.fixture
def cases(make_data, tmp_path: Path, monkeypatch) -> Cases:
    """The command's test cases, without their files: a toy in place of what the loader would build."""
    from bench.data import cases as loading
    from bench.pipeline import evaluate  # noqa: F401 - takes hold of get_dataset before a test replaces it
    from bench.plugins import registry
    from bench.scoring import protocols

    data = make_data(train=2, test=3)

    class Spec:
        name = "toy"
        presets = {"tiny": None}  # noqa: RUF012

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "get_dataset", lambda name: Spec)
    monkeypatch.setattr(loading, "choose_source", lambda spec, source: ("phantom", "as asked"))
    monkeypatch.setattr(loading, "load_dataset", lambda *_: data)
    plain = replace(get_protocol("ct3d-1"), fidelity=None, turn=None)
    monkeypatch.setattr(protocols, "get_protocol", lambda name: plain)
    return data["test"]


def predict(cases: Cases, factor: float = 1.0, folder: Path = Path("p")) -> None:
    """Write the truth times a factor, as runs do."""
    for case in cases.names:
        write_prediction(folder, case, factor * cases.truth(case), cases, seconds=0.0, seed=None)


def write_in_hu(cases: Cases, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write the truth in HU after a change, as others do."""
    Path("p").mkdir()
    for case, affine in zip(cases.names, cases.affines, strict=True):
        values = change(cases.truth(case) * 2000 - 1000).astype(np.float32)
        nib.save(nib.Nifti1Image(values.T, affine), f"p/{case}.nii.gz")


def test_every_prediction_that_is_refused_is_named_with_its_reason(cases: Cases, capsys) -> None:
    predict(cases)
    bad = np.zeros((16, 16, 16), np.float32)
    bad[3, 4, 5] = np.nan
    nib.save(nib.Nifti1Image(bad, cases.affines[0]), "p/test-000.nii.gz")
    nib.save(nib.Nifti1Image(bad[:, :, 1:], cases.affines[0]), "p/test-002.nii.gz")
    assert run_command(SCORE) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "2 of 3 predictions are refused" in message
    assert "test-000.nii.gz: 1 of 4096 voxels are NaN" in message
    assert "test-002.nii.gz has (16, 16, 15) voxels" in message
    assert "test-001" not in message
    assert not Path("results").exists()


def test_outside_predictions_are_scored_and_shown(cases: Cases, capsys) -> None:
    predict(cases, 0.9)
    assert run_command(SCORE) == 0
    assert "psnr" in capsys.readouterr().out
    first = {path: path.read_bytes() for path in Path("results").rglob("*.csv")}
    assert run_command(SCORE) == 0
    assert {path: path.read_bytes() for path in Path("results").rglob("*.csv")} == first
    frame = load_results(Path("results"))
    assert set(frame["origin"]) == {"external"}
    assert frame["run_id"].nunique() == 1
    shown = {table.id: table for table in build_tables("all", read_results(Path("results")))}["toy-3d"]
    (row,) = (row for row in shown.blocks[0].methods if row.title == "mine (outside predictions)")
    (cell,) = (cell for cell in row.cells if cell.metric == "mse")
    by_case = frame.query("metric == 'mse' and space == '3d' and level == 'case'")["value"]
    assert cell.value == pytest.approx(by_case.mean())

    Path("p/test-001.nii.gz").unlink()
    assert run_command(SCORE) == 1
    assert "1 of 3 cases have no file: test-001" in capsys.readouterr().err
    assert run_command([*SCORE, "--allow-missing"]) == 0
    shown = {table.id: table for table in build_tables("all", read_results(Path("results")))}["toy-3d"]
    assert any("2 of 3 cases in the split; not ranked" in note for note in shown.footnotes)
    for wrong in (["--method", "a/b"], ["--method", "-x"], ["--method", "a", "--preset", "huge"]):
        assert run_command(["score", "p", "--dataset", "toy", *wrong]) == 2


def test_another_unit_is_doubted_and_clipping_reaches_the_means_and_the_screen(cases: Cases, capsys) -> None:
    write_in_hu(cases, lambda hounsfield: hounsfield + 1024)
    Path("p.toml").write_text('unit = "hu"\n', encoding="utf-8")  # stated, though it is wrong
    assert run_command(SCORE) == 0
    said = "".join(capsys.readouterr())
    assert "doubtful: the values fit the truth far better as HU + 1024" in said
    assert "of voxels clipped to -1000..1000 in 3 of 3 cases" in said
    means = load_results(Path("results")).query("metric == 'psnr' and space == '3d' and stat == 'mean'")
    (note,) = set(means["note"])
    assert note.startswith("up to ")


def test_check_draws_a_picture_and_scores_nothing(cases: Cases, capsys) -> None:
    write_in_hu(cases, lambda hounsfield: hounsfield[::-1])
    assert run_command([*SCORE, "--check"]) == 0
    assert "doubtful: the volumes fit the truth better flipped along D" in "".join(capsys.readouterr())
    assert Path("p-overlay.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in Path().iterdir()} == {"p", "p-overlay.png"}


def test_other_grids_are_taken_only_when_asked_and_the_files_recorded(cases: Cases, capsys) -> None:
    Path("p").mkdir()
    for case, volume in zip(cases.names, cases.hounsfield, strict=True):
        fine = np.kron(volume.T, np.ones((2, 2, 2), np.int16))
        nib.save(nib.Nifti1Image(fine, centred_affine(32, 10.0, (3.0, -7.0, 20.0))), f"p/{case}.nii")
    assert run_command(SCORE) == 1
    assert "--resample" in capsys.readouterr().err
    assert run_command([*SCORE, "--resample"]) == 0
    assert "3 of 3 volumes" in capsys.readouterr().out
    (run,) = load_runs(Path("results")).to_dict("records")
    assert (run["origin"], run["resampled"], len(run["predictions_sha256"])) == ("external", "linearly", 64)
    psnr = load_results(Path("results")).query("metric == 'psnr' and space == '3d' and stat == 'mean'")["value"]
    assert float(psnr.iloc[0]) > 25


@pytest.mark.parametrize("options", [[], ["--resample"]], ids=["same grid", "resampled"])
def test_further_samples_of_a_folder_are_scored_apart(cases: Cases, capsys, monkeypatch, options: list[str]) -> None:
    from bench.scoring import protocols

    plain = replace(get_protocol("ct3d-1"), fidelity=None, turn=None, projections=None, samples=Samples())
    monkeypatch.setattr(protocols, "get_protocol", lambda name: plain)
    for index, factor in enumerate((0.9, 0.8)):
        predict(cases, factor, sample_folder(Path("p"), index))
    assert run_command([*SCORE, *options]) == 0
    rows = load_results(Path("results")).query("level == 'case' and space == '3d' and metric == 'mae_mean_of_k'")
    for name, value in rows.set_index("case")["value"].items():
        assert value == pytest.approx(0.15 * cases.truth(name).mean(), rel=1e-4)
    assert rows["n"].tolist() == [2] * 3
    assert run_command([*SCORE, *options, "--samples", "1"]) == 0
    rows = load_results(Path("results")).query("metric == 'mae_mean_of_k'")
    assert set(rows["status"]) == {"na"}
    capsys.readouterr()
    assert run_command([*SCORE, *options, "--samples", "3"]) == 2
    assert "p has 2 samples of a case, not 3: there is no p/samples/002" in capsys.readouterr().err
