"""Absorbing diffusion over codes (CodeDiff3D, section 3.2; Bond-Taylor et al., Unleashing Transformers, 2022).

A forward process masks codes; a denoiser predicts the original ones. Everything here is a function of
`denoise(codes) -> logits`: codes (B, L) int64 with the mask where unknown, logits (B, L, K). The denoiser does not see
the time step. Time runs over t = 1 … T with T = L, and a code is masked at t with probability t/T.

What is random in sampling and in the bound is drawn on the CPU from one generator a case, so that it depends on
nothing but the case's own seed.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bench.errors import UsageError

from .card import Masking, Objective, Reweighting

Denoiser = Callable[[Tensor], Tensor]
Uniforms = Callable[[int], Tensor]
"""Uniform numbers (B, L) of step j = 0, 1, …; injected to repeat a published trace."""


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


def masked_cross_entropy(logits: Tensor, codes: Tensor, hidden: Tensor) -> Tensor:
    """Nats (B,) of the hidden codes under logits (B, L, K), summed; computed in at least float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    nats = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view(codes.shape)
    return (nats * hidden).sum(1)


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
    nats = masked_cross_entropy(logits, codes, hidden)
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
        terms.append(tokens * masked_cross_entropy(logits, codes, hidden).double() / times)
    samples = torch.stack(terms)
    return Bound(samples.mean(0), samples.std(0) / math.sqrt(count))


@torch.no_grad()
def sample(
    denoise: Callable[..., Tensor],
    tokens: int,
    mask_code: int,
    chance: Sequence[Generator],
    device: torch.device,
    *,
    context: Tensor | None = None,
    steps: int | None = None,
    temperature: float = 0.9,
    most_likely: bool = False,
    reveal: Uniforms | None = None,
    every_step: bool = False,
    gradual: bool = False,
) -> Tensor:
    """Codes (B, L) drawn by unmasking: at t = `steps` … 1 each hidden code is revealed with probability 1/t.

    Once revealed a code stays. All L steps reveal one code a step on average; fewer reveal more at once. When a code
    is revealed depends on chance alone, and the denoiser does not see t: so steps that reveal nothing are not
    computed, and cases share a pass whatever their times. `denoise` gets codes (b, L) of b cases and, where there is
    one, their `context` (b, …).
    `most_likely` takes the likeliest code instead of drawing one; `reveal` replaces the uniform numbers that decide
    which codes are revealed; `every_step` computes all steps, as released. `gradual` reveals `growing_counts` codes in
    random order in place of chances of 1/t: codes of one step are drawn without regard to each other, which should cost
    least where most others are known.
    Raises UsageError when `steps` is not in 1 … L.
    """
    steps = tokens if steps is None else steps
    if not 1 <= steps <= tokens:
        raise UsageError(f"sampling takes 1 to {tokens} steps, one code or more each; not {steps}")
    codes = torch.full((len(chance), tokens), mask_code, device=device)
    reveals = [
        _gradual_reveals(own, tokens, steps)
        if gradual
        else _reveals(own, tokens, steps, most_likely, reveal and partial(_row, reveal, case), every_step)
        for case, own in enumerate(chance)
    ]
    while due := [(case, *event) for case, own in enumerate(reveals) if (event := next(own, None)) is not None]:
        cases = torch.tensor([case for case, _, _ in due], device=device)
        shown, numbers = (torch.stack(part).to(device) for part in list(zip(*due, strict=True))[1:])
        logits = denoise(codes[cases]) if context is None else denoise(codes[cases], context[cases])
        chosen = logits.argmax(2) if most_likely else draw_codes(logits, numbers, temperature)
        codes[cases] = torch.where(shown, chosen, codes[cases])
    return codes


def _reveals(
    chance: Generator,
    tokens: int,
    steps: int,
    most_likely: bool,
    reveal: Callable[[int], Tensor] | None,
    every_step: bool,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of every step that reveals codes of a case: which (L,), and the uniform numbers (L,) to draw them by."""
    hidden = torch.ones(tokens, dtype=torch.bool)
    for step in range(steps):
        numbers = reveal(step) if reveal else torch.rand(tokens, generator=chance)
        drawn = numbers if most_likely else torch.rand(tokens, generator=chance)
        shown = hidden & (numbers < 1 / (steps - step))
        if every_step or shown.any():
            hidden = hidden & ~shown
            yield shown, drawn


def _gradual_reveals(chance: Generator, tokens: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    place = torch.rand(tokens, generator=chance).argsort().argsort()
    first = 0
    for count in growing_counts(tokens, steps):
        yield (place >= first) & (place < first + count), torch.rand(tokens, generator=chance)
        first += count


def growing_counts(tokens: int, steps: int) -> list[int]:
    """Return how many of `tokens` codes each of `steps` steps reveals, at least one.

    After a share s of the steps a share 1 − cos(πs/2) is known, the cosine schedule of MaskGIT (Chang et al., 2022).
    """
    shares = [1 - math.cos(math.pi / 2 * (step + 1) / steps) for step in range(steps)]
    known = [max(round(tokens * share), step + 1) for step, share in enumerate(shares)]
    return [after - before for before, after in zip([0, *known], known, strict=False)]


def _row(reveal: Uniforms, case: int, step: int) -> Tensor:
    return reveal(step)[case].cpu()


def draw_codes(logits: Tensor, numbers: Tensor, temperature: float) -> Tensor:
    """Codes (...) from logits (..., K) at `temperature`, by inverting the distribution at uniform numbers (...)."""
    cumulative = torch.softmax(logits.float() / temperature, dim=-1).cumsum(-1)
    below = cumulative <= numbers[..., None] * cumulative[..., -1:]
    return below.sum(-1).clamp_max(logits.shape[-1] - 1)
