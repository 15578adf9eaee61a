"""Phantoms of many seeds have the statistics that are published of real chests, and that cabin bags have.

`pytest -m slow -s tests/datasets/test_populations.py` measures the tables of datasets/README.md again; BENCH_CHESTS=DIR
adds scans of your own, of the whole field.
"""

import os
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from bench.datasets.baggage.bag import draw_bag, place_things
from bench.datasets.baggage.phantom import labels_of, render
from bench.plugins.registry import get_dataset
from bench.scans.reading.find import find_scans
from bench.scans.reading.scan import ScanSource

from ..helpers.populations import PUBLISHED, agrees, draw_fields, find_lungs, measure_bag, measure_chest, summarise

README = Path(__file__).parents[2] / "datasets" / "README.md"
VOXEL = 4.0
PARTS = {"lung of body": (0.19, 0.28), "fat of body": (0.23, 0.36), "above 250 HU of body": (0.024, 0.05)}
SUBJECTS, FINE_MM, GRID = 20, 2.0, 128  # of the README's tables


def draw_chest() -> np.ndarray:
    """(80, 90, 110) HU at 4 mm: a trunk of 320 × 240 mm, 12 mm of fat round muscle, two lungs, a windpipe, a spine."""
    d, h, w = (((np.arange(n) - (n - 1) / 2) * VOXEL).astype(np.float32) for n in (80, 90, 110))
    d, h, w = d[:, None, None], h[None, :, None], w[None, None, :]
    volume = np.full((80, 90, 110), -1000.0, np.float32)
    trunk = np.broadcast_to((h / 120) ** 2 + (w / 160) ** 2 < 1, volume.shape)
    volume[trunk] = -105
    volume[np.broadcast_to((h / 108) ** 2 + (w / 148) ** 2 < 1, volume.shape)] = 55
    for side in (-1, 1):
        volume[(d / 130) ** 2 + (h / 80) ** 2 + ((w - side * 75) / 55) ** 2 < 1] = -865
    volume[np.broadcast_to((h - 85) ** 2 + w**2 < 18**2, volume.shape)] = 400
    volume[:40][np.broadcast_to((h**2 + w**2 < 8**2), volume[:40].shape)] = -1000  # open at the top
    return volume + np.random.default_rng(0).normal(0, 9, volume.shape).astype(np.float32)


def test_measures_are_those_of_the_shapes() -> None:
    found = measure_chest(draw_chest(), VOXEL)
    litres = 2 * 4 / 3 * np.pi * 130 * 80 * 55 / 1e6
    slab = np.pi * 120 * 160 * 320 / 1e6
    assert found["lateral, mm"] == pytest.approx(320, abs=8)
    assert found["front to back, mm"] == pytest.approx(240, abs=8)
    assert found["lung volume, l"] == pytest.approx(litres, rel=0.03)
    assert found["lung height, mm"] == pytest.approx(260, abs=8)
    assert found["lung mode, HU"] == pytest.approx(-865, abs=5)
    assert found["fat mode, HU"] == pytest.approx(-105, abs=5)
    assert found["muscle mode, HU"] == pytest.approx(55, abs=5)
    assert found["lung of body"] == pytest.approx(litres / slab, rel=0.03)
    assert found["fat of body"] == pytest.approx(1 - 108 * 148 / (120 * 160), rel=0.1)
    assert found["above 250 HU of body"] == pytest.approx(18**2 / (120 * 160), rel=0.1)
    assert found.keys() == PUBLISHED.keys()


def test_neither_a_table_nor_a_cut_field_of_view_is_measured_as_body() -> None:
    volume = draw_chest()
    alone = measure_chest(volume, VOXEL)
    volume[:, 80:82, 15:95] = 100  # a sheet behind the back
    assert measure_chest(volume, VOXEL)["front to back, mm"] == alone["front to back, mm"]
    h, w = np.ogrid[-44.5:45, -54.5:55]
    narrow = draw_chest()
    narrow[:, np.hypot(h, w) > 35] = -1000  # a circle of 280 mm in a field that ends with it
    cut = measure_chest(narrow[:, 10:-10, 20:-20], VOXEL)
    assert np.isnan(cut["lateral, mm"])
    assert cut["lung volume, l"] == pytest.approx(alone["lung volume, l"], rel=0.01)


def test_what_holds_no_lungs_has_no_measures() -> None:
    block = np.full((40, 40, 40), 40.0, np.float32)
    assert not find_lungs(block, VOXEL).any()
    assert np.isnan(list(measure_chest(block, VOXEL).values())).all()


