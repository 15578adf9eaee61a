"""Command lines that cannot be meant are refused in one line, with exit code 2 and the way to the help."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from bench.cli import app, run_command

FULL = "run --method mean --dataset lidc"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run", "--method"),
        ("rum", "Did you mean 'run'?"),
        (f"{FULL} --nope", "--nope"),
        (f"{FULL} --preset", "--preset"),
        (f"{FULL} --preset tinny", "tiny"),
        (f"{FULL} --protocol ct3d", "ct3d-1"),
        (f"{FULL} --set data.size=256", "128"),
        (f"{FULL} --device tpu", "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
        (f"{FULL} --seeds one", "not 'one'"),
        (f"{FULL} --seeds ''", "--seeds needs at least one"),
        (f"{FULL} --seeds=-1", "whole numbers from 0 to"),
        (f"{FULL} --seeds 100000000000000000000", "whole numbers from 0 to"),
        (f"{FULL} --set data.angles=[nan,0]", "'data.angles.0'"),
        (f"{FULL} --set data.angles=[270,true]", "true and false are no numbers"),
        (f"{FULL} --set data.size=true", "'data.size': true and false are no numbers"),
        (f"{FULL} --set data.phantoms=[1000001,1,1]", "'data.phantoms.0'"),
        (f"{FULL} --set fit.workers=-1", "'fit.workers'"),
        ("run --method '' --dataset lidc", "--method needs at least one"),
        ("sweep --method '' --dataset lidc", "--method needs at least one"),
        ("study views --values ''", "--values needs at least one"),
        ("performance --only ''", "--only needs at least one"),
        (f"{FULL} --seeds ,", "--seeds needs at least one"),
        (f"{FULL} --method nearest", "'--method': given 2 times; separate values with commas"),
        (f"{FULL} --seed 0 --seeds 1", "--seeds"),
        ("study shuffle --run a --run b", "'--run': given 2 times"),
        ("data preview lidc --count 1 --count 2", "'--count': given 2 times"),
        ("study", "NAME"),
        ("study shuffle extra", "extra"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    line: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(shlex.split(line)) == 2
    said = capfd.readouterr().err
    assert not list(tmp_path.iterdir())
    assert words in said
    assert said.startswith("bench: ")
    assert said.count("\n") == 1


def test_an_option_that_gathers_values_may_be_repeated(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(shlex.split(f"{FULL} --set data.size=0 --set data.image_size=0")) == 2
    assert "given" not in capfd.readouterr().err


@pytest.mark.parametrize(("line", "command"), [("", "leaderboard"), ("data", "prepare")])
def test_no_command_at_all_shows_the_commands(line: str, command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(shlex.split(line)) == 2
    shown = capfd.readouterr()
    assert f"│ {command} " in shown.out
    assert shown.err == ""


def test_a_full_disk_behind_the_output_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "bench", "list"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 1
    assert (
        ended.stderr
        == "bench: the output cannot be written: No space left on device; send it elsewhere and try again\n"
    )


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
@pytest.mark.parametrize(
    "line", ["list", "show a-run --json", "show a-run", "verify a-run", "score a-run", "export a-run"]
)
def test_a_record_that_is_no_record_is_one_line(
    line: str, text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "lidc" / "mean" / "a-run"
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(text)
    code, said = run_command(shlex.split(line)), capfd.readouterr()
    if line in ("list", "show a-run --json"):
        assert code == 0
    else:
        assert code == 1
        assert said.err.count("\n") == 1
        assert "run.json" in said.err
    assert "defect" not in said.err


@pytest.mark.parametrize("line", ["leaderboard", "findings"])
def test_what_is_made_of_results_stands_beside_them(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    assert run_command([line, "--results-dir", "other"]) == 0
    assert [path.suffix for path in (tmp_path / "other").iterdir()] == [".md"]
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]


def _list_commands(command: Any, name: str = "bench") -> Iterator[tuple[str, Any]]:
    for verb, inner in getattr(command, "commands", {}).items():
        yield from (
            _list_commands(inner, f"{name} {verb}") if hasattr(inner, "commands") else [(f"{name} {verb}", inner)]
        )


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
