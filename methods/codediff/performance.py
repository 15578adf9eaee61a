"""The published training steps and sampling loop, for `bench performance`: the same numbers, computed as released.

Two passes of the autoencoder a step, a second pass of the discriminator whose logits nobody uses, both ways back
through it, explicit attention, channel norms over strided memory, logits of the context, one forward pass a sampling
step whether or not it reveals a code, one case at a time. Everything in float32 and PyTorch's default memory layout.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import Stage, Update

from . import diffusion, losses
from .autoencoder import Attention, ChannelNorm, Reconstruction
from .method import CodeDiff
from .stage_autoencoder import AutoencoderStage
from .stage_prior import PriorStage
from .transformer import CodeTransformer, Dropout, SelfAttention, TransformerConfig

GROWN = TransformerConfig(codes=256, context_width=64, width=64, heads=4, layers=2, block_size=1 << 15)
CONTEXT = 64  # tokens of the views beside those that grow
TARGETS = {"step/codediff/transformer": 2.0, "step/codediff/vqvae3d": 2.0, "sampling/codediff": 10.0}


def make_published_stages(method: CodeDiff) -> dict[str, Stage]:
    """Return twins of the trained stages by name, with copies of their networks."""
    twins: dict[str, Stage] = {}
    for stage in method.stages():
        if isinstance(stage, AutoencoderStage):
            twins[stage.name] = PublishedAutoencoderStage(stage)
        elif isinstance(stage, PriorStage) and stage.config.kind == "absorbing":
            twins[stage.name] = PublishedPriorStage(stage)
    return twins


class Sampler:
    """Codes (B, L) drawn for views by the published loop and by ours, and what the prior thinks of them.

    `context` returns the code vectors (B, C, D) of views, which neither way computes again, `draw` codes by our loop
    in so many steps, and `decode` the volumes (B, D, H, W) in [0, 1] of codes.
    """

    def __init__(self, method: CodeDiff) -> None:
        self.method = method
        self.context, self.draw, self.decode = method._context, method._sample, method._decode
        self.transformer = make_published(copy.deepcopy(method.transformer))
        self.steps = method.volume_autoencoder.config.tokens  # of the published loop

    def published(self, context: Tensor, seeds: Sequence[int]) -> Tensor:
        """Draw codes (B, L) by the published loop."""
        drawn = []
        for row, own in zip(context.split(1), diffusion.generators(seeds), strict=True):
            draw = partial(torch.rand, self.steps, generator=own)
            codes = diffusion.sample(
                partial(_compute_all_logits, self.transformer),
                self.steps,
                self.transformer.mask_code,
                [diffusion.random_reveals(draw, self.steps, every_step=True)],
                row.device,
                context=row,
                temperature=self.method.config.sampling.temperature,
            )
            drawn.append(codes)
        return torch.cat(drawn)

    def nats(self, codes: Tensor, context: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return a bound of −log p(codes | views) (B,) in nats, all times visited."""
        prior, chance = self.method.transformer, diffusion.generators(seeds)
        return diffusion.negative_elbo(lambda noisy: prior(noisy, context), codes, prior.mask_code, chance).nats


def make_sampler(method: CodeDiff) -> Sampler | None:
    """Return the sampler; None for the autoregressive prior, which has no steps to spare."""
    return Sampler(method) if method.config.transformer.kind == "absorbing" else None


def make_work(axis: str, amount: int) -> Callable[[], Tensor] | None:
    """Return one pass of a small transformer over `amount` codes; None for axes that are not "tokens"."""
    if axis != "tokens":
        return None
    torch.manual_seed(0)
    transformer = CodeTransformer(GROWN).eval()
    codes, context = torch.zeros(1, amount, dtype=torch.long), torch.rand(1, CONTEXT, GROWN.context_width)
    return torch.inference_mode()(lambda: transformer(codes, context))


