"""Floors beside every study: their numbers, their differences, what is said of them, and that they leave no trace."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bench.data.cases import load_dataset
from bench.metrics.distortion import psnr
from bench.metrics.stats import mean_intervals
from bench.pipeline.plan import RunRequest, plan
from bench.pipeline.run import run_one
from bench.plugins.registry import get_dataset
from bench.results.findings import EMPTY
from bench.study.catalogue import STUDIES, Answer, run_study
from bench.study.plot import make_figure
from bench.study.points import FLOORS, Point, Summary, read_study, summarise, write_points
from bench.study.runs import StudyRequest
from bench.study.verdicts import describe_study, generate_verdicts, write_verdicts
from bench.system.generated import fill_block
from bench.system.progress import Progress

FEW = ("data.phantoms=[12, 1, 5]",)
TOY = '''
import torch
from bench.method import Method, MethodCard, Settings

class Config(Settings):
    steps: int = 2

class Grey(Method):
    """One grey, the mean of the first view."""
    Config = Config
    card = MethodCard("grey", "Grey", "", 2026, "", "", frozenset({"volume"}))

    def __init__(self, config, data):
        self.size = data.size

    def stages(self):
        return ()

    def reconstruct(self, views, *, seeds):
        return views.images[:, 0].mean((1, 2))[:, None, None, None].expand(-1, *(self.size,) * 3)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy and its finished run."""
    root = tmp_path_factory.mktemp("floors")
    (root / "grey.py").write_text(TOY)
    run_one(fitted(root, f"{root}/grey.py:Grey"), Progress())
    return root


def fitted(root: Path, method: str) -> RunRequest:
    places = {"runs_dir": root / "runs", "results_dir": root / "scored"}
    return RunRequest(method, "lidc", "smoke", 0, FEW, source="phantom", only="fit", **places)


@cache
def answered(place: Path, name: str, **other) -> Answer:
    """What a study answers; of the same question, once."""
    shared = {"methods": (f"{place}/grey.py:Grey",), "preset": "smoke", "source": "phantom", "overrides": FEW}
    places = {"runs_dir": place / "runs", "results_dir": place / "results"}
    return run_study(name, StudyRequest(**{**shared, **places, "setting": "steps", **other}), Progress())


def at(answer: Answer, method: str, setting: str) -> Point:
    (found,) = (p for p in answer.points if p.facts["method"] == method and p.setting == setting)
    return found


def files(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_floors_score_what_the_training_cases_say(place: Path) -> None:
    answer = answered(place, "shuffle")
    spec = get_dataset("lidc")
    cases = load_dataset(spec, plan(fitted(place, "mean")).config.data, "phantom")
    test, train = cases["test"], cases["train"]
    mean = np.mean([train.truth(name) for name in train.names], axis=0)
    views, known = (some.images(range(len(some))).numpy() for some in (test, train))
    distances = ((views[:, None] - known[None]) ** 2).mean((2, 3, 4))
    for index, name in enumerate(test.names):
        truth, nearest = test.truth(name), train.truth(train.names[distances[index].argmin()])
        own = {floor: at(answer, floor, "own").values["psnr"][name] for floor in FLOORS}
        assert own["mean"] == pytest.approx(psnr(truth, mean, data_range=1.0), abs=1e-3)
        assert own["nearest"] == pytest.approx(psnr(truth, nearest, data_range=1.0), abs=1e-3)


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if not study.trains and name != "ood"])
def test_floors_stand_beside_every_study_at_every_setting(place: Path, name: str) -> None:
    values = {"steps": (1,), "samples": (2,), "calibration": (3,), "lesion": (40,)}
    answer = answered(place, name, **({"values": values[name]} if name in values else {}))
    measured = {
        method: {(p.parameter, p.setting) for p in answer.points if p.facts["method"] == method}
        for method in ("grey", *FLOORS)
    }
    assert measured["grey"]
    assert measured["mean"] == measured["nearest"] == measured["grey"]
    assert answer.csv.name == f"{name}-lidc-smoke-grey-s0.csv"


