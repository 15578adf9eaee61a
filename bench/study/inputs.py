"""Studies that change the views of the test cases and nothing else: whose they are, how they moved, how noisy they are.

The changed views are put in the place of the true ones; weights, grey scale, seeds and truth stay.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from bench.cases import Cases, take_first
from bench.data.cases import fine_volumes
from bench.errors import UsageError
from bench.projector import project
from bench.study.degrade import add_poisson_noise, harden_beam, move_object
from bench.study.points import Point
from bench.study.runs import StudyRequest, TrainedRun, measure
from bench.system.progress import Progress
from bench.system.seeding import derive_seed

OWN, OTHERS = "own", "all of another's"
WHOSE = "whose views"
ROTATION, SHIFT, SCALE = "turn between views, degrees", "shift between views, mm", "change of size between views, %"
MOVEMENTS: dict[str, tuple[float, ...]] = {ROTATION: (5, 10, 20), SHIFT: (10, 20, 40), SCALE: (5, 10, 20)}
ANGLE_ERROR = "error of the second view's angle, degrees"
ANGLE_ERRORS = (-10.0, -5.0, -2.5, -1.0, 1.0, 2.5, 5.0, 10.0)
PHOTONS, VOLTAGE = "photons a pixel", "tube voltage, kV"
PHOTON_COUNTS = (1e6, 1e5, 1e4, 1e3)
VOLTAGES = (120.0, 90.0, 60.0)
NONE, ONE_ENERGY = "no noise", "one energy"


def shuffle_views(request: StudyRequest, runs: Sequence[TrainedRun], _: Progress) -> Iterator[Point]:
    """Give another patient's views, all of them or one: how much of each view does a method use?"""
    for run in runs:
        cases = take_first(run.cases["test"], request.limit)
        if len(cases) < 2:
            raise UsageError("shuffle needs at least 2 test cases")
        partner = pair_cases(len(cases), run.seed)
        yield _point(run, cases, WHOSE, OWN)
        yield _point(run, replace_views(cases, cases.line_integrals[partner]), WHOSE, OTHERS)
        for index, angle in enumerate(cases.card.angles if cases.card.views > 1 else ()):
            integrals = np.array(cases.line_integrals)
            integrals[:, index] = cases.line_integrals[partner, index]
            yield _point(run, replace_views(cases, integrals), WHOSE, f"another's at {angle:g}°")


def misalign_views(request: StudyRequest, runs: Sequence[TrainedRun], _: Progress) -> Iterator[Point]:
    """Move the object after the first view: turned about its long axis, shifted, or of another size.

    The truth is where the first view saw it. The direction of a movement is drawn for each case and kept at all
    strengths, so that no method can learn it.
    """
    cases = _two_views("misalign", request, runs)
    views = move_views(runs[0], cases, MOVEMENTS)
    for run in runs:
        true = _point(run, cases, "", "0").values
        for parameter, strengths in MOVEMENTS.items():
            yield Point(run.facts, parameter, "0", true)
            for strength in strengths:
                yield _point(run, replace_views(cases, views[parameter, strength]), parameter, f"{strength:g}")


def misstate_angle(request: StudyRequest, runs: Sequence[TrainedRun], _: Progress) -> Iterator[Point]:
    """Take the second view at another angle than the one that is stated; the others and the truth stay."""
    cases = _two_views("angle", request, runs)
    card = cases.card
    angles, mirrored = [card.angles[1] + error for error in ANGLE_ERRORS], [card.mirrored[1]] * len(ANGLE_ERRORS)
    integrals = {error: np.array(cases.line_integrals) for error in ANGLE_ERRORS}
    for name, volume in fine_cases(runs[0], cases, "project the second view"):
        hounsfield, voxel_mm = torch.from_numpy(volume)[None], runs[0].spec.cube_mm / len(volume)
        views = project(hounsfield, voxel_mm, card.geometry, angles, card.image_size, mirrored=mirrored)
        for error, view in zip(ANGLE_ERRORS, views[0].numpy(), strict=True):
            integrals[error][cases.index(name), 1] = view
    for run in runs:
        yield _point(run, cases, ANGLE_ERROR, "0")
        for error in ANGLE_ERRORS:
            yield _point(run, replace_views(cases, integrals[error]), ANGLE_ERROR, f"{error:g}")


