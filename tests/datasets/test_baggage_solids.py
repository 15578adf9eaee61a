"""Parts of a bag fill their volume on any grid and turned any way; walls keep their mass, liquids their level."""

from collections.abc import Callable

import numpy as np
import pytest

from bench.datasets.baggage import belongings, electronics, threats, vessels
from bench.datasets.baggage.bag import SHARES
from bench.datasets.baggage.packing import silhouette, turn_about_vertical
from bench.datasets.baggage.solids import Box, Ellipsoid, Loft, Round, Solid, rod
from bench.datasets.baggage.things import FLAT, ON_EDGE, UPRIGHT, Placed, Strand, Thing, fillings, part
from bench.datasets.shapes import Canvas

TILTED = turn_about_vertical(0.4) @ ON_EDGE @ turn_about_vertical(-0.9)
ANGLE = np.linspace(0, 2 * np.pi, 200)
SOLIDS: dict[str, tuple[Solid | Strand, float]] = {
    "box": (Box((30.0, 42.0, 61.0)), 8 * 30 * 42 * 61),
    "sheet": (Box((0.8, 60.0, 75.0)), 8 * 0.8 * 60 * 75),
    "wire": (Box((0.9, 0.7, 90.0)), 8 * 0.9 * 0.7 * 90),
    "round box": (Box((20.0, 50.0, 60.0), 18.0), 40 * (100 * 120 - (4 - np.pi) * 18**2)),
    "rod": (rod(22.0, 150.0), np.pi * 22**2 * 150),
    "thin rod": (rod(1.4, 150.0), np.pi * 1.4**2 * 150),
    "disc": (rod(40.0, 1.6), np.pi * 40**2 * 1.6),
    "cone": (Round((-60.0, 60.0), (40.0, 10.0)), np.pi * 120 * (40**2 + 40 * 10 + 10**2) / 3),
    "ellipsoid": (Ellipsoid((36.0, 42.0, 50.0)), 4 / 3 * np.pi * 36 * 42 * 50),
    "wedge": (Loft((-80.0, 80.0), (30.0, 30.0), (-20.0, 10.0), (20.0, 20.0)), 60 * 160 * 25),
    "ring": (Strand(np.stack([0 * ANGLE, 60 * np.cos(ANGLE), 60 * np.sin(ANGLE)], 1), 3.0), np.pi * 9 * np.pi * 120),
}


def filled_volume(thing: Thing, turn: np.ndarray, grid: int) -> float:
    canvas = Canvas(grid, 320.0, 0.0)
    _, _, filled, _ = next(fillings(Placed(thing, turn, np.array([7.3, -11.1, 4.2])), canvas))
    return float(filled.sum(dtype=np.float64)) * canvas.voxel**3


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("turn", [FLAT, UPRIGHT, TILTED], ids=["flat", "upright", "tilted"])
@pytest.mark.parametrize("grid", [32, 64])
def test_solids_fill_their_volume(name: str, turn: np.ndarray, grid: int) -> None:
    solid, volume = SOLIDS[name]
    assert filled_volume(Thing(name, (part(solid, "steel"),)), turn, grid) == pytest.approx(volume, rel=0.05)


@pytest.mark.parametrize("turn", [FLAT, TILTED], ids=["flat", "tilted"])
def test_solids_lie_where_they_are_put(turn: np.ndarray) -> None:
    canvas = Canvas(64, 320.0, 0.0)
    place = np.array([20.0, -30.0, 15.0])
    thing = Thing("box", (part(Box((12.0, 25.0, 50.0)), "steel", at=(5.0, -8.0, 30.0)),))
    _, box, filled, _ = next(fillings(Placed(thing, turn, place), canvas))
    centre = [float((filled * axis).sum() / filled.sum()) for axis in canvas.axes(box)]
    assert centre == pytest.approx(turn @ [5.0, -8.0, 30.0] + place, abs=0.5)
    across = filled * (np.stack(np.broadcast_arrays(*canvas.axes(box))) - np.array(centre)[:, None, None, None])
    long_axis = np.linalg.eigh(across.reshape(3, -1) @ across.reshape(3, -1).T)[1][:, -1]
    assert abs(long_axis @ turn[:, 2]) > 0.99


