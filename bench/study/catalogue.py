"""All studies by name: what each asks, what its picture shows, and how it is run."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError, UsageError, unknown_name
from bench.metrics import NLL
from bench.pictures.drawing import save_figure
from bench.study import calibration, inputs, lesion, ood, sampling, training
from bench.study.plot import Panel, make_figure
from bench.study.points import REFERENCES, Point, Recorded, read_study, say_trainings, write_points
from bench.study.runs import StudyRequest, TrainedRun, find_runs, with_floors
from bench.system.progress import Progress

Body = Callable[[StudyRequest, Sequence[TrainedRun], Progress], Iterator[Point]]
QUALITY = ("psnr", "ssim")  # what most studies look at


@dataclass(frozen=True)
class Study:
    """One question."""

    question: str
    body: Body
    panels: tuple[Panel, ...]
    trains: bool = False  # trains runs of its own; the others take finished ones
    takes_values: bool = False
    floors: bool = True  # stand among the finished runs that it is given
    also: tuple[str, ...] = ()  # metrics that its table shows beside those of the panels

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of its table."""
        return tuple(dict.fromkeys((*(panel.metric for panel in self.panels), *self.also)))


@dataclass(frozen=True)
class Answer:
    """What a study found, and where it is written."""

    points: tuple[Point, ...]
    csv: Path
    picture: Path


def _panels(parameters: Iterable[str], metrics: Iterable[str] = QUALITY, **how: Any) -> tuple[Panel, ...]:
    return tuple(Panel(parameter, metric, **how) for metric in metrics for parameter in parameters)


STUDIES = {
    "views": Study(
        "How much does each further view help?",
        training.vary_views,
        _panels([training.VIEWS]),
        trains=True,
        takes_values=True,
    ),
    "shuffle": Study(
        "What is left with the views of another case?", inputs.shuffle_views, _panels([inputs.WHOSE], ordered=False)
    ),
    "misalign": Study("What if the object moves between the views?", inputs.misalign_views, _panels(inputs.MOVEMENTS)),
    "angle": Study(
        "What if the second view was taken at another angle than stated?",
        inputs.misstate_angle,
        _panels([inputs.ANGLE_ERROR]),
    ),
    "lesion": Study(
        "What is left of a nodule that the views show?",
        lesion.plant_nodules,
        (
            *_panels([lesion.DIAMETER], ["view_signal", "contrast_kept"]),
            Panel(lesion.DIAMETER, "auroc_nodule", line=0.5, limits=(0.2, 1.04)),
        ),
        takes_values=True,
        also=("contrast_with", "contrast_without"),
    ),
    "noise": Study(
        "What do few photons and a wide spectrum cost?", inputs.degrade_views, _panels([inputs.PHOTONS, inputs.VOLTAGE])
    ),
    "steps": Study(
        "How many sampling steps are needed?",
        sampling.vary_steps,
        _panels([sampling.STEPS], [*QUALITY, "seconds"]),
        takes_values=True,
    ),
    "samples": Study(
        "What do several samples of a case say?",
        sampling.combine_samples,
        (Panel(sampling.BEST, "psnr"), *_panels([sampling.MEAN], [*QUALITY, "mae"])),
        takes_values=True,
        also=("spread",),
    ),
    "calibration": Study(
        "Do samples spread as the truth does, given the views?",
        calibration.calibrate,
        (
            *_panels([calibration.INSIDE], ["inside_body", "inside_factors"], diagonal=True),
            *_panels([calibration.FACTOR], ["excess"], ordered=False, line=0.0),
            *_panels([calibration.FACTOR], ["unexplained", "spread_ratio", "spread_skill"], ordered=False, line=1.0),
        ),
        takes_values=True,
        also=("inside",),
    ),
    "ood": Study(
        "Does the likelihood tell other inputs from the test cases?",
        ood.feed_others,
        _panels([ood.KIND], ood.SCORES, ordered=False, line=0.5, limits=(-0.04, 1.04)),
        also=(NLL,),
        floors=False,
    ),
    "train-size": Study(
        "How soon does a method overfit?",
        training.vary_training_size,
        _panels([training.TRAINING_CASES], ["psnr", NLL]),
        trains=True,
        takes_values=True,
    ),
    "budget": Study(
        "Is a method weak, or only short of training?",
        training.vary_budget,
        _panels([training.COST], training.WORTH),
        trains=True,
        takes_values=True,
    ),
}


def run_study(name: str, request: StudyRequest, progress: Progress) -> Answer:
    """Run one study and write its CSV and its picture under results/studies.

    Raises UsageError for a wrong request, BenchError when nothing could be measured.
    """
    if name not in STUDIES:
        raise unknown_name("study", name, list(STUDIES))
    study = STUDIES[name]
    if request.values and not study.takes_values:
        taking = ", ".join(other for other in STUDIES if STUDIES[other].takes_values)
        raise UsageError(f"{name} has settings of its own; --values is for {taking}")
    if study.trains and (request.run_ids or not request.methods):
        raise UsageError(f"{name} trains runs of its own; name methods with --method, not --run")
    runs = [] if study.trains else find_runs(request, progress)
    prints = {run.cases["test"].card.fingerprint: run.folder.root.name for run in runs}
    if len(prints) > 1:
        raise UsageError(f"runs {', '.join(prints.values())} have different data; study them one by one")
    if runs and study.floors:
        runs = with_floors(runs)
    points = tuple(study.body(request, runs, progress))
    known = [point for point in points if point.measured]
    if not known:
        raise BenchError(f"{name} measured nothing; first: {points[0].note if points else 'no runs'}")
    path = request.results_dir / "studies" / f"{name}-{_name_subject(known)}.csv"
    write_points(path, name, points)
    return Answer(points, path, draw_study(path))


def draw_study(path: Path) -> Path:
    """Draw a study's CSV and return the picture, a PNG beside it. Raises BenchError for a damaged CSV."""
    recorded = read_study(path)
    if recorded.study not in STUDIES:
        raise BenchError(f"{path} is of no study that is known: {recorded.study}")
    measured = {(summary.parameter, summary.metric) for summary in recorded.summaries}
    panels = [p for p in STUDIES[recorded.study].panels if (p.parameter, p.metric) in measured]
    if not panels:
        raise BenchError(f"{path} holds nothing to draw; run the study again")
    picture = path.with_suffix(".png")
    save_figure(make_figure(_entitle(recorded), panels, recorded.summaries), picture)
    return picture


def _entitle(recorded: Recorded) -> str:
    question = STUDIES[recorded.study].question
    where = "{dataset} ({source} data), preset {preset}".format(**recorded.facts)
    few = f"\n{say_trainings(recorded.trainings)}" if STUDIES[recorded.study].trains else ""
    return f"{question}\n{where}, {recorded.cases} cases; intervals 95 %{few}"


def _name_subject(points: Sequence[Point]) -> str:
    """Return what a file is named after: data set, preset, methods, seeds."""
    asked = [point for point in points if point.facts["method"] not in REFERENCES] or points
    methods = "+".join(dict.fromkeys(point.facts["method"] for point in asked))
    seeds = "+".join(dict.fromkeys(point.facts["seed"] for point in asked))
    return f"{points[0].facts['dataset']}-{points[0].facts['preset']}-{methods}-s{seeds}"
