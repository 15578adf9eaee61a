"""What is said of long work: the time left by the whole rate, a warning of more than a day, no bar for what is done."""

import io
import time

import pytest
from rich.console import Console

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


def terminal(width: int = 80) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(Console(file=out, force_terminal=True, width=width, color_system=None)), out


def test_what_is_cached_has_no_bar_and_inner_work_leaves_the_outer_bar() -> None:
    progress, out = terminal()
    with progress.task("prepare", 1):
        pass
    assert out.getvalue() == ""
    with progress.task("outer", 2) as outer:
        outer.advance(1)
        with progress.task("inner", 1) as inner:
            inner.advance(1)
        outer.advance(2)
    assert progress.live is None
    assert "outer" in out.getvalue()
    assert "inner" in out.getvalue()
    assert "2/2" in out.getvalue()


def test_the_time_left_is_that_of_the_whole_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress, out = terminal(120)
    with progress.task("score", 100) as task:
        task.began = now[0]
        for done, seconds in ((10, 60.0), (50, 61.0)):  # a burst after a slow beginning
            now[0] = seconds
            task.advance(done)
            progress.live.refresh()
        now[0] = 122.0  # and nothing more
        progress.live.refresh()
    assert "1:01 left" in out.getvalue()
    assert "2:02 left" in out.getvalue()


def test_no_word_of_a_message_is_broken() -> None:
    progress, out = terminal(30)
    progress.say("data of lidc: phantom: a-very-long-path/that/is/longer/than/the/terminal is there")
    assert "a-very-long-path/that/is/longer/than/the/terminal" in out.getvalue()
    assert all(len(line) <= 30 or "a-very" in line for line in out.getvalue().splitlines())
