"""The baggage phantom: one bag at every grid, packed by gravity, with labels and factors that say what is in it."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from bench.datasets.baggage import DATASET, vessels
from bench.datasets.baggage.bag import BELT_D, Bag, draw_bag, place_things
from bench.datasets.baggage.materials import MATERIALS, NUMBERS, visible_hounsfield
from bench.datasets.baggage.packing import CELL, Packed, columns
from bench.datasets.baggage.phantom import CLOTHES, CUBE_MM, bag_factors, bag_labels, bag_phantom, labels_of, render
from bench.datasets.baggage.things import UPRIGHT, Placed, fillings
from bench.datasets.shapes import Canvas
from bench.projector import project

from ..helpers.populations import measure_bag

Labels = dict[str, np.ndarray]
GRID = 96
SEEDS = range(5)


@pytest.fixture(scope="module")
def bags() -> list[Bag]:
    return [draw_bag(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def volumes(bags: list[Bag]) -> list[np.ndarray]:
    """The first bags at 6.7 mm."""
    return [render(bag, GRID) for bag in bags]


@pytest.fixture(scope="module")
def labels(bags: list[Bag]) -> list[Labels]:
    return [labels_of(bag, GRID) for bag in bags]


def filled_by(placed: Placed, canvas: Canvas) -> np.ndarray:
    """The part of each voxel that a thing takes, with what is in it."""
    taken = np.zeros_like(canvas.hounsfield)
    for item, box, filled, _ in fillings(placed, canvas):
        if item.within is None and item.material:
            taken[box] += filled
        elif not item.material:
            taken[box] -= filled
    return taken


def test_a_seed_always_gives_the_same_bytes() -> None:
    first = bag_phantom(7, 48)
    assert first.shape == (48, 48, 48)
    assert first.dtype == np.int16
    factors = bag_factors(7)
    assert np.corrcoef(first.ravel(), bag_phantom(8, 48).ravel())[0, 1] < 0.9  # and the bag that is kept is another
    assert first.tobytes() == bag_phantom(7, 48).tobytes()
    assert factors == bag_factors(7)


def test_values_are_those_of_a_scanner_that_clips_metal(volumes: list[np.ndarray]) -> None:
    for volume in volumes:
        assert volume.min() >= -1024
        assert volume.max() <= 3071
        air = volume[:4].astype(float)  # above all bags
        assert air.mean() == pytest.approx(-1000, abs=2)
        assert 2 < air.std() < 30
    assert sum((volume == 3071).any() for volume in volumes) >= 2  # not every bag holds metal thicker than a voxel


@pytest.mark.parametrize("seed", range(4))
def test_coarse_and_fine_grids_show_the_same_bag(seed: int) -> None:
    bag = dataclasses.replace(draw_bag(seed), noise=0.0)
    coarse = render(bag, 32).astype(float)
    fine = render(bag, 128).astype(float).reshape(32, 4, 32, 4, 32, 4).mean((1, 3, 5))
    error = coarse - fine
    assert abs(error.mean()) < 2
    assert error.std() < 25
    for axis in range(3):  # a shift by a voxel would not pass
        assert np.std(np.roll(coarse, 1, axis) - fine) > 3 * error.std()


def test_nothing_overlaps(bags: list[Bag]) -> None:
    for bag in bags:
        canvas = Canvas(GRID, CUBE_MM, 0.0)
        taken = np.sum([filled_by(placed, canvas) for placed in place_things(bag)], axis=0)
        assert taken.max() < 1.1  # zips and rings touch the shell
        assert (taken > 1.02).sum() < 60


def test_everything_packed_lies_inside_its_bag(bags: list[Bag]) -> None:
    for bag in bags:
        canvas = Canvas(GRID, CUBE_MM, 0.0)
        _, box, room, _ = next(fillings(Placed(bag.luggage.inside, bag.turn @ bag.luggage.turn, bag.place), canvas))
        inside = np.zeros_like(canvas.hounsfield)
        inside[box] = room
        for placed in place_things(bag)[-len(bag.packed.things) :]:
            assert inside[filled_by(placed, canvas) > 0.5].min(initial=1) > 0.4, placed.thing.kind


def test_everything_packed_rests_on_something(bags: list[Bag]) -> None:
    for bag in bags[:3]:
        room, packed = bag.luggage.room, bag.packed
        canvas = Canvas(160, 5 * 160, 0.0)  # voxels of a column's width, in the room's frame
        solid = [filled_by(placed, canvas) > 0.08 for placed in packed.things]
        for index, thing in enumerate(solid):
            others = np.logical_or.reduce([other for k, other in enumerate(solid) if k != index])
            gap = lowest_gap(thing, others, packed, canvas, room.half[0], columns(room))
            assert gap < 4.5 * CELL, packed.things[index].thing.kind


def lowest_gap(
    thing: np.ndarray, others: np.ndarray, packed: Packed, canvas: Canvas, floor: float, lattice: tuple[np.ndarray, ...]
) -> float:
    """How far a thing (a mask) could fall until it meets another, a garment or the floor; edges are 40 mm high."""
    gaps = []
    for row, col in np.argwhere(thing.any(0)):
        bottom = canvas.centres[np.flatnonzero(thing[:, row, col])[-1]]
        below = canvas.centres[others[:, row, col]]
        place = [int(np.abs(axis - canvas.centres[k]).argmin()) for axis, k in zip(lattice, (row, col), strict=True)]
        edge = min(*place, *(len(axis) - 1 - k for axis, k in zip(lattice, place, strict=True)))
        tops = [*below, floor - 40 * (edge * CELL < 55)]
        tops += [g.top[*place] for g in packed.garments if (g.bottom - g.top)[*place] > 0.5]
        gaps.append(min((top - bottom for top in tops if top > bottom - 1.5 * CELL), default=0.0))
    return float(min(gaps))


def test_bags_are_packed_like_cabin_bags(bags: list[Bag], volumes: list[np.ndarray], labels: list[Labels]) -> None:
    found = [measure_bag(bag, v, label["things"]) for bag, v, label in zip(bags, volumes, labels, strict=True)]
    expected = {"length, mm": (300, 600), "width, mm": (200, 400), "thickness, mm": (120, 280)}
    for name, (low, high) in expected.items():
        assert all(low <= one[name] <= high for one in found), name
    assert 0.5 < np.mean([one["inside: -900 to -600 HU (clothes)"] for one in found]) < 0.72
    assert 9 < np.mean([one["things packed"] for one in found]) < 20
    assert -750 < np.mean([one["inside: mean, HU"] for one in found]) < -630


def test_bags_stand_on_the_belt_that_is_always_at_one_height(volumes: list[np.ndarray], bags: list[Bag]) -> None:
    voxel = CUBE_MM / GRID
    below = round((BELT_D + 15) / voxel + GRID / 2)
    for bag, volume in zip(bags, volumes, strict=True):
        assert (volume[below:] < -800).all()
        underside = round((bag.underside - 2) / voxel + GRID / 2)
        assert (volume[underside - 1 : underside + 2] > -850).sum() > 300


def test_labels_name_what_the_scan_shows(volumes: list[np.ndarray], labels: list[Labels]) -> None:
    found: dict[str, list[np.ndarray]] = {}
    names = {number: name for name, number in NUMBERS.items()}
    for volume, label in zip(volumes, labels, strict=True):
        assert label["things"].shape == label["materials"].shape == volume.shape
        inner = np.ones_like(volume, bool)  # voxels among six of the same material
        for axis in range(3):
            inner &= np.roll(label["materials"], 1, axis) == label["materials"]
            inner &= np.roll(label["materials"], -1, axis) == label["materials"]
        for number in np.unique(label["materials"][inner & (label["things"] < CLOTHES)]):
            found.setdefault(names.get(number, "air"), []).append(volume[inner & (label["materials"] == number)])
        assert np.abs(np.median(volume[(label["things"] == 0)]) + 1000) < 20
        assert -900 < np.median(volume[label["things"] == CLOTHES]) < -600
    checked = 0
    for name in ("water", "ethanol", "juice", "steel", "lithium cell", "rubber", "energetic", "soap"):
        if len(values := np.concatenate(found.get(name, [np.zeros(0)]))) > 30:
            checked += 1
            shown = visible_hounsfield(name)
            assert np.median(values) == pytest.approx(shown, abs=0.17 * (shown + 1000)), name
    assert checked >= 5


def test_factors_are_plain_and_count_what_the_labels_show(bags: list[Bag], labels: list[Labels]) -> None:
    for seed, label in zip(SEEDS, labels, strict=True):
        factors = bag_factors(seed)
        assert json.loads(json.dumps(factors)) == factors
        things = {thing["label"]: thing for thing in factors["thing_list"]}
        assert set(np.unique(label["things"])) - {0, CLOTHES} <= set(things)
        for number, thing in things.items():
            assert set(thing["materials"]) <= set(MATERIALS)
            where = np.argwhere(label["things"] == number)
            if thing["kind"] in ("bottle", "book", "fruit", "roll") and len(where):
                middle = (where.mean(0) - (GRID - 1) / 2) * CUBE_MM / GRID
                assert np.abs(middle - thing["place"]).max() < 40
    assert np.array_equal(bag_labels(3, 32)["things"], labels_of(bags[3], 32)["things"])


def test_two_views_see_where_things_are_but_hardly_which_of_two_is_in_front() -> None:
    bag = dataclasses.replace(draw_bag(6), noise=0.0, yaw=0.0)
    can = vessels.can(np.random.default_rng(0))

    def scan(*places: tuple[float, float]) -> np.ndarray:
        things = tuple(Placed(can, UPRIGHT, np.array([0.0, *place])) for place in places)
        return render(dataclasses.replace(bag, packed=dataclasses.replace(bag.packed, things=things)), 64)

    diagonal, swapped, moved = ((-60, -90), (60, 90)), ((-60, 90), (60, -90)), ((-60, 0), (60, -180))
    scans = torch.from_numpy(np.stack([scan(*places) for places in (diagonal, swapped, moved)])).float()
    views = project(scans, CUBE_MM / 64, DATASET.geometry, (270.0, 0.0), 64)
    scan_change, view_change = ((x[1:] - x[0]).pow(2).flatten(1).mean(1).sqrt().tolist() for x in (scans, views))
    assert scan_change[0] == pytest.approx(scan_change[1], rel=0.2)
    assert view_change[0] < 0.5 * view_change[1]


def test_views_are_those_of_a_bag_on_the_belt() -> None:
    volume = torch.from_numpy(DATASET.phantom(4, 48)).float()
    views = project(volume[None], CUBE_MM / 48, DATASET.geometry, (270.0, 0.0), 48)[0]
    assert 0.3 < float(views.max()) < 5  # 0.022 a centimetre of water
    lowest = round((BELT_D * 1.5 / 1300 + 0.5) * 48) + 3  # rows of the panel under the belt
    assert float(views[:, lowest:].max()) < 0.2 * float(views[:, :lowest].max())
