"""The causal prior over codes: exact likelihood, and sampling in one pass over the codes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .diffusion import draw_codes, uniform
from .transformer import CodeTransformer


def training_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """Mean nats a code of codes (B, L) under the causal prior's logits (B, L, K)."""
    return negative_log_likelihood(logits, codes).mean() / codes.shape[1]


def negative_log_likelihood(logits: Tensor, codes: Tensor) -> Tensor:
    """Exact −log p(codes | views) (B,) in nats from the causal prior's logits (B, L, K); in at least float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    nats = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none")
    return nats.view(codes.shape).sum(1)


@torch.no_grad()
def sample(
    prior: CodeTransformer,
    tokens: int,
    context: Tensor | None,
    chance: Sequence[Generator],
    *,
    temperature: float = 0.9,
    most_likely: bool = False,
) -> Tensor:
    """Codes (B, L) drawn one after the other, given context (B, C, D); case b draws from generator b alone."""
    logits, memory = prior.begin(context, len(chance))
    codes: list[Tensor] = []
    for _ in range(tokens):
        if codes:
            logits = prior.proceed(codes[-1], memory)
        drawn = uniform(chance, 1, logits.device)[:, 0]
        codes.append(logits.argmax(1) if most_likely else draw_codes(logits, drawn, temperature))
    return torch.stack(codes, dim=1)
