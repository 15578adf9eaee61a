"""Whatever is wrong with a plug-in, or is raised, returned or set by it: its run alone fails, in one line and a row."""

import os
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cli import run_command
from bench.errors import PluginError
from bench.metrics import distortion
from bench.plugins.registry import get_dataset, get_method
from bench.results.model import read_results
from bench.results.tables import build_tables
from bench.runs.folder import RunFolder
from bench.scoring.store import load_results, load_runs
from bench.system.foreign import Foreign

FILE = """
import os, random, sys
import numpy as np
import torch
from bench.method import Method, MethodCard, Settings

class Mine(Method):
    card = MethodCard("mine", {title!r}, "none", 2026, "", "", frozenset({{"volume", "mip"}}))

    class Config(Settings):
        pass

    def __init__(self, config, data):
        self.size = data.size
        {init}

    def stages(self):
        return []

    def full(self, seeds):
        return torch.full((len(seeds), self.size, self.size, self.size), 0.5)

    def reconstruct(self, views, *, seeds):
        {body}
        return self.full(seeds)

class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")
"""
BROKEN = {  # what is changed in the file, and what the row says
    "raises on import": ("import torch\n", "import torch\nraise RuntimeError('no licence')\n", "no licence"),
    "exits on import": ("import torch\n", "import sys\nsys.exit(3)\n", "SystemExit"),
    "needs a missing package": ("import torch\n", "import no_such_package\n", "no_such_package"),
    "is no Python": ("class Mine(Method):", "class Mine(Method)", "SyntaxError"),
    "has no card": ("card = MethodCard", "kard = MethodCard", "card"),
    "lacks a part": ("def reconstruct", "def rekonstruct", "reconstruct"),
    "has a setting without a default": (
        "(Settings):\n        pass",
        "(Settings):\n        level: float",
        "'level' needs a d",
    ),
    "raises as it is built": ("self.size = data.size", "1 / 0", "ZeroDivisionError"),
}
RAISED = {  # what is raised, and what the row says
    "two lines": ("raise ValueError('two\\nlines')", "mine raised ValueError: two lines"),
    "a missing package": ("import no_such_package", "no_such_package"),
    "exit": ("sys.exit(0)", "mine raised SystemExit: 0"),
    "interrupt": ("raise KeyboardInterrupt", "mine raised KeyboardInterrupt"),
    "close": ("raise GeneratorExit", "mine raised GeneratorExit"),
    "stop of an iteration": ("raise StopIteration('x')", "mine raised StopIteration: x"),
    "our own stop": ("from bench.errors import StoppedError; raise StoppedError('x')", "mine raised StoppedError: x"),
    "memory": ("raise MemoryError", "mine raised MemoryError"),
    "no text": ("raise Unprintable", "mine raised Unprintable: an error whose text cannot be made"),
    "a byte of a name": ("raise ValueError('bad \\udcff name')", "mine raised ValueError: bad \\xff name"),
    "an exit of the process": ("os._exit(0)", "mine raised SystemExit: os._exit(0)"),
    "control characters": ("raise ValueError('\\x1b[2Jred\\x1b]8;;http://e\\x07 \\u202eA\\0B')", "ValueError: red AB"),
    "a book": ("raise ValueError('x' * 300_000)", "mine raised ValueError: xxx"),
}
RETURNED = {
    "another shape": ("return self.full(seeds)[..., :3]", "shape"),
    "integers": ("return self.full(seeds).long()", "int64"),
    "complex numbers": ("return self.full(seeds).to(torch.complex64)", "complex64"),
    "infinity": ("return self.full(seeds) * float('inf')", "NaN or infinity for phantom-test-0000"),
    "an array": ("return self.full(seeds).numpy()", "ndarray, not a tensor"),
    "nothing": ("return None", "NoneType, not a tensor"),
    "no numbers": ("return self.full(seeds).to('meta')", "on meta"),
    "a sparse tensor": ("return self.full(seeds).to_sparse()", "sparse"),
}
SET = """os.chdir("/")
        os.environ["BENCH_DATA"] = "elsewhere"
        sys.stdout = None
        torch.set_default_dtype(torch.float64); torch.set_num_threads(3); torch.set_grad_enabled(False)
        np.seterr(all="raise")
        torch.manual_seed(1); np.random.seed(1); random.seed(1)
        import bench.metrics.distortion as d; d.psnr = lambda *a, **k: 99.0
        views.images.zero_()"""

