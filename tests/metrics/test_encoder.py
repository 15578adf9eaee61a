"""The random encoder against the published one, and what makes its numbers repeatable."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bench.errors import BenchError
from bench.metrics.encoder import RandomEncoder, make_encoder, normalise_spectrally
from bench.metrics.settings import EncoderSettings
from bench.scoring.fidelity import encode, encode_real
from bench.scoring.protocol import Fidelity, Stretch
from bench.scoring.sets import plan_set, score_set

SMALL = Fidelity(encoder_seeds=(0, 1), small_encoded_side=48, baseline_draws=3, nearest_k=3)  # 27 features
RANDOM_VECTORS = EncoderSettings(spectral_norm="random-vectors")
CPU = torch.device("cpu")

# codediff_golden.json, discriminators_and_feature_extractor/<fill>/feature_extractor/sn_<norm>_64_float64: numbers of
# the published class; the input is sin(0.01 k), spectral norm "exact" is W / σ_max by SVD, "off" the bare weights
GOLDEN = {  # mean and standard deviation of the features, the first four and the last four
    ("rule", "exact"): (
        (-1.8707488e-07, 8.6513296e-08),
        (-2.6542859e-07, -2.7084548e-07, -2.6881248e-07, -2.6736345e-07),
        (-2.9084021e-07, -2.9558479e-07, -3.0063518e-07, -3.0650259e-07),
    ),
    ("rule", "off"): (
        (-0.00021295315, 0.00043645525),
        (-0.00062888543, -0.00066250887, -0.0006506607, -0.00064351914),
        (0.00056099312, 0.00054742416, 0.00054382569, 0.00050017319),
    ),
    ("chirp", "exact"): (
        (-1.9022846e-05, 2.1047682e-05),
        (-1.4637732e-05, 7.4298964e-06, -1.3271633e-06, 1.6131479e-05),
        (-8.9900385e-06, 9.4982558e-07, 9.2272887e-06, 6.6999519e-06),
    ),
    ("chirp", "off"): (
        (-0.00010821035, 7.5598238e-05),
        (-7.1185008e-05, -2.7196241e-06, -2.2662888e-05, 1.2540904e-05),
        (-5.2685504e-05, -2.357831e-05, 1.0778436e-06, 1.4536689e-05),
    ),
}


@torch.no_grad()
def fill(module: torch.nn.Module, rule: str) -> None:
    """The two fills of the golden file for tensors of two and more dimensions."""
    for weight in module.parameters():
        rows, columns = weight.shape[0], weight[0].numel()
        if rule == "rule":
            angle = 0.1 * torch.arange(weight.numel(), dtype=torch.float64)
        else:
            i = torch.arange(rows, dtype=torch.float64)[:, None]
            j = torch.arange(columns, dtype=torch.float64)[None]
            angle = 0.7 * i * i + 1.3 * j * (i + 1)
        weight.copy_((torch.sin(angle) / math.sqrt(columns)).reshape(weight.shape))


def waves(side: int, dimensions: int = 3) -> torch.Tensor:
    return torch.sin(0.01 * torch.arange(side**dimensions, dtype=torch.float64)).reshape(1, 1, *(side,) * dimensions)


@pytest.mark.parametrize(("rule", "norm"), GOLDEN)
def test_the_encoder_is_the_published_one(rule: str, norm: str) -> None:
    encoder = RandomEncoder(3).double()
    fill(encoder, rule)
    if norm == "exact":
        normalise_spectrally(encoder)
    with torch.inference_mode():
        features = encoder(waves(64))[0].numpy()
    found = (features.mean(), features.std()), features[:4], features[-4:]
    assert features.shape == (125,)
    for ours, published in zip(found, GOLDEN[rule, norm], strict=True):
        np.testing.assert_allclose(ours, published, rtol=1e-6)


def test_the_encoder_has_the_published_numbers_of_parameters_and_features() -> None:
    encoder, of_pictures = RandomEncoder(3).to("meta"), RandomEncoder(2).to("meta")
    assert sum(p.numel() for p in encoder.parameters()) == 2_038_704
    assert encoder(torch.empty(1, 1, 128, 128, 128, device="meta")).shape == (1, 2197)
    assert of_pictures(torch.empty(1, 1, 64, 64, device="meta")).shape == (1, 25)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_spectral_norm_is_converged(dimensions: int) -> None:
    for weight in make_encoder(3, dimensions).parameters():
        largest = torch.linalg.svdvals(weight.double().flatten(1))[0].item()
        assert largest == pytest.approx(1.0, abs=1e-6)


def test_a_seed_fixes_the_encoder_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = make_encoder(0, 2), make_encoder(0, 2), make_encoder(1, 2)
    assert torch.equal(torch.rand(3), expected)
    image = waves(64, 2).float()
    with torch.inference_mode():
        assert torch.equal(first(image), again(image))
        assert not torch.allclose(first(image), other(image), rtol=0.1)


def test_norms_of_random_vectors_are_those_of_spectral_norm_before_any_iteration() -> None:
    """PyTorch's old hook in eval mode: W / uᵀWv of the unit vectors it drew; here of those that the seed draws."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        plain = RandomEncoder(2)
        divided = make_encoder(4, 2, RANDOM_VECTORS)
        for weight, other in zip(plain.parameters(), divided.parameters(), strict=True):
            matrix = weight.detach().double().flatten(1)
            u, v = (F.normalize(torch.randn(length, dtype=torch.float64), dim=0) for length in matrix.shape)
            torch.testing.assert_close(other.double(), weight.double() / (u @ matrix @ v), rtol=1e-5, atol=0)
    largest = [torch.linalg.svdvals(w.double().flatten(1))[0].item() for w in divided.parameters()]
    assert np.median(largest) > 10  # far from the one that converged spectral norm gives
    image = waves(64, 2).float()
    with torch.inference_mode():
        assert torch.equal(divided(image), make_encoder(4, 2, RANDOM_VECTORS)(image))
        assert torch.isfinite(divided(image)).all()


