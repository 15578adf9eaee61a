"""One run from start to end: data, fit, predict, score, pictures, results. Every phase goes on where it was left."""

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.data.cases import describe_shift, load_dataset
from bench.distributed import from_main
from bench.errors import BenchError, PluginError, StoppedError
from bench.method import FittedStage, Method, Stage
from bench.pipeline.finished import check_predictions, is_finished
from bench.pipeline.first_look import PREVIEWED, draw_first
from bench.pipeline.fit import Run, fit_stages, load_stages, make_accelerator, place_networks
from bench.pipeline.plan import Plan, RunRequest, plan
from bench.pipeline.predict import predict, predict_validation
from bench.pipeline.pretrained import copy_weights, place_pretrained, read_pretrained_fit
from bench.pipeline.published import fill_networks, map_window
from bench.pipeline.reopen import PREDICTED, facts_of, find_laplace, mark_scored
from bench.plugins.guard import build_method
from bench.plugins.published_weights import Published
from bench.plugins.shipped_weights import Pretrained
from bench.runs.manifest import beside_sha256, folder_sha256
from bench.runs.predictions import read_prediction, samples_sha256
from bench.runs.record import DataRecord, Origin, ProtocolRecord, RunRecord
from bench.scoring.laplace import FILE_NAME, LaplaceFit, fit_for, is_current, write_fit
from bench.scoring.protocols import FITTED, RENDERED
from bench.scoring.score import score_predictions
from bench.scoring.store import put_run
from bench.scoring.xrays import turn_angles
from bench.system.device import hardware, peak_memory_mib
from bench.system.files import write_text
from bench.system.foreign import keep_random_state, keep_settings
from bench.system.progress import Progress
from bench.system.provenance import software
from bench.system.seeding import seed_everything
from bench.system.text import describe_error, drop_controls


@keep_random_state()
def run_one(request: RunRequest, progress: Progress) -> Path:
    """Bring one run to its end (or its phase `only`) and return its folder.

    A run that is tested on other data than its own is trained first, as the run that it is without that.

    Raises UsageError before anything is written when the request is wrong, StoppedError after SIGTERM, BenchError
    when a phase fails; the run's status and, on failure, error.txt say what happened.
    """
    planned = plan(request)
    accelerator = make_accelerator(request.device)
    if not accelerator.is_main_process:
        progress.quiet = True
    progress.say_once(f"data of {planned.spec.name}: {planned.data.reason}")
    with accelerator.main_process_first(), progress.task(f"prepare {planned.spec.name}", 1) as task:
        cases = load_dataset(planned.spec, planned.config.data, planned.data.source, task.counted)
    run = Run(cases, planned.folder, request.seed, accelerator, progress, planned.config.fit, request.split)
    method = _build(planned, run)
    if request.only is None and from_main(
        is_finished(run.folder, planned.protocol, request.results_dir, planned.samples)
    ):
        progress.say(f"{planned.run_id} is finished; nothing to do")
        return run.folder.root
    stages = list(method.stages())
    if isinstance(planned.weights, Published):
        stages = fill_networks(planned.weights, method)
    trained = None if method.leaves_one_out else planned.trained
    if trained and from_main(trained.folder.status not in PREDICTED):
        run_one(trained.request, progress)
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        _fit_and_predict(planned, run, method, stages)
        return run.folder.root
    with run.folder.locked():
        if request.only != "fit" and (earlier := run.folder.record()):
            check_predictions(run.folder, earlier)
        _begin(planned, run, method)
        accelerator.wait_for_everyone()
        with _recording_failure(planned, run):
            _fit_and_predict(planned, run, method, stages)
            if request.only in (None, "score"):
                _score(planned, run, method)
            else:
                run.folder.update(status="fitted" if request.only == "fit" else "predicted")
    return run.folder.root


def _build(planned: Plan, run: Run) -> Method:
    """Return the method with its networks. Raises PluginError for what a plug-in raises."""
    seed_everything(run.seed, "weights")
    method = build_method(planned.method, planned.settings, run.cases["test"].card)
    if isinstance(planned.weights, Published):
        map_window(planned.config.method, method, run.cases["test"].card.window)
    return method


@contextmanager
def _recording_failure(planned: Plan, run: Run) -> Iterator[None]:
    """Within it a stop or a failure is written down in the run's record, then raised."""
    try:
        yield
    except (StoppedError, KeyboardInterrupt):
        with suppress(BenchError):
            run.folder.update(status="stopped")
        raise
    except BaseException as error:
        if isinstance(error, GeneratorExit):
            raise
        traces = run.folder.root / "error.txt"
        with suppress(BenchError):  # on a full disk the first error is the one to tell
            write_text(traces, drop_controls(traceback.format_exc()))
            run.folder.update(status="failed", error=describe_error(error))
        if planned.method.builtin or (isinstance(error, BenchError) and not isinstance(error, PluginError)):
            raise
        reason = describe_error(error)
        raised = reason if isinstance(error, PluginError) else f"{planned.config.method} raised {reason}"
        raise PluginError(f"{raised}; the traceback is in {traces}") from error


