"""Trained runs a study asks its question of, and the floors beside them: found, loaded, measured on given views."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench.card import MethodPlugin
from bench.cases import Cases
from bench.data.cases import load_dataset
from bench.dataset import DatasetSpec
from bench.errors import UsageError
from bench.method import FittedStage, Method
from bench.metrics import NLL
from bench.pipeline.fit import Run, load_stages, make_accelerator, place_networks
from bench.pipeline.plan import RunRequest, plan
from bench.pipeline.predict import CASES_AT_ONCE, sample_seeds
from bench.pipeline.published import map_window
from bench.plugins.config import FitConfig, RunConfig, flatten, merge, parse_overrides, resolve, validate
from bench.plugins.guard import build_method, check_likelihood, check_tensor
from bench.plugins.registry import get_dataset, get_method
from bench.runs.folder import RunFolder, require_run
from bench.runs.record import run_name
from bench.scoring import DEFAULT
from bench.scoring.anatomy import score_anatomy
from bench.scoring.bits import CaseLikelihood, nll_bits_per_voxel, per_case
from bench.scoring.cases import score_pair
from bench.scoring.protocol import WholeArrays
from bench.scoring.protocols import PROTOCOLS
from bench.study.points import FLOORS, Values
from bench.system.progress import Progress
from bench.system.seeding import derive_seed

FITTED = ("done", "fitted", "predicted")  # statuses of a run whose weights are all there


@dataclass(frozen=True)
class StudyRequest:
    """What a user asks for."""

    methods: tuple[str, ...] = ()
    dataset: str = "lidc"
    preset: str = "tiny"
    seeds: tuple[int, ...] = (0,)
    run_ids: tuple[str, ...] = ()  # in place of method, dataset, preset and seed
    overrides: tuple[str, ...] = ()
    values: tuple[int, ...] = ()  # of what the study varies; empty takes its own
    setting: str = "sampling.steps"  # the key that `steps` varies
    source: str = "auto"
    limit: int | None = None  # test cases
    device: str = "auto"
    runs_dir: Path = Path("runs")
    results_dir: Path = Path("results")
    sites: Path | None = None  # where `lesion` plants nodules, a CSV; phantoms need none


@dataclass(frozen=True, kw_only=True)
class TrainedRun(Run):
    """A run with its weights in place."""

    config: RunConfig
    spec: DatasetSpec
    plugin: MethodPlugin
    method: Method
    floor: bool = False  # fitted by the study itself, beside the runs it was asked of

    @property
    def facts(self) -> dict[str, str]:
        """The columns of its rows."""
        card = self.cases["test"].card
        return {
            "run_id": self.folder.root.name,
            "method": self.config.method,
            "dataset": card.name,
            "source": card.source,
            "preset": self.config.preset,
            "seed": str(self.seed),
        }

    @property
    def options(self) -> dict[str, object]:
        """The method's settings by their keys, such as sampling.steps; None where one is open."""
        return flatten(self.config.options)

    def with_option(self, key: str, value: int) -> "TrainedRun":
        """Return the same weights under another value of a setting. Raises UsageError for a key the method lacks."""
        if key not in self.options:
            steps = [name for name in self.options if "steps" in name and ".loop." not in name]
            named = f"name one with --setting: {', '.join(steps)}"
            hint = named if steps else "nor any that counts steps; leave it out"
            raise UsageError(f"{self.config.method} has no setting {key}; {hint}")
        options = merge(self.config.options, parse_overrides([f"{key}={value}"]))
        config = self.config.model_copy(update={"options": options})
        return replace(self, config=config, method=_load_method(self, self.plugin, config))


