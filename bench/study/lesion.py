"""Lesions: what is left in a reconstruction of a nodule that its views show, by the nodule's diameter?

A ball of soft tissue is planted in a lung, and the views are projected from that volume. The control is the same case
without it, given the same seeds. The change of the truth on the preset's grid, w = with − without, is the template:

  contrast kept   ⟨made with − made without, w⟩ / ⟨w, w⟩; 1 of the truth, 0 of what ignores its views
  contrast        mean under w less the mean of a shell around it, in HU
  detectability   AUROC of the contrast with and without, never within one case: an observer who knows place and shape
                  (non-prewhitening; Barrett and Myers, Foundations of Image Science, 2004, chapter 13)
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from bench.cases import Cases, take_first
from bench.data.cases import downsample
from bench.dataset import to_hounsfield
from bench.errors import BenchError, UsageError
from bench.metrics.stats import auroc
from bench.projector import project
from bench.study.inputs import fine_cases, replace_views
from bench.study.points import TRUTH, Point, Values
from bench.study.runs import StudyRequest, TrainedRun, reconstruct_cases
from bench.system.csv_files import read_rows
from bench.system.progress import Progress
from bench.system.seeding import derive_seed

DIAMETER = "diameter of the nodule, mm"
DIAMETERS = (6, 8, 12, 16, 24, 32)
LARGEST_SHARE = 0.25  # of the cube's side, that a nodule may take
NODULE_HU = 40.0  # soft tissue: the middle of what the chest phantom draws of solid nodules
SHELL_MM = 16.0  # from the nodule's surface, of the tissue that its contrast is against
HOST = "lung"  # in the name of a label, of what a nodule is planted in
PARTS = 9  # along an edge, into which voxels are divided to count those inside

Box = tuple[slice, slice, slice]
Centre = tuple[float, float, float]
"""(d, h, w) in mm from the centre of the cube."""
Responses = dict[str, tuple[float, float]]
"""Case → what a volume holds of its nodule: the share of the change, and the contrast in HU."""


@dataclass(frozen=True)
class Site:
    """One line of a file of sites: a place in the scan of a case, in RAS millimetres as the case's NIfTI has them."""

    case: str
    x_mm: float
    y_mm: float
    z_mm: float


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


def plant_nodules(request: StudyRequest, runs: Sequence[TrainedRun], _: Progress) -> Iterator[Point]:
    """Yield by diameter the signal in the views, the contrast kept and the detectability, of all runs and of the truth.

    Sites are drawn in the lungs of phantoms, or read from the file that the request names; cases without one are left
    out. Raises UsageError for diameters that the cube has no room for, and where no site is known.
    """
    first = runs[0]
    diameters = list(dict.fromkeys(map(float, request.values or DIAMETERS)))
    most = LARGEST_SHARE * first.spec.cube_mm
    if not 1 <= min(diameters) <= max(diameters) <= most:
        raise UsageError(f"lesion takes diameters of 1 to {most:g} mm")
    every = take_first(first.cases["test"], request.limit)
    if request.sites is not None:
        centres = read_sites(request.sites, every)
    else:
        centres = find_sites(every, first.spec.label_names, max(diameters) / 2)
    cases = take_cases(every, list(centres))
    templates: dict[float, dict[str, Template]] = {diameter: {} for diameter in diameters}
    integrals = {diameter: np.array(cases.line_integrals) for diameter in diameters}
    for name, volume in fine_cases(first, cases, "plant nodules"):
        for diameter in diameters:
            views, templates[diameter][name] = _plant(first, cases, volume, centres[name], diameter)
            integrals[diameter][cases.index(name)] = views
    changed = {diameter: replace_views(cases, views) for diameter, views in integrals.items()}
    signals = {diameter: _signal(cases, with_it) for diameter, with_it in changed.items()}
    for run in runs:
        without = _respond(run, cases, list(templates.values()), "without nodules")
        for diameter, without_it in zip(diameters, without, strict=True):
            (with_it,) = _respond(run, changed[diameter], [templates[diameter]], f"nodules of {diameter:g} mm")
            yield _point(run.facts, diameter, signals[diameter], without_it, with_it)
    truth = {**first.facts, "run_id": "", "method": TRUTH, "seed": ""}
    for diameter, of in templates.items():
        without_it, with_it = {}, {}
        for name, coarse in zip(cases.names, cases.hounsfield, strict=True):
            volume = coarse.astype(np.float64)
            without_it[name] = of[name].share(volume), of[name].contrast(volume)
            volume[of[name].box] += of[name].change
            with_it[name] = of[name].share(volume), of[name].contrast(volume)
        yield _point(truth, diameter, signals[diameter], without_it, with_it)


