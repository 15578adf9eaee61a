"""Studies: only what is asked about changes, numbers are those of the run, and what exists is not trained again."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.card import stretch_training
from bench.cli import run_command
from bench.errors import UsageError
from bench.metrics.distortion import mae, mse, psnr
from bench.metrics.ssim import ssim
from bench.runs.folder import RunFolder
from bench.runs.predictions import read_prediction
from bench.study.inputs import MOVEMENTS, move_views, pair_cases
from bench.study.points import FLOORS, read_study
from bench.study.verdicts import describe_study
from methods.codediff.card import CodeDiffConfig
from methods.mednerf.card import MedNerfConfig

from ..helpers.study_lab import Lab, at, make_lab, own

VIEWS, PHOTONS, MEAN, BEST = "whose views", "photons a pixel", "mean of K samples", "best of K samples"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = make_lab(tmp_path_factory.mktemp("study"), (6, 1, 5))
    lab.fit(only="predict")
    return lab


def mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))


def test_unchanged_views_give_the_numbers_of_the_run(lab: Lab) -> None:
    point, run = at(lab.ask("shuffle"), "own"), lab.run()
    cases = run.cases["test"]
    for name in cases.names:
        truth = cases.truth(name)
        made, _ = read_prediction(run.folder.predictions("test") / f"{name}.nii.gz", cases, name)
        expected = {"psnr": psnr(truth, made, data_range=1.0), "ssim": ssim(truth, made, data_range=1.0)}
        expected |= {"mse": mse(truth, made), "mae": mae(truth, made)}
        assert {metric: point.values[metric][name] for metric in expected} == pytest.approx(expected, rel=1e-5)


def test_shuffling_a_view_that_is_not_used_changes_nothing(lab: Lab) -> None:
    settings = ("own", "another's at 0°", "another's at 270°", "all of another's")
    single, second, first, both = (at(lab.ask("shuffle"), setting).values["psnr"] for setting in settings)
    assert single == second != first == both


def test_everyone_gets_the_views_of_exactly_one_other() -> None:
    partner = pair_cases(9, seed=3)
    assert sorted(partner) == list(range(9))
    assert (partner != np.arange(9)).all()


def test_movement_leaves_the_first_view_and_grows_with_its_strength(lab: Lab) -> None:
    run = lab.run()
    cases = run.cases["test"]
    with_none = {parameter: (0.0, *strengths) for parameter, strengths in MOVEMENTS.items()}
    views = move_views(run, cases, with_none)
    for parameter, strengths in with_none.items():
        still = views[parameter, 0.0]
        assert np.allclose(still, cases.line_integrals, atol=1e-4), parameter
        assert all((views[parameter, s][:, 0] == cases.line_integrals[:, 0]).all() for s in strengths)
        changes = [np.abs(views[parameter, s][:, 1] - still[:, 1]).mean() for s in strengths]
        assert changes == sorted(set(changes)), parameter


def test_misalign_and_noise_measure_all_their_settings(lab: Lab) -> None:
    for parameter, strengths in MOVEMENTS.items():
        points = [point for point in own(lab.ask("misalign")) if point.parameter == parameter]
        assert [point.setting for point in points] == ["0", *(f"{strength:g}" for strength in strengths)]
        assert all(point.values["psnr"] == points[0].values["psnr"] for point in points)  # the toy sees the first view
    noisy = lab.ask("noise")
    clean, many, few = (at(noisy, s, parameter=PHOTONS).values["mse"] for s in ("no noise", "1e6", "1e3"))
    assert mean({k: abs(many[k] - clean[k]) for k in clean}) < mean({k: abs(few[k] - clean[k]) for k in clean})
    assert at(noisy, "60").values["mse"] != clean


def test_steps_vary_one_setting_up_to_what_the_method_takes(lab: Lab) -> None:
    answer = lab.ask("steps")
    assert [point.setting for point in own(answer)] == ["4", "8", "2", "1"]
    errors = [mean(at(answer, setting).values["mse"]) for setting in ("8", "4", "2", "1")]
    assert errors == sorted(set(errors))
    chosen = lab.ask("steps", values=(2,), limit=4)
    for method in ("toy", "mean"):
        assert [point.setting for point in chosen.points if point.facts["method"] == method] == ["4", "2"]
    assert len(at(chosen, "2").values["psnr"]) == 4


def test_a_method_without_steps_is_measured_once_beside_one_that_has_them(lab: Lab, tmp_path: Path) -> None:
    folder, toy = lab.fit("backprojection", runs_dir=tmp_path), lab.run().folder.root
    shutil.copytree(toy, tmp_path / "lidc" / "toy" / toy.name)
    answer = lab.ask("steps", run_ids=(folder.name, toy.name), values=(2,), limit=3, runs_dir=tmp_path)
    found = [(point.facts["method"], point.setting) for point in own(answer)]
    assert found == [("backprojection", "none"), ("toy", "4"), ("toy", "2")]
    assert answer.points[0].note == "has no sampling.steps"
    assert len(answer.points[0].values["psnr"]) == 3
    with pytest.raises(UsageError, match=r"backprojection has no setting sampling\.steps"):
        lab.ask("steps", run_ids=(folder.name,), runs_dir=tmp_path)


def test_the_mean_of_samples_is_better_than_one_of_independent_noise(lab: Lab) -> None:
    answer, run = lab.ask("samples", values=(4,)), lab.run()
    best = [mean(at(answer, count, parameter=BEST).values["psnr"]) for count in ("1", "2", "4")]
    means = {count: at(answer, count, parameter=MEAN).values["psnr"] for count in ("1", "4")}
    assert best == sorted(best)
    assert mean(means["4"]) > mean(means["1"])
    assert means["1"] == pytest.approx(at(lab.ask("shuffle"), "own").values["psnr"])
    spread = at(answer, "4", parameter="samples").values["spread"]
    assert 0.7 * 0.05 / 4 < mean(spread) <= 0.05 / 4
    name = run.cases["test"].names[2]
    kept = [run.folder.samples("test", index) / f"{name}.nii.gz" for index in range(4)]
    drawn = np.stack([read_prediction(file, run.cases["test"], name)[0] for file in kept])
    assert drawn.std(0, ddof=1).mean() == pytest.approx(spread[name], rel=1e-3)
    assert not run.folder.samples("test", 4).exists()


def test_views_trains_once_and_notes_what_a_method_refuses(lab: Lab) -> None:
    points = own(lab.ask("views", values=(1, 2, 4)))
    assert [(p.setting, bool(p.values)) for p in points] == [("1", True), ("2", True), ("4", False)]
    assert "toy takes one or two views" in points[2].note
    one, two = (lab.root / "runs/lidc/toy" / point.facts["run_id"] for point in points[:2])
    assert RunFolder(one).record().config.data.angles == (270.0,)
    assert two == lab.run().folder.root  # two views are what it has anyway
    assert RunFolder(two).status == "predicted"
    before = {path: path.stat().st_mtime_ns for path in (lab.root / "runs").glob("*/*/*/run.json")}
    lab.ask("views", values=(1, 2))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_fewer_training_cases_keep_the_test_cases(lab: Lab) -> None:
    answer = lab.ask("train-size", values=(2, 6))
    assert at(answer, "2").values["psnr"].keys() == at(answer, "6").values["psnr"].keys()
    assert len(at(answer, "2", split="train").values["psnr"]) == 2
    for split, size in (("test", 2), ("test", 6), ("train", 2), ("train", 6)):
        bits = at(answer, str(size), split=split).values["nll_bits_per_voxel"]
        assert list(bits.values()) == pytest.approx([3 + size / 100] * len(bits))
    assert "nll_bits_per_voxel" not in at(lab.ask("shuffle"), "own").values


def test_a_budget_stretches_all_that_counts_steps_of_training_and_nothing_else() -> None:
    stretched = stretch_training(CodeDiffConfig(), 0.5)
    assert stretched["vqvae3d.loop.steps"] == stretched["transformer.loop.steps"] == 50_000
    assert (stretched["transformer.warm_up"], stretched["log_sigma.loop.steps"]) == (2500, 10_000)
    endings = {key.rpartition(".")[2] for key in stretched}
    assert endings == {"steps", "warm_up", "codebook_start", "discriminator_start"}
    assert not any(key.startswith("sampling") for key in stretched)
    assert stretch_training(MedNerfConfig(), 2.0)["field.halvings"] == [100_000, 200_000, 400_000]


def test_budget_trains_for_shares_of_the_steps_and_counts_processor_seconds(tmp_path: Path) -> None:
    answer = Lab(tmp_path, (6, 1, 5), "lift_unet").ask("budget", values=(100, 50))
    for point, steps in zip(own(answer), (8, 4), strict=True):
        record = RunFolder(tmp_path / "runs/lidc/lift_unet" / point.facts["run_id"]).record()
        assert [stage.steps for stage in record.stages.values()] == [steps]
        assert point.parameter == "training, CPU seconds"
        assert float(point.setting) == pytest.approx(record.seconds["fit_cpu"], rel=5e-3)
        assert list(point.values) == ["psnr", "dice_lung", "psnr_body"]
    recorded = read_study(answer.csv)
    assert "CPU seconds; the longest changes it by" in describe_study(recorded)
    floors = [point.facts["method"] for point in answer.points if point.facts["method"] != "lift_unet"]
    assert floors == list(FLOORS)  # what a training costs leaves them as they are
    half = next(s for s in recorded.summaries if (s.method, s.metric) == ("lift_unet", "psnr") and s.change.n)
    floor = next(point for point in answer.points if point.facts["method"] == "mean")
    expected = mean(own(answer)[1].values["psnr"]) - mean(floor.values["psnr"])
    assert half.over.value == pytest.approx(expected)


def test_the_csv_holds_summaries_that_its_cases_give(lab: Lab) -> None:
    answer = lab.ask("shuffle")
    assert answer.csv.name == "shuffle-lidc-smoke-toy-s0.csv"
    assert answer.picture.read_bytes().startswith(b"\x89PNG")
    rows = [
        r for r in csv.DictReader(answer.csv.read_text().splitlines()) if (r["method"], r["metric"]) == ("toy", "psnr")
    ]
    cases: dict[str, dict[str, float]] = {}
    for row in (row for row in rows if row["level"] == "case"):
        cases.setdefault(row["setting"], {})[row["case"]] = float(row["value"])
    stats = {(row["setting"], row["stat"]): float(row["value"]) for row in rows if row["level"] == "set"}
    before, others = cases["own"], cases["all of another's"]
    assert stats["own", "mean"] == pytest.approx(mean(before))
    change = mean({case: others[case] - before[case] for case in before})
    assert stats["all of another's", "change"] == pytest.approx(change)
    assert stats["all of another's", "change_ci_lo"] <= change <= stats["all of another's", "change_ci_hi"]
    assert ("own", "change") not in stats


@pytest.mark.parametrize(
    ("name", "other", "words"),
    [
        ("shufle", {}, "did you mean shuffle"),
        ("misalign", {"values": (1,)}, "--values is for views, lesion, steps, samples, calibration, train-size"),
        ("noise", {"methods": ()}, "name trained methods with --method"),
        ("noise", {"methods": ("codediff",)}, r"is not trained on lidc smoke.*run `bench run --method codediff"),
        ("noise", {"run_ids": ("nothing",)}, r"unknown run 'nothing'; known: toy-lidc-smoke-s0"),
        ("views", {"run_ids": ("nothing",)}, "trains runs of its own"),
        ("views", {"values": (9,)}, "1 to 8 views, not 9"),
        ("steps", {"setting": "speed"}, r"toy has no setting speed; name one with --setting: sampling.steps"),
        ("steps", {"values": (9,)}, "at most 8 steps"),
    ],
)
def test_wrong_requests_are_refused_in_one_line(lab: Lab, name: str, other: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        lab.ask(name, **other)


def test_the_command_takes_a_run_id_and_prints_the_change(lab: Lab, capsys: pytest.CaptureFixture) -> None:
    chosen = ["--run", lab.run().folder.root.name, "--method", lab.method]
    folders = ["--runs-dir", str(lab.root / "runs"), "--results-dir", str(lab.root / "out")]
    assert run_command(["study", "shuffle", *chosen, *folders]) == 0
    shown = capsys.readouterr().out
    assert "all of another's" in shown
    assert "shuffle-lidc-smoke-toy-s0.png" in shown