def find_runs(request: StudyRequest, progress: Progress) -> list[TrainedRun]:
    """Return the finished runs that are asked for. Raises UsageError where one is missing or its data have changed."""
    if request.run_ids:
        return [open_run(require_run(run_id, request.runs_dir), request, progress) for run_id in request.run_ids]
    if not request.methods:
        raise UsageError("name trained methods with --method, or finished runs with --run")
    found = []
    for method in request.methods:
        for seed in request.seeds:
            folder = plan(make_request(request, method, seed)).folder
            if folder.status not in FITTED:
                beside = f"{folder.root.parent.name}-{request.dataset}-{request.preset}-s{seed}-*"
                others = sorted(path.name for path in folder.root.parent.glob(beside) if path != folder.root)
                hint = f"; there is {', '.join(others)}, which --run takes" if others else ""
                raise UsageError(
                    f"{method} with seed {seed} is not trained on {request.dataset} {request.preset} in "
                    f"{request.runs_dir}; run `bench run --method {method} --dataset {request.dataset} "
                    f"--preset {request.preset} --seed {seed}` first{hint}"
                )
            found.append(open_run(folder, request, progress, method))
    return found


def open_run(folder: RunFolder, request: StudyRequest, progress: Progress, method: str = "") -> TrainedRun:
    """Load a fitted run as it was trained. Raises UsageError where its data are no longer what they were."""
    record = folder.record()
    if record is None or record.status not in FITTED:
        raise UsageError(f"run {folder.root.name} is {folder.status}; finish it with `bench run` first")
    config = record.config
    named = [name for name in request.methods if ".py" in name]
    plugin = get_method(method or (named[0] if named else config.method))
    if plugin.card.kind == "ceiling":
        raise UsageError(f"{config.method} sees the truth and no views; a study needs a method that reconstructs")
    spec = get_dataset(config.dataset)
    cases = load_dataset(spec, config.data, record.data.source)
    if cases["test"].card.fingerprint != record.data.fingerprint:
        raise UsageError(f"the data of run {folder.root.name} are not what it was trained on; train it again")
    run = Run(cases, folder, record.seed, make_accelerator(request.device), progress, config.fit)
    progress.say(f"run {folder.root.name} on {run.accelerator.device}")
    return TrainedRun(**vars(run), config=config, spec=spec, plugin=plugin, method=_load_method(run, plugin, config))


def _load_method(run: Run, plugin: MethodPlugin, config: RunConfig) -> Method:
    settings = validate(plugin.config, config.options, "")
    torch.manual_seed(derive_seed(run.seed, "weights"))
    method = build_method(plugin, settings, run.test.card)
    load_stages(method.stages(), run)
    if (record := run.folder.record()) and record.origin == "published":
        map_window(config.method, method, run.test.card.window)
    place_networks(method, run.accelerator.device)
    return method


def with_floors(runs: Sequence[TrainedRun]) -> list[TrainedRun]:
    """Return the runs, which have the same data, and after them the floors that are not among them."""
    named = {run.config.method for run in runs}
    return [*runs, *(floor for floor in fit_floors(runs[0]) if floor.config.method not in named)]


def fit_floors(run: TrainedRun) -> Iterator[TrainedRun]:
    """Yield the floors on the data of a run, with its seed for what a study draws; nothing is written to a folder.

    Without them a study cannot tell that a method withstands something from that it never looked: the mean volume
    ignores its views and so loses nothing, whatever is done to them.
    """
    card = run.cases["test"].card
    for name in FLOORS:
        plugin = get_method(name)
        config, settings = resolve(plugin, run.spec, run.config.preset)
        config = config.model_copy(update={"data": run.config.data})
        run_id = run_name(config, run.seed, "test", card.fingerprint)
        folder = RunFolder(run.folder.root.parent.parent / name / run_id)
        method = build_method(plugin, settings, card)
        for stage in method.stages():
            if isinstance(stage, FittedStage):
                stage.fit(run.cases, folder.cache)
                stage.recall(run.cases)
        place_networks(method, run.accelerator.device)
        bare = replace(run, folder=folder, settings=FitConfig(), split="test")
        yield replace(bare, config=config, plugin=plugin, method=method, floor=True)


