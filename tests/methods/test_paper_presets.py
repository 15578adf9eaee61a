"""The preset `paper` of every method is built at its size, and the cheapest runs from end to end with few steps."""

from pathlib import Path

import pytest
import torch

from bench.cli import run_command
from bench.method import Stage
from bench.performance.subjects import make_subject
from bench.plugins.registry import discover_methods, get_dataset
from bench.scoring.store import load_results

METHODS = discover_methods()[0]
LARGEST = 400e6  # parameters; all training states of so many in float32 fit a GPU of 12 GiB


@pytest.fixture
def _without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave weights as they come: drawing hundreds of millions takes seconds, and only their number is asked for."""
    for name in ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "uniform_", "normal_", "trunc_normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.mark.usefixtures("_without_drawing")
@pytest.mark.parametrize("dataset", ["lidc", "baggage"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_published_size_of_every_method_is_built(name: str, dataset: str) -> None:
    spec = get_dataset(dataset)
    subject = make_subject(name, spec, "paper", torch.device("cpu"))
    assert subject.cases["test"].hounsfield.shape[1:] == (spec.full_grid,) * 3
    networks = [network for stage in subject.method.stages() for network in stage.networks.values()]
    count = sum(parameter.numel() for network in networks for parameter in network.parameters())
    assert count < LARGEST
    assert (count > 1e6) == any(isinstance(stage, Stage) for stage in subject.method.stages())


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_cheapest_published_size_runs_from_end_to_end(tmp_path: Path) -> None:
    """Two steps of X2CT-GAN at 128³, one case at a time: about 6 GiB of memory."""
    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results")]
    short = ["data.phantoms=[2,1,1]", "training.loop.steps=2", "training.loop.batch_size=1"]
    sizes = [part for setting in short for part in ("--set", setting)]
    command = ["run", "--method", "x2ctgan", "--dataset", "lidc", "--preset", "paper", "--device", "cpu", *sizes]
    for protocol in ("ct3d-1", "paper-2023"):
        assert run_command([*command, "--protocol", protocol, *places]) == 0
    scores = load_results(tmp_path / "results")
    psnr = scores[(scores["metric"] == "psnr") & (scores["level"] == "case") & (scores["space"] == "3d")]
    assert set(psnr["protocol"]) == {"ct3d-1", "paper-2023"}
    assert psnr["value"].between(1, 60).all()
    assert run_command(["table", "all", "--out", str(tmp_path / "table.md"), *places[2:]]) == 0
    assert run_command(["report", "--out", str(tmp_path / "report.html"), "--cases", "1", *places]) == 0
    assert "X2CT-GAN" in (tmp_path / "report.html").read_text()