def test_the_mean_volume_ignores_what_is_done_to_views_and_the_nearest_case_does_not(place: Path) -> None:
    answer = answered(place, "shuffle")
    for floor, same in (("mean", True), ("nearest", False)):
        own, others = (at(answer, floor, setting).values["psnr"] for setting in ("own", "all of another's"))
        assert (own == others) is same


def test_the_difference_from_the_mean_volume_is_paired(place: Path) -> None:
    answer = answered(place, "shuffle")
    mine, mean = (at(answer, method, "all of another's").values["psnr"] for method in ("grey", "mean"))
    apart = np.array([[mine[case] - mean[case]] for case in mine])
    expected = mean_intervals(apart)
    found = {(s.method, s.setting, s.metric): s for s in summarise(answer.points)}["grey", "all of another's", "psnr"]
    assert found.over == pytest.approx(apart.mean())
    assert (found.over_low, found.over_high) == pytest.approx((expected.low[0], expected.high[0]))
    rows = [r for r in csv.DictReader(answer.csv.read_text().splitlines()) if r["method"] == "grey"]
    stated = {row["stat"] for row in rows if (row["metric"], row["setting"]) == ("psnr", "own")}
    assert {"over_mean", "over_mean_ci_lo", "over_mean_ci_hi"} <= stated
    read = {(s.method, s.setting, s.metric): s for s in read_study(answer.csv).summaries}
    assert read["grey", "all of another's", "psnr"].over == found.over
    assert np.isnan(read["mean", "own", "psnr"].over)
    assert np.isnan(read["grey", "own", "seconds"].over)


def test_a_study_writes_no_run_and_enters_no_score(place: Path) -> None:
    before = set(files(place / "runs"))
    answered(place, "misalign", limit=2)
    assert set(files(place / "runs")) == before
    assert {path.name for path in (place / "results").iterdir()} == {"studies"}
    assert not (place / "scored").exists()


def test_floors_of_trained_studies_are_fitted_at_each_setting_once(place: Path) -> None:
    answer = answered(place, "views", values=(1, 2), seeds=(0, 1))
    assert [(p.facts["method"], p.setting) for p in answer.points] == [
        *(("grey", "1"), ("mean", "1"), ("nearest", "1")),
        *(("grey", "2"), ("mean", "2"), ("nearest", "2")),
        *(("grey", "1"), ("grey", "2")),
    ]
    one, two = (at(answer, "mean", setting).values["psnr"] for setting in ("1", "2"))
    assert one == two
    assert not {path.name for path in (place / "results").iterdir()} - {"studies"}


def test_pictures_show_floors_as_lines(place: Path) -> None:
    answer = answered(place, "misalign")
    study = STUDIES["misalign"]
    (axis, *_) = make_figure("", study.panels, read_study(answer.csv).summaries).axes
    labels = {line.get_label(): line for line in axis.lines}
    assert {"mean volume", "nearest case"} <= labels.keys()
    heights = labels["mean volume"].get_ydata()
    assert len(heights) == 4
    assert np.ptp(heights) == 0


def recorded(tmp_path: Path, study: str, points: list[Point]):
    write_points(tmp_path / "studies" / f"{study}-toy.csv", study, points)
    return read_study(tmp_path / "studies" / f"{study}-toy.csv")


def made(method: str, parameter: str, setting: str, values: list[float], seed: str = "0") -> Point:
    facts = {"run_id": method, "method": method, "dataset": "lidc", "source": "phantom", "preset": "tiny", "seed": seed}
    return Point(facts, parameter, setting, {"psnr": {f"case-{i}": value for i, value in enumerate(values)}})


SPREAD = [-0.4, -0.2, 0.0, 0.1, 0.2, 0.3, -0.1, 0.1]


