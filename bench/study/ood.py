"""Out-of-distribution inputs: does a method's likelihood tell them from the test cases it was made for?

A changed case is changed as a whole: its views are projected from the changed volume, with the geometry and grey scale
of the training data. Only "another's views" keeps the volume. No changed case is compared with itself. More bits are
taken to mean further from the training data; an AUROC below one half says that the method holds such cases for likelier
than true ones, which is a finding (Nalisnick et al., Do Deep Generative Models Know What They Don't Know?, 2019) and
not an error of the study.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from bench.cases import Cases, take_first
from bench.data.cases import downsample, fine_volumes
from bench.data.sources import choose_source
from bench.dataset import DatasetSpec
from bench.errors import BenchError, UsageError
from bench.metrics.stats import Estimate, auroc
from bench.pipeline.predict import CASES_AT_ONCE
from bench.plugins.registry import discover_datasets, discover_methods
from bench.projector import AIR_BELOW_HU, project
from bench.scoring.bits import nll_bits_per_code, nll_bits_per_voxel
from bench.study.inputs import pair_cases, replace_views
from bench.study.points import MEAN, NEAREST, Point, Values
from bench.study.runs import StudyRequest, TrainedRun, bound_cases, fit_floors
from bench.system.progress import Progress
from bench.system.seeding import derive_seed

KIND, TEST_CASES = "input", "test cases"
METAL, TURNED, ROLLED, BLURRED = "metal", "upside down", "halves swapped", "blurred"
OTHERS_VIEWS = "another's views"
METAL_HU, METAL_RADIUS_MM = 3000.0, 20.0  # an implant without the streaks that a scanner would add
BLUR_VOXELS = 1.0  # sigma, of the preset's voxels
SCORES = {  # AUROC → the values of cases that it ranks
    "auroc": "nll_bits_per_voxel",
    "auroc_codes": "nll_bits_per_code",
    "auroc_decoder": "decoder_bits_per_voxel",
    "auroc_floor": "distance",
    "auroc_nearest": "nearest_distance",
}
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""A changed volume (n, n, n) in HU from a volume and what is drawn for its case."""


def feed_others(request: StudyRequest, runs: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    """Yield bits of the test cases, and of each kind of input that is none, with the AUROC between the two.

    Raises UsageError before anything is computed where a method has no likelihood.
    """
    for run in runs:
        _require_likelihood(run)
    for run in runs:
        cases = take_first(run.cases["test"], request.limit)
        floors = {floor.config.method: floor for floor in fit_floors(run)}
        own = _bits(run, cases, floors, TEST_CASES)
        yield Point(run.facts, KIND, TEST_CASES, own)
        inputs = {kind: partial(_change, run, cases, kind, change) for kind, change in _changes(run).items()}
        strangers = cases.line_integrals[pair_cases(len(cases), run.seed)]
        inputs[OTHERS_VIEWS] = partial(replace_views, cases, strangers)
        for name, spec in sorted(discover_datasets()[0].items()):
            if name != run.spec.name:
                inputs[name] = partial(_of_dataset, run, cases, spec)
        for kind, make in inputs.items():
            try:
                others = make()
            except BenchError as error:  # of a dataset that cannot be fed
                progress.say(f"left out: {kind}: {error}")
                yield Point(run.facts, KIND, kind, {}, note=str(error))
            else:
                yield _against(run, own, kind, _bits(run, others, floors, kind))


def insert_metal(hounsfield: np.ndarray, radius_voxels: float, random: np.random.Generator) -> np.ndarray:
    """Return a volume (n, n, n) in HU with a ball of metal around one of the voxels that attenuate, drawn by lot."""
    solid = np.argwhere(hounsfield > AIR_BELOW_HU)
    centre = solid[random.integers(len(solid))] if len(solid) else np.array(hounsfield.shape) // 2
    axes = np.ogrid[tuple(map(slice, hounsfield.shape))]
    away = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)))
    share = np.clip(radius_voxels + 0.5 - away, 0, 1)  # of each voxel inside the ball
    return hounsfield + share * np.maximum(METAL_HU - hounsfield, 0)


