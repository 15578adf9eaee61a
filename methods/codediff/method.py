"""CodeDiff3D: Unaligned 2D to 3D Translation with Conditional Vector-Quantized Code Diffusion (ICCV 2023).

Two vector-quantised autoencoders turn views and volume into codes; an absorbing diffusion over the volume's codes,
conditioned on the code vectors of the views, is sampled and decoded.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from pydantic import ValidationError
from torch import Tensor

from bench.cases import Views
from bench.dataset import DatasetCard, to_hounsfield
from bench.errors import UsageError
from bench.method import FittedStage, Likelihood, Method, Stage, full_precision

from . import diffusion
from .autoencoder import VectorQuantisedAutoencoder, split_cases
from .card import CARD, ORACLE_CARD, PRESETS, AutoencoderConfig, AutoencoderStageConfig, CodeDiffConfig
from .stage_autoencoder import AutoencoderStage
from .stage_log_sigma import LogSigmaStage, volume_nll
from .stage_prior import PriorStage, encode_views, encode_volumes
from .transformer import CodeTransformer, TransformerConfig


class CodeDiff(Method):
    """Reconstruction by sampling codes."""

    card = CARD
    Config = CodeDiffConfig
    presets = PRESETS

    def __init__(self, config: CodeDiffConfig, data: DatasetCard) -> None:
        self.config, self.data = config, data
        self.image_autoencoder = _autoencoder(config.vqvae2d, data.image_size, "vqvae2d", torch.channels_last)
        self.volume_autoencoder = _autoencoder(config.vqvae3d, data.size, "vqvae3d", torch.channels_last_3d)
        image, volume = self.image_autoencoder.config, self.volume_autoencoder.config
        prior = config.transformer
        with _naming("transformer"):
            shape = TransformerConfig(
                codes=volume.codes,
                context_width=image.code_width,
                block_size=data.views * image.tokens + volume.tokens,
                causal=prior.kind == "autoregressive",
                **prior.model_dump(include={"width", "heads", "layers", "dropout", "position_spread"}),
            )
        self.transformer = CodeTransformer(shape)
        _check_steps(config.sampling.steps or 1, volume.tokens)
        self._stages: list[Stage | FittedStage] = [
            AutoencoderStage("vqvae2d", self.image_autoencoder, config.vqvae2d, data.image_size),
            AutoencoderStage("vqvae3d", self.volume_autoencoder, config.vqvae3d, data.size),
            LogSigmaStage(self.volume_autoencoder, config.log_sigma, data.window),
            PriorStage(self.transformer, self.volume_autoencoder, self.image_autoencoder, prior),
        ]
        self.remark = (
            f"samples are drawn at temperature {config.sampling.temperature:g}; the bound of the likelihood is that of "
            "temperature 1, and not of the samples"
        )

    def stages(self) -> Sequence[Stage | FittedStage]:
        return self._stages

    @torch.inference_mode()
    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        self.require_views(views, self.data)
        cases = len(seeds)
        context = self.time_part("vqvae2d", cases, lambda: self._context(views))
        codes = self.time_part("transformer", cases, lambda: self._sample(context, seeds))
        return self.time_part("vqvae3d", cases, lambda: self._decode(codes))

    @torch.inference_mode()
    def log_likelihood(self, volume: Tensor, views: Views, *, seeds: Sequence[int]) -> Likelihood:
        self.require_views(views, self.data)
        context = self._context(views)
        with full_precision(volume.device):  # the same codes as those that the volume is given in volume_nll
            codes = encode_volumes(self.volume_autoencoder, volume)
        hounsfield = to_hounsfield(volume, self.data.window)
        parts = [
            volume_nll(self.volume_autoencoder, few, self.data.window).double().flatten(1).sum(1)
            for few in split_cases(hounsfield, self.data.size**3)
        ]
        nats = torch.cat(parts)
        error: Tensor | None = None
        if self.config.transformer.kind == "autoregressive":
            bound = diffusion.cross_entropy(self.transformer(codes, context), codes).double()
        else:
            bound, error = diffusion.negative_elbo(
                lambda noisy: self.transformer(noisy, context),
                codes,
                self.transformer.mask_code,
                diffusion.generators(seeds),
                self.config.sampling.bound_steps,
            )
        return Likelihood(nats, bound, voxels=volume[0].numel(), codes=codes.shape[1], codes_standard_error=error)

    @torch.inference_mode()
    def reconstruct_truth(self, volume: Tensor) -> Tensor:
        return self._decode(encode_volumes(self.volume_autoencoder, volume))

    def _context(self, views: Views) -> Tensor:
        return encode_views(self.image_autoencoder, views.images).flatten(1, 2)

    def _sample(self, context: Tensor, seeds: Sequence[int], steps: int | None = None) -> Tensor:
        tokens, temperature = self.volume_autoencoder.config.tokens, self.config.sampling.temperature
        chance = diffusion.generators(seeds)
        if self.config.transformer.kind == "autoregressive":
            return diffusion.sample_causal(self.transformer, tokens, context, chance, temperature)
        steps = _check_steps(steps or self.config.sampling.steps or tokens, tokens)
        # as published where every code has a step
        reveal = diffusion.gradual_reveals if steps < tokens else diffusion.random_reveals
        return diffusion.sample(
            self.transformer,
            tokens,
            self.transformer.mask_code,
            [reveal(partial(torch.rand, tokens, generator=own), steps) for own in chance],
            context.device,
            context=context,
            temperature=temperature,
        )

    def _decode(self, codes: Tensor) -> Tensor:
        shaped = codes.unflatten(1, self.volume_autoencoder.config.latent_shape)
        parts = split_cases(shaped, self.data.size**3)
        return torch.cat([self.volume_autoencoder.decode_codes(few)[:, 0] for few in parts]).clamp(0, 1)


class Oracle(Method):
    """Ceiling: the true CT through CodeDiff3D's volume autoencoder, the best its prior could ever reach.

    Its autoencoder is the one of the CodeDiff3D run of the same seed and settings: initial weights, order of the data
    and randomness are functions of the seed and of the stage's name.
    """

    card = ORACLE_CARD
    Config = CodeDiffConfig
    presets = PRESETS

    def __init__(self, config: CodeDiffConfig, data: DatasetCard) -> None:
        self._method = CodeDiff(config, data)

    def stages(self) -> Sequence[Stage | FittedStage]:
        return [stage for stage in self._method.stages() if stage.name == "vqvae3d"]

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        raise UsageError("oracle encodes the true volume; it cannot reconstruct one from views")

    def reconstruct_truth(self, volume: Tensor) -> Tensor:
        return self._method.reconstruct_truth(volume)


def _check_steps(steps: int, tokens: int) -> int:
    """Return the number of steps of unmasking. Raises UsageError for more than there are codes."""
    if steps > tokens:
        raise UsageError(f"codediff, sampling: at most {tokens} steps, one a code; not {steps}")
    return steps


def _autoencoder(
    config: AutoencoderStageConfig, size: int, part: str, memory_format: torch.memory_format
) -> VectorQuantisedAutoencoder:
    with _naming(part):
        shape = AutoencoderConfig.model_validate({**config.autoencoder.model_dump(), "size": size})
    return VectorQuantisedAutoencoder(shape).to(memory_format=memory_format)


@contextmanager
def _naming(part: str) -> Iterator[None]:
    """Say which part of the method refuses its settings."""
    try:
        yield
    except ValidationError as error:
        raise UsageError(f"codediff, {part}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
