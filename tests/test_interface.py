"""`import bench`: what notebooks and scripts call, and the notebook that shows it."""

import ast
import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bench
from bench.cases import Views
from bench.cli import run_command
from bench.errors import BenchError, UsageError
from bench.scoring.store import load_runs

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "first_look.ipynb"
PAGE = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
SECONDS = 0.3  # of the processor, to import the interface
LIGHT = """
import sys, time
began = time.process_time()
import bench
spent = time.process_time() - began
results = bench.load_results(sys.argv[1])
tiny = results.query("dataset == 'lidc' and source == 'phantom' and protocol == 'ct3d-2' and preset == 'tiny'")
bench.plot.scores(tiny, "psnr").savefig(sys.argv[2])
found = bench.compare("x2ctgan", "mean", ["psnr"], dataset="lidc", results_dir=sys.argv[1])
print(len(results), len(found), spent, "torch" in sys.modules)
"""


class Brightest(nn.Module):
    """Fills the volume with the mean of both views; refuses to be asked while it trains."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.scale, self.side = nn.Parameter(torch.ones(())), side

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert images.shape == (1, 2, 2 * self.side, 2 * self.side)
        return (self.scale * images.mean()).expand(1, 1, self.side, self.side, self.side)


@pytest.fixture
def places(tmp_path: Path, quick_protocol: None) -> dict[str, object]:
    folders = {"runs_dir": tmp_path / "runs", "results_dir": tmp_path / "results"}
    return {"dataset": "lidc", "preset": "smoke", "source": "phantom", "quiet": True, **folders}


def test_results_pictures_and_comparisons_need_no_pytorch_and_the_import_no_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIGHT, str(ROOT / "results"), str(tmp_path / "scores.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    rows, differences, spent, heavy = done.stdout.split()
    assert (int(rows) > 1000, int(differences) >= 1, heavy) == (True, True, "False")
    assert float(spent) <= SECONDS
    assert (tmp_path / "scores.png").stat().st_size > 5000


def test_a_network_and_the_same_function_get_the_same_scores(
    places: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    network = Brightest(16)
    network.train()

    def same(views: Views) -> np.ndarray:
        return np.full((16, 16, 16), float(views.images.mean()), dtype=np.float64)

    one, other = bench.evaluate(network, **places, seed=0), bench.evaluate(same, **places, seed=0)
    assert network.training
    assert one.run_id.startswith("Brightest-lidc-smoke-s0-")
    errors = [np.mean((one.truth(case) - one.prediction(case)) ** 2) for case in one.cases.names]
    assert one.value("psnr") == pytest.approx(np.mean(-10 * np.log10(errors)), abs=1e-4)
    assert other.value("psnr") == pytest.approx(one.value("psnr"), abs=1e-4)
    assert "PSNR" in repr(one)
    assert run_command(["submit", one.run_id, "--submitter", "me", "--runs-dir", str(places["runs_dir"])]) == 2
    assert "send " + str(one.predictions.parent) in capsys.readouterr().err
    runs = load_runs(places["results_dir"])
    assert list(runs["origin"]) == ["external", "external"]
    volume = bench.load_volume(one.predictions / f"{one.cases.names[0]}.nii.gz")
    low, high = one.cases.card.window
    np.testing.assert_allclose((volume - low) / (high - low), one.prediction(one.cases.names[0]), atol=1e-6)


def test_a_later_model_of_a_seed_replaces_the_earlier_and_one_that_fails_leaves_nothing(
    places: dict[str, object],
) -> None:
    def fill(value: float) -> object:
        return lambda views: torch.full((16, 16, 16), value)

    first = bench.evaluate(fill(0.2), **places, name="mine", seed=0)
    second = bench.evaluate(fill(0.4), **places, name="mine", seed=0)
    assert first.run_id == second.run_id
    assert float(second.prediction(second.cases.names[0]).mean()) == pytest.approx(0.4)
    assert len(load_runs(places["results_dir"])) == 1
    before = sorted(Path(str(places["runs_dir"])).rglob("*.nii.gz"))
    for wrong, said in (
        (lambda views: torch.zeros(16, 16, 8), r"shape \(16, 16, 8\)"),
        (lambda views: torch.full((16, 16, 16), -600.0), r"from -600 to -600 .* \[0, 1\] over the window"),
        (lambda views: torch.full((16, 16, 16), torch.nan), "NaN"),
        (lambda views: None, "NoneType"),
    ):
        with pytest.raises(BenchError, match=said):
            bench.evaluate(wrong, **places, name="mine", seed=0)
    with pytest.raises(ZeroDivisionError):
        bench.evaluate(lambda views: 1 / 0, **places, name="mine", seed=0)
    with pytest.raises(UsageError, match="name='<lambda>'"):
        bench.evaluate(lambda views: None, **places)
    assert sorted(Path(str(places["runs_dir"])).rglob("*.nii.gz")) == before


def test_every_cell_of_the_notebook_runs(quick_protocol: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)  # committed as it is before the first run
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    shown = []
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(NOTEBOOK), "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names))
    pictures = [value._repr_png_() for value in shown if hasattr(value, "_repr_png_")]
    assert len(pictures) == 4
    assert all(len(picture) > 5000 for picture in pictures)
    assert names["mine"].value("psnr") > names["floor"].value("psnr") - 3  # the network has learnt something


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pdoc") is None, reason="pdoc is not installed: the group docs")
def test_the_pages_of_the_interface_are_built_without_a_warning(tmp_path: Path) -> None:
    line = next(line for line in PAGE.splitlines() if " -m pdoc " in line)
    command = [sys.executable, *shlex.split(line)[1:], "--output-directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "bench.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in page for name in bench.__all__)
    assert 'id="scores"' in (tmp_path / "bench" / "pictures" / "plot.html").read_text(encoding="utf-8")
