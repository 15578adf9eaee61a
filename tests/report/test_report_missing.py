"""The report says once what has no predictions, for which reason, and by which command it is made."""

import re
import shlex
import shutil
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path

import pytest

from bench.cli import run_command
from bench.pipeline.plan import RunRequest, plan
from bench.report.collect import Group, Subject, collect_groups
from bench.report.missing import Places, find_picture_gap, find_spread_gap
from bench.results.model import read_results
from bench.scoring import DEFAULT
from bench.scoring.protocols import PROTOCOLS
from bench.system.progress import Progress

ROOT = Path(__file__).parents[2]


def test_the_command_that_makes_what_is_missing_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, DEFAULT, replace(PROTOCOLS[DEFAULT], fidelity=None, turn=None))
    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results")]
    out = tmp_path / "report.html"

    def commands() -> tuple[str, list[list[str]]]:
        assert run_command(["report", "--out", str(out), "--cases", "1", "--viewer-mib", "0", *places]) == 0
        text = out.read_text()
        return text, [shlex.split(unescape(code)) for code in re.findall("<code>(bench run --method .*?)</code>", text)]

    asked = ["--method", "mean", "--dataset", "lidc", "--preset", "smoke", "--source", "phantom"]
    assert run_command(["run", *asked, *places]) == 0
    before, none = commands()
    assert none == []
    shutil.rmtree(tmp_path / "runs")
    without, (found,) = commands()
    assert before.count("<img") > without.count("<img")
    assert found == ["bench", "run", *asked, *places]
    assert run_command(found[1:]) == 0
    again, none = commands()
    assert again.count("<img") == before.count("<img")
    assert none == []
    assert run_command(["run", *asked, "--set", "data.phantoms=[6,2,3]", *places]) == 0
    shutil.rmtree(tmp_path / "runs")
    assert [words[1:] for words in commands()[1]] == [["run", *asked, *places]]  # of the two, the one it would make


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Group:
    """The chest phantoms of the committed results, none of whose runs lies in the folder of runs."""
    results = read_results(ROOT / "results").only(dataset="lidc", preset="tiny", source="phantom")
    nothing = tmp_path_factory.mktemp("none")
    (group,) = collect_groups(results, nothing, nothing, "psnr", Progress())
    return replace(group, subjects=tuple(map(made_today, group.subjects)))


def made_today(subject: Subject) -> Subject:
    """The subject as if its runs were made by today's settings; CodeDiff3D's and its ceiling's stay what they are."""
    entry = subject.entry
    if entry.method in ("codediff", "oracle"):
        return subject
    ask = partial(RunRequest, entry.method, "lidc", preset="tiny", source="phantom")
    names = {run_id: plan(ask(seed=int(seed))).run_id for run_id, seed in entry.runs["seed"].items()}
    runs, rows = entry.runs.rename(index=names), entry.rows.assign(run_id=entry.rows["run_id"].map(names))
    return replace(subject, entry=replace(entry, runs=runs, rows=rows))


@pytest.fixture(scope="module")
def remade(measured: Group) -> set[str]:
    """The methods of the committed results whose first run a plain command would make again."""
    ask = partial(RunRequest, dataset="lidc", preset="tiny", source="phantom")
    entries = [(subject.entry, subject.seeds[0]) for subject in measured.subjects]
    return {e.method for e, seed in entries if plan(ask(method=e.method, seed=seed)).run_id in e.run_ids}


def test_weights_are_offered_for_methods_that_come_with_them_alone(measured: Group, remade: set[str]) -> None:
    shipped = {path.name.partition("-")[0] for path in ROOT.glob("methods/*/pretrained/*-lidc-tiny-s0.safetensors")}
    assert shipped & remade
    gap = find_picture_gap(measured, Places(Path("runs"), Path("results")))
    commands = [shlex.split(command) for command in gap.commands]
    of = {"--from-pretrained" in words: set(words[words.index("--method") + 1].split(",")) for words in commands}
    assert of == {True: shipped & remade, False: remade - shipped}
    assert not {"--seeds", "--runs-dir", "--results-dir"} & {word for words in commands for word in words}
    others = replace(measured, facts={**measured.facts, "data_fingerprint": "of other data"})
    assert find_picture_gap(others, Places(Path("runs"), Path("results"))).commands == ()


def test_seeds_without_predictions_are_told_from_seeds_not_run(measured: Group, remade: set[str]) -> None:
    places = Places(Path("else where"), Path("results"))
    several = {subject.entry.method: subject.seeds for subject in measured.subjects if len(subject.seeds) >= 3}
    gap = find_spread_gap(measured, places)
    assert "but else where does not hold the predictions of 3 of them" in gap.sentence
    found: dict[str, tuple[int, ...]] = {}
    for command in gap.commands:
        words = shlex.split(command)
        assert words[words.index("--runs-dir") + 1] == "else where"
        seeds = tuple(map(int, words[words.index("--seeds") + 1].split(",")))
        found |= dict.fromkeys(words[words.index("--method") + 1].split(","), seeds)
    assert found == {method: seeds for method, seeds in several.items() if method in remade}
    single = replace(measured, subjects=tuple(one for one in measured.subjects if len(one.seeds) == 1))
    assert "of as many seeds or samples" in find_spread_gap(single, places).sentence


def test_a_name_in_the_results_loads_no_file(measured: Group, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(f"open({str(tmp_path / 'loaded')!r}, 'w')\n")
    subjects = tuple(replace(one, entry=replace(one.entry, method=str(plugin))) for one in measured.subjects)
    for facts in (measured.facts, {**measured.facts, "dataset": str(plugin)}):
        group = replace(measured, subjects=subjects, facts=facts)
        assert find_picture_gap(group, Places(Path("runs"), Path("results"))).commands == ()
    assert not (tmp_path / "loaded").exists()