def degrade_views(request: StudyRequest, runs: Sequence[TrainedRun], _: Progress) -> Iterator[Point]:
    """Take few photons, or the whole spectrum of a tube without scatter, in all views."""
    for run in runs:
        cases = take_first(run.cases["test"], request.limit)
        true = _point(run, cases, "", NONE).values
        yield Point(run.facts, PHOTONS, NONE, true)
        for photons in PHOTON_COUNTS:
            random = [np.random.default_rng(derive_seed(run.seed, "noise", photons, name)) for name in cases.names]
            views = [add_poisson_noise(v, photons, r) for v, r in zip(cases.line_integrals, random, strict=True)]
            setting = f"{photons:.0e}".replace("e+0", "e")
            yield _point(run, replace_views(cases, np.stack(views)), PHOTONS, setting)
        yield Point(run.facts, VOLTAGE, ONE_ENERGY, true)
        harden = partial(harden_beam, cases.line_integrals, unchanged=cases.card.geometry.grey_scale)
        for kilovolts in VOLTAGES:
            yield _point(run, replace_views(cases, harden(kilovolts)), VOLTAGE, f"{kilovolts:g}")


def pair_cases(count: int, seed: int) -> np.ndarray:
    """Return for each case another one, each used once: the next in a random ring."""
    ring = np.random.default_rng(derive_seed(seed, "shuffle")).permutation(count)
    partner = np.empty(count, dtype=int)
    partner[ring] = np.roll(ring, 1)
    return partner


def fine_cases(run: TrainedRun, cases: Cases, what: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and volume (n, n, n) float32 in HU, from which the views were projected, of some cases of a split.

    `what` is done with them, by which progress is shown.
    """
    wanted = set(cases.names)
    fine = fine_volumes(run.spec, run.config.data, cases.card.source, cases.split)
    with run.progress.task(what, len(cases)) as task:
        for name, volume in zip(run.cases[cases.split].names, fine, strict=False):
            if name in wanted:
                wanted.remove(name)
                yield name, volume.astype(np.float32)
                task.advance(len(cases) - len(wanted))
            if not wanted:  # the others would be drawn for nothing
                return


def move_views(
    run: TrainedRun, cases: Cases, movements: Mapping[str, Sequence[float]]
) -> dict[tuple[str, float], np.ndarray]:
    """Return line integrals (N, V, h, w) by movement and strength: the first view as it was, the others after it."""
    card, angles, mirrored = cases.card, cases.card.angles[1:], cases.card.mirrored[1:]
    wanted = [(parameter, strength) for parameter, strengths in movements.items() for strength in strengths]
    integrals = {movement: np.array(cases.line_integrals) for movement in wanted}
    for name, volume in fine_cases(run, cases, "project the moved objects"):
        hounsfield, voxel_mm = torch.from_numpy(volume)[None], run.spec.cube_mm / len(volume)
        for movement in wanted:
            moved = _move(hounsfield, voxel_mm, name, *movement)
            views = project(moved, voxel_mm, card.geometry, angles, card.image_size, mirrored=mirrored)
            integrals[movement][cases.index(name), 1:] = views[0].numpy()
    return integrals


def replace_views(cases: Cases, integrals: np.ndarray) -> Cases:
    return replace(cases, line_integrals=integrals)


def _two_views(study: str, request: StudyRequest, runs: Sequence[TrainedRun]) -> Cases:
    """Return the test cases, the same of all runs, or the study was refused. Raises UsageError for a single view."""
    cases = take_first(runs[0].cases["test"], request.limit)
    if cases.card.views < 2:
        raise UsageError(f"{study} needs at least 2 views; {runs[0].folder.root.name} has one")
    return cases


def _move(hounsfield: torch.Tensor, voxel_mm: float, name: str, parameter: str, strength: float) -> torch.Tensor:
    """Return the volume (1, D, H, W) of case `name` after a movement in the direction that is drawn for it."""
    random = np.random.default_rng(derive_seed("movement", name))
    sign, direction = random.choice([-1.0, 1.0]), random.normal(size=3)
    if parameter == ROTATION:
        return move_object(hounsfield, voxel_mm, degrees=sign * strength)
    if parameter == SHIFT:
        shift_mm = torch.from_numpy(strength * direction / np.linalg.norm(direction))
        return move_object(hounsfield, voxel_mm, shift_mm=shift_mm)
    return move_object(hounsfield, voxel_mm, scale=1 + sign * strength / 100)


def _point(run: TrainedRun, cases: Cases, parameter: str, setting: str) -> Point:
    values = measure(run, cases, f"{run.config.method}: {parameter} {setting}".strip())
    return Point(run.facts, parameter, setting, values)