def _changes(run: TrainedRun) -> dict[str, Change]:
    size, radius = run.config.data.size, METAL_RADIUS_MM / run.spec.cube_mm
    return {
        METAL: lambda volume, random: insert_metal(volume, radius * len(volume), random),
        TURNED: lambda volume, _: volume[::-1],
        ROLLED: lambda volume, _: np.roll(volume, len(volume) // 2, axis=0),
        BLURRED: lambda volume, _: gaussian_filter(volume, BLUR_VOXELS * len(volume) / size, mode="nearest"),
    }


def _change(run: TrainedRun, cases: Cases, kind: str, change: Change) -> Cases:
    """The same cases after a change."""
    fine = fine_volumes(run.spec, run.config.data, cases.card.source, cases.split)
    drawn = (np.random.default_rng(derive_seed(run.seed, kind, name)) for name in cases.names)
    changed = (change(volume.astype(np.float32), random) for volume, random in zip(fine, drawn, strict=False))
    return _cases_of(run, cases, cases.names, changed)


def _of_dataset(run: TrainedRun, cases: Cases, spec: DatasetSpec) -> Cases:
    """As many test cases of another dataset, its cube taken for one of this dataset's size and window."""
    source, _ = choose_source(spec, cases.card.source)
    names, volumes = [], []
    for index, volume in zip(range(len(cases)), fine_volumes(spec, run.config.data, source, "test"), strict=False):
        names.append(f"{spec.name}-{index:04d}")
        volumes.append(volume.astype(np.float32))
    return _cases_of(run, take_first(cases, len(names)), tuple(names), volumes)


def _cases_of(run: TrainedRun, cases: Cases, names: tuple[str, ...], fine: Iterable[np.ndarray]) -> Cases:
    """Cases at the preset's resolution, as the harness prepares its own from fine volumes in HU."""
    card, coarse, integrals = cases.card, [], []
    for _, volume in zip(names, fine, strict=False):
        hounsfield = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))
        voxel_mm = run.spec.cube_mm / len(volume)
        views = project(hounsfield[None], voxel_mm, run.spec.geometry, card.angles, card.image_size)
        coarse.append(downsample(hounsfield, card.size).round().to(torch.int16).numpy())
        integrals.append(views[0].numpy())
    return replace(cases, names=names, hounsfield=np.stack(coarse), line_integrals=np.stack(integrals), phantoms=None)


def _bits(run: TrainedRun, cases: Cases, floors: Mapping[str, TrainedRun], what: str) -> Values:
    """By case: bits of the whole and of its two parts, and the distances from the floors, which need no method."""
    values: Values = {metric: {} for metric in SCORES.values()}
    with run.progress.task(f"{run.config.method}: {what}", len(cases)) as task:
        for group in cases.groups(CASES_AT_ONCE):
            volumes, views = cases.volumes(group), cases.views(group).to(run.accelerator.device)
            seeds = [run.seed] * len(group)
            made = {name: floor.method.reconstruct(views, seeds=seeds).cpu() for name, floor in floors.items()}
            away = {name: (floor - volumes).double().square().flatten(1).mean(1) for name, floor in made.items()}
            for place, entry in enumerate(bound_cases(run, cases, group)):
                values["nll_bits_per_voxel"][entry.case] = nll_bits_per_voxel(entry)
                values["nll_bits_per_code"][entry.case] = nll_bits_per_code(entry) or 0.0  # a method without codes
                decoder = entry.volume_given_codes_nats / (entry.voxels * math.log(2.0))
                values["decoder_bits_per_voxel"][entry.case] = decoder
                values["distance"][entry.case] = float(away[MEAN][place])
                values["nearest_distance"][entry.case] = float(away[NEAREST][place])
            task.advance(group.stop)
    return values


def _against(run: TrainedRun, own: Values, kind: str, other: Values) -> Point:
    """Return what a kind of input scores, its AUROCs, and in words where the likelihood points the other way."""
    found: dict[str, Estimate] = {}
    for name, metric in SCORES.items():
        inside, outside = own[metric], other[metric]
        paired = list(inside) == list(outside)
        found[name] = auroc(np.array(list(inside.values())), np.array(list(outside.values())), paired=paired)
    return Point(run.facts, KIND, kind, other, of_set=found, note=describe_finding(kind, found["auroc"]))


def describe_finding(kind: str, whole: Estimate) -> str:
    """Return a line where the likelihood does not tell a kind of input from the test cases; else nothing."""
    shown = f"AUROC {whole.value:.3f} [{whole.low:.3f}, {whole.high:.3f}]"
    if whole.high < 0.5:
        return f"{shown} is below 0.5: {kind} is held for likelier than the test cases"
    if not whole.low > 0.5:
        return f"{shown} does not exclude 0.5: the likelihood does not tell {kind} from the test cases"
    return ""


def _require_likelihood(run: TrainedRun) -> None:
    if "likelihood" in run.method.card.capabilities:
        return
    having = sorted(name for name, plugin in discover_methods()[0].items() if "likelihood" in plugin.card.capabilities)
    raise UsageError(
        f"{run.config.method} has no likelihood, by which ood ranks cases; "
        f"take a method that has one: {', '.join(having) or 'none is installed'}"
    )
