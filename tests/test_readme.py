"""The README is short, its commands are those that continuous integration runs, and its links lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

from bench.pipeline.plan import RunRequest, plan

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md")))
BEGIN = "python3 -m venv .venv && . .venv/bin/activate && pip install "


def list_blocks(language: str) -> list[str]:
    """Return the blocks of a language with continued lines joined."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [re.sub(r"\\\n *", "", block).strip() for block in found]


def test_it_is_short_and_no_line_is_long() -> None:
    assert len(README.encode()) <= 12 * 1024
    without_links = (re.sub(r"\]\([^)]*\)", "]", line) for line in README.splitlines())
    assert [line for line in without_links if len(line) > 120] == []


def test_what_is_run_is_two_command_lines_that_each_work_alone() -> None:
    first, tests = list_blocks("sh")
    assert "\n" not in first + tests
    assert first.startswith(BEGIN)
    assert first.endswith(" && bench run --method codediff --dataset lidc")
    assert tests.startswith(BEGIN)
    assert " && pytest " in tests
    assert "--group test" in tests
    assert list_blocks("console")  # what else is typed


def test_continuous_integration_reads_these_very_lines() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    reader = script[script.index("line() {") : script.index("\n}\n", script.index("line() {")) + 3]
    for name, block in zip(("first", "tests"), list_blocks("sh"), strict=True):
        command = ["bash", "-euo", "pipefail", "-c", f"{reader}line {name}"]
        assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == block
    for text in (script, *list_blocks("sh")):
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_the_pretrained_line_names_weights_that_fit_todays_settings(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    line = r"^bench run --method (\S+) --dataset (\S+) --preset (\S+) --from-pretrained$"
    (methods, dataset, preset) = re.search(line, README, re.M).groups()
    for method in methods.split(","):
        assert plan(RunRequest(method, dataset, preset, 0, from_pretrained=True, runs_dir=tmp_path)).weights


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        if target.startswith("https:"):
            continue
        path, _, heading = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if heading:
            heads = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, target
