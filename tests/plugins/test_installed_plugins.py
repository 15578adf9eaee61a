"""Methods and datasets that installed packages offer are found, described and loaded like built-in ones."""

import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from bench.cli import run_command
from bench.errors import PluginError, UsageError
from bench.method import Method
from bench.plugins.config import resolve
from bench.plugins.registry import discover_datasets, discover_methods, get_dataset, get_method, variants_of

CARD = """
from pathlib import Path
from bench.card import MethodCard, MethodPlugin, Settings

class Config(Settings):
    level: float = 0.5

CARD = MethodCard("mine", "Mine", "none", 2026, "", "", frozenset({"volume"}))
PRESETS = Path(__file__).with_name("presets.toml")
PLUGIN = MethodPlugin(CARD, Config, "pkg_of_mine.net:Mine", PRESETS)
BROKEN = MethodPlugin(MethodCard("broken", "B", "none", 2026, "", "", frozenset()), Config, "pkg_of_mine.gone:Mine")
"""
NET = """
from bench.method import Method
from pkg_of_mine.card import CARD, PRESETS, Config as Settings

class Mine(Method):
    card, Config, presets = CARD, Settings, PRESETS

    def __init__(self, config, data):
        self.level = config.level

    def stages(self):
        return []

    def reconstruct(self, views, *, seeds):
        raise NotImplementedError
"""
PRESETS = """
[tiny.any]
level = 0.25
[variant.dark]
what = "darker"
any.level = 0.125
"""
WHOLE = """
from dataclasses import replace
from bench.datasets.lidc import DATASET as chests
from pkg_of_mine.net import Mine

class Whole(Mine):
    card = replace(Mine.card, name="whole")

class Half(Whole):
    card = "a card"

class Taken(Whole):
    card = replace(Mine.card, name="codediff", title="CodeDiff3D")

BAGS = replace(chests, name="bags")
"""
ENTRIES = """
[bench.methods]
mine = pkg_of_mine.card:PLUGIN
broken = pkg_of_mine.card:BROKEN
whole = pkg_of_mine.whole:Whole
half = pkg_of_mine.whole:Half
again = pkg_of_mine.whole:Taken
exits = pkg_of_mine.exits:Any
junk = pkg_of_mine.card:PRESETS
absent = no_such_package:Mine

[bench.datasets]
bags = pkg_of_mine.whole:BAGS
junk = pkg_of_mine.card:CARD
"""
ROOT = Path(__file__).parents[2]
FILES = {
    "__init__.py": "",
    "card.py": CARD,
    "net.py": NET,
    "presets.toml": PRESETS,
    "whole.py": WHOLE,
    "exits.py": "raise SystemExit(0)",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package that offers methods and datasets, good and bad."""
    folder, described = tmp_path / "pkg_of_mine", tmp_path / "pkg_of_mine-1.dist-info"
    folder.mkdir()
    described.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: pkg_of_mine\nVersion: 1\n")
    (described / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "pkg_of_mine"]:
        del sys.modules[name]


def test_a_method_is_described_before_its_networks_are_imported(package: Path) -> None:
    plugin = get_method("mine")
    config, settings = resolve(plugin, get_dataset("lidc"), "tiny")
    assert (plugin.card.title, settings.model_dump(), config.method) == ("Mine", {"level": 0.25}, "mine")
    assert not plugin.builtin
    assert plugin.sha256 == sha256(NET.encode()).hexdigest()
    assert plugin.file.parent == package
    loaded = plugin.load()
    assert issubclass(loaded, Method)
    assert loaded is sys.modules["pkg_of_mine.net"].Mine


def test_its_variants_are_classes_with_another_card(package: Path) -> None:
    assert set(variants_of(get_method("mine"))) == {"mine+dark"}
    dark = get_method("mine+dark")
    assert resolve(dark, get_dataset("lidc"), "tiny")[0].options == {"level": 0.125}
    assert dark.load().card.title == "Mine, darker"
    assert issubclass(dark.load(), get_method("mine").load())


def test_a_class_may_be_offered_in_place_of_its_description(package: Path) -> None:
    plugin = get_method("whole")
    assert plugin.load() is sys.modules["pkg_of_mine.whole"].Whole
    assert plugin.sha256 == sha256(WHOLE.encode()).hexdigest()


def test_what_is_no_method_or_dataset_is_named_and_the_others_are_found(package: Path) -> None:
    methods, broken = discover_methods()
    assert {"mine", "whole", "mean"} <= methods.keys()
    assert set(broken) == {"half", "junk", "absent", "again", "exits"}
    assert "'again' calls itself 'codediff', as another method does" in broken["again"]
    assert methods["codediff"].builtin
    assert "SystemExit: 0" in broken["exits"]
    assert "lacks card, a MethodCard" in broken["half"]
    assert "no Method and no MethodPlugin" in broken["junk"]
    assert "no_such_package" in broken["absent"]
    datasets, unusable = discover_datasets()
    assert {"bags", "lidc"} <= datasets.keys()
    assert "no DatasetSpec" in unusable["junk"]
    with pytest.raises(PluginError, match="method 'junk' cannot be imported"):
        get_method("junk")
    with pytest.raises(UsageError, match="unknown method 'min'"):
        get_method("min")


def test_networks_that_cannot_be_imported_are_found_by_their_use_and_by_the_doctor(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = get_method("broken")
    with pytest.raises(PluginError, match=r"method 'broken' cannot be imported: ModuleNotFoundError: .*gone"):
        plugin.load()
    with pytest.raises(PluginError, match=r"stands in no file: there is no module pkg_of_mine\.gone"):
        plugin.file  # noqa: B018
    assert run_command(["doctor"]) == 1
    assert "method 'broken' cannot be imported" in capsys.readouterr().out


def test_the_list_marks_plugins_and_names_what_is_left_out(
    package: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run_command(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (whole,) = (line for line in lines if line.startswith("│ whole "))
    assert "method, plug-in" in whole
    left_out = [line.split(":")[1].strip() for line in lines if line.startswith("left out")]
    assert left_out == ["half", "again", "exits", "junk", "absent"]


def test_packages_called_as_the_folders_of_plugins_win_over_these(tmp_path: Path) -> None:
    for name in ("datasets", "methods"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("ORIGIN = 'elsewhere'\n")
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]; sys.path.append({str(tmp_path)!r})\n"
        "import datasets, methods, bench.datasets.lidc\n"
        "print(datasets.ORIGIN, methods.ORIGIN, bench.datasets.lidc.DATASET.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.split() == ["elsewhere", "elsewhere", "lidc"], done.stderr
