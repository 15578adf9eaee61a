"""Published checkpoints fill our networks by their official names, are never ranked, and are refused if unfit.

No published file is at hand: checkpoints are written in the official layout from our own networks. That the names and
shapes are the official ones is held against a hash of those that the official code makes.
"""

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.cli import run_command
from bench.errors import BenchError
from bench.method import Method
from bench.pipeline.published import fill_networks, map_window
from bench.plugins.config import resolve
from bench.plugins.published_weights import Published
from bench.plugins.registry import get_dataset, get_method, method_module
from bench.results.model import read_results
from bench.results.tables import build_tables
from bench.scoring.store import load_runs
from bench.system.files import sha256_of

from ..helpers.small_methods import build, card_of, random_views
from ..helpers.small_runs import run_arguments

OFFICIAL = {  # SHA-256 of the sorted names and shapes that the official code gives the tensors of its published sizes
    ("codediff", "vqvae2d"): "8c4d5b5b35c21b17fba2d1e813ca79f23795dbb2de32b72144b5356422722bd9",
    ("codediff", "vqvae3d"): "9814160a0383e2e801496e0ecb7e0371f727bf5dcc588278320e8d57015f5a8e",
    ("codediff", "transformer"): "1009ac25d099a9c30307828ee8243af3d4f405d77598e27d53816c55fe8addb0",
    ("x2ctgan", "generator"): "0bab5f3721cce225308ff1f025b8830d1f8e9e93251cf5b9aa1bde950b26a3c4",
    ("x2ctgan+single-view", "generator"): "7bc22da656d90de95c3aa24baaa0b4c31297cb1eba242f7cd283c6d927161fe9",
}
BESIDE = {  # what official files hold that nothing here needs
    "codediff": {"disc.main.0.weight": torch.ones(2), "ae.generator.logsigma.0.bias": torch.ones(4)},
    "x2ctgan": {"decoder_layer0.1.running_mean": torch.ones(4)},
}
WINDOW = (-1000.0, 1000.0)


def build_as_published(name: str) -> Method:
    """Return a method of the preset of the published sizes."""
    plugin = get_method(name)
    config, settings = resolve(plugin, get_dataset("lidc"), "paper")
    data = config.data
    return plugin.load()(settings, card_of(*data.angles, size=data.size, image_size=data.image_size))


def official_layout(method: Method) -> dict[str, dict[str, Tensor]]:
    module = method_module(method.card.name, "published")
    assert module is not None
    return module.official_layout(method)


def write_official(method: Method, folder: Path) -> dict[str, Path]:
    """Write a method's networks as the official code would, attention by 1-convolutions too; return the files."""
    folder.mkdir(exist_ok=True)
    files = {}
    for stage, tensors in official_layout(method).items():
        whole = {n: t.clone()[..., None, None] if t.ndim == 2 and "proj_out" in n else t for n, t in tensors.items()}
        whole |= BESIDE[method.card.name]
        files[stage] = folder / f"{stage}.pth"
        torch.save({"epoch": 90, "state_dict": whole} if method.card.name == "x2ctgan" else whole, files[stage])
    return files


def command(home: Path, name: str, *files: Path, more: tuple[str, ...] = ()) -> list[str]:
    verb = "import-weights" if files else "run"
    return run_arguments(home, name, "--protocol", "x2ct-2019", "--device", "cpu", *map(str, files), *more, verb=verb)


def runs_of(home: Path) -> dict[str, Path]:
    """Return the folders of runs by origin."""
    found = sorted(home.glob("runs/lidc/*/*/run.json"))
    return {json.loads(path.read_text()).get("origin"): path.parent for path in found}


@pytest.mark.parametrize("name", ["codediff", "x2ctgan", "x2ctgan+single-view"])
def test_the_layout_is_that_of_the_official_code(name: str) -> None:
    with torch.device("meta"):
        layout = official_layout(build_as_published(name))
    for stage, tensors in layout.items():
        lines = sorted(f"{n} {tuple(side for side in t.shape if side != 1)}" for n, t in tensors.items())
        assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == OFFICIAL[name, stage], stage


@pytest.mark.parametrize("name", ["codediff", "x2ctgan"])
def test_checkpoints_fill_the_networks_in_any_order(name: str, tmp_path: Path) -> None:
    theirs, ours = build(name, seed=1), build(name, seed=2)
    files = write_official(theirs, tmp_path)
    stages = fill_networks(Published(name, tuple(reversed(files.values()))), ours)
    assert [stage.name for stage in stages] == [stage.name for stage in ours.stages()]
    views = random_views(2)
    made = [method.reconstruct(views, seeds=(3, 4)) for method in (theirs, ours)]
    assert torch.equal(*made)
    if name == "x2ctgan":  # a volume in the window it learned is one in ours
        map_window(name, ours, WINDOW)
        hounsfield = made[0] * 2500 - 1024
        assert torch.allclose(ours.reconstruct(views, seeds=(3, 4)) * 2000 - 1000, hounsfield.clamp(*WINDOW), atol=1e-3)


