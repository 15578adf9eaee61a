"""What every registered method keeps to, floors and ceilings included: shapes, range, seeds, weights, refusals."""

import re
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from bench.cases import Cases, Views
from bench.cli import app
from bench.data.cases import load_dataset
from bench.dataset import Split
from bench.errors import BenchError, UsageError
from bench.method import Method, Stage
from bench.performance.subjects import make_update
from bench.pipeline.fit import fit_stages, load_stages
from bench.plugins.config import method_settings, resolve
from bench.plugins.registry import discover_methods, get_dataset, get_method, variants_of
from bench.runs.folder import RunFolder

from ..helpers.small_methods import build as build_small
from ..helpers.toy_runs import toy_run

METHODS = sorted(discover_methods()[0])
VARIANTS = sorted(variant for name in METHODS for variant in variants_of(get_method(name)))
SEEDS = (11, 12, 13)
Data = Mapping[Split, Cases]
TRAINED_ELSEWHERE = ("codediff", "x2ctgan", "ccx_raynet", "lift_unet")  # in test_<folder>_method.py or test_<folder>.py


@pytest.fixture(scope="module")
def data() -> Data:
    """The smoke preset's phantoms, views at their two default angles."""
    spec = get_dataset("lidc")
    return load_dataset(spec, spec.presets["smoke"], "phantom")


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in METHODS])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(name: str, data: Data, seed: int, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run folder in which the method was fitted."""
    root = RunFolder(tmp_path_factory.mktemp(name))
    fit(build(name, data, seed), data, root, seed)
    return root


def build(name: str, data: Data, seed: int = 0) -> Method:
    return build_small(name, card=data["test"].card, seed=3 + seed)


def fit(method: Method, data: Data, folder: RunFolder, seed: int = 0, steps: int | None = None) -> None:
    """Train all stages, with `steps` each where that is enough to see that they work."""
    stages = method.stages()
    for stage in stages:
        if steps is not None and isinstance(stage, Stage):
            stage.loop = stage.loop.model_copy(update={"steps": steps})
    fit_stages(stages, toy_run(folder, data, seed))


@pytest.fixture
def method(name: str, data: Data, folder: RunFolder) -> Method:
    """A new method with the weights of the fitted one."""
    method = build(name, data)
    load_stages(method.stages(), toy_run(folder, data))
    return method


def output(method: Method, data: Data, cases: tuple[int, ...] = (0, 1, 2), device: str = "cpu") -> torch.Tensor:
    with torch.inference_mode():
        if method.card.sees_truth:
            return method.reconstruct_truth(data["test"].volumes(cases).to(device))
        return method.reconstruct(data["test"].views(cases).to(device), seeds=[SEEDS[i] for i in cases])


@pytest.fixture(scope="module")
def made(name: str, data: Data, folder: RunFolder) -> torch.Tensor:
    """What the fitted method makes of three cases, its weights loaded."""
    method = build(name, data)
    load_stages(method.stages(), toy_run(folder, data))
    return output(method, data)


def check_volumes(made: torch.Tensor) -> None:
    assert made.shape == (3, 16, 16, 16)
    assert made.isfinite().all()
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_a_reconstruction_is_a_volume_in_the_unit_range(made: torch.Tensor) -> None:
    check_volumes(made)
    assert made.std() > 0


def test_a_second_fit_with_the_same_seed_gives_the_same_output(
    name: str, data: Data, made: torch.Tensor, seed: int, tmp_path: Path
) -> None:
    again = build(name, data, seed)
    fit(again, data, RunFolder(tmp_path), seed)
    assert torch.equal(output(again, data), made)


def test_seeds_decide_a_reconstruction_where_the_card_says_that_it_draws(method: Method, data: Data) -> None:
    if method.card.sees_truth:
        pytest.skip("it takes no seeds")
    views = data["test"].views([0])
    with torch.inference_mode():
        first, second = (method.reconstruct(views, seeds=[seed]) for seed in SEEDS[:2])
    assert torch.equal(first, second) == ("samples" not in method.card.capabilities)


@pytest.mark.trains
def test_a_case_does_not_depend_on_its_company(method: Method, data: Data, made: torch.Tensor) -> None:
    assert torch.allclose(made[1], output(method, data, (1,))[0], atol=2e-4)


def test_all_training_changes_the_weights_and_stays_finite(name: str, method: Method, data: Data, seed: int) -> None:
    for before, after in zip(build(name, data, seed).stages(), method.stages(), strict=True):
        left, right = (
            {f"{n}.{k}": t for n, net in stage.networks.items() for k, t in net.state_dict().items()}
            for stage in (before, after)
        )
        assert any(not torch.equal(left[key], right[key]) for key in left), before.name
        assert all(t.isfinite().all() for t in right.values() if t.is_floating_point()), after.name


@pytest.mark.trains
def test_the_loss_of_every_stage_falls_on_one_batch_repeated(
    name: str, method: Method, data: Data, tmp_path: Path
) -> None:
    if get_method(name).file.parent.name in TRAINED_ELSEWHERE:
        pytest.skip("a test of its own trains its stages for longer, and asks for more")
    for stage in method.stages():  # later ones need what earlier ones left
        if not isinstance(stage, Stage):
            continue
        losses = losses_on_one_batch(stage, data, tmp_path, steps=30)
        assert min(losses[-5:]) < losses[0], (stage.name, losses)


def losses_on_one_batch(stage: Stage, data: Data, cache: Path, steps: int) -> list[float]:
    stage.prepare(data, cache, torch.device("cpu"))
    items = stage.batches("train")
    batch = torch.utils.data.default_collate([items[i] for i in range(min(4, len(items)))])
    update = make_update(stage)
    for network in stage.networks.values():
        network.train()
    losses = []
    for step in range(steps):
        torch.manual_seed(0)  # the same masks and augmentations, so that only the weights differ
        losses.append(float(stage.step(batch, update, step)["loss"]))
    return losses


@pytest.mark.parametrize("angles", [(270.0,), (270.0, 0.0, 45.0)], ids=["one view", "three views"])
def test_other_numbers_of_views_work_or_are_refused_in_one_line(
    name: str, angles: tuple[float, ...], tmp_path: Path
) -> None:
    spec, plugin = get_dataset("lidc"), get_method(name)
    config, settings = resolve(plugin, spec, "smoke", [f"data.angles={list(angles)}", "data.phantoms=[4, 2, 3]"])
    cases = load_dataset(spec, config.data, "phantom")
    torch.manual_seed(3)
    refused = ""
    try:
        method = plugin.load()(settings, cases["test"].card)
    except UsageError as refusal:
        refused = str(refusal)
    if refused:
        assert len(angles) > 1  # one view is refused by none
        assert re.fullmatch(f"{name} .*", refused)
        return
    fit(method, cases, RunFolder(tmp_path / "run"), steps=2)
    check_volumes(output(method, cases))


def test_views_of_another_number_than_trained_on_are_refused(name: str, method: Method, data: Data) -> None:
    views = data["test"].views([0])
    one = Views(views.images[:, :1], views.angles[:1], views.mirrored[:1], views.geometry)
    if name in ("mean", "voxel_laplace", "voxel_histogram", "backprojection"):  # ignores views, or takes any number
        assert method.reconstruct(one, seeds=[0]).shape == (1, 16, 16, 16)
        return
    with pytest.raises(UsageError, match=name), torch.inference_mode():
        method.reconstruct(one, seeds=[0])


def test_a_missing_stage_is_named(name: str, data: Data, tmp_path: Path) -> None:
    stages = build(name, data).stages()
    with pytest.raises(BenchError, match=stages[0].name) if stages else nullcontext():
        load_stages(stages, toy_run(tmp_path, data))


def test_every_preset_is_valid_and_survives_a_file(name: str) -> None:
    for preset in ("smoke", "tiny", "small", "paper"):
        for dataset in ("lidc", "baggage"):
            settings = method_settings(get_method(name), preset, dataset)
            assert settings.model_validate_json(settings.model_dump_json()) == settings, (preset, dataset)


def test_the_card_is_shown_and_says_how_this_code_differs(name: str) -> None:
    card = get_method(name).card
    assert card.kind != "method" or (card.deviations and "@" in card.bibtex)
    shown = CliRunner().invoke(app, ["show", name])
    assert (shown.exit_code, card.title in shown.output) == (0, True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_has_a_configuration_of_its_own_in_every_preset(variant: str) -> None:
    plain = get_method(variant.partition("+")[0])
    for spec in map(get_dataset, ("lidc", "baggage")):
        for preset in spec.presets:
            config, _ = resolve(get_method(variant), spec, preset)
            other, _ = resolve(plain, spec, preset)
            assert config.method == variant
            assert config.model_copy(update={"method": plain.card.name}).sha256() != other.sha256(), (spec.name, preset)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "ccx_raygan" not in name])  # as ccx_raynet's
def test_a_variant_trains_and_reconstructs(variant: str, tmp_path: Path) -> None:
    spec, plugin = get_dataset("lidc"), get_method(variant)
    config, settings = resolve(plugin, spec, "smoke", ["data.phantoms=[4, 2, 3]"])
    data = load_dataset(spec, config.data, "phantom")
    torch.manual_seed(3)
    method = plugin.load()(settings, data["test"].card)
    fit(method, data, RunFolder(tmp_path / "run"), steps=2)
    check_volumes(output(method, data))


def test_the_readme_of_every_method_sets_paper_code_and_this_side_by_side() -> None:
    folders = {get_method(name).file.parent for name in METHODS}
    for folder in folders:
        names = [name for name in METHODS if get_method(name).file.parent == folder]
        text = (folder / "README.md").read_text()
        if any(get_method(name).card.kind == "method" for name in names):
            assert re.search(r"^\| *\| paper.*\| .*code \| here \|$", text, re.MULTILINE), folder.name
        for name in names:
            assert f"`{name}`" in text or f"--method {name}`" in text or f"fingerprint {name}`" in text, name
            for variant in variants_of(get_method(name)):
                assert variant in text or variant.replace("raygan", "raynet") in text, variant


@pytest.mark.parametrize("listed", [*METHODS, *VARIANTS])
def test_the_class_that_is_loaded_says_of_itself_what_the_list_says_of_it(listed: str) -> None:
    plugin = get_method(listed)
    loaded = plugin.load()
    assert issubclass(loaded, Method)
    assert (loaded.card, loaded.Config, loaded.presets) == (plugin.card, plugin.config, plugin.presets)
    assert loaded.card.name == listed
    itself = getattr(sys.modules[plugin.module], loaded.__name__)
    assert (loaded is itself) == (listed in METHODS)  # of a variant, a subclass that was made for it


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(method: Method, data: Data) -> None:
    on_cpu = output(method, data)
    for stage in method.stages():
        for network in stage.networks.values():
            network.to("cuda")
    on_gpu = output(method, data, device="cuda").cpu()
    assert (on_cpu - on_gpu).abs().mean() < 5e-3
