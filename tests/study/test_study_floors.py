"""Floors beside every study: their numbers, their differences, what is said of them, and that they leave no trace."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.metrics.distortion import psnr
from bench.metrics.stats import Estimate, mean_intervals
from bench.results.findings import EMPTY
from bench.study.calibration import FACTOR, INSIDE
from bench.study.catalogue import STUDIES
from bench.study.plot import make_figure
from bench.study.points import FLOORS, Point, Recorded, read_study, summarise, write_points
from bench.study.verdicts import describe_study, generate_verdicts, write_verdicts
from bench.system.generated import fill_block

from ..helpers.study_lab import Lab, at, make_lab

VALUES = {"steps": (1,), "samples": (2,), "calibration": (3,), "lesion": (40,)}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("floors"), (12, 1, 5))


def list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_floors_score_what_the_training_cases_say(lab: Lab) -> None:
    cases = lab.run().cases
    test, train = cases["test"], cases["train"]
    mean = np.mean([train.truth(name) for name in train.names], axis=0)
    views, known = (some.images(range(len(some))).numpy() for some in (test, train))
    distances = ((views[:, None] - known[None]) ** 2).mean((2, 3, 4))
    for index, name in enumerate(test.names):
        made = {"mean": mean, "nearest": train.truth(train.names[distances[index].argmin()])}
        for floor in FLOORS:
            found = at(lab.ask("shuffle"), "own", floor).values["psnr"][name]
            assert found == pytest.approx(psnr(test.truth(name), made[floor], data_range=1.0), abs=1e-3)


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if not study.trains and name != "ood"])
def test_floors_stand_beside_every_study_at_every_setting(lab: Lab, name: str) -> None:
    before = list_files(lab.root / "runs")
    answer = lab.ask(name, **({"values": VALUES[name]} if name in VALUES else {}))
    measured: dict[str, set[tuple[str, str]]] = {"toy": set()}
    for point in answer.points:
        measured.setdefault(point.facts["method"], set()).add((point.parameter, point.setting))
    assert measured["toy"]
    assert measured["mean"] == measured["nearest"] == measured["toy"]
    assert answer.csv.name == f"{name}-lidc-smoke-toy-s0.csv"
    written = list_files(lab.root / "runs") - before  # no run, and no score:
    assert {path.relative_to(lab.run().folder.root).parts[0] for path in written} <= {"samples"}
    assert {path.name for path in (lab.root / "results").iterdir()} == {"studies"}


def test_the_mean_volume_ignores_what_is_done_to_views_and_the_nearest_case_does_not(lab: Lab) -> None:
    for floor, same in (("mean", True), ("nearest", False)):
        own, others = (at(lab.ask("shuffle"), s, floor).values["psnr"] for s in ("own", "all of another's"))
        assert (own == others) is same


def test_the_difference_from_the_mean_volume_is_paired(lab: Lab) -> None:
    answer = lab.ask("shuffle")
    mine, mean = (at(answer, "all of another's", method).values["psnr"] for method in ("toy", "mean"))
    apart = np.array([[mine[case] - mean[case]] for case in mine])
    expected = mean_intervals(apart)
    read = {(s.method, s.setting, s.metric): s for s in read_study(answer.csv).summaries}
    over = read["toy", "all of another's", "psnr"].over
    assert over.value == pytest.approx(apart.mean())
    assert (over.low, over.high) == pytest.approx((expected.low[0], expected.high[0]))
    rows = [r for r in csv.DictReader(answer.csv.read_text().splitlines()) if r["method"] == "toy"]
    stated = {row["stat"] for row in rows if (row["metric"], row["setting"]) == ("psnr", "own")}
    assert {"over_mean", "over_mean_ci_lo", "over_mean_ci_hi"} <= stated
    assert np.isnan(read["mean", "own", "psnr"].over.value)
    assert np.isnan(read["toy", "own", "seconds"].over.value)


def test_floors_of_trained_studies_are_fitted_at_each_setting_once(lab: Lab) -> None:
    answer = lab.ask("views", values=(1, 2), seeds=(0, 1))
    first = [(method, setting) for setting in ("1", "2") for method in ("toy", *FLOORS)]
    assert [(p.facts["method"], p.setting) for p in answer.points] == [*first, ("toy", "1"), ("toy", "2")]
    one, two = (at(answer, setting, "mean").values["psnr"] for setting in ("1", "2"))
    assert one == two
    assert {path.name for path in (lab.root / "results").iterdir()} == {"studies"}


def test_pictures_show_floors_as_lines(lab: Lab) -> None:
    figure = make_figure("", STUDIES["misalign"].panels, read_study(lab.ask("misalign").csv).summaries)
    labels = {line.get_label(): line for line in figure.axes[0].lines}
    assert {"mean volume", "nearest case"} <= labels.keys()
    heights = labels["mean volume"].get_ydata()
    assert len(heights) == 4
    assert np.ptp(heights) == 0


def record(tmp_path: Path, study: str, points: list[Point]) -> Recorded:
    write_points(tmp_path / "studies" / f"{study}-toy.csv", study, points)
    return read_study(tmp_path / "studies" / f"{study}-toy.csv")


def make_point(method: str, parameter: str, setting: str, values: list[float], seed: str = "0") -> Point:
    facts = {"run_id": method, "method": method, "dataset": "lidc", "source": "phantom", "preset": "tiny", "seed": seed}
    return Point(facts, parameter, setting, {"psnr": {f"case-{i}": value for i, value in enumerate(values)}})


SPREAD = [-0.4, -0.2, 0.0, 0.1, 0.2, 0.3, -0.1, 0.1]


def move(aligned: float, at_worst: float) -> list[Point]:
    """A study of one method that has some PSNR over the mean volume's 20 dB as it should be, and at 40 mm."""
    levels = {"0": aligned, "40": at_worst}
    grey = [make_point("grey", "shift, mm", at, [20.0 + over + s for s in SPREAD]) for at, over in levels.items()]
    return [*grey, *(make_point("mean", "shift, mm", at, [20.0] * len(SPREAD)) for at in levels)]


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
    text = describe_study(record(tmp_path, "misalign", move(aligned, at_worst)))
    assert said in text
    assert f"{aligned:+.2f} [" in text
    assert ("withstands unaligned views as far" in text) == (said.startswith("withstands"))


