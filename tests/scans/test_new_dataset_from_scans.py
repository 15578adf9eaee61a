"""`bench new-dataset FOLDER`: what is measured of scans, and that the commands it prints work as typed."""

import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from bench import load_results
from bench.cli import run_command
from bench.data.store import read_store
from bench.plugins.registry import get_dataset
from bench.projector import project

SHAPE, SPACING = (60, 66, 50), (3.0, 3.0, 3.5)  # W, H, D


def save_knee(folder: Path, patient: int, offset: int = 0) -> None:
    """A leg of soft tissue 120 mm wide and 108 mm deep around two bones of 1180 HU, on a thin board, off the centre."""
    w, h, d = (np.arange(size) * step for size, step in zip(SHAPE, SPACING, strict=True))
    w, h, d = np.meshgrid(w - 80, h - 100, d, indexing="ij")
    volume = np.full(SHAPE, -1000.0)
    volume[(w / 60) ** 2 + (h / 54) ** 2 < 1] = 40 + patient
    volume[((w + 5) ** 2 + h**2 < 18**2) & (abs(d - 80) > 6)] = 1180
    volume[(h > 66) & (h < 72)] = 300
    image = nibabel.Nifti1Image(np.rint(volume + offset).astype(np.int16), np.diag([-SPACING[0], -SPACING[1], 3.5, 1]))
    image.set_sform(image.affine, 1)
    folder.mkdir(exist_ok=True)
    nibabel.save(image, folder / f"knee{patient}.nii.gz")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path


def test_from_a_folder_of_knees_to_a_row_by_the_printed_commands(home: Path, capsys: pytest.CaptureFixture) -> None:
    for patient in range(10):
        save_knee(home / "My knees", patient)
    (home / "My knees" / "broken.nii.gz").write_bytes(b"\x1f\x8bjunk")
    assert run_command(["new-dataset", "My knees"]) == 0
    said = capsys.readouterr()
    assert "no use: 1 of what was found, such as My knees/broken.nii.gz" in said.err
    (home / "My knees" / "broken.nii.gz").unlink()
    spec = get_dataset("my_knees.py")
    assert spec.cube_mm == pytest.approx(130, abs=10)  # the leg and not the board, 180 mm wide, or the field
    assert spec.full_grid == 32  # 4.1 mm: 48 would be finer than the scans
    assert spec.window == (-1000, 1200)
    commands = [shlex.split(line)[1:] for line in said.out.splitlines() if line.startswith("  bench ")]
    assert [command[0] for command in commands] == ["data", "run", "leaderboard"]
    commands[0] += ["--workers", "1"]
    commands[1] += ["--protocol", "x2ct-2019"]  # the quickest
    assert [run_command(command) for command in commands] == [0, 0, 0]
    assert len(read_store("my_knees")) == 10
    rows = load_results(home / "results")
    assert (set(rows["dataset"]), set(rows["source"])) == ({"my_knees"}, {"real"})
    assert "my_knees" in capsys.readouterr().out


def test_a_list_in_the_folder_decides_the_split(home: Path, capsys: pytest.CaptureFixture) -> None:
    for patient in range(3):
        save_knee(home / "knees", patient)
    splits = home / "knees" / "splits.csv"
    splits.write_text("patient,split\nknee0,test\nknee1,train\nknee2,nowhere\n")
    assert run_command(["new-dataset", "knees"]) == 2
    assert "splits.csv, line 4" in capsys.readouterr().err
    splits.write_text("patient,split\nknee0,test\nknee1,train\n")
    assert run_command(["new-dataset", "knees"]) == 0
    assert "--from knees --split-file knees/splits.csv" in capsys.readouterr().out


def test_the_cone_covers_the_cube_and_few_patients_fill_train_and_test(home: Path) -> None:
    assert run_command(["new-dataset", "ours"]) == 0
    spec = get_dataset("ours.py")
    face = np.full((1, 32, 32, 32), -1000.0, np.float32)
    face[:, :, 0] = face[:, :, -1] = face[:, :, :, 0] = face[:, :, :, -1] = 0  # the sides towards source and panel
    views = project(torch.from_numpy(face), spec.cube_mm / 32, spec.geometry, (270.0, 0.0), 64)[0].numpy()
    assert not views[:, [0, -1]].any()
    assert not views[:, :, [0, -1]].any()
    for count in range(2, 30):
        records = [type("Record", (), {"case": f"c{i}", "patient": f"p{i}"}) for i in range(count)]
        shares = list(spec.assign_splits(records).values())
        assert len(shares) == count
        assert shares.count("train") >= count / 2 - 1
        assert min(shares.count("train"), shares.count("test")) >= 1
        assert shares.count("validation") >= (count > 2)


@pytest.mark.parametrize(
    ("patients", "offsets", "said"),
    [
        ([], [], "no scan found in knee_scans: no file of NIfTI"),
        ([1], [0], "knee_scans holds usable scans of 1 patient, and a dataset needs one to train and one to test"),
        ([1, 2, 3], [0, 0, 1024], "knee_scans/knee3.nii.gz: its lowest value 24 is no air: not HU"),
    ],
)
def test_what_makes_no_dataset_is_refused_in_a_line(
    home: Path, capsys: pytest.CaptureFixture, patients: list[int], offsets: list[int], said: str
) -> None:
    (home / "knee_scans").mkdir()
    for patient, offset in zip(patients, offsets, strict=True):
        save_knee(home / "knee_scans", patient, offset)
    assert run_command(["new-dataset", "knee_scans"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len([line for line in error.splitlines() if line.startswith("bench: ")]) == 1
    assert not list(home.glob("*.py"))
    for arguments in (["no/such"], ["knee_scans", "--name", "Knees"], ["knee_scans", "--name", "lidc"]):
        assert run_command(["new-dataset", *arguments]) == 2
