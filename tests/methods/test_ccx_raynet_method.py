"""CCX-rayNet and CCX-rayGAN as methods: what they accept, what they return, and that their stages learn."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.cases import Views
from bench.dataset import DatasetCard, Geometry
from bench.errors import UsageError
from bench.method import Method
from bench.pipeline.fit import fit_stages, load_stages, make_accelerator
from bench.plugins.config import FitConfig, method_settings, parse_overrides
from bench.plugins.registry import get_method
from bench.runs.folder import RunFolder
from bench.system.progress import Progress

SIZE, IMAGE = 16, 32
CARD = DatasetCard(
    name="lidc",
    source="phantom",
    size=SIZE,
    voxel_mm=20.0,
    window=(-1000.0, 1000.0),
    image_size=IMAGE,
    angles=(270.0, 0.0),
    mirrored=(True, False),
    geometry=Geometry(541.0, 949.0, 500.0),
    counts={},
    fingerprint="test",
)


def build(
    *overrides: str, card: DatasetCard = CARD, name: str = "ccx_raynet", dataset: str = "lidc", seed: int = 0
) -> Method:
    torch.manual_seed(seed)
    method = get_method(name)
    built = method(method_settings(method, "smoke", dataset, parse_overrides(overrides)), card)
    for stage in built.stages():
        for network in stage.networks.values():
            network.eval()
    return built


def views(batch: int, angles: tuple[float, ...] = (270.0, 0.0), image: int = IMAGE) -> Views:
    images = torch.rand(batch, len(angles), image, image, generator=torch.Generator().manual_seed(1))
    return Views(images, torch.tensor(angles), tuple(angle == 270 for angle in angles), CARD.geometry)


def names(method: Method) -> list[str]:
    return [stage.name for stage in method.stages()]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["generator.dft=false", "generator.aff=false"],
        ["generator.dft=false"],
        ["generator.aff=false"],
        ["mask.kind=zero"],
        ["side=8", "generator.layers=[2]", "generator.links=[4]", "mask.widths=[4]"],
    ],
)
def test_a_reconstruction_has_the_shape_and_range_of_a_volume(overrides: list[str]) -> None:
    volume = build(*overrides).reconstruct(views(2), seeds=[1, 2])
    assert volume.shape == (2, SIZE, SIZE, SIZE)
    assert 0 <= float(volume.min()) < float(volume.max()) <= 1


def test_a_case_depends_neither_on_seeds_nor_on_its_neighbours() -> None:
    method, given = build(), views(3)
    alone = method.reconstruct(replace(given, images=given.images[1:2]), seeds=[5])
    assert torch.allclose(method.reconstruct(given, seeds=[1, 2, 3])[1:2], alone, atol=1e-5)


def test_masks_are_a_stage_only_where_they_are_learned() -> None:
    assert names(build()) == ["mask", "generator"]
    assert names(build("mask.kind=zero")) == names(build("generator.dft=false")) == ["generator"]
    assert names(build(dataset="baggage")) == ["generator"]  # no class prior: Otsu's foreground


def test_without_a_class_the_views_alone_decide() -> None:
    """Masks change what the conditioned generator makes; zero masks are a constant condition."""
    learned, zero = build(), build("mask.kind=zero")
    zero.stages()[-1].networks["generator"].load_state_dict(learned.stages()[-1].networks["generator"].state_dict())
    with torch.no_grad():
        for network in learned.stages()[0].networks["masks"].networks:
            network.head.weight.zero_()
            network.head.bias.fill_(-20.0)
    same = torch.equal(zero.reconstruct(views(1), seeds=[0]), learned.reconstruct(views(1), seeds=[0]))
    assert same
    with torch.no_grad():
        for network in learned.stages()[0].networks["masks"].networks:
            network.head.weight.fill_(5.0)
            network.head.bias.zero_()
    assert not torch.equal(zero.reconstruct(views(1), seeds=[0]), learned.reconstruct(views(1), seeds=[0]))


@pytest.mark.parametrize("angle", [270.0, 0.0])
def test_one_view_is_enough(angle: float) -> None:
    card = replace(CARD, angles=(angle,), mirrored=(angle == 270,))
    assert build(card=card).reconstruct(views(1, (angle,)), seeds=[0]).shape == (1, SIZE, SIZE, SIZE)


@pytest.mark.parametrize(
    ("changes", "overrides", "words"),
    [
        ({"angles": (270.0, 0.0, 90.0)}, [], "ccx_raynet takes one or two views, not 3"),
        ({"angles": (270.0, 90.0)}, [], "ccx_raynet takes the views at 270"),
        ({"size": 18}, [], "ccx_raynet: .* multiple of 4 .* not 18"),
        ({"size": 36}, [], "ccx_raynet needs views of at least .* 36 pixels a side, not 32"),
        ({}, ["side=32"], "ccx_raynet works at a side of at most data.size = 16"),
        ({}, ["mask.widths=[4,4,4,4,4,4]"], "ccx_raynet, mask: .* multiple of 32, not 16"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_training(
    changes: dict[str, object], overrides: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        build(*overrides, card=DatasetCard(**{**CARD.__dict__, **changes}))


def test_other_views_than_trained_for_are_refused() -> None:
    with pytest.raises(UsageError, match="ccx_raynet was built for views at 270, 0"):
        build().reconstruct(views(1, (270.0,)), seeds=[0])


def test_masks_of_another_shape_are_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build("mask.kind=zero")
    monkeypatch.setattr(method.masks, "forward", lambda images: torch.zeros(len(images), 1, 8, 8))
    with pytest.raises(UsageError, match=r"ccx_raynet: class masks must be of shape \(1, 2, 16, 16\)"):
        fit(method, tmp_path)
    assert not (tmp_path / "train.csv").exists()


class FourVolumes:
    """Cases as the stages use them: bodies with two air-filled lungs of different sizes, and what the views show."""

    def __init__(self) -> None:
        self.card = CARD
        grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 3, indexing="ij"))
        body = (grid[1] / 0.8).square() + (grid[2] / 0.9).square() <= 1
        volumes = []
        for size in (0.3, 0.4, 0.5, 0.6):
            volume = torch.where(body, 40.0, -1000.0)
            for side in (-0.45, 0.45):
                lung = (grid[0] / size).square() + (grid[1] / 0.5).square() + ((grid[2] - side) / 0.3).square() <= 1
                volume[lung] = -850.0
            volumes.append(volume)
        self.hounsfield = torch.stack(volumes).short().numpy()

    def __len__(self) -> int:
        return 4

    def volumes(self, indices: list[int]) -> torch.Tensor:
        return (torch.from_numpy(self.hounsfield[list(indices)]).float() + 1000) / 2000

    def images(self, indices: list[int]) -> torch.Tensor:
        unit = self.volumes(indices)
        return torch.nn.functional.interpolate(torch.stack([unit.mean(2), unit.mean(3)], 1), size=IMAGE)


def fit(method: Method, folder: Path, seed: int = 0) -> dict[str, dict]:
    cases = FourVolumes()
    data = {"train": cases, "validation": cases}
    return fit_stages(method.stages(), data, RunFolder(folder), FitConfig(), seed, make_accelerator("cpu"), Progress())


@pytest.mark.trains
@pytest.mark.parametrize("name", ["ccx_raynet", "ccx_raygan"])
def test_every_stage_trains_and_its_loss_falls(tmp_path: Path, name: str, seed: int) -> None:
    overrides = ["training.loop.steps=30", "training.learning_rate=1e-3", "generator.dropout=0.0"]
    overrides += [f"{stage}.loop.checkpoint_every=100" for stage in ("mask", "training")]
    method = build("mask.loop.steps=25", "mask.learning_rate=1e-2", *overrides, name=name, seed=seed)
    record = fit(method, tmp_path, seed)
    assert list(record) == ["mask", "generator"]
    rows = [line.split(",") for line in (tmp_path / "train.csv").read_text().splitlines()[1:]]
    for stage, column in (("mask", "loss"), ("generator", "voxel_loss"), ("generator", "projection_loss")):
        values = [float(row[3]) for row in rows if row[0] == stage and row[2] == column]
        assert sum(values[-5:]) < 0.85 * sum(values[:5]), f"{stage} {column}: {values[:5]} → {values[-5:]}"
    adversarial = {row[2] for row in rows if row[0] == "generator"} >= {"generator_loss", "discriminator_loss"}
    assert adversarial == (name == "ccx_raygan") == ("discriminator" in method.stages()[1].networks)


def test_a_trained_run_is_read_back(tmp_path: Path) -> None:
    method, other = build(), build()
    fit(method, tmp_path)
    cases = FourVolumes()
    load_stages(other.stages(), {"train": cases, "validation": cases}, RunFolder(tmp_path), Progress())
    assert torch.equal(method.reconstruct(views(1), seeds=[0]), other.reconstruct(views(1), seeds=[0]))


def test_presets_change_sizes_and_steps_only() -> None:
    allowed = {
        *("widths", "stem", "layers", "growth", "bottleneck", "bridge", "links", "dropout", "channels", "stages"),
        *("learning_rate", "discriminator_rate", "steps", "batch_size", "validate_every", "checkpoint_every", "side"),
    }

    def leaves(table: dict, path: str = "") -> Iterator[tuple[str, object]]:
        for key, value in table.items():
            yield from leaves(value, f"{path}{key}.") if isinstance(value, dict) else [(f"{path}{key}", value)]

    for name in ("ccx_raynet", "ccx_raygan"):
        method = get_method(name)
        published = dict(leaves(method.Config().model_dump()))
        for preset in ("smoke", "tiny", "small", "paper"):
            for dataset in ("lidc", "baggage"):
                settings = method_settings(method, preset, dataset).model_dump()
                for key, value in leaves(settings):
                    classless = key == "mask.kind" and (value == "otsu") == (dataset == "baggage")
                    same = value == published[key] or key.rpartition(".")[2] in allowed or classless
                    assert same, f"{preset}.{dataset}: {key} = {value}"