def test_a_study_without_floors_shows_nothing(tmp_path: Path) -> None:
    text = describe_study(record(tmp_path, "misalign", move(3.0, 1.0)[:2]))
    assert "Nothing is shown" in text
    assert "`bench study misalign`" in text


@pytest.mark.parametrize(("loss", "said"), [(2.0, "it uses them"), (0.0, "that it uses its views is not shown")])
def test_what_a_study_shows_of_the_use_of_views(tmp_path: Path, loss: float, said: str) -> None:
    own = make_point("grey", "whose views", "own", [20.0] * len(SPREAD))
    others = make_point("grey", "whose views", "all of another's", [20.0 - loss + s for s in SPREAD])
    assert said in describe_study(record(tmp_path, "shuffle", [own, others]))


@pytest.mark.parametrize("seeds", [1, 3])
def test_fewer_than_three_trainings_are_said_to_be_too_few(tmp_path: Path, seeds: int) -> None:
    points = [
        make_point("grey", "views", views, [float(10 * seed + int(views))] * 4, str(seed))
        for seed in range(seeds)
        for views in ("1", "2")
    ]
    text = describe_study(record(tmp_path, "views", points))
    assert ("3 are needed" in text) == (seeds < 3)
    assert ("11.00 ± 10.00 with 1" in text) == (seeds == 3)


