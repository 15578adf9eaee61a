"""What is generated into a repository is made again from the results alone, and what is out of date is named."""

from pathlib import Path

import pytest

from bench.cli import run_command
from bench.system.generated import Generated, find_stale, write_all

from ..helpers.score_rows import HASH
from ..helpers.table_rows import add, draw

README = "# Mine\n\n<!-- leaderboard -->\nstale\n<!-- /leaderboard -->\n\nby hand\n"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    add(tmp_path / "results", "a", cases={"psnr": draw(0, 20.0)})
    (tmp_path / "README.md").write_text(README)
    return tmp_path / "results"


def test_one_command_renews_all_and_the_parts_own_commands_then_agree(results: Path, capsys) -> None:
    assert run_command(["publish", "--check"]) == 1
    said = capsys.readouterr().err
    for name in ("leaderboard.md", "README.md", "FINDINGS.md", "bench publish --readme README.md --out results"):
        assert name in said
    assert "performance" not in said  # nothing was measured
    assert run_command(["publish"]) == 0
    for command in (["publish"], ["leaderboard", "--readme", "README.md"], ["findings"]):
        assert run_command([*command, "--check"]) == 0
    text = Path("README.md").read_text()
    assert "1. a" in text
    assert "stale" not in text
    assert text.endswith("\n\nby hand\n")

    add(results, "b", cases={"psnr": draw(1, 25.0)})
    before = {path: path.read_bytes() for path in (Path("README.md"), results / "leaderboard.md")}
    assert run_command(["publish", "--check"]) == 1
    assert {path: path.read_bytes() for path in before} == before
    assert run_command(["publish"]) == 0
    assert "1. b" in Path("README.md").read_text()


def test_a_readme_that_is_missing_or_has_no_marks_is_left_alone(results: Path) -> None:
    Path("README.md").write_text("# Mine\n")
    assert run_command(["publish"]) == 0
    assert Path("README.md").read_text() == "# Mine\n"
    Path("README.md").unlink()
    assert run_command(["publish"]) == 0
    assert not Path("README.md").exists()
    assert "1. a" in (results / "leaderboard.md").read_text()


def test_blocks_of_one_file_are_filled_together(tmp_path: Path) -> None:
    path = tmp_path / "text.md"
    path.write_text("<!-- a -->\n<!-- /a -->\n<!-- b -->\n<!-- /b -->\n")
    parts = [Generated(path, "first", "a"), Generated(path, "second", "b")]
    write_all(find_stale(parts))
    assert path.read_text() == "<!-- a -->\nfirst\n<!-- /a -->\n<!-- b -->\nsecond\n<!-- /b -->\n"
    assert find_stale(parts) == {}


def test_the_readmes_short_findings_are_those_of_the_strongest_floor(results: Path) -> None:
    for method, mean in (("x2ctgan", 21.0), ("codediff", 19.0), ("mean", 18.0), ("nearest", 18.5)):
        for seed in range(3):
            add(results, method, seed, cases={"psnr": draw(0, mean + 0.01 * seed)}, protocol_hash=HASH)
    Path("README.md").write_text("<!-- findings -->\n<!-- /findings -->\n")
    assert run_command(["publish"]) == 0
    short, whole = Path("README.md").read_text(), (results / "FINDINGS.md").read_text()
    assert "against nearest training case by its views**" in short
    assert "against mean training volume" not in short
    assert "against mean training volume" in whole
    assert run_command(["findings", "--readme", "README.md", "--check"]) == 0
    Path("README.md").write_text(short.replace("nearest", "farthest"))
    assert run_command(["publish", "--check"]) == 1
