"""The drills: each disturbs runs on purpose, lets them finish, and compares with a run that nothing disturbed.

Equal means bit for bit: the prepared data, weights, training log, predictions and every score but the times. The
processes compute with one thread on a CPU. Needs Linux.
"""

import math
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.drills.doomed import PATIENCE, End, Fate, Moment, ended, start
from bench.drills.merging import merging_drill
from bench.drills.outcome import Outcome
from bench.errors import BenchError
from bench.pipeline.run import RunRequest
from bench.plugins.registry import get_dataset, get_method
from bench.scoring.rows import SCORES, read_scores
from bench.system.files import PARTIAL, digest_of, sha256_of
from bench.system.progress import Progress

KILLS = 20  # at least so many, spread over all tasks of a run
WRITES = (3, 9)  # files that are written between two kills
MOST_WRITES = 60  # such kills, if a run never ended
DISKS = 7  # sizes of a full one, beside that which the data do not fit on
BACKWARDS = -3600.0  # seconds at each reading of the clock
STOPPED = 143
REFUSED = "cannot write"
UNDISTURBED = Fate()
SMALLEST_DISK = 4096  # bytes a file: less and not even the messages could be written


@dataclass(frozen=True)
class Whole:
    """A run that nothing disturbed."""

    request: RunRequest
    seconds: dict[str, float]  # of each task, in order
    state: dict[str, str]


def fault_drills(request: RunRequest, folder: Path, seed: int, progress: Progress) -> Iterator[Outcome]:
    """Every drill in turn, on the run that `request` asks for; all of it is written below `folder`."""
    whole = undisturbed(request, folder / "whole")
    progress.say(f"undisturbed: {', '.join(f'{name} {seconds:.0f} s' for name, seconds in whole.seconds.items())}")
    chance = random.Random(seed)
    drills: tuple[Callable[[Whole, Path, random.Random], list[Outcome]], ...] = (
        kill_drill, write_drill, warning_drill, full_disk_drill, read_only_drill, clock_drill,
        two_processes_drill,
    )  # fmt: skip
    for drill in drills:
        yield from drill(whole, folder / drill.__name__, chance)
    yield from merging_drill(folder / "merging", chance)


def undisturbed(request: RunRequest, root: Path) -> Whole:
    """Run once. Raises BenchError when it fails: there is nothing to compare with then."""
    get_method(request.method), get_dataset(request.dataset)  # imported here, they are in all processes
    own = _under(request, root)
    end = _run(own, Fate(), root)
    if end.code:
        raise BenchError(f"the undisturbed run ended with {end.code}: {end.message}")
    lines = (root / "run.times").read_text().splitlines()
    return Whole(own, {name: float(seconds) for name, seconds in (line.split("\t") for line in lines)}, state(root))


def state(root: Path) -> dict[str, str]:
    """What must be equal of all that a run left below `root`: name → hash."""
    runs = [path for pattern in ("*.safetensors", "train.csv", "*.nii.gz", "likelihood.csv") for path in
            (root / "runs").rglob(pattern)]  # fmt: skip
    held = {path.relative_to(root).as_posix(): sha256_of(path) for path in runs}
    held |= {path.name: sha256_of(path) for path in (root / "data").rglob("*.npy")}
    scores = read_scores(root / "results")
    rows = scores[scores["space"] != "time"].drop(columns="code_version")
    return held | {SCORES: digest_of(rows.astype(str).to_numpy().tolist())}


def kill_drill(whole: Whole, root: Path, chance: random.Random) -> list[Outcome]:
    """kill -9 at random moments of every task; each time the run is started again where it was."""
    each = math.ceil(KILLS / len(whole.seconds))
    ends: dict[str, list[End]] = {
        task: [_struck(whole, root, task, signal.SIGKILL, chance) for _ in range(each)] for task in whole.seconds
    }
    good, text = _finished(whole, root)
    outcomes = []
    for task, killed in ends.items():
        alive = [end for end in killed if end.code != -signal.SIGKILL]
        said = f"ended by itself: {alive[0]}" if alive else text
        outcomes.append(Outcome("kill -9", task, each, said, good and not alive))
    return outcomes


def write_drill(whole: Whole, root: Path, chance: random.Random) -> list[Outcome]:
    """kill -9 just before a file is renamed into its place, a few files on each time, until the run is through."""
    ends: list[End] = []
    while len(ends) < MOST_WRITES and (not ends or ends[-1].code == -signal.SIGKILL):
        allowed = chance.randint(*WRITES) + len(ends) // 4  # more and more: some files are only kept together
        ends.append(_run(_under(whole.request, root), Fate(writes=allowed), root))
    good, text = _finished(whole, root)
    return [Outcome("kill -9 as a file is renamed", "any file", len(ends) - 1, text, good and ends[-1].code == 0)]


def warning_drill(whole: Whole, root: Path, chance: random.Random) -> list[Outcome]:
    """SIGTERM at a random moment of every task: exit code 143 within seconds, and nothing lost."""
    ends = {task: _struck(whole, root, task, signal.SIGTERM, chance) for task in whole.seconds}
    good, text = _finished(whole, root)
    outcomes = []
    for task, end in ends.items():
        said = f"exit 143 within {PATIENCE:.0f} s; {text}" if end.code == STOPPED else f"not stopped: {end}"
        outcomes.append(Outcome("SIGTERM", task, 1, said, good and end.code == STOPPED))
    return outcomes


