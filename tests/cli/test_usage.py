"""What a person sees who asks for help, gives a damaged run, or sends what is printed or written elsewhere."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.main import get_command

from bench import load_results
from bench.cli import app, run_command
from bench.scoring.store import put_run

from ..helpers.score_rows import run_line, score


@pytest.mark.parametrize(("line", "command"), [("", "leaderboard"), ("data", "prepare")])
def test_no_command_at_all_shows_the_commands(line: str, command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(shlex.split(line)) == 2
    shown = capfd.readouterr()
    assert f"│ {command} " in shown.out
    assert shown.err == ""


def test_a_grid_finer_than_what_is_prepared_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(shlex.split("run --method mean --dataset lidc --set data.size=256")) == 2
    assert "128" in capfd.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--seeds", "1,,2"), ("--method", "mean,"), ("--dataset", ",lidc")])
def test_a_list_with_nothing_between_two_commas_is_refused(
    option: str, value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = {"--method": "mean", "--dataset": "lidc", option: value}
    assert run_command(["run", *(word for pair in chosen.items() for word in pair)]) == 2
    assert f"{option} '{value}' has nothing between" in capfd.readouterr().err


def test_a_full_disk_behind_the_output_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "bench", "list"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("bench: the output cannot be written: No space left on device; send it elsewhere")


NO_RECORDS = {
    "empty": b"",
    "cut": b"{",
    "a list": b"[]",
    "no text": b"\xff\xfe",
    "digits": b"1" * 6000,
    "deep": b"[" * 100_000,
    "NaN": b'{"run_id": NaN}',
}


@pytest.mark.parametrize("text", NO_RECORDS.values(), ids=NO_RECORDS)
@pytest.mark.parametrize("line", ["list", "show a-run --json", "show a-run", "verify a-run", "score a-run"])
def test_a_record_that_is_no_record_is_one_line(
    line: str, text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "lidc" / "mean" / "a-run"
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(text)
    code, said = run_command(shlex.split(line)), capfd.readouterr().err
    shown = line in ("list", "show a-run --json")
    assert (code, said.count("\n"), "run.json" in said) == ((0, 0, False) if shown else (1, 1, True))
    assert "defect" not in said


@pytest.mark.parametrize("line", ["leaderboard", "findings"])
def test_what_is_made_of_results_stands_beside_them(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    assert run_command([line, "--results-dir", "other"]) == 0
    assert [path.suffix for path in (tmp_path / "other").iterdir()] == [".md"]
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]


def test_all_scores_and_all_runs_are_written_as_they_are_joined(tmp_path: Path) -> None:
    put_run(tmp_path / "r", run_line(size=16), [score(), score("psnr", None, status="na", note="x", case="b")])
    put_run(tmp_path / "r", run_line("other", status="failed", error="no luck"), [])
    for name, options in (("scores.csv", []), ("runs.csv", ["--runs"])):
        places = ["--out", str(tmp_path / name), "--results-dir", str(tmp_path / "r")]
        assert run_command(["results", *options, *places]) == 0
    scores, joined = pd.read_csv(tmp_path / "scores.csv"), load_results(tmp_path / "r")
    assert list(scores.columns) == list(joined.columns)
    assert scores["value"].dropna().tolist() == joined["value"].dropna().tolist() == [0.01]
    assert scores["size"].tolist() == [16.0, 16.0]
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert dict(zip(runs["run_id"], runs["status"], strict=True)) == {run_line().run_id: "done", "other": "failed"}


def _list_commands(command: Any, name: str = "bench") -> Iterator[tuple[str, Any]]:
    for verb, inner in getattr(command, "commands", {}).items():
        below = list(_list_commands(inner, f"{name} {verb}"))
        yield from below or [(f"{name} {verb}", inner)]


COMMANDS = dict(_list_commands(get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_two_examples_that_it_takes(name: str) -> None:
    command = COMMANDS[name]
    examples = [line for line in (command.epilog or "").split("\n\n") if line.startswith("$ ")]
    assert len(examples) == 2
    for example in examples:
        assert example.startswith(f"$ {name}")
        typed = shlex.split(example.removeprefix(f"$ {name}").partition("|")[0])
        command.make_context(name, typed)  # refuses what it does not know


def test_help_shows_brackets_and_panels(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert run_command(["sweep", "--help"]) == 0
    assert "key=[first, second]" in capfd.readouterr().out
    assert run_command(["--help"]) == 0
    shown = capfd.readouterr().out
    assert all(f"─ {panel} ─" in shown for panel in ("Run", "Results", "Data", "Extend", "Prove"))
    assert run_command(["--version"]) == 0
    assert re.fullmatch(r"ct-from-views-bench \d+\.\d+\.\d+.*\n", capfd.readouterr().out)


def test_a_list_for_programs_holds_all_names(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["list", "--json", "--runs-dir", str(tmp_path)]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["methods"]["mean"]["kind"] == "floor"
    assert said["datasets"]["lidc"]["presets"]["tiny"]["size"] == 24
    assert said["runs"] == {}