PLAIN = {"title": "Mine", "init": "pass"}
GOOD = FILE.format(body="pass", **PLAIN)
EDIT = "import pathlib; pathlib.Path('mine.py').write_text('# edited')"
SMALL = ["--preset", "smoke", "--set", "data.phantoms=[8,2,3]", "--source", "phantom"]


@pytest.fixture
def run(quick_protocol: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`run(body, methods)` in an empty folder that holds mine.py."""
    monkeypatch.chdir(tmp_path)

    def run(body: str = "pass", methods: str = "mine.py:Mine", title: str = "Mine", init: str = "pass") -> int:
        (tmp_path / "mine.py").write_text(FILE.format(body=body, title=title, init=init))
        return run_command(["run", "--method", methods, "--dataset", "lidc", *SMALL])

    return run


def test_what_is_broken_raised_or_returned_fails_its_run_alone(
    quick_protocol: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [(GOOD.replace(before, after), words) for before, after, words in BROKEN.values()]
    assert GOOD not in {text for text, _ in files}
    files += [(FILE.format(body=body, **PLAIN), words) for body, words in {**RAISED, **RETURNED}.values()]
    said = {}
    for number, (text, words) in enumerate(files):
        (tmp_path / f"m{number}.py").write_text(text.replace('MethodCard("mine"', f'MethodCard("m{number}"'))
        said[f"m{number}"] = words.replace("mine", f"m{number}")
    methods = ",".join([*(f"{name}.py:Mine" for name in said), "mean"])
    assert run_command(["run", "--method", methods, "--dataset", "lidc", *SMALL]) == 1
    output = capsys.readouterr()
    assert f"{len(said)} of {len(said) + 1} runs failed" in output.err
    assert output.out.count("data of lidc:") == 1
    runs = load_runs(tmp_path / "results").set_index("method")
    assert runs["status"].to_dict() == {**dict.fromkeys(said, "failed"), "mean": "done"}
    rows = load_results(tmp_path / "results").query("status == 'error'").groupby("method")["note"]
    (table,) = build_tables("2", read_results(tmp_path / "results"))
    titles = {row.method: row.title for row in table.blocks[0].methods}
    assert set(rows.groups) == set(said)
    for name, words in said.items():
        assert words in runs.loc[name, "error"]
        assert len(runs.loc[name, "error"]) <= 1000
        assert runs.loc[name, "error"].isprintable()
        assert output.out.count(f"failed: {name}.py:Mine on lidc, seed 0") == 1
        assert rows.get_group(name).str.contains(words.split(":")[-1].strip(), regex=False).all()
        assert titles[name] == f"{name} (plug-in)"
        assert any(words in note for note in table.footnotes)


def test_a_traceback_is_kept_and_a_plugin_that_is_mended_loses_its_error(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("raise ValueError('why')") == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert "mine raised ValueError: why" in error
    assert "a defect" not in error
    (kept,) = tmp_path.glob("runs/lidc/mine/*/error.txt")
    assert str(kept.relative_to(tmp_path)) in error
    assert "in reconstruct" in kept.read_text()
    assert set(load_results(tmp_path / "results")["status"]) == {"error"}
    assert run() == 0
    scores = load_results(tmp_path / "results")
    assert "error" not in set(scores["status"])
    assert set(scores["origin"]) == {"plugin"}
    assert load_runs(tmp_path / "results")["status"].tolist() == ["done"]


def test_an_edited_plugin_is_another_run_with_the_hash_of_what_was_run(run: Callable[..., int], tmp_path: Path) -> None:
    bodies = (EDIT, EDIT, "return self.full(seeds) / 2")  # the file is edited while it runs
    assert [run(body) for body in bodies] == [0, 0, 0]
    records = [RunFolder(file.parent).record() for file in tmp_path.glob("runs/lidc/mine/*/run.json")]
    texts = [FILE.format(body=body, **PLAIN) for body in set(bodies)]
    hashes = sorted(sha256(text.encode()).hexdigest() for text in texts)
    assert sorted(record.plugin_sha256 for record in records) == hashes
    assert [record.run_id for record in records] == [record.expected_run_id for record in records]
    means = load_results(tmp_path / "results").query("metric == 'mae' and level == 'set' and stat == 'mean'")
    assert means.query("space == '3d'")["value"].nunique() == 2


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("mine.py:Other,mean", "no Other"),
        ("none.py:Mine,mean", "no file none.py"),
        ("mean,mien", "unknown method 'mien'"),
        ("mine.py:torch", "not a Method"),
        (",", "at least one name"),
    ],
)
def test_a_name_that_is_wrong_stops_the_command_before_the_first_run(
    methods: str, words: str, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(methods=methods) == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_failed_import_leaves_no_half_module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('once')\n")
    with pytest.raises(PluginError, match="once"):
        get_method(f"{tmp_path}/mine.py")
    (tmp_path / "mine.py").write_text(GOOD)
    assert get_method(f"{tmp_path}/mine.py").card.name == "mine"


def test_what_a_plugin_sets_in_the_process_is_undone(run: Callable[..., int], tmp_path: Path) -> None:
    before = os.getcwd(), os.environ["BENCH_DATA"], sys.stdout, torch.get_num_threads(), np.geterr()
    state, psnr = torch.get_rng_state(), distortion.psnr
    assert run(SET, "mine.py:Mine,mean") == 0
    assert before == (os.getcwd(), os.environ["BENCH_DATA"], sys.stdout, torch.get_num_threads(), np.geterr())
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert distortion.psnr is psnr
    both = load_results(tmp_path / "results").query("level == 'case'")
    assert set(both["method"]) == {"mine", "mean"}
    assert both.query("metric == 'psnr'")["value"].max() < 50


def test_a_child_of_a_plugin_ends_with_its_call() -> None:
    child = Foreign("it raised", lambda: os.fork())()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_title_is_text_for_pictures_and_tables(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(title="<b>|`x`](http://e) \x1b[31mred [red]x[/red] $\\input{/etc}$") == 0
    assert len(list(tmp_path.glob("runs/lidc/mine/*/previews/*.png"))) == 3
    assert get_method("mine.py:Mine").card.title == "<b>|`x`](http://e) red [red]x[/red] $\\input{/etc}$"


def test_a_remark_is_text_that_no_spreadsheet_computes(run: Callable[..., int], tmp_path: Path) -> None:
    assert run(init="self.remark = '=1+1 \\x1b[31m'") == 0
    assert load_runs(tmp_path / "results")["remark"].tolist() == ["'=1+1"]
    assert run(init="self.remark = 12") == 1
    assert "a remark that is int" in load_runs(tmp_path / "results")["error"].iloc[-1]


@pytest.mark.parametrize("name", ["codediff", "../../x", "x" * 65, "a\x1bb"])
def test_a_name_that_is_taken_or_names_no_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(GOOD.replace('MethodCard("mine"', f"MethodCard({name!r}"))
    with pytest.raises(PluginError, match="calls itself"):
        get_method(f"{tmp_path}/other.py:Mine")


def test_a_stage_whose_name_leaves_the_folder_is_refused(run: Callable[..., int], tmp_path: Path) -> None:
    init = "from bench.plugins.registry import get_method; floor = get_method('mean')"
    stages = (
        "stage, = floor.load()(floor.config(), data).stages(); stage.name = '../../../x'; self.stages = lambda: [stage]"
    )
    assert run(init=f"{init}; {stages}") == 1
    assert "which can name no file" in load_runs(tmp_path / "results")["error"].iloc[0]


def test_a_dataset_of_the_users_fails_in_one_line_too(tmp_path: Path) -> None:
    file = tmp_path / "mydata.py"
    file.write_text(
        "import sys\nfrom dataclasses import replace\nfrom bench.plugins.registry import get_dataset\n"
        "DATASET = replace(get_dataset('lidc'), name='mydata', phantom=lambda seed, grid: sys.exit(0))\n"
    )
    with pytest.raises(PluginError, match="phantom of mydata raised SystemExit: 0"):
        get_dataset(f"{file}:DATASET").phantom(0, 16)
