"""The gallery: a picture of the truth beside what each finished run made of it, in the order of the leaderboard."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import imread

from bench.cases import Cases
from bench.cli import run_command
from bench.metrics import NLL
from bench.report.collect import Group, collect_groups
from bench.report.gallery import draw_gallery
from bench.results.leaderboard import ENOUGH_METHODS
from bench.results.model import read_results
from bench.system.progress import Progress

from ..helpers.report_data import CODER, FLOOR, add_run, install


@pytest.fixture
def home(tmp_path: Path, make_data: Callable[..., dict[str, Cases]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results and runs of two methods and a floor on one data set."""
    cases = install(monkeypatch, make_data())["test"]
    for method, error in (("worse", 0.2), ("better", 0.05), (FLOOR, 0.1)):
        add_run(tmp_path, cases, method, error)
    add_run(tmp_path, cases, CODER, 0.1, more={NLL: 5.0})  # a floor that is there for its bits
    return tmp_path


def command(home: Path, *more: str) -> list[str]:
    places = ["--results-dir", str(home / "results"), "--runs-dir", str(home / "runs")]
    return ["gallery", "--out", str(home / "gallery.png"), *places, *more]


def test_columns_are_views_truth_methods_best_first_and_apart_from_them_floors(
    home: Path, make_data: Callable[..., dict[str, Cases]], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    drawn = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), drawn(self, *a, **k))[1])
    assert run_command(command(home, "--case", "1")) == 0
    assert imread(home / "gallery.png")[..., :3].std() > 0.05
    axes = figures[0].axes
    titled = {axis.get_title().split("\n")[0]: axis for axis in axes if axis.get_title()}
    assert list(titled) == ["X-rays", "truth", "better", "worse", FLOOR]
    cases = make_data()["test"]
    truth = cases.truth(cases.names[1])
    views, shown, made = (np.asarray(titled[name].images[0].get_array()) for name in ("X-rays", "truth", "better"))
    np.testing.assert_allclose(views, cases.images([1])[0, 0].numpy())
    np.testing.assert_allclose(shown, truth[truth.shape[0] // 2])
    assert 0 < np.abs(made - shown).max() < 0.5
    left = {name: axis.get_position().x0 for name, axis in titled.items()}
    step = left["worse"] - left["better"]
    assert left[FLOOR] - left["worse"] > 1.2 * step


def test_of_a_data_set_the_largest_grid_is_drawn_alone(
    home: Path, make_data: Callable[..., dict[str, Cases]], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = home / "results"
    (small,) = collect_groups(read_results(results), results, home / "runs", "psnr", Progress())
    large = replace(small, facts={**small.facts, "preset": "large"}, cases=make_data(test=8, size=24)["test"])
    monkeypatch.setattr(Group, "prediction", lambda self, folder, case: self.truth(case))
    drawn: list[str] = []
    monkeypatch.setattr(SubFigure, "suptitle", lambda self, text, **_: drawn.append(text))
    names = draw_gallery(home / "gallery.png", [small, large, replace(small)])
    assert [title.split(" · ")[2] for title in drawn] == ["large"]
    assert large.cases is not None
    assert names == [large.cases.names[0]]

    many = replace(small, subjects=[one for one in small.subjects if one.entry.kind == "method"] * ENOUGH_METHODS)
    draw_gallery(home / "gallery.png", [large, many])
    assert drawn[-1].split(" · ")[2] == small.facts["preset"], "a large grid hides methods that only a small one has"


def test_what_cannot_be_drawn_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(command(home, "--case", "8")) == 2
    assert "has 8 cases; there is no case 8" in capsys.readouterr().err
    shutil.rmtree(home / "runs")
    assert run_command(command(home)) == 2
    assert "there is no run to draw" in capsys.readouterr().err
    assert not (home / "gallery.png").exists()
