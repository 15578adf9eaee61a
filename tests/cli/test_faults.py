"""Faults on purpose, on the smallest runs: the drills of `bench faults`, and the parts that must hold in every one."""

import random
from pathlib import Path

import pytest

from bench.drills.faults import fault_drills
from bench.drills.merging import merging_drill
from bench.drills.outcome import Outcome, as_markdown, write_outcomes
from bench.errors import BenchError, BusyError
from bench.pipeline.plan import RunRequest
from bench.runs.folder import RunFolder
from bench.system.files import locked, read_json, write_text
from bench.system.progress import Progress

FEW = ("data.phantoms=[6,1,2]",)


def request(method: str) -> RunRequest:
    return RunRequest(method, "lidc", "smoke", 0, FEW, "x2ct-2019", "phantom", device="cpu")


def test_a_run_that_another_process_holds_is_refused_and_not_changed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked(), pytest.raises(BusyError, match="in use by another process"), RunFolder(tmp_path).locked():
        pass
    with folder.locked():
        folder.update(a=1)
    assert folder.record() == {"a": 1}


def test_what_a_killed_writer_left_is_dropped_by_the_next_holder_alone(tmp_path: Path) -> None:
    inner = tmp_path / "predictions"
    write_text(inner / "a.csv", "kept")
    (inner / ".a.csv.x1y2z3.partial").write_text("half")
    with RunFolder(tmp_path).locked():
        assert [path.name for path in inner.iterdir()] == ["a.csv"]


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(BenchError, match=r"cannot write .*free or change the disk"),
        locked(tmp_path / "file" / ".lock"),
    ):
        pass


def test_a_record_that_is_no_record_is_refused(tmp_path: Path) -> None:
    for text in ("[1]", "3", "[" * 100_000, "{", "\x00"):
        write_text(tmp_path / "run.json", text)
        with pytest.raises(BenchError, match=r"run\.json"):
            RunFolder(tmp_path).record()
    with pytest.raises(BenchError, match="is missing"):
        read_json(tmp_path / "none.json")


def test_the_table_holds_every_fault(tmp_path: Path) -> None:
    outcomes = [
        Outcome("kill -9", "score", 3, "equal", True),
        Outcome("kill -9", "merge", 2, "equal", True),
        Outcome("SIGTERM", "merge", 1, "lost", False),
    ]
    write_outcomes(tmp_path, outcomes)
    lines = (tmp_path / "faults.csv").read_text().splitlines()[1:]
    assert lines == ["kill -9,score,3,equal,True", "kill -9,merge,2,equal,True", "SIGTERM,merge,1,lost,False"]
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in as_markdown(outcomes).splitlines()]
    assert shown[2:4] == [["kill -9", "score, merge", "5", "equal"], ["SIGTERM", "merge", "1", "lost"]]
    assert as_markdown(outcomes).endswith("6 faults in all.")


@pytest.mark.slow
def test_eight_processes_lose_no_row_and_double_none(tmp_path: Path) -> None:
    for outcome in merging_drill(tmp_path, random.Random(1)):
        assert outcome.survived, outcome


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_survives_every_fault(tmp_path: Path) -> None:
    outcomes = list(fault_drills(request("codediff"), tmp_path, 1, Progress()))
    assert not [outcome for outcome in outcomes if not outcome.survived]
    assert sum(outcome.times for outcome in outcomes if outcome.fault == "kill -9") >= 20