def moved(*, aligned: float, at_worst: float, floors: bool = True) -> list[Point]:
    """A study of one method that has some PSNR over the mean volume's 20 dB as it should be, and at 40 mm."""
    points = [
        made("grey", "shift, mm", setting, [20.0 + over + s for s in SPREAD])
        for setting, over in (("0", aligned), ("40", at_worst))
    ]
    mean = [made("mean", "shift, mm", setting, [20.0] * len(SPREAD)) for setting in ("0", "40")]
    return points + (mean if floors else [])


@pytest.mark.parametrize(
    ("aligned", "at_worst", "said"),
    [
        (3.0, 1.0, "withstands unaligned views as far as they were tried"),
        (3.0, 0.0, "the claim is not shown"),
        (0.8, -1.3, "the claim is not shown"),
        (0.0, 0.0, "not above it to begin with"),
    ],
)
def test_what_a_study_shows_of_unaligned_views(tmp_path: Path, aligned: float, at_worst: float, said: str) -> None:
    text = describe_study(recorded(tmp_path, "misalign", moved(aligned=aligned, at_worst=at_worst)))
    assert said in text
    assert f"{aligned:+.2f} [" in text
    assert ("withstands unaligned views as far" in text) == (said.startswith("withstands"))


def test_a_study_without_floors_shows_nothing(tmp_path: Path) -> None:
    text = describe_study(recorded(tmp_path, "misalign", moved(aligned=3.0, at_worst=1.0, floors=False)))
    assert "Nothing is shown" in text
    assert "`bench study misalign`" in text


@pytest.mark.parametrize(("loss", "said"), [(2.0, "it uses them"), (0.0, "that it uses its views is not shown")])
def test_what_a_study_shows_of_the_use_of_views(tmp_path: Path, loss: float, said: str) -> None:
    points = [
        made("grey", "whose views", "own", [20.0] * len(SPREAD)),
        made("grey", "whose views", "all of another's", [20.0 - loss + s for s in SPREAD]),
    ]
    assert said in describe_study(recorded(tmp_path, "shuffle", points))


@pytest.mark.parametrize("seeds", [1, 3])
def test_fewer_than_three_trainings_are_said_to_be_too_few(tmp_path: Path, seeds: int) -> None:
    points = [
        made("grey", "views", views, [float(10 * seed + int(views))] * 4, str(seed))
        for seed in range(seeds)
        for views in ("1", "2")
    ]
    text = describe_study(recorded(tmp_path, "views", points))
    assert ("3 are needed" in text) == (seeds < 3)
    assert ("11.00 ± 10.00 with 1" in text) == (seeds == 3)


def test_the_sentences_fill_a_block_of_the_findings(tmp_path: Path) -> None:
    out = tmp_path / "FINDINGS.md"
    assert "No study has been made yet" in write_verdicts(tmp_path)
    recorded(tmp_path, "misalign", moved(aligned=3.0, at_worst=1.0))
    (tmp_path / "studies" / "broken.csv").write_text("study,no\n1,2\n")
    (part,) = generate_verdicts(tmp_path, out)
    assert "`broken.csv` cannot be read: broken.csv" in part.text
    assert "withstands" in fill_block(EMPTY, part.block, part.text, out)
    out.write_text("# By hand\n")
    assert generate_verdicts(tmp_path, out) == []


def test_numbers_of_few_cases_have_no_interval_and_are_no_claim(tmp_path: Path) -> None:
    every = moved(aligned=3.0, at_worst=1.0)
    points = [replace(p, values={"psnr": dict(list(p.values["psnr"].items())[:2])}) for p in every]
    text = describe_study(recorded(tmp_path, "misalign", points))
    assert "is not shown" in text
    assert "nan" not in text


def test_a_summary_knows_that_it_has_no_floor() -> None:
    (summary,) = summarise([made("grey", "p", "1", [1.0, 2.0, 3.0])])
    assert isinstance(summary, Summary)
    assert np.isnan([summary.over, summary.over_low, summary.over_high]).all()