class PublishedAutoencoderStage(AutoencoderStage):
    """Both passes of the autoencoder, and both ways back through the discriminator."""

    fused = None

    def __init__(self, ours: AutoencoderStage) -> None:
        super().__init__(ours.name, make_published(copy.deepcopy(ours.autoencoder)), ours.config, ours.size)  # type: ignore[arg-type]
        self.discriminator = make_published(copy.deepcopy(ours.discriminator))
        self.networks = {"autoencoder": self.autoencoder, "discriminator": self.discriminator}
        self.format = torch.contiguous_format

    def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
        values: dict[str, Tensor | float] = {}
        adversarial = step >= self.config.discriminator_start
        if adversarial:
            values |= self._update_discriminator(batch, self.autoencoder(batch).image.detach(), update)
        made = self.autoencoder(batch)
        values |= self._update_autoencoder(batch, made, adversarial, update)
        if adversarial:  # the pass whose logits are dropped; last and with numbers of its own, so that all else is ours
            with torch.random.fork_rng(devices=[]):
                self.discriminator(self._augment(made.image))
        return values

    def _update_autoencoder(
        self, images: Tensor, made: Reconstruction, adversarial: bool, update: Update
    ) -> dict[str, Tensor | float]:
        reconstruction = self._reconstruction_loss(made.image, images)
        loss = reconstruction + self.config.quantiser_weight * made.quantised.loss
        values: dict[str, Tensor | float] = {"reconstruction_loss": reconstruction.detach()}
        if adversarial:
            self.discriminator.requires_grad_(False)
            generator = losses.generator_loss(self.discriminator(self._augment(made.image)))
            layer = self.autoencoder.last_layer
            (wanted,) = torch.autograd.grad(reconstruction, layer, retain_graph=True)
            (given,) = torch.autograd.grad(generator, layer, retain_graph=True)
            loss = loss + (wanted.norm() / (given.norm() + 1e-4)).clamp(0, 1).detach() * generator
            values["generator_loss"] = generator.detach()
        update("autoencoder", loss)
        return {"loss": loss.detach(), **values}


class PublishedPriorStage(PriorStage):
    """Explicit attention with PyTorch's dropout, and logits of every token."""

    fused = None

    def __init__(self, ours: PriorStage) -> None:
        super().__init__(
            make_published(copy.deepcopy(ours.transformer)),
            ours.volume_autoencoder,
            ours.image_autoencoder,
            ours.config,
        )

    def _logits(self, codes: Tensor, vectors: Tensor) -> Tensor:
        return _compute_all_logits(self.transformer, codes, vectors.flatten(1, 2))


class ExplicitAttention(Attention):
    """softmax(q kᵀ/√C) v as two products with the matrix of probabilities between them."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        query, key, value = self.query_key_value(tokens).chunk(3, dim=2)
        mixed = self.out((query @ key.mT * query.shape[-1] ** -0.5).softmax(-1) @ value)
        return x + mixed.transpose(1, 2).unflatten(2, x.shape[2:])


class StridedChannelNorm(ChannelNorm):
    """Mean and variance over the second axis, where channels come first in memory."""

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * self.weight.view(1, -1, *(1 for _ in x.shape[2:]))


class ExplicitSelfAttention(SelfAttention):
    """The same of several heads, with dropout of the probabilities."""

    def forward(
        self, x: Tensor, allowed: Tensor | None, past: tuple[Tensor, Tensor] | None, first: int = 0
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        query, key, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        probabilities = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        mixed = F.dropout(probabilities, self.dropout.p, self.training) @ value
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2))), (key, value)


PUBLISHED: dict[type[nn.Module], type[nn.Module]] = {
    Attention: ExplicitAttention,
    ChannelNorm: StridedChannelNorm,
    SelfAttention: ExplicitSelfAttention,
    Dropout: nn.Dropout,
}


def make_published(network: Any) -> Any:
    """Return the network itself, its parts replaced by the published ones and its memory laid out as by default."""
    for module in network.modules():
        module.__class__ = PUBLISHED.get(type(module), type(module))
    return network.to(memory_format=torch.contiguous_format)


def _compute_all_logits(transformer: CodeTransformer, codes: Tensor, context: Tensor) -> Tensor:
    """Logits (B, L, K), after those of all C + L tokens have been computed."""
    tokens = torch.cat([transformer.context_embedding(context), transformer.code_embedding(codes)], dim=1)
    logits = transformer.head(transformer.norm(transformer._read(tokens, None, None)))
    return logits[:, context.shape[1] :]