def score_volumes(truth: np.ndarray, made: np.ndarray) -> dict[str, float]:
    """Return MSE, MAE, PSNR and SSIM of two volumes (D, H, W) in [0, 1], as the default protocol defines them.

    NaN where one is undefined.
    """
    pair = score_pair("3d", "all", truth.astype(np.float64), made.astype(np.float64), WholeArrays())
    return {score.metric: float("nan") if score.value is None else score.value for score in pair}


def measure(run: TrainedRun, cases: Cases, what: str, *, likelihood: bool = False, organs: bool = False) -> Values:
    """Return metric → case → value of reconstructions from the views in `cases`, and the seconds each took.

    With `organs` also what the default protocol measures of structures. The seeds are those of `bench run`, so that
    unchanged views give the run's own predictions.
    """
    values: Values = defaultdict(dict)
    with run.progress.task(what, len(cases)) as task:
        for names, made, seconds in reconstruct_cases(run, cases):
            indices = [cases.index(name) for name in names]
            for name, truth, volume in zip(names, cases.volumes(indices).numpy(), made, strict=True):
                scores = {**score_volumes(truth, volume), "seconds": seconds}
                scores |= _score_organs(truth, volume, cases) if organs else {}
                for metric, value in scores.items():
                    values[metric][name] = value
            if likelihood:
                bits = {entry.case: nll_bits_per_voxel(entry) for entry in bound_cases(run, cases, indices)}
                values[NLL].update(bits)
            task.advance(indices[-1] + 1)
    return dict(values)


def _score_organs(truth: np.ndarray, made: np.ndarray, cases: Cases) -> dict[str, float]:
    settings = PROTOCOLS[DEFAULT].anatomy
    scores = score_anatomy(truth, made, cases.card, settings) if settings else []
    return {score.metric: score.value for score in scores if score.value is not None and score.space == "anatomy"}


@torch.inference_mode()
def reconstruct_cases(
    run: TrainedRun, cases: Cases, sample: int = 0
) -> Iterator[tuple[Sequence[str], np.ndarray, float]]:
    """Yield names, volumes (B, D, H, W) in [0, 1], seconds a case, by group. `bench run` draws sample 0."""
    for group in cases.groups(CASES_AT_ONCE):
        names = [cases.names[index] for index in group]
        views = cases.views(group).to(run.accelerator.device)
        began = time.perf_counter()
        with run.precision:
            made = run.method.reconstruct(views, seeds=sample_seeds(run.seed, names, sample))
        volumes = check_tensor(made, names, cases.hounsfield.shape[1:], f"{run.config.method} returned").numpy()
        yield names, volumes, (time.perf_counter() - began) / len(names)


@torch.inference_mode()
def bound_cases(run: TrainedRun, cases: Cases, indices: Sequence[int]) -> list[CaseLikelihood]:
    """Return the bounds of cases given their views, with the seeds of `bench run`. Raises BenchError without one."""
    names = [cases.names[index] for index in indices]
    seeds = [derive_seed(run.seed, "bound", name) for name in names]
    volumes, views = cases.volumes(indices).to(run.accelerator.device), cases.views(indices).to(run.accelerator.device)
    with run.precision:
        bound = run.method.log_likelihood(volumes, views, seeds=seeds)
    return per_case(names, check_likelihood(bound, names, f"{run.config.method} says it has a likelihood and returned"))


def make_request(request: StudyRequest, method: str, seed: int, extra: Sequence[str] = ()) -> RunRequest:
    """Return the training of one method; settings of `extra` lie over those the user asked for."""
    return RunRequest(
        method=method,
        dataset=request.dataset,
        preset=request.preset,
        seed=seed,
        overrides=(*request.overrides, *extra),
        source=request.source,
        only="fit",
        device=request.device,
        runs_dir=request.runs_dir,
        results_dir=request.results_dir / "studies",
    )
