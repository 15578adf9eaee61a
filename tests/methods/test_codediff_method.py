"""CodeDiff3D as a method: what it accepts, what it returns, what its seeds decide, and that its stages learn."""

from pathlib import Path

import pytest
import torch

from bench.cases import Views
from bench.errors import UsageError
from bench.method import Method
from bench.methods.codediff import autoencoder, stage_autoencoder, stage_log_sigma
from bench.methods.codediff.performance import make_sampler
from bench.pipeline.fit import fit_stages

from ..helpers.small_methods import SIZE, FourVolumes, blobs, build, random_views, train
from ..helpers.toy_runs import toy_run


@pytest.fixture(params=["absorbing", "autoregressive"])
def method(request: pytest.FixtureRequest) -> Method:
    return build("codediff", f"transformer.kind={request.param}", "sampling.temperature=1.0")


def test_a_case_depends_on_its_own_seed_and_not_on_its_neighbours(method: Method) -> None:
    given = random_views(2)
    both = method.reconstruct(given, seeds=[1, 2])
    alone = method.reconstruct(Views(given.images[1:], given.angles, given.mirrored, given.geometry), seeds=[2])
    other = method.reconstruct(given, seeds=[1, 3])
    assert both.shape == (2, SIZE, SIZE, SIZE)
    assert 0 <= float(both.min()) <= float(both.max()) <= 1
    assert torch.allclose(both[1:], alone, atol=1e-5)
    assert torch.equal(both[0], other[0])
    assert not torch.allclose(both[1], other[1])


