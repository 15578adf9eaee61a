"""The diffusion's losses and trace are the published ones, its bound is exact where that can be enumerated."""

import math
from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor

from bench.errors import UsageError
from bench.methods.codediff import diffusion
from bench.methods.codediff.transformer import CodeTransformer, TransformerConfig

CPU = torch.device("cpu")


def chances(seed: int, count: int) -> list[torch.Generator]:
    """Generators of `count` cases, of which no two seeds share one."""
    return diffusion.generators(range(seed * count, (seed + 1) * count))


def sample(
    denoise: Callable[[Tensor], Tensor], tokens: int, mask: int, chance: list[torch.Generator], **options: float
) -> Tensor:
    """Codes drawn in so many `steps`, as the published loop does or `gradual`."""
    steps, gradual = options.pop("steps", tokens), options.pop("gradual", False)
    reveal = diffusion.gradual_reveals if gradual else diffusion.random_reveals
    reveals = [reveal(partial(torch.rand, tokens, generator=own), steps) for own in chance]
    return diffusion.sample(denoise, tokens, mask, reveals, CPU, **options)


def table_denoiser(tokens: int, classes: int, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """A denoiser that depends on every code it is shown; the mask is class `classes`."""
    weights = torch.randn(tokens, classes + 1, tokens, classes, generator=torch.Generator().manual_seed(seed))

    def denoise(codes: Tensor) -> Tensor:
        shown = torch.nn.functional.one_hot(codes, classes + 1).float()
        return torch.einsum("blk,lkmn->bmn", shown, weights)

    return denoise


def exact_bound(denoise: Callable[[Tensor], Tensor], codes: Tensor, classes: int) -> float:
    """Σ_t E[nats_t]/t of one case by summing over all masks of all times."""
    tokens = len(codes)
    total = 0.0
    for mask in product([False, True], repeat=tokens):
        hidden = torch.tensor([mask])
        logits = denoise(codes[None].masked_fill(hidden, classes))
        nats = float(-(logits.log_softmax(2)[0, range(tokens), codes] * hidden[0]).sum())
        for time in range(1, tokens + 1):
            chance = (time / tokens) ** sum(mask) * (1 - time / tokens) ** (tokens - sum(mask))
            total += chance * nats / time
    return total


def test_the_exact_bound_of_two_codes_is_that_worked_out_by_hand() -> None:
    # L = T = 2. At t = 2 both are hidden, each costs a = ln 4 resp. b = ln 4. At t = 1 each is hidden with chance 1/2:
    # four masks of chance 1/4; shown the other code, a code costs ln 2.
    def denoise(codes: Tensor) -> Tensor:
        known = (codes != 4).any(1)
        return torch.where(known[:, None, None], torch.tensor([0.0, 0.0, -1e9, -1e9]), torch.zeros(4)).expand(-1, 2, -1)

    both, one = 2 * math.log(4), math.log(2)
    by_hand = both / 2 + (both / 4 + one / 4 + one / 4)
    assert exact_bound(denoise, torch.tensor([0, 1]), 4) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.trains
@pytest.mark.parametrize("steps", [None, 2, 3, 11])
def test_the_bound_is_unbiased_for_any_number_of_times(steps: int | None, seed: int) -> None:
    tokens, classes, repeats = 4, 3, 3000
    denoise = table_denoiser(tokens, classes)
    codes = torch.tensor([2, 0, 1, 1])
    bound = diffusion.negative_elbo(denoise, codes.expand(repeats, -1), classes, chances(seed, repeats), steps)
    error = float(bound.nats.std()) / math.sqrt(repeats)
    assert float(bound.nats.mean()) == pytest.approx(exact_bound(denoise, codes, classes), abs=4 * error)
    assert error < 0.1
    # the reported error is not smaller than the true one
    assert float(bound.standard_error.square().mean().sqrt()) > 0.95 * float(bound.nats.std())


def test_one_time_is_too_few_for_an_error() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        diffusion.negative_elbo(table_denoiser(2, 2), torch.zeros(1, 2).long(), 2, diffusion.generators([0]), 1)


def test_the_paper_weighs_the_fully_hidden_state_and_the_release_does_not() -> None:
    logits, codes, hidden = torch.zeros(1, 4, 8), torch.zeros(1, 4).long(), torch.ones(1, 4).bool()
    times = torch.tensor([4])
    assert float(diffusion.training_loss(logits, codes, hidden, times)[0]) == 0
    paper, bits = diffusion.training_loss(logits, codes, hidden, times, "reweighted_elbo", "paper")
    assert float(paper) == pytest.approx(3 / 4)  # (T − t + 1)/T of log2 8 bits a code
    assert float(bits) == pytest.approx(3.0)


@pytest.mark.trains
def test_masks_hide_as_many_codes_as_the_time_says(seed: int) -> None:
    torch.manual_seed(seed)
    codes = torch.randint(5, (400, 20))
    times = torch.full((400,), 7)
    fixed, hidden = diffusion.mask_codes(codes, times, 5, "fixed")
    assert torch.all(hidden.sum(1) == 7)
    assert torch.equal(fixed == 5, hidden)
    assert torch.equal(fixed[~hidden], codes[~hidden])
    _, hidden = diffusion.mask_codes(codes, times, 5)
    assert float(hidden.float().mean()) == pytest.approx(7 / 20, abs=4 * math.sqrt(0.35 * 0.65 / 8000))
    assert diffusion.mask_codes(codes, torch.full((400,), 20), 5)[1].all()


@pytest.mark.trains
@pytest.mark.parametrize("gradual", [False, True])
def test_sampling_draws_the_distribution_that_the_denoiser_describes(gradual: bool, seed: int) -> None:
    # p(first) = softmax, p(second | first) by table: unmasking one code a step in any order must give the joint
    joint = torch.tensor([[0.05, 0.25, 0.1], [0.2, 0.0, 0.1], [0.05, 0.05, 0.2]])

    def denoise(codes: Tensor) -> Tensor:
        first, second = codes.unbind(1)
        padded = torch.cat([joint, joint.sum(0, keepdim=True)])  # row 3: the first code is hidden
        given = torch.cat([joint.T, joint.sum(1)[None]])
        rows = torch.stack([given[second], padded[first]], dim=1)
        return (rows / rows.sum(2, keepdim=True)).log()

    draws = 5000
    codes = sample(denoise, 2, 3, chances(seed, draws), temperature=1.0, gradual=gradual)
    found = torch.zeros(3, 3)
    found.index_put_((codes[:, 0], codes[:, 1]), torch.ones(draws), accumulate=True)
    # by chance t = 2 shows none (1/4), one (1/2) or both (1/4), t = 1 the rest: both at once, and so independent, half
    # of the time; gradual steps show one each
    independent = joint.sum(1)[:, None] * joint.sum(0)[None]
    expected = joint if gradual else 0.5 * joint + 0.5 * independent
    assert torch.allclose(found / draws, expected, atol=4 * math.sqrt(0.25 / draws))


@pytest.mark.parametrize(("tokens", "steps"), [(27, 6), (27, 27), (512, 20), (5, 4), (9, 1)])
def test_gradual_steps_reveal_few_codes_at_first_and_all_at_last(tokens: int, steps: int) -> None:
    hidden = [tokens]

    def denoise(codes: Tensor) -> Tensor:
        hidden.append(int((codes == 4).sum()))
        return torch.zeros(*codes.shape, 4)

    codes = sample(denoise, tokens, 4, diffusion.generators([7]), steps=steps, gradual=True)
    assert (codes < 4).all()
    counts = diffusion.growing_counts(tokens, steps)
    assert hidden[1:] == [tokens - sum(counts[:step]) for step in range(steps)]
    assert sum(counts) == tokens
    assert min(counts) >= 1
    assert counts[-1] >= counts[0]
    half = sum(counts[: steps // 2])
    assert steps in (1, tokens) or half == pytest.approx(
        tokens * (1 - math.cos(math.pi / 2 * (steps // 2) / steps)), abs=1
    )


def test_a_case_depends_on_its_own_seed_only() -> None:
    denoise = table_denoiser(6, 5)
    together = sample(denoise, 6, 5, diffusion.generators([3, 4, 5]))
    alone = sample(denoise, 6, 5, diffusion.generators([4]))
    assert torch.equal(together[1], alone[0])
    codes = torch.tensor([[0, 1, 2, 3, 4, 0]])
    several = diffusion.negative_elbo(denoise, codes.expand(3, -1), 5, diffusion.generators([3, 4, 5]))
    single = diffusion.negative_elbo(denoise, codes, 5, diffusion.generators([4]))
    assert float(several.nats[1]) == pytest.approx(float(single.nats[0]), rel=1e-6)
    assert float(several.nats[1]) != pytest.approx(float(several.nats[0]), rel=1e-3)


@pytest.mark.trains
def test_lower_temperature_draws_likelier_codes(seed: int) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(5000, 3)
    numbers = torch.rand(5000, generator=torch.Generator().manual_seed(seed))
    for temperature in (0.5, 1.0):
        share = (diffusion.draw_codes(logits, numbers, temperature) == 2).float().mean()
        assert float(share) == pytest.approx(float((logits[0] / temperature).softmax(0)[2]), abs=0.03)
    assert diffusion.draw_codes(torch.tensor([[-math.inf, 0.0]]), torch.zeros(1), 1.0).item() == 1


def causal_prior(codes: int, tokens: int) -> CodeTransformer:
    torch.manual_seed(0)
    config = TransformerConfig(
        codes=codes, context_width=3, width=8, heads=2, layers=2, block_size=tokens + 4, causal=True
    )
    prior = CodeTransformer(config).eval()
    torch.nn.init.normal_(prior.position)
    torch.nn.init.normal_(prior.head.weight)
    return prior


@pytest.mark.trains
def test_the_causal_prior_draws_what_its_likelihood_says(seed: int) -> None:
    prior = causal_prior(2, 3)
    sequences = torch.tensor(list(product(range(2), repeat=3)))
    context = torch.randn(1, 4, 3)
    with torch.no_grad():
        logits = prior(sequences, context.expand(8, -1, -1))
        expected = diffusion.cross_entropy(logits, sequences).neg().exp()
    draws = 4000
    codes = diffusion.sample_causal(prior, 3, context.expand(draws, -1, -1), chances(seed, draws), 1.0)
    found = torch.bincount(codes @ torch.tensor([4, 2, 1]), minlength=8) / draws
    assert torch.allclose(found, expected, atol=4 * math.sqrt(0.25 / draws))


def test_the_causal_prior_draws_by_each_cases_own_seed_and_at_no_temperature_the_likeliest_codes() -> None:
    prior = causal_prior(7, 5)
    context = torch.randn(3, 4, 3)
    together = diffusion.sample_causal(prior, 5, context, diffusion.generators([1, 2, 3]))
    alone = diffusion.sample_causal(prior, 5, context[1:2], diffusion.generators([2]))
    assert torch.equal(together[1], alone[0])
    likeliest = diffusion.sample_causal(prior, 5, context, diffusion.generators([1, 2, 3]), 1e-9)
    with torch.no_grad():
        assert torch.equal(prior(likeliest, context).argmax(2), likeliest)
