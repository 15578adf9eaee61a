"""CodeDiff3D's autoencoders, quantiser and transformer are the published ones and refuse what they cannot do."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.errors import UsageError
from bench.methods.codediff.autoencoder import VectorQuantisedAutoencoder, VectorQuantiser, nearest_codes
from bench.methods.codediff.card import AutoencoderConfig
from bench.methods.codediff.transformer import CodeTransformer, TransformerConfig

SMALL = AutoencoderConfig(
    size=16, channels=4, multipliers=(1, 2, 4), blocks=1, attention_sizes=(4,), codes=16, code_width=8
)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("multipliers", "size"), [((1,), 5), ((1, 2), 6), ((1, 2, 2, 3), 24)])
def test_any_list_of_levels_and_any_size_is_encoded_and_decoded(
    dimensions: int, multipliers: tuple[int, ...], size: int
) -> None:
    lowest = size // 2 ** (len(multipliers) - 1)
    changes = {"dimensions": dimensions, "multipliers": multipliers, "size": size, "attention_sizes": (lowest,)}
    config = SMALL.model_copy(update=changes)
    model = VectorQuantisedAutoencoder(config).double().eval()
    image = torch.rand(2, 1, *(size,) * dimensions).double()
    made = model(image)
    assert made.image.shape == image.shape
    assert made.quantised.codes.shape == (2, *config.latent_shape)
    assert made.quantised.codes[0].numel() == config.tokens
    assert torch.allclose(model.decode_codes(made.quantised.codes), made.image, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 100}, "size 100 cannot be halved 4 times"),
        ({"channels": 20, "multipliers": (1, 2), "size": 8}, "40 channels"),
    ],
)
def test_shapes_that_cannot_be_built_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AutoencoderConfig(**changes)


def test_a_scale_of_values_divides_what_goes_in_and_multiplies_what_comes_out() -> None:
    torch.manual_seed(0)
    plain = VectorQuantisedAutoencoder(SMALL).double().eval()
    scaled = VectorQuantisedAutoencoder(SMALL.model_copy(update={"value_scale": 0.05})).double().eval()
    scaled.load_state_dict(plain.state_dict())
    image = torch.rand(2, 1, 16, 16, 16).double()
    made, expected = scaled(0.05 * image), plain(image)
    assert torch.equal(made.quantised.codes, expected.quantised.codes)
    assert torch.allclose(made.image, 0.05 * expected.image)


def test_nearest_codes_are_those_of_all_distances_and_the_first_of_equals() -> None:
    vectors, codebook = torch.randn(500, 6).double(), torch.randn(40, 6).double()
    assert torch.equal(nearest_codes(vectors, codebook), torch.cdist(vectors, codebook).argmin(1))
    codebook = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    assert nearest_codes(torch.tensor([[0.0, 5.0], [0.3, 0.0]]), codebook).tolist() == [0, 0]


def test_gradients_pass_straight_through_the_quantiser() -> None:
    quantiser = VectorQuantiser(16, 4)
    latents = torch.randn(2, 4, 3, 3, 3, requires_grad=True)
    weights = torch.randn(2, 4, 3, 3, 3)
    quantised = quantiser(latents)
    (quantised.vectors * weights).sum().backward()
    assert torch.equal(latents.grad, weights)
    assert quantiser.codebook.grad is None
    assert torch.allclose(quantised.vectors, quantiser.lookup(quantised.codes), atol=1e-6)


@pytest.mark.parametrize(("weighting", "ratio"), [("released", 0.25), ("paper", 4.0)])
def test_beta_weighs_the_codebook_as_released_or_the_encoder_as_in_the_paper(weighting: str, ratio: float) -> None:
    torch.manual_seed(0)
    quantiser = VectorQuantiser(1024, 4, beta=0.25, weighting=weighting).double()
    # every latent has a code of its own, so that both gradients hold the same differences
    rows = torch.randn(30, 4).double()
    quantiser.codebook.data[:30] = rows + 1e-3
    quantiser.codebook.data[30:] = 100.0
    latents = rows.T[None].clone().requires_grad_()
    quantiser(latents).loss.backward()
    assert float(quantiser.codebook.grad.norm() / latents.grad.norm()) == pytest.approx(ratio)


def test_the_quantiser_keeps_float32_under_autocast() -> None:
    quantiser = VectorQuantiser(64, 8)
    latents = torch.randn(1, 8, 4, 4, 4) / 64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quantised = quantiser(latents)
    assert quantised.loss.dtype == torch.float32
    assert torch.equal(quantised.codes, quantiser(latents).codes)


def test_the_causal_prior_sees_all_views_and_no_later_code() -> None:
    torch.manual_seed(0)
    shape = {"codes": 7, "context_width": 5, "width": 16, "heads": 2, "layers": 2, "block_size": 12}
    model = CodeTransformer(TransformerConfig(**shape, causal=True)).eval()
    torch.nn.init.normal_(model.position)
    codes, context = torch.randint(7, (1, 6)), torch.randn(1, 6, 5)
    logits = model(codes, context)
    changed = codes.clone()
    changed[0, 3] = (changed[0, 3] + 1) % 7
    later = (model(changed, context) - logits).abs().amax(dim=(0, 2))
    assert torch.all(later[:4] < 1e-6)  # logits at 3 are those that predict code 3
    assert torch.all(later[4:] > 1e-4)
    other = context.clone()
    other[0, 5] += 1
    assert torch.all((model(codes, other) - logits).abs().amax(dim=(0, 2)) > 1e-4)
    with pytest.raises(UsageError, match="raise block_size to at least 13"):
        model(codes, torch.zeros(1, 7, 5))


@pytest.mark.trains
def test_a_codebook_that_starts_at_clusters_serves_all_latents_with_all_codes(seed: int) -> None:
    torch.manual_seed(seed)
    quantiser, latents = VectorQuantiser(16, 3), torch.randn(2000, 3)

    def error() -> float:
        return float(torch.cdist(latents, quantiser.codebook.detach()).min(1).values.square().mean())

    from_noise = error()
    quantiser.start_at(latents, seed=seed)
    assert error() < 0.3 * from_noise
    assert nearest_codes(latents, quantiser.codebook.detach()).unique().numel() == 16
    own = nearest_codes(latents, quantiser.codebook.detach())
    centres = torch.stack([latents[own == code].mean(0) for code in range(16)])
    assert torch.dist(centres, quantiser.codebook.detach()) < 0.5  # Lloyd's fixed point, nearly
    with pytest.raises(UsageError, match="15 latents cannot start 16 codes"):
        quantiser.start_at(latents[:15], seed=0)


def test_positions_start_at_zero_as_published_or_at_small_random_values() -> None:
    assert not CodeTransformer(TransformerConfig(width=32, layers=1)).position.any()
    spread = CodeTransformer(TransformerConfig(width=32, layers=1, position_spread=0.3)).position.detach()
    assert float(spread.std()) == pytest.approx(0.3, rel=0.05)
