"""What a person sees of long work: a progress bar in a terminal, one plain line now and then elsewhere."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.progress import Task as BarTask
from rich.table import Column
from rich.text import Text

from bench.system.text import drop_controls

PLAIN_SECONDS = 15.0  # between two lines when the output is not a terminal
LONG_SECONDS = 86_400.0  # of work that is left, above which a person is warned
SURE_SECONDS = 30.0  # after which the speed so far is taken for that of the rest


@dataclass
class Task:
    """One piece of work that is counted; `advance` is cheap and may be called at every step."""

    name: str
    total: int
    start: int
    progress: "Progress"
    began: float = field(default_factory=time.monotonic)
    shown: float = field(default_factory=time.monotonic)
    bar: TaskID | None = None  # shown from the first step on: what is cached has none
    warned: bool = False

    def counted(self, done: int, total: int, note: str = "") -> None:
        """Like `advance`, for work that learns its total on the way; what came before 0 are done is not counted."""
        self.total = total
        if done == 0:
            self.began = self.shown = time.monotonic()
        self.advance(done, note)

    def advance(self, done: int, note: str = "") -> None:
        """Say that `done` of the total are done; `note` is e.g. the loss."""
        elapsed = max(time.monotonic() - self.began, 1e-9)
        rate = (done - self.start) / elapsed
        text = f"{rate:.1f}/s {note}".strip()
        left = (self.total - done) / rate if rate > 0 else float("nan")
        if left > LONG_SECONDS and elapsed > SURE_SECONDS and not self.warned:
            self.warned = True
            self.progress.say(
                f"{self.name}: {left / 3600:.0f} h are left at this speed; `bench performance --only estimate` tells "
                "what each stage of a preset takes here, Ctrl-C leaves a checkpoint"
            )
        if self.progress.shows_bars:
            self.progress.show(self, done, note)
        elif done == self.total or time.monotonic() - self.shown >= PLAIN_SECONDS:
            self.shown = time.monotonic()
            eta = f"{elapsed:.0f} s" if done == self.total else f"{left:.0f} s left"
            self.progress.say(f"{self.name}: {done}/{self.total}, {text}, {eta}")


class TimeLeftColumn(ProgressColumn):
    """The time that is left at the rate of all that is done; it grows while nothing advances."""

    def render(self, task: BarTask) -> Text:
        """Return it as text."""
        done, left = task.completed - task.fields["first"], (task.total or 0) - task.completed
        return Text(f"{_say_time((task.elapsed or 0.0) * left / done if done > 0 else math.nan)} left")


class Progress:
    """Where a command's messages and progress go. Messages are plain text, one line each."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.live: Bars | None = None
        self.first: Task | None = None  # that began the bars, and ends them
        self.quiet = False  # all processes but the first of a distributed run
        self.said: set[str] = set()  # by `say_once`

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        if self.quiet:
            return
        console = self.live.console if self.live else self.console
        text, whole = drop_controls(line), not console.is_terminal
        console.print(text, highlight=False, markup=False, soft_wrap=whole, overflow="ignore", crop=False)

    def say_once(self, line: str) -> None:
        """Print a line that several runs of one command have in common when the first of them says it."""
        if line not in self.said:
            self.said.add(line)
            self.say(line)

    @contextmanager
    def task(self, name: str, total: int, start: int = 0) -> Iterator[Task]:
        """Count to `total`, beginning at `start`."""
        task = Task(name, total, start, self)
        try:
            yield task
        finally:
            if self.live is not None and self.first is task:
                self.live.stop()
                self.live = self.first = None

    @property
    def shows_bars(self) -> bool:
        """True on a terminal, but for all processes except the first of a distributed run."""
        return self.console.is_terminal and not self.quiet

    def show(self, task: Task, done: int, note: str) -> None:
        """Draw the bar of a task as far as it is done, which begins it where it has none yet."""
        if self.live is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(20),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeLeftColumn(),
                TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="crop")),
            )
            self.live, self.first = Bars(*columns, console=self.console, get_time=lambda: time.monotonic()), task
            self.live.start()
        if task.bar is None:
            task.bar = self.live.add_task(task.name, total=task.total, completed=task.start, first=task.start, note="")
            self.live.tasks[-1].start_time = task.began
        self.live.update(task.bar, total=task.total, completed=done, note=note)


def _say_time(seconds: float) -> str:
    """Return a time as h:mm:ss or m:ss; a dash where it is not known."""
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
