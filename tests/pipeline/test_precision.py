"""In which precision networks compute: as the settings say, in training and prediction alike, on every device."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.card import MethodCard, Settings
from bench.cases import Cases, Views
from bench.data.cases import load_dataset
from bench.dataset import Split
from bench.errors import BenchError, UsageError
from bench.method import Method, Stage, full_precision
from bench.methods.codediff.stage_log_sigma import volume_nll
from bench.methods.mednerf import render
from bench.methods.mednerf.camera import match_camera, turn
from bench.pipeline.fit import Run
from bench.pipeline.predict import predict
from bench.plugins.config import FitConfig, RunConfig, resolve
from bench.plugins.registry import discover_methods, get_dataset, get_method
from bench.runs.record import run_name
from bench.system.device import set_precision

from ..helpers.small_methods import CARD, build
from ..helpers.toy_data import make_data
from ..helpers.toy_runs import toy_record, toy_run

CPU = torch.device("cpu")


class Product(Method):
    """Grey volumes, whose value is a product of matrices; it notes the type of the product and how many cases came."""

    card = MethodCard("product", "Product", "", 2024, "", "", frozenset({"volume"}))
    Config = Settings

    def __init__(self, most: int = 8) -> None:
        self.most, self.cases = most, []  # type: ignore[var-annotated]
        self.dtypes: set[torch.dtype] = set()

    def stages(self) -> Sequence[Stage]:
        return ()

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        if len(seeds) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        self.cases.append(len(seeds))
        means = views.images.mean((2, 3))
        product = means @ torch.full((means.shape[1], 1), 1 / means.shape[1])
        self.dtypes.add(product.dtype)
        return product[:, :, None, None].expand(-1, 16, 16, 16)


def reconstruct(method: Product, folder: Path, **settings: str) -> Run:
    run = toy_run(folder, {"test": make_data(test=20)["test"]}, settings=FitConfig(**settings))  # type: ignore[arg-type]
    assert predict(method, run, ()) == 20
    return run


def gradients(stage: Stage, cases: Mapping[Split, Cases], folder: Path, precision: str) -> dict[str, set[int]]:
    """Take one step of a stage; return the places of the parameters that got a finite gradient, by optimiser."""
    torch.manual_seed(0)
    found = {}
    optimizers = stage.optimizers()

    def update(name: str, loss: Tensor) -> None:
        optimizers[name].zero_grad(set_to_none=True)
        with torch.autocast("cpu", enabled=False):
            loss.backward()
        parameters = [p for group in optimizers[name].param_groups for p in group["params"]]
        assert all(p.grad.isfinite().all() for p in parameters if p.grad is not None)
        found[name] = {place for place, parameter in enumerate(parameters) if parameter.grad is not None}

    with set_precision(CPU, precision):
        stage.prepare(cases, folder, CPU)
        items = stage.batches("train")
        batch = torch.utils.data.default_collate([items[0], items[1]])
        stage.step(batch, update, stage.loop.steps - 1)
    return found


@pytest.mark.parametrize("name", sorted(discover_methods()[0]))
def test_every_parameter_that_is_trained_in_float32_is_trained_in_bfloat16(name: str, tmp_path: Path) -> None:
    """In older PyTorch autocast kept what was cast while gradients were off, which cut the parameters off."""
    spec = get_dataset("lidc")
    data = load_dataset(spec, spec.presets["smoke"].model_copy(update={"phantoms": (4, 2, 1)}), "phantom")
    for single, half in zip(*(build(name, card=data["test"].card).stages() for _ in range(2)), strict=True):
        if isinstance(single, Stage) and isinstance(half, Stage):
            expected = gradients(single, data, tmp_path / "fp32", "fp32")
            assert all(expected.values())
            assert gradients(half, data, tmp_path / "bf16", "bf16") == expected


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_cases_are_reconstructed_in_the_precision_of_their_run(
    precision: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    method = Product()
    reconstruct(method, tmp_path, precision=precision)
    assert method.dtypes == {dtype}


def test_a_precision_holds_for_its_block_alone() -> None:
    def state() -> tuple[str, bool, bool]:
        convolutions = torch.backends.cudnn.allow_tf32
        return torch.get_float32_matmul_precision(), convolutions, torch.is_autocast_enabled("cpu")

    before = state()
    seen = {}
    for precision in ("fp32", "tf32", "bf16"):
        with set_precision(CPU, precision):
            seen[precision] = state()
        assert state() == before
    assert seen == {"fp32": ("highest", False, False), "tf32": ("high", True, False), "bf16": ("highest", False, True)}


def test_what_does_not_bear_less_is_float32_in_every_precision() -> None:
    for precision in ("tf32", "bf16"):
        with set_precision(CPU, precision):
            with full_precision(CPU):
                assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
                assert torch.get_float32_matmul_precision() == "highest"
                assert not torch.backends.cudnn.allow_tf32
            assert (torch.get_float32_matmul_precision() == "high") == (precision == "tf32")


def test_runs_of_different_precision_have_different_names() -> None:
    method, spec = get_method("x2ctgan"), get_dataset("lidc")
    configs = [resolve(method, spec, "tiny", [f"fit.precision={p}"])[0] for p in ("fp32", "tf32", "bf16")]
    assert len({run_name(config, 0, "test", "f0") for config in configs}) == 3
    assert resolve(method, spec, "tiny")[0] == configs[0]
    with pytest.raises(UsageError, match="choose fp32, tf32 or bf16"):
        resolve(method, spec, "tiny", ["fit.precision=auto"])


@pytest.mark.parametrize(
    ("precision", "remark"), [("fp32", "of the method"), ("bf16", "of the method; computed in bfloat16")]
)
def test_results_tell_in_which_precision_a_run_computed(precision: str, remark: str) -> None:
    config, _ = resolve(get_method("x2ctgan"), get_dataset("lidc"), "tiny", [f"fit.precision={precision}"])
    line = toy_record(config=config, remark="of the method").line
    assert (line.precision, line.remark) == (precision, remark)


def test_the_record_of_a_run_whose_device_decided_can_still_be_read() -> None:
    config, _ = resolve(get_method("x2ctgan"), get_dataset("lidc"), "tiny")
    earlier = config.model_dump(mode="json") | {"fit": {"precision": "auto", "workers": 0}}
    assert RunConfig.model_validate(earlier).model_dump(mode="json") == earlier


@pytest.mark.parametrize("gauge", [None, turn(torch.tensor([40.0]), torch.tensor([True])).float()])
def test_points_on_rays_are_where_they_are_in_float32(gauge: Tensor | None) -> None:
    camera, asked = match_camera(CARD.geometry, 320.0), []

    def query(points: Tensor, directions: Tensor, latents: Tensor) -> Tensor:
        asked.append((points, directions))
        return torch.zeros(*points.shape[:3], 4)

    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        with set_precision(CPU, precision):
            rays = camera.rays(camera.random_poses(3), render.pixel_grid(8).expand(3, -1, -1), 8)
            placed = render.ray_depths(*camera.bounds(*rays), render.Sampling(8), ends=False)
            render.march(query, torch.zeros(3, 4), rays, placed, gauge)
    assert torch.equal(asked[0][0], asked[1][0])
    assert torch.equal(asked[0][1], asked[1][1])
    assert asked[0][0].std() > 0.1


def test_the_likelihood_of_features_is_computed_in_float32() -> None:
    """Means of bfloat16 lie up to 4 HU off, which a bin of 1 HU cannot bear."""
    autoencoder = build("codediff").stages()[1].networks["autoencoder"]
    with torch.no_grad():
        nn.init.constant_(autoencoder.output.weight, 0.0)
        nn.init.constant_(autoencoder.output.bias, 0.7012)
        nn.init.constant_(autoencoder.log_sigma_head[-1].weight, 0.0)
        nn.init.constant_(autoencoder.log_sigma_head[-1].bias, -7.123)
    hounsfield = torch.full((1, 16, 16, 16), 402.0)
    found = {}
    for precision in ("fp32", "bf16"):
        with set_precision(CPU, precision):
            found[precision] = volume_nll(autoencoder, hounsfield, (-1000.0, 1000.0))
    assert torch.equal(found["fp32"], found["bf16"])


def test_where_memory_runs_out_fewer_cases_are_reconstructed_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, narrow = Product(), Product(most=2)
    runs = [reconstruct(method, tmp_path / str(method.most)) for method in (whole, narrow)]
    assert whole.cases == [8, 8, 4]
    assert narrow.cases == [2] * 10
    assert capsys.readouterr().out.count("out of memory with") == 2  # 8 cases, 4 cases; never again
    manifests = [(run.folder.predictions("test") / "manifest.csv").read_text().splitlines() for run in runs]
    hashes = [[line.split(",")[:3] for line in lines] for lines in manifests]
    assert hashes[0] == hashes[1]


def test_a_case_that_does_not_fit_into_memory_alone_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"test-000 alone does not fit into memory \(CUDA out of memory\)"):
        reconstruct(Product(most=0), tmp_path)
