"""Absorbing diffusion over codes (CodeDiff3D, section 3.2; Bond-Taylor et al., Unleashing Transformers, 2022).

A forward process masks codes; a denoiser predicts the original ones. All but `sample_causal` is a function of
`denoise(codes) -> logits`: codes (B, L) int64 with the mask where unknown, logits (B, L, K). The denoiser does not see
the time step. Time runs over t = 1 … T with T = L, and a code is masked at t with probability t/T.

What is random in sampling and in the bound is drawn on the CPU from one generator a case, so that it depends on
nothing but the case's own seed.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bench.errors import UsageError

from .card import Masking, Objective, Reweighting
from .transformer import CodeTransformer

Denoiser = Callable[[Tensor], Tensor]
Reveals = Iterator[tuple[Tensor, Tensor]]
"""Of each step that a case takes: which codes (L,) it reveals, and the uniform numbers (L,) to draw them by."""


class Bound(NamedTuple):
    """An estimate of the bound of −log p(codes | views), in nats a case."""

    nats: Tensor  # (B,) float64
    standard_error: Tensor  # (B,) float64; conservative, it counts the spread between times as chance


def generators(seeds: Sequence[int]) -> list[Generator]:
    """One CPU generator a case."""
    return [Generator().manual_seed(seed) for seed in seeds]


def uniform(chance: Sequence[Generator], tokens: int, device: torch.device) -> Tensor:
    """Uniform numbers (B, L) in [0, 1), row b from generator b."""
    return torch.stack([torch.rand(tokens, generator=generator) for generator in chance]).to(device)


def mask_codes(codes: Tensor, times: Tensor, mask_code: int, masking: Masking = "random") -> tuple[Tensor, Tensor]:
    """Noisy codes (B, L) at times (B,) in 1 … L, and the mask (B, L) that is true where a code was hidden.

    `random` hides each code with probability t/L, `fixed` hides max(1, t) random ones. Draws from the global state.
    """
    chance = torch.rand(codes.shape).to(codes.device)
    if masking == "random":
        hidden = chance < times[:, None] / codes.shape[1]
    else:
        hidden = chance.argsort(dim=1).argsort(dim=1) < times[:, None]
    return codes.masked_fill(hidden, mask_code), hidden


def cross_entropy(logits: Tensor, codes: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Nats (B,) of codes (B, L) under logits (B, L, K), summed over all or the `hidden` ones; in at least float32.

    Of all codes under the causal prior's logits it is exactly −log p(codes | views).
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    nats = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view(codes.shape)
    return nats.sum(1) if hidden is None else (nats * hidden).sum(1)


def training_loss(
    logits: Tensor,
    codes: Tensor,
    hidden: Tensor,
    times: Tensor,
    objective: Objective = "reweighted_elbo",
    reweighting: Reweighting = "released",
) -> tuple[Tensor, Tensor]:
    """The loss, a mean over the batch, and the bound in bits a code that is logged beside it.

    `reweighted_elbo` weighs nats by (T − t)/T as released, which gives the fully masked state weight 0, or by
    (T − t + 1)/T as in the paper's Eq. 7. `elbo` is the bound itself, `mlm` the mean nats of a hidden code.
    """
    tokens = codes.shape[1]
    nats = cross_entropy(logits, codes, hidden)
    bits = (nats / (times * math.log(2))).mean()
    if objective == "elbo":
        return bits, bits
    if objective == "mlm":
        return (nats / hidden.sum(1).clamp_min(1)).mean(), bits
    weight = (tokens - times + (reweighting == "paper")) / tokens
    return (weight * nats / (tokens * math.log(2))).mean(), bits


@torch.no_grad()
def negative_elbo(
    denoise: Denoiser, codes: Tensor, mask_code: int, chance: Sequence[Generator], steps: int | None = None
) -> Bound:
    """Unbiased estimate of Σ_t E[nats_t]/t, the bound of −log p(codes), for codes (B, L), with one mask a time.

    `steps` times are drawn one from each of `steps` equal parts of 1 … T; all T are visited when it is None.
    Raises UsageError for fewer than 2 steps.
    """
    tokens = codes.shape[1]
    count = tokens if steps is None else steps
    if count < 2:
        raise UsageError(f"the bound needs at least 2 times, not {count}")
    terms = []
    for step in range(count):
        place = (step + uniform(chance, 1, codes.device)[:, 0].double()) / count
        times = (place * tokens).long().clamp_max(tokens - 1) + 1
        hidden = uniform(chance, tokens, codes.device) < times[:, None] / tokens
        logits = denoise(codes.masked_fill(hidden, mask_code))
        terms.append(tokens * cross_entropy(logits, codes, hidden).double() / times)
    samples = torch.stack(terms)
    return Bound(samples.mean(0), samples.std(0) / math.sqrt(count))


@torch.no_grad()
def sample(
    denoise: Callable[..., Tensor],
    tokens: int,
    mask_code: int,
    reveals: Sequence[Reveals],
    device: torch.device,
    *,
    context: Tensor | None = None,
    temperature: float = 0.9,
) -> Tensor:
    """Codes (B, L) drawn by unmasking, case by case, what its `reveals` say; once revealed a code stays.

    The denoiser does not see t, so cases share a pass whatever their times. It gets codes (b, L) of b cases and, where
    there is one, their `context` (b, …).
    """
    codes = torch.full((len(reveals), tokens), mask_code, device=device)
    while due := [(case, *event) for case, own in enumerate(reveals) if (event := next(own, None)) is not None]:
        cases = torch.tensor([case for case, _, _ in due], device=device)
        shown, numbers = (torch.stack(part).to(device) for part in list(zip(*due, strict=True))[1:])
        logits = denoise(codes[cases]) if context is None else denoise(codes[cases], context[cases])
        codes[cases] = torch.where(shown, draw_codes(logits, numbers, temperature), codes[cases])
    return codes


def random_reveals(draw: Callable[[], Tensor], steps: int, every_step: bool = False) -> Reveals:
    """Reveal each hidden code with probability 1/t at t = `steps` … 1: with L steps one code a step on average.

    `draw` returns the next uniform numbers (L,). When a code is revealed depends on chance alone, so steps that reveal
    nothing need not be computed; `every_step` yields them too, as released.
    """
    hidden: Tensor | bool = True
    for step in range(steps):
        numbers, drawn = draw(), draw()
        shown = hidden & (numbers < 1 / (steps - step))
        if every_step or shown.any():
            hidden = hidden & ~shown
            yield shown, drawn


def gradual_reveals(draw: Callable[[], Tensor], steps: int) -> Reveals:
    """Reveal `growing_counts` codes in random order, whose uniform numbers (L,) `draw` returns.

    Codes of one step are drawn without regard to each other, which should cost least where most others are known.
    """
    place, first = draw().argsort().argsort(), 0
    for count in growing_counts(len(place), steps):
        yield (place >= first) & (place < first + count), draw()
        first += count


def growing_counts(tokens: int, steps: int) -> list[int]:
    """Return how many of `tokens` codes each of `steps` steps reveals, at least one.

    After a share s of the steps a share 1 − cos(πs/2) is known, the cosine schedule of MaskGIT (Chang et al., 2022).
    """
    shares = [1 - math.cos(math.pi / 2 * (step + 1) / steps) for step in range(steps)]
    known = [max(round(tokens * share), step + 1) for step, share in enumerate(shares)]
    return [after - before for before, after in zip([0, *known], known, strict=False)]


def draw_codes(logits: Tensor, numbers: Tensor, temperature: float) -> Tensor:
    """Codes (...) from logits (..., K) at `temperature`, by inverting the distribution at uniform numbers (...)."""
    cumulative = torch.softmax(logits.float() / temperature, dim=-1).cumsum(-1)
    below = cumulative <= numbers[..., None] * cumulative[..., -1:]
    return below.sum(-1).clamp_max(logits.shape[-1] - 1)


@torch.no_grad()
def sample_causal(
    prior: CodeTransformer, tokens: int, context: Tensor | None, chance: Sequence[Generator], temperature: float = 0.9
) -> Tensor:
    """Codes (B, L) drawn one after the other, given context (B, C, D); case b draws from generator b alone."""
    logits, memory = prior.begin(context, len(chance))
    codes: list[Tensor] = []
    for _ in range(tokens):
        if codes:
            logits = prior.proceed(codes[-1], memory)
        codes.append(draw_codes(logits, uniform(chance, 1, logits.device)[:, 0], temperature))
    return torch.stack(codes, dim=1)
