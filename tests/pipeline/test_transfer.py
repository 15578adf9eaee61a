"""What was trained on phantoms is tested on all real scans that are prepared, in rows that say so and stand apart."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.cases import Cases
from bench.cli import run_command
from bench.data.cases import load_dataset
from bench.data.splits import keep_split_file
from bench.dataset import TRANSFER, Split
from bench.pipeline.plan import Plan, RunRequest, plan
from bench.plugins import shipped_weights
from bench.plugins.registry import get_dataset
from bench.results.leaderboard import build_leaderboard
from bench.results.model import read_results
from bench.runs.folder import RunFolder
from bench.scoring.laplace import read_fit
from bench.scoring.store import load_results, read_runs

from ..helpers.scans import prepare_chests, torso, write_nifti
from ..helpers.small_runs import places, run_arguments

METHODS = ("mean", "nearest", "mean+leave-one-out")
SCANS = ("first", "second", "third")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, quick_protocol: None) -> Iterator[Path]:
    """A folder with three real scans, of which a list lets one train, and runs of two floors and a variant on them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(home / "data"))
        for number, name in enumerate(SCANS):
            write_nifti(home / "scans" / f"{name}.nii.gz", torso(width=270.0 + 20 * number))
        assert not prepare_chests(home / "scans", get_dataset("lidc")).refused
        (home / "splits.csv").write_text("case,split\nfirst,train\nsecond,test\n")
        keep_split_file("lidc", home / "splits.csv")
        assert run_command(arguments(home, ",".join(METHODS), "--test-on", "real")) == 0
        yield home


def arguments(home: Path, methods: str, *more: str) -> list[str]:
    return run_arguments(home, methods, *more, phantoms="5,2,2")


def plan_run(home: Path, method: str, source: str = TRANSFER) -> Plan:
    few = ("data.phantoms=[5,2,2]",)
    return plan(RunRequest(method, "lidc", "smoke", overrides=few, source=source, runs_dir=home / "runs"))


def load_cases(home: Path) -> dict[Split, Cases]:
    planned = plan_run(home, "mean")
    return load_dataset(planned.spec, planned.config.data, TRANSFER)


def scores_of(home: Path, method: str) -> dict[str, float]:
    rows = load_results(home / "results")
    rows = rows[(rows["run_id"] == plan_run(home, method).run_id) & (rows["level"] == "case")]
    rows = rows[(rows["space"] == "3d") & (rows["metric"] == "psnr")]
    return dict(zip(rows["case"], rows["value"], strict=True))


def test_all_prepared_scans_are_tested_whatever_split_they_are_in(home: Path) -> None:
    cases = load_cases(home)
    assert cases["test"].names == SCANS
    card = cases["test"].card
    assert (card.source, card.trained_on, cases["train"].card.source) == ("real", "phantom", "phantom")
    assert card.counts == {"train": 5, "validation": 2, "test": 3}
    assert card.geometry == cases["train"].card.geometry  # the grey scale that was trained with
    assert set(scores_of(home, "nearest")) == set(SCANS)


def test_floors_of_phantoms_and_of_the_other_scans_score_what_they_are(home: Path) -> None:
    cases = load_cases(home)
    truth = cases["test"].volumes(range(3)).double().numpy()
    of_phantoms = cases["train"].volumes(range(5)).double().numpy().mean(0)
    for method, made in (
        ("mean", [of_phantoms] * 3),
        ("mean+leave-one-out", [np.delete(truth, index, 0).mean(0) for index in range(3)]),
    ):
        expected = [-10 * np.log10(np.mean((one - other) ** 2)) for one, other in zip(truth, made, strict=True)]
        assert scores_of(home, method) == pytest.approx(dict(zip(SCANS, expected, strict=True)), abs=1e-4)


def test_the_run_is_one_of_its_own_with_the_weights_and_the_likelihood_of_the_trained_one(home: Path) -> None:
    trained, tested = (plan_run(home, "nearest", source).folder for source in ("phantom", TRANSFER))
    assert trained.root.name != tested.root.name
    before, after = trained.record(), tested.record()
    assert before
    assert after
    assert before.stages == after.stages
    assert not tested.predictions("validation").exists()
    fit = read_fit(tested.predictions("test") / "laplace.json")
    assert fit
    assert fit == read_fit(trained.predictions("test") / "laplace.json")
    assert not plan_run(home, METHODS[2], "phantom").folder.root.exists()  # nothing of it was trained elsewhere


