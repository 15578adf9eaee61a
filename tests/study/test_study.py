"""Studies: only what is asked about changes, numbers are those of the run, and what exists is not trained again."""

import csv
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bench.card import stretch_training
from bench.cli import run_command
from bench.errors import UsageError
from bench.metrics.distortion import mae, mse, psnr
from bench.metrics.ssim import ssim
from bench.pipeline.plan import RunRequest
from bench.pipeline.run import run_one
from bench.runs.folder import RunFolder
from bench.runs.predictions import read_prediction
from bench.study.catalogue import Answer, run_study
from bench.study.inputs import MOVEMENTS, _move_views, pair_cases
from bench.study.points import FLOORS, Point, read_study
from bench.study.runs import StudyRequest, find_runs
from bench.study.verdicts import describe_study
from bench.system.progress import Progress
from methods.codediff.card import CodeDiffConfig
from methods.mednerf.card import MedNerfConfig

FEW = ("data.phantoms=[6, 1, 5]",)
TOY = '''
import torch
from pathlib import Path
from bench.errors import UsageError
from bench.method import Likelihood, Method, MethodCard, Settings

class Sampling(Settings):
    steps: int = 4

class Config(Settings):
    sampling: Sampling = Sampling()
    noise: float = 0.05

class Toy(Method):
    """A constant volume, the mean of the first view, and noise that falls with the steps."""
    Config = Config
    presets = Path(__file__).with_name("presets.toml")
    card = MethodCard("toy", "Toy", "", 2026, "", "", frozenset({"volume", "likelihood"}))

    def __init__(self, config, data):
        self.config, self.data = config, data
        if data.views > 2:
            raise UsageError("toy takes one or two views")
        if config.sampling.steps > 8:
            raise UsageError("toy takes at most 8 steps")

    def stages(self):
        return ()

    def reconstruct(self, views, *, seeds):
        level = views.images[:, 0].mean((1, 2))[:, None, None, None]
        shape = (self.data.size,) * 3
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])
        return (level + self.config.noise / self.config.sampling.steps * noise).clamp(0, 1)

    def log_likelihood(self, volume, views, *, seeds):
        """Three bits a voxel, and a hundredth for every training case."""
        nats = torch.full((len(seeds),), torch.log(torch.tensor(2.0)).item())
        voxels = volume[0].numel()
        return Likelihood(3 * voxels * nats, self.data.counts["train"] * voxels * nats / 100, voxels=voxels, codes=8)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy method and its finished smoke run."""
    root = tmp_path_factory.mktemp("study")
    (root / "toy.py").write_text(TOY)
    (root / "presets.toml").write_text("[smoke.any]\n")
    request = RunRequest(f"{root}/toy.py:Toy", "lidc", "smoke", 0, FEW, source="phantom", runs_dir=root / "runs")
    for phase in ("fit", "predict"):
        run_one(replace(request, only=phase), Progress())
    return root


def asked(place: Path, **other) -> StudyRequest:
    shared = {"methods": (f"{place}/toy.py:Toy",), "preset": "smoke", "source": "phantom", "overrides": FEW}
    return StudyRequest(**{**shared, "runs_dir": place / "runs", "results_dir": place / "results", **other})


@cache
def answered(place: Path, name: str, **other) -> Answer:
    """What a study answers; of the same question, once."""
    return run_study(name, asked(place, **other), Progress())


def own(answer: Answer) -> list[Point]:
    """The points of what the study was asked of, without those of its floors."""
    return [point for point in answer.points if point.facts["method"] not in FLOORS]


def at(answer: Answer, parameter: str, setting: str, split: str = "test", method: str = "toy") -> Point:
    where = (method, parameter, setting, split)
    (found,) = [p for p in answer.points if (p.facts["method"], p.parameter, p.setting, p.split) == where]
    return found


def test_unchanged_views_give_the_numbers_of_the_run(place: Path) -> None:
    point = at(answered(place, "shuffle"), "whose views", "own")
    (run,) = find_runs(asked(place), Progress())
    cases = run.cases["test"]
    for name in cases.names:
        file = run.folder.predictions("test") / f"{name}.nii.gz"
        truth = cases.truth(name)
        made, _ = read_prediction(file, cases, name)
        expected = {"psnr": psnr(truth, made, data_range=1.0), "ssim": ssim(truth, made, data_range=1.0)}
        expected |= {"mse": mse(truth, made), "mae": mae(truth, made)}
        found = {metric: point.values[metric][name] for metric in expected}
        assert found == pytest.approx(expected, rel=1e-5)


def test_shuffling_a_view_that_is_not_used_changes_nothing(place: Path) -> None:
    answer = answered(place, "shuffle")
    single = at(answer, "whose views", "own").values["psnr"]
    assert at(answer, "whose views", "another's at 0°").values["psnr"] == single
    assert at(answer, "whose views", "another's at 270°").values["psnr"] != single
    both = at(answer, "whose views", "all of another's").values["psnr"]
    assert at(answer, "whose views", "another's at 270°").values["psnr"] == both


def test_everyone_gets_the_views_of_exactly_one_other() -> None:
    partner = pair_cases(9, seed=3)
    assert sorted(partner) == list(range(9))
    assert (partner != np.arange(9)).all()


def test_movement_leaves_the_first_view_and_grows_with_its_strength(place: Path) -> None:
    (run,) = find_runs(asked(place), Progress())
    cases = run.cases["test"]
    with_none = {parameter: (0.0, *strengths) for parameter, strengths in MOVEMENTS.items()}
    views = _move_views(run, cases, with_none)
    for parameter, strengths in with_none.items():
        still = views[parameter, 0.0]
        assert np.allclose(still, cases.line_integrals, atol=1e-4), parameter
        assert all((views[parameter, s][:, 0] == cases.line_integrals[:, 0]).all() for s in strengths)
        changes = [np.abs(views[parameter, s][:, 1] - still[:, 1]).mean() for s in strengths]
        assert changes[0] < changes[1] < changes[2] < changes[3], parameter


def test_misalign_and_noise_measure_all_their_settings(place: Path) -> None:
    moved = answered(place, "misalign")
    for parameter in MOVEMENTS:
        of_parameter = [p for p in own(moved) if p.parameter == parameter]
        assert of_parameter[0].setting == "0"
        assert len(of_parameter) == 4
        for point in of_parameter[1:]:  # the toy looks at the first view only
            assert point.values["psnr"] == of_parameter[0].values["psnr"]
    noisy = answered(place, "noise")
    clean = at(noisy, "photons a pixel", "no noise").values["mse"]
    many, few = (at(noisy, "photons a pixel", setting).values["mse"] for setting in ("1e6", "1e3"))
    difference = [np.mean([abs(values[case] - clean[case]) for case in clean]) for values in (many, few)]
    assert difference[0] < difference[1]
    assert at(noisy, "tube voltage, kV", "60").values["mse"] != clean


def test_steps_vary_one_setting_up_to_what_the_method_takes(place: Path) -> None:
    answer = answered(place, "steps")
    assert [point.setting for point in own(answer)] == ["4", "8", "2", "1"]
    errors = {point.setting: np.mean(list(point.values["mse"].values())) for point in own(answer)}
    assert errors["1"] > errors["2"] > errors["4"] > errors["8"]
    chosen = answered(place, "steps", values=(2,), limit=4)
    assert [point.setting for point in own(chosen)] == ["4", "2"]
    assert [point.setting for point in chosen.points if point.facts["method"] == "mean"] == ["4", "2"]
    assert len(at(chosen, "sampling steps", "2").values["psnr"]) == 4
    with pytest.raises(UsageError, match=r"toy has no setting speed; name one with --setting: sampling.steps"):
        answered(place, "steps", setting="speed")
    with pytest.raises(UsageError, match="at most 8 steps"):
        answered(place, "steps", values=(9,))


def test_a_method_without_steps_is_measured_once_beside_one_that_has_them(place: Path, tmp_path: Path) -> None:
    other = RunRequest("backprojection", "lidc", "smoke", 0, FEW, source="phantom", runs_dir=tmp_path, only="fit")
    folder = run_one(other, Progress())
    (toy,) = find_runs(asked(place), Progress())
    shutil.copytree(toy.folder.root, tmp_path / "lidc" / "toy" / toy.folder.root.name)
    runs = (folder.name, toy.folder.root.name)
    answer = answered(place, "steps", run_ids=runs, values=(2,), limit=3, runs_dir=tmp_path)
    assert [(point.facts["method"], point.setting) for point in own(answer)] == [
        ("backprojection", "none"),
        ("toy", "4"),
        ("toy", "2"),
    ]
    assert answer.points[0].note == "has no sampling.steps"
    assert len(answer.points[0].values["psnr"]) == 3
    with pytest.raises(UsageError, match=r"backprojection has no setting sampling\.steps"):
        answered(place, "steps", run_ids=(folder.name,), runs_dir=tmp_path)


def test_the_mean_of_samples_is_better_than_one_of_independent_noise(place: Path) -> None:
    answer = answered(place, "samples", values=(4,))
    psnr = {
        (p.parameter, p.setting): np.mean(list(p.values["psnr"].values())) for p in own(answer) if "psnr" in p.values
    }
    assert psnr["mean of K samples", "4"] > psnr["mean of K samples", "1"]
    assert psnr["best of K samples", "4"] >= psnr["best of K samples", "2"] >= psnr["best of K samples", "1"]
    single = at(answered(place, "shuffle"), "whose views", "own").values["psnr"]
    assert at(answer, "mean of K samples", "1").values["psnr"] == pytest.approx(single)
    spread = at(answer, "samples", "4").values["spread"]
    assert 0.7 * 0.05 / 4 < np.mean(list(spread.values())) <= 0.05 / 4
    (run,) = find_runs(asked(place), Progress())
    name = run.cases["test"].names[2]
    kept = [run.folder.samples("test", index) / f"{name}.nii.gz" for index in range(4)]
    drawn = np.stack([read_prediction(file, run.cases["test"], name)[0] for file in kept])
    assert drawn.std(0, ddof=1).mean() == pytest.approx(spread[name], rel=1e-3)
    assert not run.folder.samples("test", 4).exists()


def test_views_trains_once_and_notes_what_a_method_refuses(place: Path) -> None:
    answer = answered(place, "views", values=(1, 2, 4))
    assert [(p.setting, bool(p.values)) for p in own(answer)] == [("1", True), ("2", True), ("4", False)]
    assert "toy takes one or two views" in own(answer)[2].note
    one = RunFolder(next((place / "runs/lidc/toy").glob(f"{own(answer)[0].facts['run_id']}"))).record()
    assert one.config.data.angles == (270.0,)
    (ordinary,) = [path.parent.name for path in (place / "runs").glob("*/*/*/predictions")]
    assert own(answer)[1].facts["run_id"] == ordinary  # two views are what it has anyway
    assert RunFolder(place / "runs/lidc/toy" / ordinary).status == "predicted"
    before = {path: path.stat().st_mtime_ns for path in (place / "runs").glob("*/*/*/run.json")}
    answered(place, "views", values=(1, 2))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(UsageError, match="1 to 8 views, not 9"):
        answered(place, "views", values=(9,))


def test_fewer_training_cases_keep_the_test_cases(place: Path) -> None:
    answer = answered(place, "train-size", values=(2, 6))
    few, many = (at(answer, "training cases", size) for size in ("2", "6"))
    assert few.values["psnr"].keys() == many.values["psnr"].keys()
    assert len(at(answer, "training cases", "2", "train").values["psnr"]) == 2
    for split in ("test", "train"):
        for size in (2, 6):
            bits = at(answer, "training cases", str(size), split).values["nll_bits_per_voxel"]
            assert list(bits.values()) == pytest.approx([3 + size / 100] * len(bits))
    assert "nll_bits_per_voxel" not in at(answered(place, "shuffle"), "whose views", "own").values


def test_a_budget_stretches_all_that_counts_steps_of_training_and_nothing_else() -> None:
    stretched = stretch_training(CodeDiffConfig(), 0.5)
    assert stretched["vqvae3d.loop.steps"] == stretched["transformer.loop.steps"] == 50_000
    assert (stretched["transformer.warm_up"], stretched["log_sigma.loop.steps"]) == (2500, 10_000)
    endings = {key.rpartition(".")[2] for key in stretched}
    assert endings == {"steps", "warm_up", "codebook_start", "discriminator_start"}
    assert not any(key.startswith("sampling") for key in stretched)
    assert stretch_training(MedNerfConfig(), 2.0)["field.halvings"] == [100_000, 200_000, 400_000]


def test_budget_trains_for_shares_of_the_steps_and_counts_processor_seconds(tmp_path: Path) -> None:
    answer = answered(tmp_path, "budget", methods=("lift_unet",), values=(100, 50))
    whole, half = own(answer)
    for point, steps in ((whole, 8), (half, 4)):
        record = RunFolder(tmp_path / "runs/lidc/lift_unet" / point.facts["run_id"]).record()
        assert [stage.steps for stage in record.stages.values()] == [steps]
        assert point.setting == f"{record.seconds['fit_cpu']:.3g}"
        assert {"psnr", "psnr_body"} <= point.values.keys()
    assert whole.parameter == "training, CPU seconds"
    assert "CPU seconds; the longest changes it by" in describe_study(read_study(answer.csv))


def test_the_csv_holds_summaries_that_its_cases_give(place: Path) -> None:
    answer = answered(place, "shuffle")
    assert answer.csv.name == "shuffle-lidc-smoke-toy-s0.csv"
    assert answer.picture.read_bytes().startswith(b"\x89PNG")
    toys = [row for row in csv.DictReader(answer.csv.read_text().splitlines()) if row["method"] == "toy"]

    def values(setting: str) -> dict[str, float]:
        mine = [r for r in toys if (r["metric"], r["level"], r["setting"]) == ("psnr", "case", setting)]
        return {row["case"]: float(row["value"]) for row in mine}

    stats = {(r["setting"], r["stat"]): float(r["value"]) for r in toys if (r["metric"], r["level"]) == ("psnr", "set")}
    before, others = values("own"), values("all of another's")
    assert stats["own", "mean"] == pytest.approx(np.mean(list(before.values())))
    change = np.mean([others[case] - before[case] for case in before])
    assert stats["all of another's", "change"] == pytest.approx(change)
    assert stats["all of another's", "change_ci_lo"] <= change <= stats["all of another's", "change_ci_hi"]
    assert ("own", "change") not in stats


def test_wrong_requests_are_refused_in_one_line(place: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UsageError, match="did you mean shuffle"):
        answered(place, "shufle")
    with pytest.raises(UsageError, match="--values is for views, lesion, steps, samples, calibration, train-size"):
        answered(place, "misalign", values=(1,))
    with pytest.raises(UsageError, match="name trained methods with --method"):
        answered(place, "noise", methods=())
    with pytest.raises(UsageError, match=r"is not trained on lidc smoke.*run `bench run --method codediff"):
        answered(place, "noise", methods=("codediff",))
    with pytest.raises(UsageError, match=r"unknown run 'nothing'; known: toy-lidc-smoke-s0"):
        answered(place, "noise", run_ids=("nothing",))
    with pytest.raises(UsageError, match="trains runs of its own"):
        answered(place, "views", run_ids=("nothing",))
    arguments = ["study", "steps", "--values", "two", "--method", "codediff"]
    assert run_command(arguments) == 2
    assert "--values takes whole numbers" in capsys.readouterr().err


def test_the_command_takes_a_run_id_and_prints_the_change(place: Path, capsys: pytest.CaptureFixture) -> None:
    (ordinary,) = [path.parent.name for path in (place / "runs").glob("*/*/*/predictions")]
    folders = ["--runs-dir", str(place / "runs"), "--results-dir", str(place / "out")]
    method = f"{place}/toy.py:Toy"
    assert run_command(["study", "shuffle", "--run", ordinary, "--method", method, *folders]) == 0
    shown = capsys.readouterr().out
    assert "all of another's" in shown
    assert "shuffle-lidc-smoke-toy-s0.png" in shown
