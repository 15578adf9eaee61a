"""`bench score`: predictions that were made elsewhere, from the folder to the table."""

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


@pytest.fixture
def toy(make_data, monkeypatch) -> dict[str, Cases]:
    """The command's data set, without its files: a toy in place of what the loader would build."""
    from bench.data import cases as loading
    from bench.pipeline import evaluate  # noqa: F401 - takes hold of get_dataset before a test replaces it
    from bench.plugins import registry
    from bench.scoring import protocols

    data = make_data(train=2, test=3)

    class Spec:
        name = "toy"
        presets = {"tiny": None}  # noqa: RUF012

    monkeypatch.setattr(registry, "get_dataset", lambda name: Spec)
    monkeypatch.setattr(loading, "choose_source", lambda spec, source: ("phantom", "as asked"))
    monkeypatch.setattr(loading, "load_dataset", lambda *_: data)
    plain = replace(get_protocol("ct3d-1"), fidelity=None, turn=None)
    monkeypatch.setattr(protocols, "get_protocol", lambda name: plain)
    return data


def test_every_prediction_that_is_refused_is_named_with_its_reason(tmp_path: Path, toy, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    cases = toy["test"]
    for case, volume in zip(cases.names, cases.volumes(range(3)).numpy(), strict=True):
        write_prediction(tmp_path / "p", case, volume, cases, seconds=0.0, seed=None)
    bad = np.zeros((16, 16, 16), np.float32)
    bad[3, 4, 5] = np.nan
    nib.save(nib.Nifti1Image(bad, cases.affines[0]), tmp_path / "p" / "test-000.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((16, 16, 15), np.float32), cases.affines[0]), tmp_path / "p" / "test-002.nii.gz")
    assert run_command(["score", "p", "--dataset", "toy", "--method", "mine"]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "2 of 3 predictions are refused" in message
    assert "test-000.nii.gz: 1 of 4096 voxels are NaN" in message
    assert "test-002.nii.gz has (16, 16, 15) voxels" in message
    assert "test-001" not in message
    assert not (tmp_path / "results").exists()


def test_outside_predictions_are_scored_and_shown(tmp_path: Path, toy, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for case, volume in zip(toy["test"].names, toy["test"].volumes(range(3)).numpy(), strict=True):
        write_prediction(tmp_path / "p", case, volume * 0.9, toy["test"], seconds=0.0, seed=None)
    command = ["score", "p", "--dataset", "toy", "--method", "mine"]
    assert run_command(command) == 0
    assert "psnr" in capsys.readouterr().out
    first = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.csv")}
    assert run_command(command) == 0
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.csv")} == first
    frame = load_results(tmp_path / "results")
    assert set(frame["origin"]) == {"external"}
    assert frame["run_id"].nunique() == 1
    shown = {t.id: t for t in build_tables("all", read_results(tmp_path / "results"))}
    block = shown["toy-3d"].blocks[0]
    (row,) = (row for row in block.methods if row.title == "mine (outside predictions)")
    cell = next(cell for cell in row.cells if cell.metric == "mse")
    assert cell.value == pytest.approx(
        frame.query("metric == 'mse' and space == '3d' and level == 'case'")["value"].mean()
    )

    (tmp_path / "p" / "test-001.nii.gz").unlink()
    assert run_command(command) == 1
    assert "1 of 3 cases have no file: test-001" in capsys.readouterr().err
    assert run_command([*command, "--allow-missing"]) == 0
    shown = {t.id: t for t in build_tables("all", read_results(tmp_path / "results"))}["toy-3d"]
    assert any("2 of 3 cases in the split; not ranked" in note for note in shown.footnotes)
    assert run_command(["score", "p", "--dataset", "toy", "--method", "a/b"]) == 2
    assert run_command(["score", "p", "--dataset", "toy", "--method", "a", "--preset", "huge"]) == 2


def write_in_hu(folder: Path, cases: Cases, change) -> None:
    folder.mkdir()
    for case, affine in zip(cases.names, cases.affines, strict=True):
        values = change(cases.truth(case) * 2000 - 1000).astype(np.float32)
        nib.save(nib.Nifti1Image(values.T, affine), folder / f"{case}.nii.gz")


def test_another_unit_is_doubted_and_clipping_reaches_the_means_and_the_screen(
    tmp_path: Path, toy, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_in_hu(tmp_path / "p", toy["test"], lambda hounsfield: hounsfield + 1024)
    (tmp_path / "p.toml").write_text('unit = "hu"\n', encoding="utf-8")  # stated, though it is wrong
    assert run_command(["score", "p", "--dataset", "toy", "--method", "mine"]) == 0
    said = capsys.readouterr()
    assert "doubtful: the values fit the truth far better as HU + 1024" in said.out + said.err
    assert "of voxels clipped to -1000..1000 in 3 of 3 cases" in said.out + said.err
    frame = load_results(tmp_path / "results")
    (note,) = set(frame.query("metric == 'psnr' and space == '3d' and stat == 'mean'")["note"])
    assert note.startswith("up to ")


def test_check_draws_a_picture_and_scores_nothing(tmp_path: Path, toy, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_in_hu(tmp_path / "p", toy["test"], lambda hounsfield: hounsfield[::-1])
    assert run_command(["score", "p", "--dataset", "toy", "--method", "mine", "--check"]) == 0
    said = capsys.readouterr()
    assert "doubtful: the volumes fit the truth better flipped along D" in said.out + said.err
    assert (tmp_path / "p-overlay.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"p", "p-overlay.png"}


def test_other_grids_are_taken_only_when_asked_and_the_files_recorded(tmp_path: Path, toy, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").mkdir()
    for case, volume in zip(toy["test"].names, toy["test"].hounsfield, strict=True):
        fine = np.kron(volume.T, np.ones((2, 2, 2), np.int16))
        nib.save(nib.Nifti1Image(fine, centred_affine(32, 10.0, (3.0, -7.0, 20.0))), tmp_path / "p" / f"{case}.nii")
    command = ["score", "p", "--dataset", "toy", "--method", "mine"]
    assert run_command(command) == 1
    assert "--resample" in capsys.readouterr().err
    assert run_command([*command, "--resample"]) == 0
    assert "3 of 3 volumes" in capsys.readouterr().out
    (run,) = load_runs(tmp_path / "results").to_dict("records")
    assert (run["origin"], run["resampled"], len(run["predictions_sha256"])) == ("external", "linearly", 64)
    psnr = load_results(tmp_path / "results").query("metric == 'psnr' and space == '3d' and stat == 'mean'")["value"]
    assert float(psnr.iloc[0]) > 25
    assert run_command(["score", "p", "--dataset", "toy", "--method", "-x"]) == 2


@pytest.mark.parametrize("resampled", [False, True])
def test_further_samples_of_a_folder_are_scored_apart(
    tmp_path: Path, toy, capsys, monkeypatch, resampled: bool
) -> None:
    from bench.scoring import protocols

    monkeypatch.chdir(tmp_path)
    plain = replace(get_protocol("ct3d-1"), fidelity=None, turn=None, projections=None, samples=Samples())
    monkeypatch.setattr(protocols, "get_protocol", lambda name: plain)
    cases = toy["test"]
    truth = np.stack([cases.truth(name) for name in cases.names])
    for index, factor in enumerate((0.9, 0.8)):
        for case, volume in zip(cases.names, factor * truth, strict=True):
            write_prediction(sample_folder(tmp_path / "p", index), case, volume, cases, seconds=0.0, seed=None)
    command = ["score", "p", "--dataset", "toy", "--method", "mine", *(["--resample"] if resampled else [])]
    assert run_command(command) == 0
    rows = load_results(tmp_path / "results").query("level == 'case' and space == '3d'")
    found = rows[rows["metric"] == "mae_mean_of_k"].set_index("case")
    for name, volume in zip(cases.names, truth, strict=True):
        assert found.loc[name, "value"] == pytest.approx(0.15 * volume.mean(), rel=1e-4)
    assert set(found["n"]) == {2}
    assert run_command([*command, "--samples", "1"]) == 0
    rows = load_results(tmp_path / "results")
    assert set(rows[rows["metric"] == "mae_mean_of_k"]["status"]) == {"na"}
    capsys.readouterr()
    assert run_command([*command, "--samples", "3"]) == 2
    assert "p has 2 samples of a case, not 3: there is no p/samples/002" in capsys.readouterr().err