def full_disk_drill(whole: Whole, root: Path, chance: random.Random) -> list[Outcome]:
    """The disk is full for every file longer than a limit, which grows: each time another write breaks off."""
    sizes = {path.stat().st_size for path in whole.request.runs_dir.rglob("*") if path.is_file()}
    limits = [size - 1 for size in sizes if size > SMALLEST_DISK]
    prepared = next((whole.request.runs_dir.parent / "data").rglob("volumes.npy")).stat().st_size
    own = _under(whole.request, root)
    ends = [_run(own, Fate(file_bytes=prepared - 1), root)]
    _copy_data(whole, root)
    ends += [
        _run(own, Fate(file_bytes=limit), root) for limit in sorted(chance.sample(limits, min(DISKS, len(limits))))
    ]
    return [_refused("disk full", "any file", ends, _finished(whole, root))]


def read_only_drill(whole: Whole, root: Path, chance: random.Random) -> list[Outcome]:
    """A folder that cannot be written: of the results, then of the runs."""
    outcomes = []
    for name in ("results", "runs"):
        own = root / name
        _copy_data(whole, own)
        end = _run(_under(whole.request, own), Fate(read_only=(own / name,)), own)
        (own / name).chmod(0o755)
        outcomes.append(_refused("read-only folder", name, [end], _finished(whole, own)))
    return outcomes


def clock_drill(whole: Whole, root: Path, chance: random.Random) -> list[Outcome]:
    """The clock goes back by an hour at each reading; killed once and finished under it."""
    _copy_data(whole, root)
    task = chance.choice(list(whole.seconds))
    moment = Moment(task, chance.random(), whole.seconds[task])
    killed = _run(_under(whole.request, root), Fate(moment, clock_step=BACKWARDS), root)
    good, text = _finished(whole, root, Fate(clock_step=BACKWARDS))
    return [Outcome("clock goes back", f"all, killed in {task}", 1, text, good and killed.code == -signal.SIGKILL)]


def two_processes_drill(whole: Whole, root: Path, chance: random.Random) -> list[Outcome]:
    """A second process starts the same run while the first is stopped in the middle of it."""
    _copy_data(whole, root)
    own = _under(whole.request, root)
    task = next(name for name in whole.seconds if not name.startswith("prepare"))
    moment = Moment(task, chance.random(), whole.seconds[task])
    with _data_in(root):
        first = start(own, Fate(moment, signal.SIGSTOP), root / "first.log")
        while first.is_alive() and not _is_stopped(first.pid or 0):
            time.sleep(0.05)
        second = _run(own, Fate(), root)
        os.kill(first.pid or 0, signal.SIGCONT)
        end = ended(first, root / "first.log")
    refused = second.code == 1 and "is in use by another process" in second.message
    good, text = _compared(whole, root) if end.code == 0 else (False, f"the first ended with {end}")
    said = f"the second is refused; the first {text}" if refused else f"the second was not refused: {second}"
    return [Outcome("two processes, one run", task, 1, said, refused and good)]


def _struck(whole: Whole, root: Path, task: str, number: int, chance: random.Random) -> End:
    moment = Moment(task, chance.random(), whole.seconds[task])
    return _run(_under(whole.request, root), Fate(moment, number), root)


def _run(request: RunRequest, fate: Fate, root: Path) -> End:
    with _data_in(root):
        return ended(start(request, fate, root / "run.log"), root / "run.log")


def _finished(whole: Whole, root: Path, fate: Fate = UNDISTURBED) -> tuple[bool, str]:
    """Start the run once more, and see whether it ends and leaves what it should."""
    end = _run(_under(whole.request, root), fate, root)
    return _compared(whole, root) if end.code == 0 else (False, f"does not finish: {end}")


def _compared(whole: Whole, root: Path) -> tuple[bool, str]:
    ours = state(root)
    other = sorted(name for name in whole.state.keys() | ours.keys() if whole.state.get(name) != ours.get(name))
    left = [path.name for path in root.rglob(f".*{PARTIAL}")]
    if other or left:
        return False, f"differs: {', '.join(other)}" if other else f"left behind: {', '.join(left)}"
    return True, "finished, equal bit for bit"


def _refused(fault: str, where: str, ends: Sequence[End], finished: tuple[bool, str]) -> Outcome:
    wrong = [end for end in ends if end.code != 1 or REFUSED not in end.message]
    said = f"not refused: {wrong[0]}" if wrong else f"exit 1, one line that names the file; {finished[1]}"
    return Outcome(fault, where, len(ends), said, finished[0] and not wrong)


def _under(request: RunRequest, root: Path) -> RunRequest:
    return replace(request, runs_dir=root / "runs", results_dir=root / "results")


@contextmanager
def _data_in(root: Path) -> Iterator[None]:
    """$BENCH_DATA below `root` for the processes that start within it."""
    before = os.environ.get("BENCH_DATA")
    root.mkdir(parents=True, exist_ok=True)
    os.environ["BENCH_DATA"] = str(root / "data")
    try:
        yield
    finally:
        if before is None:
            del os.environ["BENCH_DATA"]
        else:
            os.environ["BENCH_DATA"] = before


def _copy_data(whole: Whole, root: Path) -> None:
    """Spare a drill that is not about them the preparation of the data."""
    shutil.copytree(whole.request.runs_dir.parent / "data", root / "data", dirs_exist_ok=True)


def _is_stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