def test_chests_have_the_statistics_of_real_ones() -> None:
    chests = [measure_chest(volume, VOXEL) for volume in draw_fields(16, VOXEL)]
    columns = {name: [one[name] for one in chests] for name in PUBLISHED}
    assert [name for name, known in PUBLISHED.items() if agrees(known, columns[name], 0.75) is False] == []
    for name, (low, high) in PARTS.items():
        assert low < np.mean(columns[name]) < high, name
    for name, (_, sd, _, _) in PUBLISHED.items():
        if sd is not None:  # subjects differ from each other as patients do
            assert 0.4 * sd < np.nanstd(columns[name]) < 1.6 * sd, name
    assert not np.isnan(columns["lung volume, l"]).any()


def read_rows(heading: str) -> dict[str, list[str]]:
    """The cells of each row of the table under a heading of the README, by the first cell."""
    section = README.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    return {name: cells for name, *cells in rows[2:]}


def check_same(cell: str, measured: str) -> None:
    """Every number of a cell is the one that was measured, but for a unit of its last digit."""
    known, ours = (re.findall(r"-?\d+(?:\.\d+)?", text) for text in (cell, measured))
    assert len(known) == len(ours)
    for one, other in zip(known, ours, strict=True):
        digit = 10.0 ** -len(one.partition(".")[2])
        assert float(other) == pytest.approx(float(one), abs=1.01 * digit), (cell, measured)


def test_the_readme_shows_chests_that_agree() -> None:
    rows = read_rows("Chests")
    assert list(rows) == list(PUBLISHED)
    assert all(cells[-1].startswith(("yes", "–")) for cells in rows.values())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_chests_are_those_of_the_readme() -> None:
    chests = [measure_chest(volume, FINE_MM) for volume in draw_fields(SUBJECTS, FINE_MM)]
    for name, (_, _, known, _) in read_rows("Chests").items():
        values = [one[name] for one in chests]
        print(f"\n| {name} | {summarise(values)} |", end="")
        check_same(known, summarise(values))
        assert agrees(PUBLISHED[name], values) is not False


@pytest.mark.slow
@pytest.mark.skipif("BENCH_CHESTS" not in os.environ, reason="measures the scans of whole chests in BENCH_CHESTS=DIR")
def test_real_chests_are_measured_as_phantoms_are() -> None:
    scans = [item for item in find_scans(Path(os.environ["BENCH_CHESTS"])) if isinstance(item, ScanSource)]
    chests = [measure_chest(read_scan(scan), FINE_MM) for scan in scans]
    for name in PUBLISHED:
        print(f"\n| {name} | {summarise([one[name] for one in chests])} |", end="")
    assert not np.isnan([one["lung volume, l"] for one in chests]).any()


def read_scan(source: ScanSource) -> np.ndarray:
    """A scan at 2 mm over its whole field, (D, H, W) HU; padding is air."""
    scan = source.read()
    hounsfield = np.clip(scan.hounsfield, -1000, 3071).astype(np.float32)
    factors = np.array(scan.spacing_mm) / FINE_MM
    return ndimage.zoom(hounsfield, factors, order=1, grid_mode=True, mode="nearest")


@pytest.mark.slow
def test_bags_are_those_of_the_readme() -> None:
    bags = [draw_bag(seed) for seed in range(SUBJECTS)]
    found = [measure_bag(bag, render(bag, GRID), labels_of(bag, GRID)["things"]) for bag in bags]
    for name, (_, known) in read_rows("Bags").items():
        measured = summarise([one[name] for one in found])
        print(f"\n| {name} | {measured} |", end="")
        check_same(known, measured)
    kinds = Counter(kind for bag in bags for kind in {placed.thing.kind for placed in place_things(bag)})
    threats = sum(any(placed.thing.threat for placed in bag.packed.things) for bag in bags)
    said = re.sub(r"\s+", " ", README.read_text().partition("Of the bags hold: ")[2].partition("\n\n")[0])
    shares = {f"{kind} {number / SUBJECTS:.0%}" for kind, number in kinds.items()}
    print(f"\n{', '.join(sorted(shares))}. A threat-like thing: {threats / SUBJECTS:.0%}.")
    listed, _, threat = said.partition(". A threat-like thing: ")
    assert set(listed.split(", ")) == shares
    assert threat.startswith(f"{threats / SUBJECTS:.0%}.")


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["baggage", "lidc"])
def test_a_phantom_takes_less_than_a_second(dataset: str) -> None:
    spec = get_dataset(dataset)
    spec.phantom(0, 64)
    began = time.process_time()
    for seed in range(1, 11):
        spec.phantom(seed, 64)
    each = (time.process_time() - began) / 10
    print(f"\n| {dataset} | {each:.3f} | {2 / each:.1f} |")
    assert each < 1