def find_sites(cases: Cases, label_names: Mapping[str, Mapping[int, str]], radius_mm: float) -> dict[str, Centre]:
    """Return a place in a lung of each phantom, drawn among those further than a radius from all that is no lung.

    Where no place is that far, the furthest is taken; a case without lungs is left out. Raises UsageError for real
    cases, and for a dataset that labels no lungs.
    """
    hosts = {kind: [number for number, name in names.items() if HOST in name] for kind, names in label_names.items()}
    kind = next((kind for kind, numbers in hosts.items() if numbers), None)
    if cases.phantoms is None or kind is None:
        what = "real scans have no labels" if cases.phantoms is None else f"{cases.card.name} labels no {HOST}s"
        raise UsageError(f"{what}; say with --sites FILE where to plant: a CSV with case, x_mm, y_mm, z_mm")
    sites: dict[str, Centre] = {}
    for name in cases.names:
        host = np.isin(cases.labels(name)[kind], hosts[kind])
        if not host.any():
            continue
        depth = distance_transform_edt(np.pad(host, 1))[1:-1, 1:-1, 1:-1]
        far = np.minimum(depth.max(), radius_mm / cases.card.voxel_mm + 0.5)  # from the centre of a voxel to a face
        places = np.argwhere(depth >= far)
        chosen = places[np.random.default_rng(derive_seed("site", name)).integers(len(places))]
        sites[name] = _centre(chosen, cases)
    if not sites:
        raise UsageError(f"none of the {len(cases)} cases shows a {HOST}")
    return sites


def read_sites(path: Path, cases: Cases) -> dict[str, Centre]:
    """Return the sites of some cases from a CSV with the columns case, x_mm, y_mm, z_mm.

    Raises UsageError for a missing file, and for a case or place that is not there, BenchError for a damaged file.
    """
    if not path.is_file():
        raise UsageError(f"no file {path}; it needs the columns case, x_mm, y_mm, z_mm")
    sites: dict[str, Centre] = {}
    for site in read_rows(path, Site):
        if site.case in sites:
            raise BenchError(f"{path}: {site.case} has two sites; keep one")
        affine = cases.affines[cases.index(site.case)]
        place = (np.linalg.inv(affine) @ [site.x_mm, site.y_mm, site.z_mm, 1.0])[2::-1]  # (w, h, d) turned round
        if not np.isfinite(place).all() or (place < -0.5).any() or (place > cases.card.size - 0.5).any():
            raise UsageError(f"{path}: the site of {site.case} lies outside of its volume")
        sites[site.case] = _centre(place, cases)
    if not sites:
        raise UsageError(f"{path} names no site")
    return sites


def take_cases(cases: Cases, names: Sequence[str]) -> Cases:
    """Return some cases of a split, in the split's order."""
    wanted = set(names)
    chosen = [index for index, name in enumerate(cases.names) if name in wanted]
    arrays = {key: getattr(cases, key)[chosen] for key in ("hounsfield", "line_integrals", "affines")}
    return replace(cases, names=tuple(cases.names[index] for index in chosen), **arrays)


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
    """Return line integrals (V, h, w) of a fine volume (n, n, n) in HU with a nodule, and its template."""
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


def _centre(index: Iterable[float], cases: Cases) -> Centre:
    d, h, w = ((float(i) + 0.5 - cases.card.size / 2) * cases.card.voxel_mm for i in index)
    return d, h, w


def _signal(cases: Cases, with_it: Cases) -> dict[str, float]:
    """Return by case the largest difference that its nodule makes in a pixel of any view, as a share of the scale."""
    apart = (with_it.images([index]) - cases.images([index]) for index in range(len(cases)))
    return {name: float(one.abs().max()) for name, one in zip(cases.names, apart, strict=True)}


def _respond(run: TrainedRun, cases: Cases, templates: Sequence[Mapping[str, Template]], what: str) -> list[Responses]:
    """Return what reconstructions hold of the nodules of each set of templates by case."""
    found: list[Responses] = [{} for _ in templates]
    with run.progress.task(f"{run.config.method}: {what}", len(cases)) as task:
        for names, volumes, _ in reconstruct_cases(run, cases):
            for name, volume in zip(names, volumes, strict=True):
                hounsfield = to_hounsfield(volume.astype(np.float64), cases.card.window)
                for of, responses in zip(templates, found, strict=True):
                    responses[name] = of[name].share(hounsfield), of[name].contrast(hounsfield)
            task.advance(len(found[0]))
    return found


def _point(
    facts: Mapping[str, str], diameter: float, signal: dict[str, float], without: Responses, with_it: Responses
) -> Point:
    values: Values = {
        "view_signal": signal,
        "contrast_kept": {name: with_it[name][0] - without[name][0] for name in signal},
        "contrast_with": {name: with_it[name][1] for name in signal},
        "contrast_without": {name: without[name][1] for name in signal},
    }
    absent, present = (np.array(list(values[key].values())) for key in ("contrast_without", "contrast_with"))
    found = {"auroc_nodule": auroc(absent, present, paired=True)}
    return Point(facts, DIAMETER, f"{diameter:g}", values, of_set=found, compared=False)
