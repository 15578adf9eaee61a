"""What a sweep consists of: a grid of choices, and the jobs it expands to. A job is what one `bench run` does."""

import shlex
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from pydantic import Field

from bench.card import Settings
from bench.errors import BenchError, UsageError
from bench.pipeline.plan import RunRequest, name_source, plan
from bench.plugins.config import parse_variations
from bench.runs.folder import RunFolder
from bench.scoring import DEFAULT
from bench.scoring.protocols import get_protocol
from bench.system.files import digest_of, read_json, write_json

FOLDER = "sweeps"  # of what sweeps keep beside the runs


class Grid(Settings):
    """The choices of a sweep; each combination is a job."""

    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    presets: tuple[str, ...] = ("tiny",)
    seeds: tuple[int, ...] = (0,)
    overrides: tuple[str, ...] = ()  # key=value, of every job
    varied: tuple[str, ...] = ()  # key=[first, second], one job for each
    protocol: str = DEFAULT
    source: str = "auto"  # as a request has it
    samples: int = Field(default=1, exclude_if=lambda samples: samples == 1)  # so that older sweeps keep their names
    device: Literal["auto", "cpu", "cuda"] = "auto"
    runs_dir: Path = Path("runs")
    results_dir: Path = Path("results")

    @property
    def name(self) -> str:
        """The same choices give the same name, so that a repeated command finds what it left."""
        return f"sweep-{digest_of(self.model_dump(mode='json'))[:8]}"

    @property
    def folder(self) -> Path:
        """Where the sweep keeps its choices and logs."""
        return self.runs_dir / FOLDER / self.name


@dataclass(frozen=True)
class Job:
    """One run of a sweep, and where it lies or why it cannot be."""

    request: RunRequest
    folder: RunFolder | None
    problem: str = ""

    @property
    def label(self) -> str:
        """The run's id, or what is known of it."""
        if self.folder is not None:
            return self.folder.root.name
        request = self.request
        rest = digest_of(request.overrides)[:8] if request.overrides else "x"
        method = Path(request.method.partition(":")[0]).stem
        return f"{method}-{request.dataset}-{request.preset}-s{request.seed}-{rest}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of `bench` for this run alone; what is by default is left out."""
        request, usual = self.request, RunRequest("", "")
        chosen = ["--method", request.method, "--dataset", request.dataset, "--preset", request.preset]
        chosen += ["--seed", str(request.seed)]
        for override in request.overrides:
            chosen += ["--set", override]
        for option in ("protocol", "source", "samples", "device", "runs_dir", "results_dir"):
            value = getattr(request, option)
            if value != getattr(usual, option):
                chosen += name_source(value) if option == "source" else [f"--{option.replace('_', '-')}", str(value)]
        return ("run", *chosen)

    @property
    def command(self) -> str:
        """What a person types to run it, or to run it again."""
        return shlex.join(("bench", *self.arguments))


def expand(grid: Grid) -> list[Job]:
    """All jobs of a grid, each run once.

    Raises UsageError for what is wrong with the choices, before anything starts. A method or dataset that exists and
    is broken makes its own jobs impossible and leaves the others alone.
    """
    get_protocol(grid.protocol)
    shared = grid.model_dump(include={"protocol", "source", "samples", "device", "runs_dir", "results_dir"})
    jobs: dict[str, Job] = {}
    choices = product(grid.methods, grid.datasets, grid.presets, grid.seeds, parse_variations(grid.varied))
    for method, dataset, preset, seed, settings in choices:
        request = RunRequest(method, dataset, preset, seed, (*grid.overrides, *settings), **shared)
        try:
            job = Job(request, plan(request).folder)
        except UsageError:
            raise
        except BenchError as error:
            job = Job(request, None, str(error))
        jobs.setdefault(job.label, job)
    return list(jobs.values())


def keep_grid(grid: Grid) -> None:
    """Write down the choices, so that `bench sweep status` needs none."""
    write_json(grid.folder / "sweep.json", grid.model_dump(mode="json"))


def find_newest_grid(runs_dir: Path) -> Grid:
    """The sweep that was started last. Raises UsageError where there is none."""
    found = sorted(runs_dir.glob(f"{FOLDER}/*/sweep.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"no sweep was started in {runs_dir}; start one, e.g. `bench sweep --method a,b --dataset d`")
    try:
        return Grid.model_validate(read_json(found[-1]))
    except ValueError as error:
        raise BenchError(f"{found[-1]} is damaged; delete it and start the sweep again") from error
