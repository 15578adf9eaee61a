"""Lesions: what is left in a reconstruction of a nodule that its views show, by the nodule's diameter?

A ball of soft tissue is planted in a lung, and the views are projected from that volume. The control is the same case
without it, given the same seeds. The change of the truth on the preset's grid, w = with − without, is the template:

  contrast kept   ⟨made with − made without, w⟩ / ⟨w, w⟩; 1 of the truth, 0 of what ignores its views
  contrast        mean under w less the mean of a shell around it, in HU
  detectability   AUROC of the contrast with and without, never within one case: an observer who knows place and shape
                  (non-prewhitening; Barrett and Myers, Foundations of Image Science, 2004, chapter 13)
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bench.cases import Cases, take_first
from bench.data.cases import downsample
from bench.dataset import to_hounsfield
from bench.errors import UsageError
from bench.metrics.stats import auroc
from bench.projector import project
from bench.study.inputs import fine_cases, replace_views
from bench.study.points import TRUTH, Point, Values
from bench.study.runs import StudyRequest, TrainedRun, reconstruct_cases
from bench.study.sites import Centre, find_sites, read_sites, take_cases
from bench.system.progress import Progress

DIAMETER = "diameter of the nodule, mm"
DIAMETERS = (6, 8, 12, 16, 24, 32)
LARGEST_SHARE = 0.25  # of the cube's side, that a nodule may take
NODULE_HU = 40.0  # soft tissue: the middle of what the chest phantom draws of solid nodules
SHELL_MM = 16.0  # from the nodule's surface, of the tissue that its contrast is against
PARTS = 9  # along an edge, into which voxels are divided to count those inside

Box = tuple[slice, slice, slice]
Planted = dict[str, tuple[np.ndarray, "Template"]]
"""Case → its line integrals (V, h, w) with a nodule, and what shows the nodule in a volume."""


@dataclass(frozen=True)
class Template:
    """A nodule as the grid of a preset shows it, within a box of that grid."""

    box: Box
    change: np.ndarray  # of the truth, in HU
    shell: np.ndarray  # which voxels surround it

    def share(self, volume: np.ndarray) -> float:
        """Return what a volume (D, H, W) in HU holds of the change: its part along it, in units of the change."""
        return float((volume[self.box] * self.change).sum() / np.square(self.change).sum())

    def contrast(self, volume: np.ndarray) -> float:
        """Return the mean under the nodule less that of the shell, of a volume (D, H, W), in its units."""
        mine = volume[self.box]
        return float((mine * self.change).sum() / self.change.sum() - mine[self.shell].mean())


def plant_nodules(request: StudyRequest, runs: Sequence[TrainedRun], progress: Progress) -> Iterator[Point]:
    """Yield by diameter the signal in the views, the contrast kept and the detectability, of all runs and of the truth.

    Sites are drawn in the lungs of phantoms, or read from the file that the request names; cases without one are left
    out. Raises UsageError for diameters that the cube has no room for, and where no site is known.
    """
    first = runs[0]
    diameters = [float(value) for value in request.values or DIAMETERS]
    most = LARGEST_SHARE * first.spec.cube_mm
    if not 1 <= min(diameters) <= max(diameters) <= most:
        raise UsageError(f"lesion takes diameters of 1 to {most:g} mm")
    every = take_first(first.cases["test"], request.limit)
    if request.sites is not None:
        centres = read_sites(request.sites, every)
    else:
        centres = find_sites(every, first.spec.label_names, max(diameters) / 2)
    cases = take_cases(every, list(centres))
    planted: dict[float, Planted] = {diameter: {} for diameter in diameters}
    with progress.task("plant nodules", len(cases)) as task:
        for done, (name, volume) in enumerate(fine_cases(first, cases), start=1):
            for diameter in diameters:
                planted[diameter][name] = _plant(first, cases, volume, centres[name], diameter)
            task.advance(done)
    changed = {d: replace_views(cases, np.stack([of[name][0] for name in cases.names])) for d, of in planted.items()}
    signals = {diameter: _signal(cases, with_it) for diameter, with_it in changed.items()}
    for run in runs:
        without = _respond(run, cases, planted, progress, "without nodules")
        for diameter in diameters:
            what, wanted = f"nodules of {diameter:g} mm", {diameter: planted[diameter]}
            found = _respond(run, changed[diameter], wanted, progress, what)[diameter]
            yield _point(run.facts, diameter, signals[diameter], without[diameter], found)
    truth = {**first.facts, "run_id": "", "method": TRUTH, "seed": ""}
    for diameter, of in planted.items():
        without_it = {n: _measure(of[n][1], cases.hounsfield[cases.index(n)].astype(np.float64)) for n in cases.names}
        with_it = {n: _measure(of[n][1], _with_nodule(cases, n, of[n][1])) for n in cases.names}
        yield _point(truth, diameter, signals[diameter], without_it, with_it)


def cover_ellipsoid(
    size: int, voxel_mm: float, centre_mm: Centre, radii_mm: tuple[float, float, float]
) -> tuple[Box, np.ndarray]:
    """Return the box of a grid (size, size, size) that an ellipsoid touches, and its share of each voxel there, 0 to 1.

    Centre and radii are (d, h, w) in mm, the former from the centre of the cube. Shares are counted at PARTS³ points a
    voxel. Raises ValueError for an ellipsoid outside of the cube.
    """
    box, squares = [], []
    for centre, radius in zip(centre_mm, radii_mm, strict=True):
        place = centre / voxel_mm + size / 2  # in voxels from the first face
        low = max(0, math.floor(place - radius / voxel_mm))
        high = min(size, math.ceil(place + radius / voxel_mm))
        if low >= high:
            raise ValueError(f"an ellipsoid at {centre_mm} mm lies outside of the cube")
        points = low + (np.arange((high - low) * PARTS) + 0.5) / PARTS
        squares.append(np.square((points - place) * voxel_mm / radius))
        box.append(slice(low, high))
    inside = squares[0][:, None, None] + squares[1][:, None] + squares[2] <= 1
    d, h, w = (axis.stop - axis.start for axis in box)
    return (box[0], box[1], box[2]), inside.reshape(d, PARTS, h, PARTS, w, PARTS).mean((1, 3, 5))


def _plant(
    run: TrainedRun, cases: Cases, volume: np.ndarray, centre: Centre, diameter: float
) -> tuple[np.ndarray, Template]:
    """Line integrals (V, h, w) of a fine volume (n, n, n) in HU with a nodule, and the nodule on the preset's grid."""
    card, voxel_mm, radius = cases.card, run.spec.cube_mm / len(volume), diameter / 2
    box, share = cover_ellipsoid(len(volume), voxel_mm, centre, (radius,) * 3)
    change = np.zeros_like(volume)
    change[box] = share * (NODULE_HU - volume[box])
    views = project(torch.from_numpy(volume + change)[None], voxel_mm, card.geometry, card.angles, card.image_size)
    coarse = downsample(torch.from_numpy(change), card.size).double().numpy()
    reach = radius + SHELL_MM + card.voxel_mm  # at least one voxel, however coarse the grid
    around, near = cover_ellipsoid(card.size, card.voxel_mm, centre, (reach,) * 3)
    shell = (near > 0.5) & (coarse[around] == 0)
    return views[0].numpy(), Template(around, coarse[around], shell if shell.any() else coarse[around] == 0)