def test_an_imported_run_predicts_what_the_networks_do_and_is_not_ranked(tmp_path: Path) -> None:
    assert run_command(command(tmp_path, "x2ctgan", more=("--set", "training.loop.steps=1"))) == 0
    trained = runs_of(tmp_path)["builtin"]
    theirs = build("x2ctgan")
    weights = load_file(trained / "checkpoints" / "generator.safetensors")
    generator = {n.removeprefix("generator."): t for n, t in weights.items() if n.startswith("generator.")}
    theirs.generator.load_state_dict(generator)
    (file,) = write_official(theirs, tmp_path / "official").values()
    assert run_command(command(tmp_path, "x2ctgan", file)) == 0
    given = runs_of(tmp_path)["published"]
    assert not (given / "train.csv").exists()
    for path in (trained / "predictions" / "test").glob("*.nii.gz"):
        before, after = (np.asarray(nib.load(f / "predictions" / "test" / path.name).dataobj) for f in (trained, given))
        mapped = np.clip((before + 1000.0) / 2000 * 2500 - 1024, *WINDOW)
        inner = before > WINDOW[0]  # what was clipped before has lost its value
        assert np.abs(mapped - after)[inner].max() < 2  # both are rounded to whole HU
    runs = load_runs(tmp_path / "results").set_index("origin")
    assert runs.loc["published", "pretrained_sha256"] == sha256_of(file)
    assert file.name in runs.loc["published", "pretrained_of"]
    rows = build_tables("2", read_results(tmp_path / "results"))[0].blocks[0].methods
    places = {row.entry.origin: [cell.comparable for cell in row.cells] for row in rows if row.entry}
    assert not any(places["published"])
    assert any(places["builtin"])
    assert run_command(command(tmp_path, "x2ctgan", file)) == 0  # finished: nothing to do
    assert run_command(["verify", str(given), "--results-dir", str(tmp_path / "results")]) == 0


def test_what_was_not_published_of_codediff_is_fitted(tmp_path: Path) -> None:
    files = write_official(build("codediff"), tmp_path / "official")
    assert run_command(command(tmp_path, "codediff", *files.values())) == 0
    record = json.loads((runs_of(tmp_path)["published"] / "run.json").read_text())
    assert {name: stage["steps"] for name, stage in record["stages"].items()} == {
        **dict.fromkeys(("vqvae2d", "vqvae3d", "transformer"), 0),
        "log_sigma": 4,
    }


class Malicious:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


NAME = "view1Model.encoder_layer.1.weight"
HARMED: dict[str, Callable[[dict[str, Tensor]], Any]] = {  # what a file holds in place of the official tensors
    "missing": lambda state: {name: tensor for name, tensor in state.items() if name != NAME},
    "superfluous": lambda state: state | {"view1Model.encoder_layer7.0.weight": torch.ones(2)},
    "shape": lambda state: state | {NAME: torch.ones(3, 1, 7, 7)},
    "infinite": lambda state: state | {NAME: torch.full_like(state[NAME], torch.inf)},
    "foreign": lambda state: {"fc.weight": torch.ones(2, 2)},
    "archive": lambda state: {NAME: Malicious()},
}


def write_harmed(state: dict[str, Tensor], kind: str, file: Path) -> None:
    torch.save(HARMED.get(kind, dict)(state), file)
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:-500])
    elif kind == "pickle":
        file.write_bytes(pickle.dumps({"state_dict": Malicious()}))
    elif kind == "text":
        file.write_text("404: Not Found", encoding="utf-8")


NO_CHECKPOINT = "is damaged, or no checkpoint of tensors alone; nothing of it was run"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", r"tensors 1 missing \(view1Model\.encoder_layer\.1\.weight\)"),
        ("superfluous", r"tensors 1 superfluous \(view1Model\.encoder_layer7\.0\.weight\)"),
        ("shape", r"1 of another shape \(view1Model\.encoder_layer\.1\.weight 3×1×7×7 instead of 4×1×7×7\)"),
        ("infinite", "weights that are not finite: view1Model"),
        ("foreign", "holds no tensor of x2ctgan in the layout of its official code"),
        *((kind, NO_CHECKPOINT) for kind in ("cut", "pickle", "archive", "text")),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    kind: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    method, file = build("x2ctgan"), tmp_path / "90_net_G.pth"
    write_harmed(dict(official_layout(method)["generator"]), kind, file)
    with pytest.raises(BenchError, match=told) as raised:
        fill_networks(Published("x2ctgan", (file,)), method)
    assert "\n" not in str(raised.value)
    assert not Path("ran").exists()


def test_refused_commands_leave_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_official(build("codediff"), tmp_path / "official")
    volumes, views = files["vqvae3d"], files["vqvae2d"]
    for name, given, told in (
        ("codediff", (volumes, views), "no file is of transformer; give all of vqvae2d, vqvae3d, transformer"),
        ("codediff", (volumes, volumes), "are both of vqvae3d; give one file a stage"),
        ("codediff", (tmp_path / "none.th",), "none.th is no file"),
        ("lift_unet", (volumes,), "lift_unet has no map of official tensors; train it"),
        ("mean", (volumes,), "mean has no map of official tensors"),
    ):
        assert run_command(command(tmp_path, name, *given)) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "results").exists()
