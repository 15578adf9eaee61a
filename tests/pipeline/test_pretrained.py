"""Weights that come with a method: made of a finished run, given to that very run alone, and named in its rows."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bench.cli import run_command
from bench.data.sources import choose_data
from bench.errors import BenchError
from bench.pipeline import run
from bench.pipeline.pretrained import _halve
from bench.plugins import shipped_weights
from bench.plugins.config import resolve
from bench.plugins.registry import discover_methods, get_dataset, get_method
from bench.plugins.shipped_weights import folder_of
from bench.results.model import read_results
from bench.results.tables import build_tables
from bench.scoring.store import load_results, load_runs
from bench.system.files import sha256_of

from ..helpers.score_rows import enter_run
from ..helpers.small_runs import run_arguments

METHOD = "x2ctgan+cnn"
LIMIT = 40 * 2**20  # bytes of all weights in the repository
FILE = "x2ctgan+cnn-lidc-smoke-s0.safetensors"


def arguments(home: Path, *more: str, method: str = METHOD, results: str = "results") -> list[str]:
    return run_arguments(home, method, "--protocol", "x2ct-2019", *more, results=results)


@pytest.fixture
def refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return the one line with which a run from weights is refused that were not made for it."""

    def call(code: int, *more: str, method: str = METHOD) -> str:
        assert run_command(arguments(tmp_path, "--from-pretrained", *more, method=method)) == code
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    return call


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    """A folder with a finished run and the weights exported from it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped_weights, "folder_of", lambda method: home / "weights")
        assert run_command(arguments(home)) == 0
        assert run_command(["export", str(only_run(home)), "--pretrained"]) == 0
        assert (home / "weights" / FILE).exists()
        yield home


@pytest.fixture(scope="module")
def given(home: Path) -> Path:
    """The folder of a run that took those weights."""
    before = only_run(home)
    assert run_command(arguments(home, "--from-pretrained", results="given")) == 0
    (made,) = (folder for folder in before.parent.iterdir() if folder != before)
    return made


def only_run(home: Path) -> Path:
    (folder,) = (home / "runs" / "lidc" / METHOD).iterdir()
    return folder


def test_a_run_from_pretrained_weights_trains_nothing_and_says_so(home: Path, given: Path) -> None:
    record = json.loads((given / "run.json").read_text())
    file = home / "weights" / FILE
    assert not (given / "train.csv").exists()
    assert record["pretrained_sha256"] == sha256_of(file)
    scores, runs = load_results(home / "given"), load_runs(home / "given")
    assert set(scores["origin"]) == {"pretrained"}
    assert set(scores["method"]) == {METHOD}
    assert runs["pretrained_sha256"].tolist() == [sha256_of(file)]
    assert runs["pretrained_of"].item() in {folder.name for folder in given.parent.iterdir()}
    assert "train_hours" not in set(scores["metric"])
    assert run_command(["verify", str(given), "--results-dir", str(home / "given")]) == 0
    (row,) = [r for r in build_tables("2", read_results(home / "given"))[0].blocks[0].methods if r.method == METHOD]
    assert row.title == "X2CT-GAN, no discriminator (X2CT-CNN) (pretrained weights)"


def test_its_scores_are_those_of_the_trained_run_but_for_the_rounding_of_the_weights(home: Path, given: Path) -> None:
    key = ["space", "axis", "metric", "level", "case", "rep", "stat"]
    trained, other = (
        load_results(home / folder).query("metric in ['psnr', 'mae', 'ssim']") for folder in ("results", "given")
    )
    both = trained.merge(other, on=key)
    assert len(both) == len(trained) == len(other) > 50
    first, second = (both[column].astype(float) for column in ("value_x", "value_y"))
    assert first.sub(second).abs().max() < 0.02
    assert not first.equals(second)  # half precision


def test_it_is_not_repeated_and_does_not_stand_for_the_trained_run(
    home: Path, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments(home, "--from-pretrained", results="given")) == 0
    assert f"{given.name} is finished" in capsys.readouterr().out
    assert run_command(arguments(home)) == 0
    assert f"{given.name} is finished" not in capsys.readouterr().out


def test_the_first_cases_are_shown_before_the_data_of_a_run_are_made(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_) -> None:
        raise BenchError("all phantoms of the run were asked for")

    with monkeypatch.context() as patch:
        patch.setattr(run, "load_dataset", refuse)
        assert run_command(arguments(tmp_path, "--from-pretrained")) == 1
    early = [line for line in capsys.readouterr().out.splitlines() if line.startswith("first cases: PSNR ")]
    pictures = list(tmp_path.glob("runs/lidc/*/*/previews/*.png"))
    assert len(pictures) == 3
    assert run_command(arguments(tmp_path, "--from-pretrained")) == 0
    late = [line for line in capsys.readouterr().out.splitlines() if line.startswith("first cases: PSNR ")]
    assert early == late  # drawn once more, and alike
    assert list(tmp_path.glob("runs/lidc/*/*/previews/*.png")) == pictures


@pytest.mark.parametrize(
    "change", [["--seed", "1"], ["--set", "training.learning_rate=2e-3"], ["--set", "data.phantoms=[9,2,7]"]]
)
def test_weights_of_another_run_are_refused_with_those_there_are(
    change: list[str], home: Path, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    error = refuse(2, *change)
    assert "x2ctgan+cnn has no pretrained weights of these settings and data" in error
    assert "it has lidc (phantom), preset smoke, seed 0" in error
    assert not list(tmp_path.iterdir())


def test_the_weights_of_a_variant_are_not_those_of_the_method(home: Path, refuse: Callable[..., str]) -> None:
    assert "x2ctgan has no pretrained weights" in refuse(2, method="x2ctgan")


def test_damaged_weights_are_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Callable[..., str]
) -> None:
    monkeypatch.setattr(shipped_weights, "folder_of", lambda method: tmp_path)
    file = tmp_path / FILE
    file.write_bytes((home / "weights" / FILE).read_bytes()[:-100])
    assert f"{FILE} is damaged" in refuse(1)
    save_file({"a": torch.zeros(1)}, file)
    assert f"{FILE} does not say what it was trained on" in refuse(1)


def test_weights_are_not_made_of_pretrained_ones(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["export", str(given), "--pretrained"]) == 2
    assert "was not trained here" in capsys.readouterr().err


def test_a_method_that_trains_nothing_by_steps_needs_no_weights(home: Path, tmp_path: Path) -> None:
    assert run_command(arguments(tmp_path, "--from-pretrained", "--only", "predict", method="backprojection")) == 0


def test_what_half_precision_cannot_hold_is_kept() -> None:
    random = torch.Generator().manual_seed(0)
    weights = torch.randn(4000, generator=random)
    assert _halve(weights).dtype == torch.float16
    assert (_halve(weights).float() - weights).abs().max() <= 2**-11 * weights.abs().max()
    for kept in (1e6 * weights, 1e-6 * weights, torch.arange(5)):
        assert torch.equal(_halve(kept), kept)
        assert _halve(kept).dtype == kept.dtype


def test_a_remark_stands_under_the_table(home: Path, given: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "given", tmp_path, dirs_exist_ok=True)
    enter_run(tmp_path, run_id=given.name, remark="networks: found here")
    (table,) = build_tables("2", read_results(tmp_path))
    (row,) = [row for row in table.blocks[0].methods if row.method == METHOD]
    assert [table.footnotes[mark - 1] for mark in row.cells[0].marks if "found" in table.footnotes[mark - 1]] == [
        f"{row.title}: networks: found here"
    ]


SHIPPED = sorted(
    {file for plugin in discover_methods()[0].values() for file in folder_of(plugin).glob("*.safetensors")}
)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_weights_are_those_of_a_preset_as_it_is_now(file: Path) -> None:
    """Otherwise train that preset again and run `bench export RUN --pretrained`."""
    with safe_open(file, "pt") as content:
        facts = content.metadata()
    method, spec = facts["run_id"].split("-")[0], get_dataset(facts["dataset"])
    config, _ = resolve(get_method(method), spec, facts["preset"])
    assert file.name == f"{method}-{spec.name}-{facts['preset']}-s{facts['seed']}.safetensors"
    assert config.sha256() == facts["config_sha256"]
    assert choose_data(spec, config.data, "phantom").fingerprint == facts["data_fingerprint"]


def test_shipped_weights_fit_into_the_repository() -> None:
    assert sum(file.stat().st_size for file in SHIPPED) <= LIMIT
