"""`bench data measure`: the statistics are those of a chest of known shape, and the tables reach the README."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.cli.data import app
from bench.datasets.lidc.population import PUBLISHED, _verdict, lungs_of, measures, population
from bench.errors import UsageError
from bench.performance.agreement import has_plastimatch

README = Path(__file__).resolve().parents[2] / "datasets" / "README.md"
VOXEL = 4.0


def chest() -> np.ndarray:
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
    found = measures(chest(), VOXEL)
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
    volume = chest()
    alone = measures(volume, VOXEL)
    volume[:, 80:82, 15:95] = 100  # a sheet behind the back
    assert measures(volume, VOXEL)["front to back, mm"] == alone["front to back, mm"]
    h, w = np.ogrid[-44.5:45, -54.5:55]
    narrow = chest()
    narrow[:, np.hypot(h, w) > 35] = -1000  # a circle of 280 mm in a field that ends with it
    cut = measures(narrow[:, 10:-10, 20:-20], VOXEL)
    assert np.isnan(cut["lateral, mm"])
    assert cut["lung volume, l"] == pytest.approx(alone["lung volume, l"], rel=0.01)


def test_what_holds_no_lungs_has_no_measures() -> None:
    block = np.full((40, 40, 40), 40.0, np.float32)
    assert not lungs_of(block, VOXEL).any()
    assert np.isnan(list(measures(block, VOXEL).values())).all()


@pytest.mark.parametrize(
    ("published", "values", "verdict"),
    [
        ((10, 2, None, None), [11, 12.9], "yes, +1.0 sd"),
        ((10, 2, None, None), [12, 13], "**no**, +1.2 sd"),
        ((10, None, 8, 12), [9, 9], "yes, in the range"),
        ((10, None, 8, 12), [7, np.nan], "**no**, out of the range"),
        ((10, None, None, None), [7], "–"),
    ],
)
def test_the_verdict_is_one_standard_deviation(published: tuple, values: list[float], verdict: str) -> None:
    assert _verdict(published, np.array(values)) == verdict


def test_the_readme_shows_a_population_that_agrees() -> None:
    blocks = dict(re.findall(r"<!-- ([\w ]+) -->\n(.*?)\n<!-- /\1 -->", README.read_text(), re.DOTALL))
    assert blocks.keys() == {"population lidc", "population baggage", "projector", "speed"}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in blocks["population lidc"].splitlines()]
    assert [row[0] for row in rows[2:]] == list(PUBLISHED)
    assert all(row[-1].startswith(("yes", "–")) for row in rows[2:]), rows


@pytest.mark.skipif(not has_plastimatch(), reason="needs plastimatch: pip install plastimatch")
def test_the_command_prints_its_tables_and_renews_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    readme = tmp_path / "README.md"
    names = ("population baggage", "projector", "speed")
    readme.write_text("before\n" + "".join(f"<!-- {name} -->\nSTALE\n<!-- /{name} -->\n" for name in names) + "after\n")
    result = CliRunner().invoke(app, ["measure", "baggage", "--subjects", "2", "--readme", str(readme)])
    assert result.exit_code == 0, result.output
    text = readme.read_text()
    assert text.startswith("before\n<!-- population baggage -->\n| | expected | 2 phantoms")
    assert text.endswith("after\n")
    assert "STALE" not in text
    for name in names:
        block = text.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0]
        assert len(block) > 50
        assert block in result.output
    errors = [float(value) for value in re.findall(r"\| (?:PA|lateral) \| ([\d.]+)% \|", text)]
    assert len(errors) == 2
    assert max(errors) < 1


def test_what_cannot_be_measured_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    error = CliRunner().invoke(app, ["measure", "lidc", "--real", str(tmp_path)]).exception
    assert isinstance(error, UsageError)
    assert "no CT was found" in str(error)


def test_phantoms_are_measured_on_the_whole_field(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, float]] = []

    def render(anatomy: object, grid: int, cube_mm: float) -> np.ndarray:
        drawn.append((grid, cube_mm))
        assert anatomy.field_of_view > cube_mm * np.sqrt(2)
        return np.pad(chest().repeat(2, 0).repeat(2, 1).repeat(2, 2), ((40, 40), (30, 30), (10, 10)), "edge")

    monkeypatch.setattr("bench.datasets.lidc.population.render", render)
    lines = population(2).splitlines()
    assert drawn == [(240, 480.0)] * 2
    assert lines[2].startswith("| lateral, mm | 326 ± 36 (280 … 416) | 320 ± 0 (320 … 320) | yes, -0.2 sd |")
