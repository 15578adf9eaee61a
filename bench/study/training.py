"""Studies that train: with other views, on fewer cases, for longer. Runs that exist already are not trained again."""

import json
from collections.abc import Iterator, Sequence
from itertools import product

from bench.card import stretch_training
from bench.cases import take_first
from bench.data.sources import choose_source
from bench.dataset import Split
from bench.errors import BenchError, StoppedError, UsageError
from bench.pipeline.plan import plan
from bench.pipeline.run import run_one
from bench.plugins.config import resolve
from bench.plugins.registry import get_dataset, get_method
from bench.runs.folder import RunFolder
from bench.study.floors import fit_floors
from bench.study.points import FACTS, Point
from bench.study.runs import FITTED, StudyRequest, TrainedRun, make_request, measure, open_run
from bench.system.progress import Progress

VIEWS, TRAINING_CASES, COST = "views", "training cases", "training, CPU seconds"
VIEW_COUNTS = (1, 2, 4, 8)
ANGLES = (270.0, 0.0, 315.0, 45.0, 292.5, 337.5, 22.5, 67.5)  # the first 2, 4 and 8 share half a turn equally
SHARES = (8, 4, 2, 1)  # the training set over these
PERCENT = (100, 50, 200)  # of the preset's steps, the reference first


def vary_views(request: StudyRequest, _: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    """Train and test with 1, 2, 4 and 8 views; what a method refuses is noted and left out."""
    counts = request.values or VIEW_COUNTS
    for count in counts:
        if not 1 <= count <= len(ANGLES):
            raise UsageError(f"views takes 1 to {len(ANGLES)} views, not {count}")
    grounded: set[str] = set()
    for method in request.methods:
        for seed in request.seeds:
            for count in counts:
                override = [f"data.angles={json.dumps(list(ANGLES[:count]))}"]
                yield from _train(request, method, seed, override, VIEWS, str(count), ("test",), grounded, progress)


def vary_training_size(request: StudyRequest, _: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    """Train on ever smaller parts of the phantoms: the gap between training and test cases shows overfitting."""
    spec = get_dataset(request.dataset)
    chosen, reason = choose_source(spec, request.source)
    if chosen == "real":
        raise UsageError(f"train-size sets the number of phantoms ({reason}); use `--source phantom`")
    config = resolve(get_method(request.methods[0]), spec, request.preset, request.overrides)[0]
    train, validation, test = config.data.phantoms
    grounded: set[str] = set()
    for size in request.values or [train // share for share in SHARES]:
        if size < 1:
            raise UsageError(f"train-size takes at least one training case, not {size}")
        override = [f"data.phantoms=[{size}, {validation}, {test}]"]
        for method in request.methods:
            for seed in request.seeds:
                splits: tuple[Split, ...] = ("test", "train")
                setting = str(size)
                yield from _train(request, method, seed, override, TRAINING_CASES, setting, splits, grounded, progress)


def vary_budget(request: StudyRequest, _: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    """Train for shares of the preset's steps, all schedules stretched alike; a setting is what the training cost."""
    spec = get_dataset(request.dataset)
    for method in request.methods:
        settings = resolve(get_method(method), spec, request.preset, request.overrides)[1]
        for seed in request.seeds:
            for percent in request.values or PERCENT:
                if percent < 1:
                    raise UsageError(f"budget takes at least one percent of the steps, not {percent}")
                stretched = {} if percent == 100 else stretch_training(settings, percent / 100)
                overrides = [f"{key}={json.dumps(value)}" for key, value in stretched.items()]
                yield from _train(request, method, seed, overrides, COST, "", ("test",), set(), progress)


def _train(
    request: StudyRequest,
    method: str,
    seed: int,
    overrides: Sequence[str],
    parameter: str,
    setting: str,  # empty: what the training cost
    splits: Sequence[Split],
    grounded: set[str],  # settings whose floors are measured; the floors are fitted on what the first run trained on
    progress: Progress,
) -> Iterator[Point]:
    """Train one run unless it is there, and measure it and, once a setting, the floors on some splits."""
    wanted = make_request(request, method, seed, overrides)
    try:
        folder = plan(wanted).folder
        if folder.status not in FITTED:
            folder = RunFolder(run_one(wanted, progress))
        run = open_run(folder, request, progress, method)
        setting = setting or _cost_of(folder)
        floors = [] if setting in grounded else list(fit_floors(run))
        grounded.add(setting)
        for one, split in product((run, *floors), splits):
            cases = take_first(one.cases[split], request.limit or len(one.cases["test"]))
            what = f"{one.config.method}, {setting} {parameter}, {split}"
            likely = parameter == TRAINING_CASES and "likelihood" in one.method.card.capabilities and not one.floor
            values = measure(one, cases, progress, what, likelihood=likely, organs=parameter == COST)
            yield Point(one.facts, parameter, setting, values, split)
    except StoppedError:
        raise
    except BenchError as error:
        progress.say(f"left out: {method} with {setting or overrides} {parameter}: {error}")
        facts = dict.fromkeys(FACTS, "") | {"method": method, "dataset": request.dataset, "preset": request.preset}
        yield Point(facts | {"seed": str(seed)}, parameter, setting, {}, note=str(error))


def _cost_of(folder: RunFolder) -> str:
    record = folder.record()
    seconds = record.seconds.get("fit_cpu") if record else None
    if seconds is None:
        raise BenchError(f"{folder.root.name} does not say what its training cost; delete it to train it again")
    return f"{seconds:.3g}"