def _begin(planned: Plan, run: Run, method: Method) -> None:
    """Write the record as it is when a run begins or goes on."""
    card, weights, earlier = run.test.card, planned.weights, run.folder.record()
    ours: Origin = "builtin" if planned.code_sha256 is None else "plugin"
    given: Origin = "published" if isinstance(weights, Published) else "pretrained"
    record = RunRecord(
        run_id=planned.run_id,
        status="running",
        seed=run.seed,
        split=run.split,
        config=planned.config,
        config_sha256=planned.config.sha256(),
        data=DataRecord(
            source=card.source,
            trained_on="real" if card.trained_on and method.leaves_one_out else card.trained_on or None,
            fingerprint=card.fingerprint,
            counts=card.counts,
            grey_scale=card.geometry.grey_scale,
            voxel_mm=card.voxel_mm,
            window=card.window,
            remark=describe_shift(run.cases) if card.trained_on and not method.leaves_one_out else None,
        ),
        protocol=ProtocolRecord(id=planned.protocol.id, sha256=planned.protocol.sha256()),
        parameters=sum(
            parameter.numel()
            for stage in method.stages()
            for network in stage.networks.values()
            for parameter in network.parameters()
        ),
        provenance={**software(), **hardware(run.accelerator.device), "processes": run.accelerator.num_processes},
        started=earlier.started if earlier else _now(),
        origin=given if weights else ours,
        plugin_sha256=planned.code_sha256,
        pretrained_sha256=weights.sha256 if weights else None,
        pretrained_of=weights.of if weights else None,
        remark=method.remark or None,
        samples=planned.samples,
        draws=planned.draws,
    )
    if earlier:
        carried = (
            *("stages", "seconds", "infer_seconds", "peak_memory_mib", "scored", "scored_by", "finished"),
            *("predictions_sha256", "beside_sha256"),
            *(("samples_sha256",) if earlier.samples == planned.samples else ()),
        )
        record = record.model_copy(update={name: getattr(earlier, name) for name in carried})
    run.folder.write(record)
    if isinstance(weights, Pretrained):
        run.folder.update(stages=place_pretrained(weights, run.folder, [stage.name for stage in method.stages()]))
        fit: LaplaceFit | str | None = read_pretrained_fit(weights)
    elif (trained := planned.trained) and not method.leaves_one_out:
        run.folder.update(stages=copy_weights(trained.folder, run.folder))
        made, validation = (trained.folder.predictions(split) for split in (run.split, "validation"))
        fit = fit_for(made, validation, run.cases["validation"], FITTED, again=True)
    else:
        return
    if isinstance(fit, LaplaceFit):
        write_fit(run.folder.predictions(run.split) / FILE_NAME, fit)


@keep_settings()  # what items of data and steps of a plug-in set is undone before anything is scored
def _fit_and_predict(planned: Plan, run: Run, method: Method, to_fit: Sequence[Stage | FittedStage]) -> None:
    only, main = planned.request.only, run.accelerator.is_main_process
    if only in (None, "fit"):
        stages = fit_stages(to_fit, run)
        if main:
            processors = [stage.cpu_seconds for stage in stages.values() if stage.cpu_seconds is not None]
            known = {"fit_cpu": sum(processors)} if len(processors) == len(stages) else {}
            _add_seconds(run, fit=sum(stage.seconds or 0.0 for stage in stages.values()), **known)
    if only in (None, "predict"):
        if only == "predict":
            load_stages(method.stages(), run)
        place_networks(method, run.accelerator.device)
        began = time.monotonic()
        record = run.folder.record()
        made = predict(method, run, turn_angles(RENDERED, run.test.card.angles), record.samples if record else 1)
        if made and main:
            _add_seconds(run, predict=time.monotonic() - began)
            run.folder.update(infer_seconds=method.seconds_by_part())
        if main:
            target = run.folder.predictions(run.split)
            run.folder.update(
                predictions_sha256=folder_sha256(target),
                samples_sha256=samples_sha256(target, planned.samples),
                beside_sha256=beside_sha256(target),
            )
        if from_main(not is_current(run.folder.predictions(run.split) / FILE_NAME, FITTED, run.test.card.window)):
            began = time.monotonic()
            if predict_validation(method, run, FITTED.cases) and main:
                _add_seconds(run, predict_validation=time.monotonic() - began)
    if main and (record := run.folder.record()):
        peak = peak_memory_mib(run.accelerator.device)
        run.folder.update(peak_memory_mib=max(record.peak_memory_mib or 0.0, peak))


def _score(planned: Plan, run: Run, method: Method) -> None:
    began, protocol, results_dir = time.monotonic(), planned.protocol, planned.request.results_dir
    predictions = run.folder.predictions(run.split)
    first = {name: predictions / f"{name}.nii.gz" for name in run.test.names[:PREVIEWED]}
    draw_first(run, method.card.title, [read_prediction(path, run.test, name)[0] for name, path in first.items()])
    with run.progress.task("score", len(run.test)) as task:
        record = run.folder.update()
        scores = score_predictions(
            facts_of(record),
            run.cases,
            predictions,
            protocol,
            run.folder.scores_csv,
            task.counted,
            laplace=find_laplace(run.folder, record, run.cases, protocol),
            device=run.accelerator.device,
        )
    record = _add_seconds(run, score=time.monotonic() - began)
    done = mark_scored(record, protocol).model_copy(update={"status": "done", "finished": _now()})
    put_run(results_dir, done.line, scores)  # before the run counts as done: one that does is not looked at again
    run.folder.write(done)
    run.progress.say(f"done: {run.folder.root}; scores in {results_dir}")


def _add_seconds(run: Run, **seconds: float) -> RunRecord:
    record = run.folder.record()
    return run.folder.update(seconds={**(record.seconds if record else {}), **seconds})


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