def _with_nodule(cases: Cases, name: str, template: Template) -> np.ndarray:
    volume = cases.hounsfield[cases.index(name)].astype(np.float64)
    volume[template.box] += template.change
    return volume


def _signal(cases: Cases, with_it: Cases) -> dict[str, float]:
    """By case the largest difference that the nodule makes in a pixel of any view, as a share of the grey scale."""
    signal = {}
    for index, name in enumerate(cases.names):
        signal[name] = float((with_it.images([index]) - cases.images([index])).abs().max())
    return signal


def _respond(
    run: TrainedRun, cases: Cases, planted: Mapping[float, Planted], progress: Progress, what: str
) -> dict[float, dict[str, tuple[float, float]]]:
    """By diameter and case what a reconstruction holds of the nodule: share of the change, and contrast in HU."""
    found: dict[float, dict[str, tuple[float, float]]] = {diameter: {} for diameter in planted}
    with progress.task(f"{run.config.method}: {what}", len(cases)) as task:
        done = 0
        for names, volumes, _ in reconstruct_cases(run, cases):
            for name, volume in zip(names, volumes, strict=True):
                hounsfield = to_hounsfield(volume.astype(np.float64), cases.card.window)
                for diameter, of in planted.items():
                    found[diameter][name] = _measure(of[name][1], hounsfield)
            done += len(names)
            task.advance(done)
    return found


def _measure(template: Template, hounsfield: np.ndarray) -> tuple[float, float]:
    return template.share(hounsfield), template.contrast(hounsfield)


def _point(
    facts: Mapping[str, str],
    diameter: float,
    signal: Mapping[str, float],
    without: Mapping[str, tuple[float, float]],
    with_it: Mapping[str, tuple[float, float]],
) -> Point:
    values: Values = {
        "view_signal": dict(signal),
        "contrast_kept": {name: with_it[name][0] - without[name][0] for name in signal},
        "contrast_with": {name: with_it[name][1] for name in signal},
        "contrast_without": {name: without[name][1] for name in signal},
    }
    absent, present = (np.array(list(values[key].values())) for key in ("contrast_without", "contrast_with"))
    found = {"auroc_nodule": auroc(absent, present, paired=True)}
    return Point(facts, DIAMETER, f"{diameter:g}", values, of_set=found, compared=False)
