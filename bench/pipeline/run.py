"""One run from start to end: data, fit, predict, score, pictures, results. Every phase goes on where it was left."""

import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from torch import nn

from bench.card import MethodPlugin, Settings
from bench.cases import Cases
from bench.data.cases import choose_source, load_dataset
from bench.dataset import DatasetCard, Split
from bench.distributed import from_main
from bench.errors import BenchError, PluginError, StoppedError
from bench.method import Method, Stage
from bench.metrics.distortion import psnr
from bench.pictures.preview import preview_run
from bench.pipeline.fit import fit_stages, load_stages, make_accelerator
from bench.pipeline.predict import predict
from bench.pipeline.pretrained import find_pretrained, place
from bench.plugins.config import RunConfig, resolve
from bench.plugins.registry import get_dataset, get_method
from bench.runs.folder import RunFolder, weights_intact
from bench.runs.predictions import intact, read_prediction
from bench.runs.record import folder_sha256, full_name, run_row
from bench.scoring.protocols import RENDERED, Protocol, get_protocol
from bench.scoring.rows import merge_rows, merge_run, read_runs
from bench.scoring.score import RunFacts, part_seconds, score_predictions
from bench.scoring.xrays import turn_angles
from bench.system.device import hardware, peak_memory_mib
from bench.system.files import write_text
from bench.system.progress import Progress
from bench.system.provenance import code_version, software
from bench.system.seeding import seed_everything

PREVIEWED = 3  # cases of the test split

Phase = Literal["fit", "predict", "score"]


@dataclass(frozen=True)
class RunRequest:
    """What a user asks for."""

    method: str
    dataset: str
    preset: str = "tiny"
    seed: int = 0
    overrides: tuple[str, ...] = ()
    protocol: str = "ct3d-1"
    source: str = "auto"
    only: Phase | None = None
    device: str = "auto"
    split: Split = "test"
    runs_dir: Path = Path("runs")
    results_dir: Path = Path("results")
    from_pretrained: bool = False  # take the weights that come with the method in place of training


def run_one(request: RunRequest, progress: Progress) -> Path:
    """Bring one run to its end (or its phase `only`) and return its folder.

    Raises UsageError before anything is written when the request is wrong, StoppedError after SIGTERM, BenchError
    when a phase fails; the run's status and, on failure, error.txt say what happened.
    """
    plugin, spec = get_method(request.method), get_dataset(request.dataset)
    config, settings = resolve(plugin, spec, request.preset, request.overrides)
    protocol = get_protocol(request.protocol)
    accelerator = make_accelerator(request.device)
    if not accelerator.is_main_process:
        progress.quiet = True
    chosen, reason = choose_source(spec, request.source)
    progress.say_once(f"data of {spec.name}: {reason}")
    with accelerator.main_process_first(), progress.task(f"prepare {spec.name}", 1) as task:
        cases = load_dataset(spec, config.data, chosen, task.counted)
    card = cases["test"].card
    seed_everything(request.seed, "weights")
    method = _build(plugin, settings, card)
    weights = None
    if request.from_pretrained and any(isinstance(stage, Stage) for stage in method.stages()):
        weights = find_pretrained(plugin, config, chosen, card.fingerprint, request.seed)
    run_id = run_name(config, request, card.fingerprint, None if weights is None else weights.sha256)
    folder = RunFolder(request.runs_dir / spec.name / config.method / run_id)
    if request.only is None and from_main(_is_done(folder, protocol, cases[request.split], request.results_dir)):
        progress.say(f"{run_id} is finished; nothing to do")
        return folder.root
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        _fit_and_predict(method, cases, folder, config, request, accelerator, progress)
        return folder.root
    with folder.locked():
        _begin(folder, config, request, cases, accelerator, method, protocol)
        origin = "builtin" if plugin.builtin else "plugin"
        folder.update(origin=origin, plugin_sha256=plugin.sha256, remark=method.remark)
        if weights is not None:
            folder.update(origin="pretrained", pretrained_sha256=weights.sha256, pretrained_of=weights.facts["run_id"])
            folder.update(stages=place(weights, folder, [stage.name for stage in method.stages()]))
        accelerator.wait_for_everyone()
        try:
            _fit_and_predict(method, cases, folder, config, request, accelerator, progress)
            if request.only in (None, "score"):
                _score(method, cases, folder, request, accelerator.device, progress)
            else:
                folder.update(status="fitted" if request.only == "fit" else "predicted")
        except (StoppedError, KeyboardInterrupt):
            with suppress(BenchError):
                folder.update(status="stopped")
            raise
        except Exception as error:
            with suppress(BenchError):  # on a full disk the first error is the one to tell
                write_text(folder.root / "error.txt", traceback.format_exc())
                folder.update(status="failed", error=f"{type(error).__name__}: {error}")
            if isinstance(error, BenchError) or plugin.builtin:
                raise
            where = f"the traceback is in {folder.root / 'error.txt'}"
            raise PluginError(f"{config.method} raised {type(error).__name__}: {error}; {where}") from error
    return folder.root


def _build(plugin: MethodPlugin, settings: Settings, card: DatasetCard) -> Method:
    """Return the method with its networks. Raises PluginError for what a plug-in raises."""
    method_class = plugin.load()
    try:
        return method_class(settings, card)
    except Exception as error:
        if isinstance(error, BenchError) or plugin.builtin:
            raise
        where = "run with --debug for the traceback"
        raise PluginError(
            f"{plugin.card.name} raised {type(error).__name__}: {error} as it was built; {where}"
        ) from error