def draw_volumes(count: int) -> torch.Tensor:
    return torch.rand(count, SIZE, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


def test_the_likelihood_splits_into_volume_and_codes_and_is_computed_for_as_many_cases_as_fit_into_memory(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    decoder = method.stages()[1].networks["autoencoder"].decoder
    decoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    whole = method.log_likelihood(draw_volumes(3), random_views(3), seeds=[1, 2, 3])
    assert (whole.voxels, whole.codes) == (SIZE**3, 64)
    # a fresh network knows next to nothing: about log 16 nats a code, and no less than nothing
    assert torch.all((whole.codes_given_views / 64 > 1.5) & (whole.codes_given_views / 64 < 5.0))
    assert torch.all(whole.volume_given_codes > 0)
    monkeypatch.setattr(autoencoder, "VOXELS_AT_ONCE", 2 * SIZE**3)
    parts = method.log_likelihood(draw_volumes(3), random_views(3), seeds=[1, 2, 3])
    assert seen == [3, 2, 1]
    assert torch.allclose(parts.volume_given_codes, whole.volume_given_codes, rtol=1e-6)
    assert torch.allclose(parts.codes_given_views, whole.codes_given_views, rtol=1e-6)


def test_the_likelihood_of_a_large_volume_is_computed_in_slabs_to_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = build("codediff").stages()[1].networks["autoencoder"].double()
    torch.nn.init.normal_(network.log_sigma_head[-1].weight)
    hounsfield = torch.randint(-1100, 1100, (2, SIZE, SIZE, SIZE), generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        whole = stage_log_sigma.volume_nll(network, hounsfield, (-1000.0, 1000.0))
        for planes in (1, 5, SIZE - 1):
            monkeypatch.setattr(stage_log_sigma, "VOXELS_AT_ONCE", planes * SIZE**2)
            slabs = stage_log_sigma.volume_nll(network, hounsfield, (-1000.0, 1000.0))
            assert torch.allclose(slabs, whole, rtol=1e-9, atol=0)


def test_the_oracle_encodes_and_decodes_the_truth() -> None:
    method = build("codediff")
    volume, network = draw_volumes(1), method.stages()[1].networks["autoencoder"]
    with torch.no_grad():
        expected = network(volume[:, None]).image[:, 0].clamp(0, 1)
    assert torch.allclose(method.reconstruct_truth(volume), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("vqvae3d.autoencoder.multipliers=[1,1,1,1,1,1]", "codediff, vqvae3d.*16"),
        ("vqvae2d.discriminator.stages=4", "codediff, vqvae2d.*discriminator"),
        ("transformer.heads=3", "heads"),
        ("sampling.steps=65", "at most 64 steps"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_training(overrides: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("codediff", overrides)


def test_more_steps_of_sampling_than_codes_are_refused() -> None:
    sampler = make_sampler(build("codediff"))
    with pytest.raises(UsageError, match="at most 64 steps"):
        sampler.draw(sampler.context(random_views(1)), [0], 65)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_volumes_are_trained_on_smooth_l1_plus_weighted_l1(weight: float) -> None:
    stage = build("codediff", f"vqvae3d.reconstruction_weight={weight}").stages()[1]
    volumes = draw_volumes(2)[:, None]
    with torch.no_grad():
        error = (stage.networks["autoencoder"](volumes).image - volumes).abs().double()
        smooth = torch.where(error < 1 / 9, 4.5 * error**2, error - 1 / 18)
        validation = stage.validation_loss(volumes)
    values = stage.step(volumes, lambda name, loss: None, stage.config.codebook_start + 1)
    expected = float(smooth.mean() + weight * error.mean())
    assert float(validation) == pytest.approx(expected, rel=1e-5)
    assert float(values["reconstruction_loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.trains
def test_every_stage_trains_and_its_loss_falls(tmp_path: Path, seed: int) -> None:
    steps = {"vqvae2d": 18, "vqvae3d": 18, "log_sigma": 40, "transformer": 40}
    overrides = [f"{stage}.loop.steps={count}" for stage, count in steps.items()]
    overrides += ["vqvae2d.discriminator_start=14", "vqvae3d.discriminator_start=14"]
    overrides += ["transformer.learning_rate=1e-2", "transformer.dropout=0.0", "log_sigma.learning_rate=3e-2"]
    overrides += ["vqvae3d.codebook_start=5", "vqvae3d.quantiser_weight=0.05"]
    overrides += ["transformer.objective=mlm", "log_sigma.loop.validate_every=5"]
    stages, logged = train(build("codediff", *overrides, seed=seed), blobs(), tmp_path, seed)
    assert stages == list(steps)
    for stage, name, part in (
        ("vqvae2d", "reconstruction_loss", 0.6),
        ("vqvae3d", "reconstruction_loss", 0.6),
        ("log_sigma", "loss", 0.95),
        ("transformer", "loss", 0.7),
    ):
        values = logged[stage, name]
        assert sum(values[-3:]) < part * sum(values[:3]), f"{stage}: {values[:3]} → {values[-3:]}"
    assert ("vqvae3d", "adaptive_weight") in logged


@pytest.mark.trains
@pytest.mark.parametrize("name", ["vqvae2d", "vqvae3d"])
def test_bags_of_little_but_air_are_not_all_encoded_alike(name: str, tmp_path: Path, seed: int) -> None:
    bags = FourVolumes(0.08 * blobs().unit)
    everything = list(range(len(bags)))
    shown = bags.images(everything).flatten(0, 1) if name == "vqvae2d" else bags.volumes(everything)
    overrides = ["loop.steps=120", "codebook_start=60", "discriminator_start=120", "learning_rate=2e-3"]
    overrides = [f"{name}.{override}" for override in [*overrides, "quantiser_weight=0.02"]]
    method = build("codediff", *overrides, dataset="baggage", seed=seed)
    (stage,) = (stage for stage in method.stages() if stage.name == name)
    fit_stages([stage], toy_run(tmp_path, {"train": bags, "validation": bags}, seed))  # type: ignore[dict-item]
    with torch.inference_mode():
        made = stage.networks["autoencoder"](shown[:, None]).image[:, 0]
    spread, wanted = (images.var(0).mean().sqrt() for images in (made, shown))
    assert float(spread / wanted) > 0.5  # of six seeds at least 0.96; of four at most 0.13 when values are not scaled


def test_all_processes_start_their_codes_where_the_first_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each would round, and then cluster, in its own way, and the averaged gradients would belong to no network."""
    cases = {"train": blobs(), "validation": blobs()}
    found = {}
    for first in (True, False):
        stage = build("codediff", "vqvae3d.codebook_start=1").stages()[1]
        stage.prepare(cases, tmp_path, torch.device("cpu"))
        monkeypatch.setattr(stage_autoencoder, "is_main", lambda first=first: first)
        monkeypatch.setattr(stage_autoencoder, "from_main", lambda value: found.setdefault("sent", value.clone()))
        stage.step(stage.batches("train")[0][None], lambda name, loss: None, 1)
        found[first] = stage.networks["autoencoder"].quantiser.codebook.detach()
    assert torch.equal(found[True], found[False])
    assert torch.equal(found[True], found["sent"])