@pytest.mark.parametrize("grid", [32, 128])
def test_thin_walls_keep_their_mass(grid: int) -> None:
    outer = part(rod(30.0, 200.0), "glass")
    thing = Thing("tube", (outer, part(rod(29.0, 200.0), "water", within=outer)))
    canvas = Canvas(grid, 320.0, 0.0)
    shares = [float(filled.sum(dtype=np.float64)) * canvas.voxel**3
              for _, _, filled, _ in fillings(Placed(thing, TILTED, np.zeros(3)), canvas)]  # fmt: skip
    assert shares[0] - shares[1] == pytest.approx(np.pi * (30**2 - 29**2) * 200, rel=0.15)


@pytest.mark.parametrize("turn", [FLAT, UPRIGHT, TILTED], ids=["lying", "standing", "tilted"])
@pytest.mark.parametrize("level", [0.3, 0.7])
def test_a_liquid_fills_its_part_and_stands_level(turn: np.ndarray, level: float) -> None:
    outer = part(rod(36.0, 180.0), "polyester")
    room = part(rod(35.0, 178.0), "water", within=outer, level=level)
    canvas = Canvas(128, 320.0, 0.0)
    _, (_, box, filled, below) = fillings(Placed(Thing("b", (outer, room)), turn, np.array([9.0, 4.0, -6.0])), canvas)
    liquid, full = filled * below, filled > 0.99
    assert liquid.sum() / filled.sum() == pytest.approx(level, abs=0.02)
    d = np.broadcast_to(canvas.axes(box)[0], full.shape)
    surface = d[full & (liquid < 0.01)].max()
    assert d[full & (liquid > 0.99)].min() == pytest.approx(surface + 2 * canvas.voxel, abs=1.1 * canvas.voxel)


MAKERS = [*SHARES, belongings.shoe, electronics.laptop, threats.block, threats.sheet, threats.angle_iron,
          threats.blade, threats.pipe]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_inner_parts_lie_inside_and_silhouettes_cover_all(make: Callable[[np.random.Generator], Thing]) -> None:
    for seed in range(3):
        thing = make(np.random.default_rng(seed))
        turn = turn_about_vertical(0.3) @ thing.stances[seed % len(thing.stances)]
        canvas = Canvas(160, 480.0, 0.0)
        solid = np.zeros_like(canvas.hounsfield)
        for item, box, filled, _ in fillings(Placed(thing, turn, np.zeros(3)), canvas):
            if item.within is None and item.material:
                solid[box] += filled
            elif not isinstance(item.shape, Strand):
                assert (filled <= solid[box] + 0.15).all(), item.material  # never outside the part it lies in
            if not item.material:
                solid[box] -= filled
        top, bottom = silhouette(thing, turn)
        places = [np.rint(canvas.centres / 5 + (size - 1) / 2).astype(int) for size in top.shape]
        shown = [np.clip(place, 0, size - 1) for place, size in zip(places, top.shape, strict=True)]
        tops, bottoms = (chart[shown[0]][:, shown[1]] for chart in (top, bottom))
        d = canvas.centres[:, None, None]
        outside = ~((d >= tops - 1.5) & (d <= bottoms + 1.5))
        assert (solid[outside] < 0.6).all()


def test_vessels_hold_what_their_facts_say() -> None:
    for seed in range(8):
        thing = vessels.bottle(np.random.default_rng(seed))
        facts = dict(thing.facts)
        assert thing.parts[0].material == facts["wall"]
        assert thing.parts[1].material == facts["liquid"]
        assert 0.3 <= thing.parts[1].level == pytest.approx(float(facts["level"]), abs=1e-3)