def test_rows_say_where_training_and_test_cases_came_from_and_how_grey_the_views_are(home: Path) -> None:
    lines = {(line.method, line.source): line for line in read_runs(home / "results")}
    assert {key: line.trained_on for key, line in lines.items()} == {
        ("mean", "phantom"): "phantom",
        ("nearest", "phantom"): "phantom",
        ("mean", "real"): "phantom",
        ("nearest", "real"): "phantom",
        ("mean+leave-one-out", "real"): "real",
    }
    cases = load_cases(home)
    tested, training = (cases[split].images(range(len(cases[split]))).double().numpy() for split in ("test", "train"))
    said = lines["nearest", "real"].data_remark
    assert f"{tested.mean():.3f} ± {tested.std():.3f} tested" in said
    assert f"{training.mean():.3f} ± {training.std():.3f} in training" in said
    assert lines["nearest", "phantom"].data_remark == lines["mean+leave-one-out", "real"].data_remark == ""


def test_blocks_keep_them_apart_and_the_remark_is_one_note(home: Path) -> None:
    (table, *_) = build_leaderboard(read_results(home / "results"))
    titles = {
        (b.facts["source"], b.facts["trained_on"]): {row.method for row in b.rows if row.entry} for b in table.blocks
    }
    assert titles == {
        ("phantom", "phantom"): {"mean", "nearest"},
        ("real", "phantom"): {"mean", "nearest"},
        ("real", "real"): {"mean+leave-one-out"},
    }
    assert any("lidc, real data, trained on phantom data" in block.header for block in table.blocks)
    assert sum(note.startswith("grey levels of the views") for note in table.footnotes) == 1


@pytest.mark.parametrize("method", METHODS)
def test_it_is_verified_and_done_again_without_work(
    home: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = plan_run(home, method).run_id
    assert run_command(["verify", run_id, *places(home)]) == 0
    capsys.readouterr()
    assert run_command(arguments(home, method, "--test-on", "real")) == 0
    assert "is finished; nothing to do" in capsys.readouterr().out
    assert run_command(["show", run_id, *places(home)]) == 0
    assert ("trained on phantom" in capsys.readouterr().out) == (method != METHODS[2])


def test_a_sweep_knows_such_runs_and_names_their_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["sweep", *arguments(home, ",".join(METHODS[:2]), "--test-on", "real")[1:], "--dry-run"]
    assert run_command(sweep) == 0
    assert "2 done" in capsys.readouterr().out
    assert run_command([*sweep, "--seeds", "1"]) == 0
    assert "bench run --method mean --dataset lidc --preset smoke --seed 1" in (told := capsys.readouterr().out)
    assert "--test-on real" in told


def test_weights_that_come_with_a_method_are_tested_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "lift_unet"
    short = ("--set", "training.loop.steps=2", "--set", "training.loop.validate_every=0")
    monkeypatch.setattr(shipped_weights, "folder_of", lambda method: home / "weights")
    assert run_command(arguments(home, name, "--source", "phantom", *short)) == 0
    (trained,) = (home / "runs" / "lidc" / name).iterdir()
    assert run_command(["export", str(trained), "--pretrained"]) == 0
    assert run_command(arguments(home, name, "--test-on", "real", "--from-pretrained", *short)) == 0
    (tested,) = (folder for folder in (home / "runs" / "lidc" / name).iterdir() if folder != trained)
    line = RunFolder(tested).finished_record().line
    assert (line.origin, line.source, line.trained_on) == ("pretrained", "real", "phantom")
    assert line.pretrained_of == trained.name
    assert read_fit(tested / "predictions/test/laplace.json") == read_fit(trained / "predictions/test/laplace.json")


@pytest.mark.usefixtures("data_folder")
@pytest.mark.parametrize(
    ("more", "said"),
    [(("--source", "real"), "trained on phantoms; leave out --source"), ((), "no lidc scan is prepared to test on")],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, more: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments(tmp_path, "mean", "--test-on", "real", *more)) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
