"""A toy method with a finished smoke run on few phantoms, and what studies answer of it."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.pipeline.plan import RunRequest
from bench.pipeline.run import run_one
from bench.study.catalogue import Answer, run_study
from bench.study.points import FLOORS, Point
from bench.study.runs import StudyRequest, TrainedRun, find_runs
from bench.system.progress import Progress

TOY = '''
import torch
from pathlib import Path
from bench.errors import UsageError
from bench.method import Likelihood, Method, MethodCard, Settings

class Sampling(Settings):
    steps: int = 4

class Config(Settings):
    sampling: Sampling = Sampling()
    noise: float = 0.05

class Toy(Method):
    """A constant volume, the mean of the first view, and noise that falls with the steps."""
    Config = Config
    presets = Path(__file__).with_name("presets.toml")
    card = MethodCard("toy", "Toy", "", 2026, "", "", frozenset({"volume", "likelihood"}))

    def __init__(self, config, data):
        self.config, self.data = config, data
        if data.views > 2:
            raise UsageError("toy takes one or two views")
        if config.sampling.steps > 8:
            raise UsageError("toy takes at most 8 steps")

    def stages(self):
        return ()

    def reconstruct(self, views, *, seeds):
        level = views.images[:, 0].mean((1, 2))[:, None, None, None]
        shape = (self.data.size,) * 3
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])
        return (level + self.config.noise / self.config.sampling.steps * noise).clamp(0, 1)

    def log_likelihood(self, volume, views, *, seeds):
        """Three bits a voxel, and a hundredth for every training case."""
        nats = torch.full((len(seeds),), torch.log(torch.tensor(2.0)).item())
        voxels = volume[0].numel()
        return Likelihood(3 * voxels * nats, self.data.counts["train"] * voxels * nats / 100, voxels=voxels, codes=8)
'''


@dataclass(frozen=True)
class Lab:
    """A folder with a method, by name or the file toy.py, and its runs on chest phantoms."""

    root: Path
    phantoms: tuple[int, int, int]
    method: str

    @property
    def few(self) -> str:
        """The setting that makes the data small."""
        return f"data.phantoms={list(self.phantoms)}"

    def fit(self, method: str = "", **other: Any) -> Path:
        """Train the method, or another one, unless it is; return the folder of the run."""
        wanted = RunRequest(method or self.method, "lidc", "smoke", overrides=(self.few,), source="phantom", only="fit")
        return run_one(replace(wanted, **{"runs_dir": self.root / "runs", **other}), Progress())

    def request(self, **other: Any) -> StudyRequest:
        """Return the request for a study of the method, but for what is said."""
        places = {"runs_dir": self.root / "runs", "results_dir": self.root / "results"}
        asked = StudyRequest((self.method,), preset="smoke", source="phantom", overrides=(self.few,), **places)
        return replace(asked, **other)

    @cache  # noqa: B019 - of the same question, once
    def ask(self, name: str, **other: Any) -> Answer:
        """Return what a study answers."""
        return run_study(name, self.request(**other), Progress())

    def run(self) -> TrainedRun:
        """Return the finished run of the method."""
        (run,) = find_runs(self.request(), Progress())
        return run


def make_lab(root: Path, phantoms: tuple[int, int, int], method: str = "Toy", code: str = TOY) -> Lab:
    """Write the code of a method to a folder, train it, and return both."""
    (root / "toy.py").write_text(code)
    (root / "presets.toml").write_text("[smoke.any]\n")
    lab = Lab(root, phantoms, f"{root}/toy.py:{method}")
    lab.fit()
    return lab


def at(answer: Answer, setting: str, method: str = "toy", parameter: str = "", split: str = "test") -> Point:
    """Return the one point of a method at a setting; of a parameter where there are several."""
    points = [p for p in answer.points if (p.facts["method"], p.setting, p.split) == (method, setting, split)]
    (found,) = [point for point in points if parameter in ("", point.parameter)]
    return found


def own(answer: Answer) -> list[Point]:
    """Return the points of what a study was asked of, without those of its floors."""
    return [point for point in answer.points if point.facts["method"] not in FLOORS]