def test_a_method_is_weak_where_its_longest_training_stays_below_the_shortest_of_the_best(tmp_path: Path) -> None:
    parameter = "training, CPU seconds"
    curves = {"lift_unet": (200, 1.0, 26.0), "x2ctgan": (80, 1.0, 21.0), "codediff": (250, 0.1, 28.0)}
    points = [
        make_point(method, parameter, str(cost * n), [level + gain * n + noise for noise in (-0.5, 0.0, 0.5, 1.0)])
        for method, (cost, gain, level) in curves.items()  # one gains little by more training, and began better
        for n in (2, 1, 4)
    ]
    text = describe_study(record(tmp_path, "budget", points))
    assert "X2CT-GAN (seed 0): 22.25 after 80, 23.25 after 160, 25.25 after 320 CPU seconds; the longest" in text
    least = "the shortest training of Lifting U-Net (seed 0), 27.25 [26.75, 27.75] after 200 CPU seconds"
    assert f"Below {least}, however long they were trained here, weak and not only short of it: X2CT-GAN" in text
    assert text.endswith(f"Not shown to stay below {least}: CodeDiff3D (seed 0).")
    alone = describe_study(record(tmp_path, "budget", points[:3]))
    assert "shortest training of" not in alone


def test_inputs_that_a_likelihood_tells_takes_for_likelier_or_does_not_tell_stand_apart(tmp_path: Path) -> None:
    ends = {"metal": (0.9, 0.8, 1.0), "blurred": (0.2, 0.1, 0.3), "another's views": (0.6, 0.4, 0.8)}
    points = [
        replace(make_point("grey", "input", kind, [1.0] * 4), of_set={"auroc": Estimate(*numbers, 4)})
        for kind, numbers in ends.items()
    ]
    text = describe_study(record(tmp_path, "ood", points))
    assert "above chance: metal 0.90 [0.80, 1.00]; not told from chance: another's views 0.60 [0.40, 0.80]" in text
    assert "below chance, taken for likelier: blurred 0.20 [0.10, 0.30]." in text


def test_samples_that_spread_less_than_they_err_are_said_to(tmp_path: Path) -> None:
    inside = [
        replace(point, values={"inside_body": point.values["psnr"]})
        for point in (make_point("grey", INSIDE, stated, [float(stated) - 0.3] * 4) for stated in ("0.5", "0.9"))
    ]
    skills = {"width, mm": (0.5, 0.4, 0.6), "depth, mm": (1.0, 0.9, 1.1)}
    factors = [
        replace(make_point("grey", FACTOR, factor, [1.0] * 4), of_set={"spread_skill": Estimate(*numbers, 4)})
        for factor, numbers in skills.items()
    ]
    text = describe_study(record(tmp_path, "calibration", [*inside, *factors]))
    assert "the interval that states 0.9 holds 0.60 [0.60, 0.60] of the body's voxels" in text
    assert "Of 2 factors its samples spread less than they err in width, mm and more in none." in text


def test_the_sentences_fill_a_block_of_the_findings(tmp_path: Path) -> None:
    out = tmp_path / "FINDINGS.md"
    assert "No study has been made yet" in write_verdicts(tmp_path)
    record(tmp_path, "misalign", move(3.0, 1.0))
    (tmp_path / "studies" / "broken.csv").write_text("study,no\n1,2\n")
    (part,) = generate_verdicts(tmp_path, out)
    assert "`broken.csv` cannot be read: broken.csv" in part.text
    assert "withstands" in fill_block(EMPTY, part.block, part.text, out)
    out.write_text("# By hand\n")
    assert generate_verdicts(tmp_path, out) == []


def test_numbers_of_few_cases_have_no_interval_and_are_no_claim(tmp_path: Path) -> None:
    few = [replace(p, values={"psnr": dict(list(p.values["psnr"].items())[:2])}) for p in move(3.0, 1.0)]
    text = describe_study(record(tmp_path, "misalign", few))
    assert "is not shown" in text
    assert "nan" not in text


def test_a_summary_knows_that_it_has_no_floor() -> None:
    (summary,) = summarise([make_point("grey", "p", "1", [1.0, 2.0, 3.0])])
    assert np.isnan([summary.over.value, summary.over.low, summary.over.high]).all()
