"""`bench new-method` and `bench new-dataset`: what they write works as it stands, and hides nothing."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bench.cli import run_command
from bench.method import Method
from bench.plugins.registry import get_dataset, get_method


def written(folder: Path, file: str) -> ModuleType:
    """A file that was written, imported."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, folder / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_method_is_short_and_its_method_comes_first(home: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_command(["new-method", "my_net"]) == 0
    assert "bench run --method mean,./my_net.py:MyNet --dataset lidc" in capsys.readouterr().out
    text = (home / "my_net.py").read_text()
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 42
    assert re.findall(r"^class (\w+)", text, re.MULTILINE)[0] == "MyNet"
    assert "new_method" not in text + (home / "test_my_net.py").read_text()
    for reference in ("my_net.py:MyNet", "my_net.py"):
        found = get_method(reference)
        assert issubclass(found.load(), Method)
        assert found.card.name == "my_net"


@pytest.mark.trains
def test_the_test_of_a_new_method_passes_and_fails_when_the_method_learns_nothing(home: Path, seed: int) -> None:
    assert run_command(["new-method", "my_net"]) == 0
    module = written(home, "test_my_net.py")
    module.SEED = seed
    module.test_my_net_beats_the_mean_volume(home / "first")
    source = home / "my_net.py"
    source.write_text(source.read_text().replace("steps=300", "steps=0"))
    with pytest.raises(AssertionError):
        module.test_my_net_beats_the_mean_volume(home / "second")


def test_the_tests_of_a_new_dataset_pass(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_command(["new-dataset", "blobs"]) == 0
    module = written(home, "test_blobs.py")
    module.test_the_phantom_is_a_function_of_its_seed_inside_the_window()
    module.test_the_scans_of_a_patient_stay_together_and_every_split_has_some()
    module.test_a_method_runs_on_it(home, monkeypatch)
    assert get_dataset("blobs.py").name == "blobs"


@pytest.mark.parametrize(("kind", "taken"), [("new-method", ["mean", "training"]), ("new-dataset", ["lidc"])])
def test_names_that_would_break_or_hide_something_are_refused(home: Path, kind: str, taken: list[str]) -> None:
    for name in ("My", "1a", "a-b", "../a", "a b", "", "torch", "json", "pytest", *taken):
        assert run_command([kind, name]) == 2, name
        assert not list(home.iterdir())


def test_nothing_is_overwritten(home: Path) -> None:
    (home / "test_mine.py").write_text("mine\n")
    assert run_command(["new-method", "mine"]) == 2
    assert (home / "test_mine.py").read_text() == "mine\n"
    assert not (home / "mine.py").exists()


@pytest.mark.slow
def test_a_newcomer_can_type_the_commands_of_the_readme(home: Path) -> None:
    commands = [
        ["-m", "bench", "new-method", "mine"],
        ["-m", "pytest", "-q", "test_mine.py"],
        ["-m", "bench", "run", "--method", "mean,mine.py", "--dataset", "lidc", "--preset", "smoke"],
        ["-m", "bench", "table", "2"],
    ]
    done = [subprocess.run([sys.executable, *c], capture_output=True, text=True, check=False) for c in commands]
    assert [step.returncode for step in done] == [0] * 4, [step.stderr for step in done]
    assert "Mine" in done[-1].stdout
