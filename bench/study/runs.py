"""Trained runs a study asks its question of: found, checked against their data, loaded, and measured on given views."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench.cases import Cases
from bench.data.cases import load_dataset
from bench.dataset import DatasetSpec, Split
from bench.errors import BenchError, UsageError
from bench.method import Method
from bench.metrics.distortion import mae, mse, psnr
from bench.metrics.ssim import ssim
from bench.pipeline.fit import Run, load_stages, make_accelerator
from bench.pipeline.plan import RunRequest, plan
from bench.pipeline.predict import CASES_AT_ONCE
from bench.plugins.config import RunConfig, merge, parse_overrides, validate
from bench.plugins.registry import get_dataset, get_method
from bench.runs.folder import RunFolder
from bench.scoring.bits import CaseLikelihood, nll_bits_per_voxel, per_case
from bench.study.points import Values
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


@dataclass(frozen=True)
class TrainedRun:
    """A run with its weights in place."""

    run: Run
    config: RunConfig
    spec: DatasetSpec
    method: Method

    @property
    def folder(self) -> RunFolder:
        """Where it lies."""
        return self.run.folder

    @property
    def seed(self) -> int:
        """Of its training."""
        return self.run.seed

    @property
    def cases(self) -> Mapping[Split, Cases]:
        """All of its data."""
        return self.run.cases

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        return self.run.accelerator.device

    @property
    def facts(self) -> dict[str, str]:
        """What rows say of the run."""
        card = self.cases["test"].card
        return {
            "run_id": self.folder.root.name,
            "method": self.config.method,
            "dataset": card.name,
            "source": card.source,
            "preset": self.config.preset,
            "seed": str(self.seed),
        }

    def with_setting(self, key: str, value: int) -> "TrainedRun":
        """The same weights under another value of one setting. Raises UsageError for a key the method lacks."""
        known = _keys(self.config.options)
        if key not in known:
            steps = [name for name in known if "steps" in name and ".loop." not in name]
            hint = (
                f"name one with --setting: {', '.join(steps)}" if steps else "nor any that counts steps; leave it out"
            )
            raise UsageError(f"{self.config.method} has no setting {key}; {hint}")
        options = merge(self.config.options, parse_overrides([f"{key}={value}"]))
        config = self.config.model_copy(update={"options": options})
        return _load(self.run, type(self.method), config, self.spec)

    def has_setting(self, key: str) -> bool:
        """Return whether the method knows a setting, open or not."""
        return key in _keys(self.config.options)

    def setting(self, key: str) -> object:
        """The value of a setting; None where the method lacks it or leaves it open."""
        value: object = self.config.options
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value


def find_runs(request: StudyRequest, progress: Progress) -> list[TrainedRun]:
    """The finished runs that are asked for. Raises UsageError where one is missing or its data have changed."""
    if request.run_ids:
        return [open_run(_folder(request.runs_dir, run_id), request, progress) for run_id in request.run_ids]
    if not request.methods:
        raise UsageError("name trained methods with --method, or finished runs with --run")
    found = []
    for method in request.methods:
        for seed in request.seeds:
            folder = plan(run_request(request, method, seed)).folder
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
    run = Run(cases, folder, record.seed, make_accelerator(request.device), progress)
    progress.say(f"run {folder.root.name} on {run.accelerator.device}")
    return _load(run, plugin.load(), config, spec)


def take_first(cases: Cases, limit: int | None) -> Cases:
    """The first cases of a split."""
    count = len(cases) if limit is None else min(limit, len(cases))
    part = slice(0, count)
    return replace(
        cases,
        names=cases.names[part],
        hounsfield=cases.hounsfield[part],
        line_integrals=cases.line_integrals[part],
        affines=cases.affines[part],
    )


def scores(truth: np.ndarray, made: np.ndarray) -> dict[str, float]:
    """PSNR, SSIM, MSE and MAE of two volumes (D, H, W) in [0, 1], as the protocol ct3d-1 defines them.

    NaN where one is undefined.
    """
    truth, made = truth.astype(np.float64), made.astype(np.float64)
    values = {
        "psnr": psnr(truth, made, data_range=1.0),
        "ssim": ssim(truth, made, data_range=1.0),
        "mse": mse(truth, made),
        "mae": mae(truth, made),
    }
    return {name: float("nan") if value is None else value for name, value in values.items()}


def measure(run: TrainedRun, cases: Cases, progress: Progress, what: str, *, likelihood: bool = False) -> Values:
    """Metric → case → value of reconstructions from the views in `cases`, and the seconds each took.

    The seeds are those of `bench run`, so that unchanged views give the run's own predictions.
    """
    values: Values = {}
    with progress.task(what, len(cases)) as task:
        for names, made, seconds in reconstructions(run, cases):
            indices = [cases.index(name) for name in names]
            for name, truth, volume in zip(names, cases.volumes(indices).numpy(), made, strict=True):
                for metric, value in {**scores(truth, volume), "seconds": seconds}.items():
                    values.setdefault(metric, {})[name] = value
            if likelihood:
                bits = {entry.case: nll_bits_per_voxel(entry) for entry in likelihoods(run, cases, indices)}
                values.setdefault("nll_bits_per_voxel", {}).update(bits)
            task.advance(indices[-1] + 1)
    return values


@torch.inference_mode()
def reconstructions(
    run: TrainedRun, cases: Cases, sample: int = 0
) -> Iterator[tuple[Sequence[str], np.ndarray, float]]:
    """Group by group: names, volumes (B, D, H, W) in [0, 1], seconds a case. Sample 0 is the one `bench run` draws."""
    own = ("sample",) if sample == 0 else ("sample", sample)
    for start in range(0, len(cases), CASES_AT_ONCE):
        group = range(start, min(start + CASES_AT_ONCE, len(cases)))
        names = [cases.names[index] for index in group]
        views = cases.views(group).to(run.device)
        began = time.perf_counter()
        made = run.method.reconstruct(views, seeds=[derive_seed(run.seed, *own, name) for name in names])
        volumes = made.float().cpu().numpy()
        if not np.isfinite(volumes).all():
            raise BenchError(f"{run.config.method} returned values that are not finite for one of {', '.join(names)}")
        yield names, volumes, (time.perf_counter() - began) / len(names)


@torch.inference_mode()
def likelihoods(run: TrainedRun, cases: Cases, indices: Sequence[int]) -> list[CaseLikelihood]:
    """The bound of some cases given their views, with the seeds of `bench run`. Raises BenchError without one."""
    names = [cases.names[index] for index in indices]
    seeds = [derive_seed(run.seed, "bound", name) for name in names]
    volumes, views = cases.volumes(indices).to(run.device), cases.views(indices).to(run.device)
    bound = run.method.log_likelihood(volumes, views, seeds=seeds)
    if bound is None:
        raise BenchError(f"{run.config.method} says it has a likelihood and returned none")
    return per_case(names, bound)


def _load(run: Run, method_class: type[Method], config: RunConfig, spec: DatasetSpec) -> TrainedRun:
    settings = validate(method_class.Config, config.options, "")
    torch.manual_seed(derive_seed(run.seed, "weights"))
    method = method_class(settings, run.test.card)
    load_stages(method.stages(), run)
    for stage in method.stages():
        for network in stage.networks.values():
            network.to(run.accelerator.device).eval()
    return TrainedRun(run, config, spec, method)


def run_request(request: StudyRequest, method: str, seed: int, extra: Sequence[str] = ()) -> RunRequest:
    """The training of one method; settings of `extra` lie over those the user asked for."""
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


def _folder(runs_dir: Path, run_id: str) -> RunFolder:
    found = sorted(runs_dir.glob(f"*/*/{run_id}/run.json"))
    if not found:
        known = sorted(path.parent.name for path in runs_dir.glob("*/*/*/run.json"))
        raise UsageError(f"no run {run_id} in {runs_dir}; there are {', '.join(known) or 'none'}")
    return RunFolder(found[0].parent)


def _keys(options: Mapping[str, object], prefix: str = "") -> list[str]:
    found = []
    for name, value in options.items():
        found += _keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found
