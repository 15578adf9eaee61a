"""Command lines that cannot be meant are refused in one line, with exit code 2 and the way to the help."""

import shlex
from pathlib import Path

import pytest

from bench.cli import run_command

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


@pytest.mark.parametrize("line", ["", "data"])
def test_no_command_at_all_shows_the_commands(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(shlex.split(line)) == 2
    shown = capfd.readouterr()
    assert "Commands" in shown.out
    assert shown.err == ""


def test_help_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--help"]) == 0
    assert "--method" in capfd.readouterr().out
