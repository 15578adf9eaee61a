"""What a killed process was writing goes with the next that writes it; what a living one is writing stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system.files import temporary_folder, write_text

from ..helpers.scans import names, prepare_chests, torso, write_nifti

ROOT = Path(__file__).parents[2]
SEEN = """
import os, signal, sys
from pathlib import Path
folder, file, sent = Path(sys.argv[1]), sys.argv[2], getattr(signal, sys.argv[3])
def see(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(file):
        os.kill(os.getpid(), sent)
sys.addaudithook(see)
"""
WRITES = {
    "a file": "from bench.system.files import write_text; write_text(folder / 'a.csv', 'other')",
    "a folder": "from bench.system.files import temporary_folder\n"
    "with temporary_folder(folder, '.new-') as new:\n"
    "    (new / 'b').write_text('half')\n"
    "    os.rename(new / 'b', new / 'a.csv')",
}
PREPARE = "from tests.helpers.scans import prepare_chests; prepare_chests(folder / 'in')"


def begun(script: str, folder: Path, file: str, sent: signal.Signals) -> subprocess.Popen:
    """A process that a signal meets just before `file` gets its name."""
    process = subprocess.Popen([sys.executable, "-c", SEEN + script, str(folder), file, sent.name], cwd=ROOT)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return process


def killed(script: str, folder: Path, file: str) -> None:
    assert begun(script, folder, file, signal.SIGKILL).wait() == -signal.SIGKILL


def again(folder: Path) -> None:
    write_text(folder / "a.csv", "mine")
    with temporary_folder(folder, ".new-"):
        pass


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if not path.name.endswith(".lock")]


@pytest.mark.parametrize("what", WRITES)
def test_the_next_removes_what_a_killed_process_left(what: str, tmp_path: Path) -> None:
    killed(WRITES[what], tmp_path, "a.csv")
    assert len(hidden(tmp_path)) == 1
    again(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "mine"


@pytest.mark.parametrize("what", WRITES)
def test_what_a_living_process_holds_stays_and_it_comes_to_its_end(what: str, tmp_path: Path) -> None:
    stopped = begun(WRITES[what], tmp_path, "a.csv", signal.SIGSTOP)
    try:
        (held,) = hidden(tmp_path)
        again(tmp_path)
        assert hidden(tmp_path) == [held]
    finally:
        stopped.send_signal(signal.SIGCONT)
    assert stopped.wait() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == ("other" if what == "a file" else "mine")


def test_files_of_others_stay(tmp_path: Path) -> None:
    others = [".b.csv.x1y2z3w4.partial", ".a.csv.mine.partial", ".new-mine", "a.csv.partial", ".a.csv.x1y2z3w4"]
    for name in others:
        (tmp_path / name).write_text("kept")
    again(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "a.csv"])


@pytest.mark.parametrize("file", ["a.npy", "manifest.json"])
def test_a_killed_preparation_leaves_nothing_once_it_is_run_again(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "store"))
    write_nifti(tmp_path / "in" / "a.nii.gz", torso())
    killed(PREPARE, tmp_path, file)
    assert len(hidden(tmp_path)) == 1
    assert names(prepare_chests(tmp_path / "in")) == (["a"], [], [])
    assert not hidden(tmp_path)
