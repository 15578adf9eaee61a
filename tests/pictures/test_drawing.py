"""Pictures: a method looks the same in all of them, also to the colour-blind, and axes can be read."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from bench.errors import BenchError
from bench.performance.growth import Curve, draw_growth
from bench.pictures import drawing
from bench.pictures.drawing import MARKERS, PALETTE, colour_of, log_ticks, looks_of, marker_of
from bench.plugins.registry import discover_methods, get_method
from bench.study.catalogue import draw_study
from bench.study.plot import Panel, make_figure
from bench.study.points import Point, read_study, summarise, write_points

SIMULATED = {  # of linear RGB: Machado, Oliveira and Fernandes, 2009, severity 1
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
STUDIES = Path(__file__).parents[2] / "results" / "studies"


def built_in_methods() -> list[str]:
    found = discover_methods()[0]
    return sorted(name for name, plugin in found.items() if plugin.card.kind == "method" and plugin.builtin)


def test_a_method_looks_the_same_whatever_stands_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = built_in_methods()
    looks = looks_of(methods)
    assert len({(colour_of(look), marker_of(look)) for look in looks.values()}) == len(methods)
    for names in (methods[::-1], methods[-1:], [*methods, "aaa", "mean"], ["zzz", *methods[2:]]):
        assert {name: looks_of(names)[name] for name in methods} == looks
    found, broken = discover_methods()
    installed = replace(found[methods[0]], implementation="elsewhere:Installed", builtin=False)
    monkeypatch.setattr(drawing, "discover_methods", lambda: ({"aaa": installed, **found}, broken))
    assert {name: looks_of(["aaa"])[name] for name in methods} == looks  # a plug-in changes nobody's colour
    others = looks_of(["b", "a", "c"])
    assert [others[name] - len(methods) for name in "abc"] == [0, 1, 2]

    count = len(PALETTE) * len(MARKERS)
    assert len({(colour_of(look), marker_of(look)) for look in range(count)}) == count


@pytest.mark.parametrize("paper", [0, 1], ids=["white", "black"])
@pytest.mark.parametrize("sight", SIMULATED)
def test_colours_differ_to_every_eye(sight: str, paper: int) -> None:
    coded = np.array([[int(colour[paper][place : place + 2], 16) / 255 for place in (1, 3, 5)] for colour in PALETTE])
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(SIMULATED[sight]).T, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    assert min(float(deltaE_ciede2000(a, b)) for a, b in itertools.combinations(lab, 2)) > 10


@pytest.mark.parametrize(
    ("low", "high"), [(0.03, 4), (2.1, 4.9), (0.0109, 0.2), (1, 1.3), (1e-5, 1e5), (0.0310, 0.0321)]
)
def test_a_logarithmic_axis_has_two_ticks_inside_and_not_many(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert all(low <= tick <= high for tick in ticks)
    assert log_ticks(0.005, 30) == pytest.approx([0.01, 0.1, 1, 10])  # powers of ten where they do


def test_the_growth_of_cost_can_be_read() -> None:
    amounts = (1.0, 2.0, 4.0)
    names = built_in_methods()
    curves = [Curve(name, "cases", amounts, (0.2 + 0.01 * i, 0.3, 0.45), 1.0, 0.1) for i, name in enumerate(names)]
    curves += [Curve("project x", "views", amounts, (0.0121, 0.03, 0.18), 1.0, 0.1)]
    figure = draw_growth(curves, "a title")
    figure.canvas.draw()
    looks = looks_of([*names, "project x"])
    for panel, own in zip(figure.axes, (names, ["project x"]), strict=False):
        low, high = panel.get_ylim()
        places = [place for place in panel.get_yticks() if low <= place <= high]
        words = [label.get_text() for label in panel.get_yticklabels()]
        assert len(places) >= 2
        assert [float(word) for word in words] == pytest.approx(places)
        assert not any(letter in word for word in words for letter in "$e^")
        drawn = {line.get_label().partition("\n")[0]: line for line in panel.get_lines() if line.get_marker() != "None"}
        styles = {name: (line.get_color(), line.get_marker()) for name, line in drawn.items()}
        assert styles == {name: (colour_of(looks[name]), marker_of(looks[name])) for name in own}
        legend = panel.get_legend().get_window_extent()
        assert legend.x0 >= panel.get_window_extent().x1  # beside the points, not over them
        assert legend.x1 <= figure.bbox.x1


def study_points(methods: list[str]) -> list[Point]:
    points = []
    for level, method in enumerate(methods):
        facts = dict.fromkeys(("run_id", "source", "preset", "seed"), "0") | {"method": method, "dataset": "toy"}
        for step in ("4", "8"):
            psnr = {f"case {index}": 20.0 + level + index / 7 for index in range(4)} | {"none": float("nan")}
            points.append(Point(facts, "sampling steps", step, {"psnr": psnr}, note='a, "note"'))
    return [*points, Point(facts, "sampling steps", "16", {}, note="refused")]


def test_the_colour_of_a_method_in_a_study_is_that_of_all_pictures() -> None:
    methods = built_in_methods()[::-1]
    figure = make_figure("a title", [Panel("sampling steps", "psnr")], summarise(study_points(methods)))
    found = {line.get_label().partition(",")[0]: line.get_color() for line in figure.axes[0].get_lines()}
    looks = looks_of(methods)
    assert found == {get_method(method).card.title: colour_of(looks[method]) for method in methods}


def test_marks_of_many_settings_do_not_run_into_each_other() -> None:
    steps = [71.1, 73.8, 86.8, 88.3, 133.0, 167.0, 179.0, 189.0, 229.0, 289.0, 327.0, 1900.0]
    facts = dict.fromkeys(("run_id", "source", "preset", "seed"), "0") | {"method": "toy", "dataset": "toy"}
    points = [Point(facts, "cost", str(step), {"psnr": {"case": step / 100}}) for step in steps]
    floor = Point(facts | {"method": "mean"}, "cost", "71.1", {"psnr": {"case": 3.0}})
    figure = make_figure("a title", [Panel("cost", "psnr")], summarise([*points, floor]))
    figure.draw_without_rendering()
    (axis,) = figure.axes
    texts = [text for text in axis.get_xticklabels() if text.get_text()]
    inside = [text.get_window_extent() for text in texts if 71 <= float(text.get_text()) <= 1900]
    assert len(inside) >= 3
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(sorted(inside, key=lambda box: box.x0)))
    (line,) = [line for line in axis.lines if line.get_label() == "mean volume"]
    assert list(line.get_xdata()) == [0, 1]  # from side to side: it was measured once


def test_a_study_is_drawn_again_from_its_csv_alone(tmp_path: Path) -> None:
    path, points = tmp_path / "steps-toy.csv", study_points(["b", "a"])
    write_points(path, "steps", points)
    recorded = read_study(path)
    assert repr(recorded.summaries) == repr(tuple(summarise(points)))  # NaN is no NaN
    assert [s.mean.n for s in recorded.summaries] == [4] * 4
    assert (recorded.study, recorded.cases) == ("steps", 5)
    assert recorded.notes[-1] == "a, sampling steps 16: refused"
    before = path.read_text()
    picture = draw_study(path)
    assert picture == tmp_path / "steps-toy.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert path.read_text() == before
    path.write_text(before.replace("steps,", "unheard,"))
    with pytest.raises(BenchError, match="unheard"):
        draw_study(path)
    path.write_text(before.replace("case,case 0,value,20.0,", "case,case 0,value,twenty,"))
    with pytest.raises(BenchError, match="line 5, column value: Input should be a valid number"):
        draw_study(path)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.csv")), ids=lambda path: path.stem)
def test_committed_studies_can_be_drawn(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    assert draw_study(copy).stat().st_size > 10_000
