"""What is said of long work: a warning where more than a day of it is left, once."""

import time

import pytest

from bench.system.progress import Progress


@pytest.mark.parametrize(("total", "warnings"), [(300, 0), (300_000, 1)])
def test_a_person_is_warned_once_of_work_of_more_than_a_day(
    total: int, warnings: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress().task("fit net", total) as task:
        task.began = task.shown = now[0]
        for done in range(1, 100):
            now[0] += 1.0
            task.advance(done)
    lines = [line for line in capsys.readouterr().out.splitlines() if "at this speed" in line]
    assert len(lines) == warnings
    assert all(line.startswith("fit net: 83 h are left at this speed") for line in lines)
