"""Studies that train: with other views, on fewer cases, for longer. Runs that exist already are not trained again."""

import json
from collections.abc import Iterator, Sequence
from itertools import product

from bench.card import stretch_training
from bench.cases import take_first
from bench.data.sources import choose_source
from bench.dataset import Split
from bench.errors import BenchError, UsageError
from bench.pipeline.plan import RunRequest, plan
from bench.pipeline.run import run_one
from bench.plugins.config import resolve
from bench.plugins.registry import get_dataset, get_method
from bench.runs.folder import RunFolder
from bench.study.points import FACTS, Point
from bench.study.runs import FITTED, StudyRequest, TrainedRun, fit_floors, make_request, measure, open_run
from bench.system.progress import Progress

VIEWS, TRAINING_CASES, COST = "views", "training cases", "training, CPU seconds"
VIEW_COUNTS = (1, 2, 4, 8)
ANGLES = (270.0, 0.0, 315.0, 45.0, 292.5, 337.5, 22.5, 67.5)  # the first 2, 4 and 8 share half a turn equally
SHARES = (8, 4, 2, 1)  # the training set over these
PERCENT = (100, 50, 200)  # of the preset's steps, the reference first
WORTH = ("psnr", "dice_lung", "psnr_body")  # what a training is asked for that costs more


def vary_views(request: StudyRequest, _: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    """Train and test with 1, 2, 4 and 8 views; what a method refuses is noted and left out."""
    counts = request.values or VIEW_COUNTS
    for count in counts:
        if not 1 <= count <= len(ANGLES):
            raise UsageError(f"views takes 1 to {len(ANGLES)} views, not {count}")
    trainings = [
        (make_request(request, method, seed, [f"data.angles={json.dumps(list(ANGLES[:count]))}"]), str(count))
        for method, seed, count in product(request.methods, request.seeds, counts)
    ]
    return _train(request, trainings, VIEWS, ("test",), progress)


def vary_training_size(request: StudyRequest, _: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    """Train on ever smaller parts of the phantoms: the gap between training and test cases shows overfitting."""
    spec = get_dataset(request.dataset)
    chosen, reason = choose_source(spec, request.source)
    if chosen == "real":
        raise UsageError(f"train-size sets the number of phantoms ({reason}); use `--source phantom`")
    config = resolve(get_method(request.methods[0]), spec, request.preset, request.overrides)[0]
    train, validation, test = config.data.phantoms
    sizes = request.values or [train // share for share in SHARES]
    if min(sizes) < 1:
        raise UsageError(f"train-size takes at least one training case, not {min(sizes)}")
    trainings = [
        (make_request(request, method, seed, [f"data.phantoms=[{size}, {validation}, {test}]"]), str(size))
        for size, method, seed in product(sizes, request.methods, request.seeds)
    ]
    return _train(request, trainings, TRAINING_CASES, ("test", "train"), progress)


def vary_budget(request: StudyRequest, _: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    """Train for shares of the preset's steps, all schedules stretched alike; a setting is what the training cost."""
    spec, shares = get_dataset(request.dataset), request.values or PERCENT
    if min(shares) < 1:
        raise UsageError(f"budget takes at least one percent of the steps, not {min(shares)}")
    trainings = []
    for method, seed, percent in product(request.methods, request.seeds, shares):
        settings = resolve(get_method(method), spec, request.preset, request.overrides)[1]
        stretched = {} if percent == 100 else stretch_training(settings, percent / 100)
        overrides = [f"{key}={json.dumps(value)}" for key, value in stretched.items()]
        trainings.append((make_request(request, method, seed, overrides), ""))
    return _train(request, trainings, COST, ("test",), progress)


def _train(
    request: StudyRequest,
    trainings: Sequence[tuple[RunRequest, str]],  # with their settings; empty: what the training cost
    parameter: str,
    splits: Sequence[Split],
    progress: Progress,
) -> Iterator[Point]:
    """Train what is not there; measure each training, and once a setting floors of its data, on some splits.

    What a training costs leaves its data as they are: floors are then measured once.
    """
    grounded: set[str] = set()  # settings whose floors are measured
    for wanted, setting in trainings:
        try:
            folder = plan(wanted).folder
            if folder.status not in FITTED:
                folder = RunFolder(run_one(wanted, progress))
            run = open_run(folder, request, progress, wanted.method)
            setting = setting or _cost_of(folder)
            ground = "" if parameter == COST else setting
            floors = [] if ground in grounded else list(fit_floors(run))
            grounded.add(ground)
            for one, split in product((run, *floors), splits):
                cases = take_first(one.cases[split], request.limit or len(one.cases["test"]))
                what = f"{one.config.method}, {setting} {parameter}, {split}"
                likely = parameter == TRAINING_CASES and "likelihood" in one.method.card.capabilities and not one.floor
                values = measure(one, cases, what, likelihood=likely, organs=parameter == COST)
                if parameter == COST:
                    values = {metric: values[metric] for metric in WORTH if metric in values}
                yield Point(one.facts, parameter, setting, values, split)
        except BenchError as error:
            progress.say(f"left out: {wanted.method} with {setting or list(wanted.overrides)} {parameter}: {error}")
            known = {"method": wanted.method, "dataset": wanted.dataset, "preset": wanted.preset}
            facts = dict.fromkeys(FACTS, "") | known | {"seed": str(wanted.seed)}
            yield Point(facts, parameter, setting, {}, note=str(error))


def _cost_of(folder: RunFolder) -> str:
    record = folder.record()
    seconds = record.seconds.get("fit_cpu") if record else None
    if seconds is None:
        raise BenchError(f"{folder.root.name} does not say what its training cost; delete it to train it again")
    return f"{float(f'{seconds:.3g}'):g}"  # three digits, and no exponent below a million
