"""Floors of a study: the mean volume and the nearest case, fitted once on its own training split and kept nowhere.

Without them a study cannot tell that a method withstands something from that it never looked: the mean volume ignores
its views and so loses nothing, whatever is done to them.
"""

from collections.abc import Iterator, Sequence

from bench.method import FittedStage
from bench.pipeline.fit import Run, place_networks
from bench.plugins.config import resolve
from bench.plugins.guard import build_method
from bench.plugins.registry import get_method
from bench.runs.folder import RunFolder
from bench.runs.record import run_name
from bench.study.points import FLOORS
from bench.study.runs import TrainedRun


def with_floors(runs: Sequence[TrainedRun]) -> list[TrainedRun]:
    """Return the runs, which have the same data, and after them the floors that are not among them."""
    named = {run.config.method for run in runs}
    return [*runs, *(floor for floor in fit_floors(runs[0]) if floor.config.method not in named)]


def fit_floors(run: TrainedRun) -> Iterator[TrainedRun]:
    """Yield the floors on the data of a run, with its seed for what a study draws; nothing is written to a folder."""
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
        bare = Run(run.cases, folder, run.seed, run.accelerator, run.progress)
        own = {name: getattr(bare, name) for name in bare.__dataclass_fields__}
        yield TrainedRun(**own, config=config, spec=run.spec, plugin=plugin, method=method, floor=True)
