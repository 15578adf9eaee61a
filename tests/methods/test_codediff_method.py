"""CodeDiff3D as a method: what it accepts, what it returns, what its seeds decide, and that its stages learn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.cases import Views
from bench.dataset import DatasetCard, Geometry
from bench.errors import UsageError
from bench.method import Method
from bench.pipeline.fit import fit_stages, make_accelerator
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


def build(*overrides: str, card: DatasetCard = CARD, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    method = get_method("codediff")
    built = method(method_settings(method, "smoke", "lidc", parse_overrides(overrides)), card)
    for stage in built.stages():
        for network in stage.networks.values():
            network.eval()
    return built


def views(batch: int, count: int = 2) -> Views:
    images = torch.rand(batch, count, IMAGE, IMAGE, generator=torch.Generator().manual_seed(1))
    angles = torch.tensor([270.0, 0.0, 90.0, 180.0][:count])
    return Views(images, angles, tuple(bool(a == 270) for a in angles), CARD.geometry)


@pytest.fixture(params=["absorbing", "autoregressive"])
def method(request: pytest.FixtureRequest) -> Method:
    return build(f"transformer.kind={request.param}", "sampling.temperature=1.0")


def test_a_reconstruction_has_the_shape_and_range_of_a_volume(method: Method) -> None:
    volume = method.reconstruct(views(3), seeds=[1, 2, 3])
    assert volume.shape == (3, SIZE, SIZE, SIZE)
    assert 0 <= float(volume.min()) <= float(volume.max()) <= 1


def test_a_case_depends_on_its_own_seed_and_not_on_its_neighbours(method: Method) -> None:
    given = views(2)
    both = method.reconstruct(given, seeds=[1, 2])
    alone = method.reconstruct(Views(given.images[1:], given.angles, given.mirrored, given.geometry), seeds=[2])
    other = method.reconstruct(given, seeds=[1, 3])
    assert torch.allclose(both[1:], alone, atol=1e-5)
    assert torch.equal(both[0], other[0])
    assert not torch.allclose(both[1], other[1])


def test_the_likelihood_splits_into_volume_and_codes(method: Method) -> None:
    volume = torch.rand(2, SIZE, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    likelihood = method.log_likelihood(volume, views(2), seeds=[1, 2])
    assert likelihood.volume_given_codes.shape == likelihood.codes_given_views.shape == (2,)
    assert likelihood.voxels == SIZE**3
    assert likelihood.codes == 64
    # a fresh network knows next to nothing: about log 16 nats a code, and no less than nothing
    assert torch.all(likelihood.codes_given_views / 64 > 1.5)
    assert torch.all(likelihood.codes_given_views / 64 < 5.0)
    assert torch.all(likelihood.volume_given_codes > 0)


def test_the_oracle_encodes_and_decodes_the_truth() -> None:
    method = build()
    volume = torch.rand(1, SIZE, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    autoencoder = method.stages()[1].networks["autoencoder"]
    with torch.no_grad():
        expected = autoencoder(volume[:, None]).image[:, 0].clamp(0, 1)
    assert torch.allclose(method.reconstruct_truth(volume), expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 4])
def test_any_number_of_views_can_be_trained_for(count: int) -> None:
    angles = (270.0, 0.0, 90.0, 180.0)[:count]
    card = DatasetCard(**{**CARD.__dict__, "angles": angles, "mirrored": tuple(a == 270 for a in angles)})
    assert build(card=card).reconstruct(views(1, count), seeds=[0]).shape == (1, SIZE, SIZE, SIZE)


def test_another_number_of_views_than_trained_for_is_refused() -> None:
    with pytest.raises(UsageError, match="trained on 2 views and cannot take 3"):
        build().reconstruct(views(1, 3), seeds=[0])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["vqvae3d.autoencoder.multipliers=[1,1,1,1,1,1]"], "codediff, vqvae3d.*16"),
        (["vqvae2d.discriminator.stages=4"], "codediff, vqvae2d.*discriminator"),
        (["transformer.heads=3"], "heads"),
        (["sampling.steps=65"], "at most 64 steps"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_training(overrides: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build(*overrides).reconstruct(views(1), seeds=[0])


class FourVolumes:
    """Cases as the stages use them: blobs whose position the views show."""

    def __init__(self) -> None:
        self.card = CARD
        grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 3, indexing="ij"))
        centres = torch.tensor([[0.3, 0, 0], [-0.3, 0, 0], [0, 0.4, 0.2], [0, -0.4, -0.2]])
        self.unit = torch.stack([(-(grid - c[:, None, None, None]).square().sum(0) * 6).exp() for c in centres])
        self.hounsfield = (self.unit * 2000 - 1000).round().short().numpy()

    def __len__(self) -> int:
        return 4

    def volumes(self, indices: list[int]) -> torch.Tensor:
        return self.unit[list(indices)]

    def images(self, indices: list[int]) -> torch.Tensor:
        unit = self.unit[list(indices)]
        pair = torch.stack([unit.mean(2), unit.mean(3)], 1)
        return torch.nn.functional.interpolate(pair, size=IMAGE)


@pytest.mark.trains
def test_every_stage_trains_and_its_loss_falls(tmp_path: Path, seed: int) -> None:
    steps = {"vqvae2d": 18, "vqvae3d": 18, "log_sigma": 40, "transformer": 40}
    overrides = [f"{stage}.loop.steps={count}" for stage, count in steps.items()]
    overrides += ["vqvae2d.discriminator_start=14", "vqvae3d.discriminator_start=14"]
    overrides += ["transformer.learning_rate=1e-2", "transformer.dropout=0.0", "log_sigma.learning_rate=3e-2"]
    overrides += ["vqvae3d.codebook_start=5", "vqvae3d.quantiser_weight=0.05"]
    overrides += ["transformer.objective=mlm", "log_sigma.loop.validate_every=5"]
    method = build(*overrides, seed=seed)
    cases = FourVolumes()
    record = fit_stages(
        method.stages(),
        {"train": cases, "validation": cases},
        RunFolder(tmp_path),
        FitConfig(),
        seed,
        make_accelerator("cpu"),
        Progress(),
    )
    assert list(record) == list(steps)
    rows = [line.split(",") for line in (tmp_path / "train.csv").read_text().splitlines()[1:]]
    for stage, name, part in (
        ("vqvae2d", "reconstruction_loss", 0.6),
        ("vqvae3d", "reconstruction_loss", 0.6),
        ("log_sigma", "loss", 0.95),
        ("transformer", "loss", 0.7),
    ):
        values = [float(row[3]) for row in rows if row[0] == stage and row[2] == name]
        assert sum(values[-3:]) < part * sum(values[:3]), f"{stage}: {values[:3]} → {values[-3:]}"
    assert any(row[0] == "vqvae3d" and row[2] == "adaptive_weight" for row in rows)


def test_presets_change_sizes_only() -> None:
    method = get_method("codediff")
    allowed = {
        *("channels", "multipliers", "blocks", "codes", "code_width", "attention_sizes", "decoded_side", "stages"),
        *(
            "learning_rate",
            "discriminator_start",
            "codebook_start",
            "quantiser_weight",
            "steps",
            "batch_size",
            "average_every",
            "average_decay",
        ),
        *("validate_every", "keep", "checkpoint_every", "gradient_clip"),
        *("width", "heads", "layers", "dropout", "warm_up", "weight_decay", "bound_steps"),
    }

    def leaves(table: dict, path: str = "") -> Iterator[tuple[str, object]]:
        for key, value in table.items():
            yield from leaves(value, f"{path}{key}.") if isinstance(value, dict) else [(f"{path}{key}", value)]

    published = dict(leaves(method.Config().model_dump()))
    for preset in ("smoke", "tiny", "small", "paper"):
        for key, value in leaves(method_settings(method, preset, "lidc").model_dump()):
            assert value == published[key] or key.rpartition(".")[2] in allowed, f"{preset}: {key} = {value}"