@pytest.mark.usefixtures("data_folder")
def test_truth_and_prediction_are_encoded_on_the_scale_of_the_truth(make_data) -> None:
    """Predictions that are the truth score as copies do; real features are those of stretched volumes."""
    data = make_data(train=6, test=6)
    narrow = EncoderSettings(widths=(4, 8, 8, 8), head_width=8)
    settings = replace(SMALL, encoder=narrow, stretch=Stretch(), encoder_seeds=(1,), baseline_draws=1)
    cases = data["test"]
    features = encode_real(cases, np.arange(6), settings, CPU)["3d"][0]
    volumes = [v.double() for v in cases.volumes(range(6))]
    by_hand = torch.stack([((v - v.min()) / (v.max() - v.min())).float() for v in volumes])
    np.testing.assert_allclose(features, encode(by_hand, 16, settings, CPU)["3d"][0], rtol=1e-3, atol=1e-9)
    plan = plan_set(cases, data["train"], cases.names, settings, CPU)
    scores = {(s.axis, s.metric): s.value for s in score_set(plan, cases.volumes(range(6))) if s.stat == "mean"}
    assert scores["all", "coverage"] == scores["h", "coverage"] == 1.0
    assert scores["all", "density"] == pytest.approx(1.0)


def test_features_do_not_depend_on_the_batch(make_data) -> None:
    volumes = make_data(test=9)["test"].volumes(range(9))
    together = encode(volumes, 16, SMALL, CPU)
    alone = encode(volumes[8:], 16, SMALL, CPU)
    assert together["3d"].shape == (2, 9, 27)
    assert together["w"].shape == (2, 9, 9)
    for key in ("3d", "d", "h", "w"):
        spread = np.ptp(together[key], axis=1).mean()
        np.testing.assert_allclose(alone[key][:, 0], together[key][:, 8], atol=1e-3 * spread)


def test_volumes_are_resampled_linearly_before_encoding(make_data) -> None:
    volumes = make_data(test=1)["test"].volumes([0])
    resized = F.interpolate(volumes[None], size=(48, 48, 48), mode="trilinear", align_corners=False)
    projected = F.interpolate(volumes.amax(2)[None], size=(48, 48), mode="bilinear", align_corners=False)
    features = encode(volumes, 16, SMALL, CPU)
    with torch.inference_mode():
        expected_3d = make_encoder(1, 3)(resized).numpy()
        expected_h = make_encoder(1, 2)(projected).numpy()
    np.testing.assert_allclose(features["3d"][1], expected_3d, rtol=1e-3)
    np.testing.assert_allclose(features["h"][1], expected_h, rtol=1e-3)


@pytest.mark.parametrize(("grid", "side"), [(16, 64), (95, 64), (96, 128), (128, 128), (256, 128)])
def test_small_grids_are_encoded_at_the_small_side(grid: int, side: int) -> None:
    assert Fidelity().side(grid) == side


@pytest.mark.parametrize("side", [16, 40])
def test_sides_the_encoder_cannot_take_are_refused(side: int) -> None:
    with pytest.raises(BenchError, match="multiples of 16 from 32"):
        encode([torch.zeros(8, 8, 8)], 8, replace(SMALL, small_encoded_side=side), CPU)
