"""Transformer over codes with the views' code vectors as context (CodeDiff3D, section 3.2; Unleashing Transformers).

The sequence is [context | codes]. Bidirectional: every token sees every other and masked codes are predicted in place.
Causal: [context | start, c₁ … c_{L−1}] predicts c₁ … c_L; the context sees itself only, a code what precedes it.
A view is known by its place in the context alone: there is no view embedding, as published.
"""

from dataclasses import dataclass, field
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn

from bench.card import Settings
from bench.errors import UsageError

LEVELS = 1 << 16  # of the probability of dropout; published values are exact in them to 1e-5


class TransformerConfig(Settings):
    """Shape of a transformer; the defaults are the published one for two 256² views and 8³ codes."""

    codes: PositiveInt = 1024  # K, classes to predict; index K is the mask
    context_width: PositiveInt = 256  # D of the context vectors
    width: PositiveInt = 512
    heads: PositiveInt = 4
    layers: PositiveInt = 8
    dropout: float = Field(default=0.5, ge=0, lt=1)  # on embeddings, attention probabilities and both residuals
    block_size: PositiveInt = 1024  # longest sequence: context and codes together
    position_spread: NonNegativeFloat = 0.0  # standard deviation of the positions at the start; 0: published
    causal: bool = False  # autoregressive prior instead of the bidirectional denoiser
    unused_start: bool = False  # allocate the start token without `causal`, as released

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        return self


@dataclass
class Memory:
    """Keys and values of what a causal transformer has read, a pair (B, heads, tokens, width/heads) of each layer."""

    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens read so far."""
        return self.layers[0][0].shape[2] if self.layers else 0


class Dropout(nn.Dropout):
    """`nn.Dropout`; on a CPU with other random numbers and the probability rounded to 1/65536."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        return x * draw_kept(x.shape, self.p)


def draw_kept(shape: torch.Size, chance: float) -> Tensor:
    """Float32 of this shape on the CPU: 0 with probability `chance` in [0, 1), otherwise what keeps the mean.

    16 random bits an element, in place of a Bernoulli draw each, take a quarter of the time.
    """
    dropped = min(round(chance * LEVELS), LEVELS - 1)
    words = -(-shape.numel() // 4)  # a 64-bit word holds the bits of four elements
    bits = torch.empty(words, dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None).view(torch.int16)
    mask = (bits[: shape.numel()] >= dropped - LEVELS // 2).view(shape)
    return mask.float().mul_(LEVELS / (LEVELS - dropped))


class SelfAttention(nn.Module):
    """Multi-head attention with dropout on its probabilities and on its output."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.key = nn.Linear(config.width, config.width)
        self.query = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.width)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, allowed: Tensor | None, past: tuple[Tensor, Tensor] | None, first: int = 0
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Mix x[:, first:] (B, S − first, width) with all of x and `past`.

        `allowed` (S − first, past + S) is true where a query may look.
        """
        pairs = ((self.query, x[:, first:]), (self.key, x), (self.value, x))
        query, key, value = (layer(y).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer, y in pairs)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        chance = self.dropout.p if self.training else 0.0
        mixed = _attend(query, key, value, allowed, chance)
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2))), (key, value)


class Block(nn.Module):
    """Pre-norm attention and perceptron, each with a residual."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.attention_norm, self.attention = nn.LayerNorm(width), SelfAttention(config)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), Dropout(config.dropout)
        )

    def forward(
        self, x: Tensor, allowed: Tensor | None, past: tuple[Tensor, Tensor] | None, first: int = 0
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x (B, S, width) → what becomes of x[:, first:], and the keys and values of all."""
        mixed, present = self.attention(self.attention_norm(x), allowed, past, first)
        x = x[:, first:] + mixed
        return x + self.perceptron(self.perceptron_norm(x)), present


class CodeTransformer(nn.Module):
    """Logits of every code of a volume, given what is known of the codes and the views' code vectors."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.code_embedding = nn.Embedding(config.codes + 1, config.width)
        self.context_embedding = nn.Linear(config.context_width, config.width)
        self.position = nn.Parameter(torch.zeros(1, config.block_size, config.width))
        if config.position_spread:
            nn.init.normal_(self.position, std=config.position_spread)
        self.start: nn.Parameter | None = None
        if config.causal or config.unused_start:
            self.start = nn.Parameter(torch.zeros(1, 1, config.width))
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.codes, bias=False)

    @property
    def mask_code(self) -> int:
        """The code that stands for "unknown"."""
        return self.config.codes

    def forward(self, codes: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits (B, L, K) of codes (B, L) with `mask_code` where unknown, given context (B, C, D).

        The causal prior reads `codes` shifted by one, so its logits at i depend on the codes before i only.
        Raises UsageError when the sequence is longer than `block_size`.
        """
        embedded = self.code_embedding(codes)
        if self.config.causal:
            embedded = torch.cat([self.start.expand(len(codes), -1, -1), embedded[:, :-1]], dim=1)
        tokens = embedded if context is None else torch.cat([self.context_embedding(context), embedded], dim=1)
        known = tokens.shape[1] - codes.shape[1]
        allowed = _causal_mask(tokens.shape[1], known, codes.device) if self.config.causal else None
        return self._logits(self._read(tokens, allowed, None, known))

    def begin(self, context: Tensor | None, batch: int) -> tuple[Tensor, Memory]:
        """Logits (B, K) of the first code of the causal prior, and the memory to go on from."""
        tokens = self.start.expand(batch, -1, -1)
        if context is not None:
            tokens = torch.cat([self.context_embedding(context), tokens], dim=1)
        memory = Memory()
        allowed = _causal_mask(tokens.shape[1], tokens.shape[1] - 1, tokens.device)
        return self._logits(self._read(tokens, allowed, memory)[:, -1]), memory

    def proceed(self, codes: Tensor, memory: Memory) -> Tensor:
        """Logits (B, K) of the code after `codes` (B,), which are added to `memory`."""
        return self._logits(self._read(self.code_embedding(codes)[:, None], None, memory)[:, -1])

    def _logits(self, hidden: Tensor) -> Tensor:
        return self.head(self.norm(hidden))

    def _read(self, tokens: Tensor, allowed: Tensor | None, memory: Memory | None, known: int = 0) -> Tensor:
        """Hidden states of tokens[:, known:]; the last block spares those before, which nobody asks for."""
        first = memory.tokens if memory else 0
        last = first + tokens.shape[1]
        if last > self.config.block_size:
            raise UsageError(
                f"a sequence of {last} tokens (views and codes together) does not fit the transformer's "
                f"block_size of {self.config.block_size}; raise block_size to at least {last}"
            )
        x = self.dropout(tokens + self.position[:, first:last])
        for layer, block in enumerate(self.blocks):
            past = memory.layers.get(layer) if memory else None
            if known and layer == len(self.blocks) - 1:
                x, present = block(x, None if allowed is None else allowed[known:], past, known)
            else:
                x, present = block(x, allowed, past)
            if memory is not None:
                memory.layers[layer] = present
        return x


def _attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, chance: float) -> Tensor:
    """Attention with dropout of its probabilities; a CPU has no fused kernel for that and draws masks slowly."""
    if chance == 0 or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=chance)
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    return (scores.softmax(-1) * draw_kept(scores.shape, chance)) @ value


def _causal_mask(tokens: int, context: int, device: torch.device) -> Tensor:
    allowed = torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()
    allowed[:context, :context] = True
    return allowed