def run_name(config: RunConfig, request: RunRequest, fingerprint: str, weights: str | None = None) -> str:
    """The name of the run that a request makes on data of this fingerprint, from pretrained weights of this hash."""
    code = get_method(request.method).sha256
    return full_name(config, request.seed, request.split, fingerprint, code, weights)


def _is_done(folder: RunFolder, protocol: Protocol, cases: Cases, results_dir: Path) -> bool:
    """Whether the run is scored under this very protocol, is in the results, and all its files are what they were."""
    record = folder.record()
    if record.get("status") != "done" or record["scored"].get(protocol.id) != protocol.sha256():
        return False
    if folder.root.name not in set(read_runs(results_dir)["run_id"]):
        return False
    weights = all(weights_intact(folder, name, stage["sha256"]) for name, stage in record.get("stages", {}).items())
    return weights and set(intact(folder.predictions(cases.split))) >= set(cases.names)


def _begin(
    folder: RunFolder,
    config: RunConfig,
    request: RunRequest,
    cases: Mapping[Split, Cases],
    accelerator: Accelerator,
    method: Method,
    protocol: Protocol,
) -> None:
    card = cases["test"].card
    record = folder.record()
    folder.update(
        run_id=folder.root.name,
        status="running",
        error=None,
        seed=request.seed,
        split=request.split,
        config=config.model_dump(mode="json"),
        config_sha256=config.sha256(),
        data={
            "source": card.source,
            "fingerprint": card.fingerprint,
            "counts": card.counts,
            "grey_scale": card.geometry.grey_scale,
            "voxel_mm": card.voxel_mm,
            "window": card.window,
        },
        protocol={"id": protocol.id, "sha256": protocol.sha256()},
        parameters=sum(p.numel() for network in _networks(method) for p in network.parameters()),
        provenance={**software(), **hardware(accelerator.device), "processes": accelerator.num_processes},
        started=record.get("started") or _now(),
        seconds=record.get("seconds", {}),
        scored=record.get("scored", {}),
    )


def _fit_and_predict(
    method: Method,
    cases: Mapping[Split, Cases],
    folder: RunFolder,
    config: RunConfig,
    request: RunRequest,
    accelerator: Accelerator,
    progress: Progress,
) -> None:
    main = accelerator.is_main_process
    if request.only in (None, "fit"):
        stages = fit_stages(method.stages(), cases, folder, config.fit, request.seed, accelerator, progress)
        if main:
            _note(folder, fit=sum(record["seconds"] or 0.0 for record in stages.values()))
    if request.only in (None, "predict"):
        if request.only == "predict":
            load_stages(method.stages(), cases, folder, progress)
        for network in _networks(method):
            network.to(accelerator.device).eval()
        angles = turn_angles(RENDERED, cases[request.split].card.angles)
        began = time.monotonic()
        made = predict(method, cases[request.split], folder, request.seed, angles, accelerator, progress)
        if made and main:
            _note(folder, predict=time.monotonic() - began)
            folder.update(infer_seconds=method.seconds_by_part())
    if main:
        peak = peak_memory_mib(accelerator.device)
        folder.update(peak_memory_mib=max(folder.record().get("peak_memory_mib", 0.0), peak))


def _score(
    method: Method,
    cases: Mapping[Split, Cases],
    folder: RunFolder,
    request: RunRequest,
    device: torch.device,
    progress: Progress,
) -> None:
    began = time.monotonic()
    protocol = get_protocol(request.protocol)
    facts = RunFacts(
        run_id=folder.root.name,
        method=method.card.name,
        origin=folder.record()["origin"],
        preset=request.preset,
        seed=request.seed,
        code_version=code_version(),
        split=request.split,
        seconds=part_seconds(folder.record()),
    )
    predictions = folder.predictions(request.split)
    reached = _draw_previews(method, cases[request.split], folder)
    progress.say(f"first cases: PSNR {', '.join(reached)} dB; pictures in {folder.previews}")  # all scores take longer
    with progress.task("score", len(cases[request.split])) as task:
        rows = score_predictions(facts, cases, predictions, protocol, folder.scores_csv, task.counted, device=device)
    _note(folder, score=time.monotonic() - began)
    done = {
        "status": "done",
        "scored": {**folder.record()["scored"], protocol.id: protocol.sha256()},
        "predictions_sha256": folder_sha256(predictions),
        "finished": _now(),
    }
    with progress.task("merge", 2) as task:  # before the run counts as done: one that does is not looked at again
        merge_rows(request.results_dir, rows)
        task.advance(1)
        merge_run(request.results_dir, run_row({**folder.record(), **done}))
        task.advance(2)
    folder.update(**done)
    progress.say(f"done: {folder.root}; scores in {request.results_dir}")


def _note(folder: RunFolder, **seconds: float) -> None:
    folder.update(seconds={**folder.record().get("seconds", {}), **seconds})


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _draw_previews(method: Method, cases: Cases, folder: RunFolder) -> list[str]:
    """Draw the first cases; return the PSNR of each."""
    reached = []
    for index, name in enumerate(cases.names[:PREVIEWED]):
        volume, _ = read_prediction(folder.predictions(cases.split) / f"{name}.nii.gz", cases, name)
        title = f"{method.card.title}, {cases.card.name} ({cases.card.source}), {folder.root.name}"
        preview_run(folder.previews / f"{name}.png", cases, index, volume, title)
        value = psnr(cases.volumes([index])[0].numpy(), volume, data_range=1.0)
        reached.append("∞" if value is None else f"{value:.1f}")
    return reached


def _networks(method: Method) -> list[nn.Module]:
    return [network for stage in method.stages() for network in stage.networks.values()]
