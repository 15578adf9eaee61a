"""A terminal or a locale that is no UTF-8 ends no command; one fault has one exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.cli import run_command

PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [PLAIN, {"PYTHONIOENCODING": "cp1252"}])
def test_signs_that_a_terminal_cannot_show_end_no_command(tmp_path: Path, environment: dict[str, str]) -> None:
    whole = {**os.environ, **environment, "COLUMNS": "120", "BENCH_DATA": str(tmp_path)}
    folder = tmp_path / "größe 肺"
    folder.mkdir()
    (folder / "a.nii").write_bytes(b"no NIfTI at all")
    for command, code in (["list"], 0), (["data", "prepare", "lidc", "--from", str(folder)], 1):
        done = subprocess.run([sys.executable, "-m", "bench", *command], env=whole, capture_output=True, check=False)
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr
        assert b"UnicodeEncodeError" not in done.stdout + done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
@pytest.mark.parametrize(
    "command",
    [
        "run --method mean --dataset lidc --preset smoke --source phantom",
        "sweep --method mean --dataset lidc --preset smoke --source phantom",
        "score nothing",
    ],
)
def test_a_device_that_is_not_there_is_wrong_usage(command: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    more = ["--dataset", "lidc", "--method", "x", "--preset", "smoke"] if command.startswith("score") else []
    assert run_command([*command.split(), *more, "--device", "cuda"]) == 2
    assert "no CUDA device is visible" in capsys.readouterr().err
