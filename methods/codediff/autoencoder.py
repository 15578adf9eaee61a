"""Vector-quantised autoencoder of CodeDiff3D (ICCV 2023, section 3.1) for volumes and for X-rays, and its quantiser.

One family: the volume's encoder may use depthwise blocks; everything else differs only in the number of dimensions.
The quantiser is plain gradient VQ. Two unused parts of the released network are options, so that its parameters can be
counted and compared.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from bench.errors import UsageError
from bench.method import full_precision

from .card import AutoencoderConfig, Weighting

VOXELS_AT_ONCE = 2**18  # whose full-resolution features are held: one volume of 64³ or more, or eighteen of 24³


class Quantised(NamedTuple):
    """What the quantiser makes of latents (B, D, *latent)."""

    codes: Tensor  # (B, *latent) int64 index of the nearest code
    vectors: Tensor  # (B, D, *latent) the codes' vectors; gradients pass straight through to the latents
    loss: Tensor  # scalar, mean over all elements
    perplexity: Tensor  # scalar, exp of the entropy of the batch's code histogram; 1 … K


class Reconstruction(NamedTuple):
    """A forward pass: the output and what the quantiser made of the input."""

    image: Tensor  # (B, 1, *input) linear, not clamped
    quantised: Quantised


def convolution(dimensions: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """The convolution of 2 or 3 dimensions."""
    return {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]


def split_cases(values: Tensor, voxels: int) -> tuple[Tensor, ...]:
    """Values (B, …) of cases of so many voxels in parts whose full-resolution features can be held together.

    Those of a published-size volume take gigabytes.
    """
    return values.split(max(1, VOXELS_AT_ONCE // voxels))


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups for more than 32 channels, otherwise a single one."""
    return nn.GroupNorm(32 if channels > 32 else 1, channels, eps=1e-6)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each voxel, with a scale and no shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """`body` plus the input, which passes a 1-convolution when the width changes."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Module | None, identity: bool) -> None:
        super().__init__()
        self.body, self.shortcut, self.identity = body, shortcut, identity

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + (x if self.identity else self.shortcut(x))


class Attention(nn.Module):
    """Single-head self-attention over all positions, in row-major order, with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        query, key, value = self.query_key_value(tokens).chunk(3, dim=2)
        mixed = self.out(F.scaled_dot_product_attention(query, key, value))
        return x + mixed.transpose(1, 2).unflatten(2, x.shape[2:])


class Downsample(nn.Module):
    """Halves the side: one zero plane at the end of each axis, then a strided convolution."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.convolution = convolution(dimensions)(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.pad(x, (0, 1) * (x.ndim - 2)))


class Upsample(nn.Module):
    """Doubles the side by nearest neighbours, then a convolution."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.convolution = convolution(dimensions)(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.interpolate(x, scale_factor=2, mode="nearest"))


def nearest_codes(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Index (N,) of the row of `codebook` (K, D) nearest to each of `vectors` (N, D); the first on ties.

    The squared norm of the vector is left out: it shifts all distances of a row alike and only costs digits.
    """
    return torch.argmin(codebook.square().sum(1) - 2 * vectors @ codebook.T, dim=1)


def perplexity(codes: Tensor, size: int) -> Tensor:
    """Scalar exp(entropy) of the histogram of `codes` (any shape) over `size` classes."""
    flat = codes.flatten()
    counts = flat.new_zeros(size).scatter_add_(0, flat, torch.ones_like(flat))  # bincount makes a GPU wait
    share = counts.double() / codes.numel()
    return torch.special.entr(share).sum().exp()


def cluster(latents: Tensor, size: int, seed: int) -> Tensor:
    """`size` cluster centres (size, D) of latents (N, D) by k-means; N must be at least `size`."""
    start = latents[torch.randperm(len(latents), generator=torch.Generator().manual_seed(seed))[:size]]
    centres, _ = kmeans2(latents.double().cpu().numpy(), start.double().cpu().numpy(), iter=10, minit="matrix")
    return torch.from_numpy(centres).to(latents)


class VectorQuantiser(nn.Module):
    """Replaces each latent vector by the nearest of K learned ones.

    The loss is `mean((z − sg e)²) + β·mean((e − sg z)²)` as released: the encoder's term has weight 1. The paper's
    Eq. 4 puts β on the encoder's term instead (`weighting="paper"`).
    """

    def __init__(self, codes: int, width: int, beta: float = 0.25, weighting: Weighting = "released") -> None:
        super().__init__()
        self.beta, self.weighting = beta, weighting
        self.codebook = nn.Parameter(torch.empty(codes, width).uniform_(-1 / codes, 1 / codes))

    @torch.no_grad()
    def start_at(self, latents: Tensor, seed: int) -> None:
        """Replace the codebook by cluster centres of latents (N, D). Raises UsageError for fewer latents than codes."""
        if len(latents) < len(self.codebook):
            raise UsageError(f"{len(latents)} latents cannot start {len(self.codebook)} codes; lower codes")
        self.codebook.copy_(cluster(latents, len(self.codebook), seed))

    def lookup(self, codes: Tensor) -> Tensor:
        """Vectors (B, D, *latent) of codes (B, *latent)."""
        return F.embedding(codes, self.codebook).movedim(-1, 1)

    def forward(self, latents: Tensor) -> Quantised:
        """Quantise latents (B, D, *latent); in at least float32, whatever the precision of the run."""
        with full_precision(latents.device):
            latents = latents.to(torch.promote_types(latents.dtype, self.codebook.dtype))
            rows = latents.movedim(1, -1)
            codes = nearest_codes(rows.detach().flatten(0, -2), self.codebook.detach()).view(rows.shape[:-1])
            chosen = self.lookup(codes)
            encoder_term = F.mse_loss(latents, chosen.detach())
            codebook_term = F.mse_loss(chosen, latents.detach())
            if self.weighting == "released":
                loss = encoder_term + self.beta * codebook_term
            else:
                loss = codebook_term + self.beta * encoder_term
            vectors = latents + (chosen - latents).detach()
            return Quantised(codes, vectors, loss, perplexity(codes, len(self.codebook)))


class VectorQuantisedAutoencoder(nn.Module):
    """Encoder, quantiser and decoder; values in and out are (B, 1, *input), nominally in [0, 1].

    Inside, between the first layer and the last, values are divided by `value_scale`.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        conv = convolution(config.dimensions)
        full = config.widths[0]
        self.encoder = nn.Sequential(*self._encoder_layers())
        self.quantiser = VectorQuantiser(config.codes, config.code_width, config.beta, config.weighting)
        self.decoder = nn.Sequential(*self._decoder_layers())  # up to and with the last normalisation
        self.output = conv(full, 1, 3, padding=1)
        self.log_sigma_head: nn.Sequential | None = None
        if config.log_sigma != "none":
            channels = 1 if config.log_sigma == "repaired" else config.code_width
            activation = nn.Mish() if config.dimensions == 3 else nn.ReLU()
            self.log_sigma_head = nn.Sequential(conv(full, full, 3, padding=1), activation, conv(full, channels, 1))

    @property
    def last_layer(self) -> nn.Parameter:
        """The output convolution's weight, at which the adaptive generator weight compares gradients."""
        return self.output.weight

    def latents(self, image: Tensor) -> Tensor:
        """Latents (B, D, *latent) of images (B, 1, *input), before they are quantised."""
        return self.encoder(image / self.config.value_scale)

    def encode(self, image: Tensor) -> Quantised:
        """Codes (B, *latent) of images (B, 1, *input), their vectors, the quantiser's loss and the perplexity."""
        return self.quantiser(self.latents(image))

    def features(self, vectors: Tensor) -> Tensor:
        """Decoder features (B, channels, *input) of code vectors (B, D, *latent); see `image_of`, `log_sigma`."""
        return self.decoder(vectors)

    def image_of(self, features: Tensor) -> Tensor:
        """Images (B, 1, *input) of decoder features, linear and not clamped."""
        return self.output(features) * self.config.value_scale

    def log_sigma(self, features: Tensor) -> Tensor:
        """Logarithm of the standard deviation of each voxel (B, 1, *input), on the scale of the image.

        The head's output as it is: `value_scale` does not enter.
        """
        if self.log_sigma_head is None:
            raise RuntimeError('this autoencoder was built with log_sigma = "none"')
        return self.log_sigma_head(features)

    def decode(self, vectors: Tensor) -> Tensor:
        """Images (B, 1, *input) of code vectors (B, D, *latent)."""
        return self.image_of(self.features(vectors))

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Images (B, 1, *input) of codes (B, *latent)."""
        return self.decode(self.quantiser.lookup(codes))

    def forward(self, image: Tensor) -> Reconstruction:
        """Reconstruct images (B, 1, *input)."""
        quantised = self.encode(image)
        return Reconstruction(self.decode(quantised.vectors), quantised)

    def _encoder_layers(self) -> list[nn.Module]:
        config = self.config
        conv = convolution(config.dimensions)
        block = self._depthwise_block if config.encoder_block == "depthwise" else self._full_block
        width, side = config.widths[0], config.size
        layers: list[nn.Module] = [conv(1, width, 3, padding=1)]
        for level, wider in enumerate(config.widths):
            for _ in range(config.blocks):
                layers.append(block(width, wider))
                width = wider
                if side in config.attention_sizes:
                    layers.append(Attention(width))
            if level < len(config.widths) - 1:
                layers.append(Downsample(width, config.dimensions))
                side //= 2
        layers += [block(width, width), Attention(width), block(width, width)]
        return [*layers, group_norm(width), conv(width, config.code_width, 3, padding=1)]

    def _decoder_layers(self) -> list[nn.Module]:
        config = self.config
        width, side = config.widths[-1], config.size // config.reduction
        layers: list[nn.Module] = [convolution(config.dimensions)(config.code_width, width, 3, padding=1)]
        layers += [self._full_block(width, width), Attention(width), self._full_block(width, width)]
        for level, narrower in reversed(list(enumerate(config.widths))):
            for _ in range(config.blocks):
                layers.append(self._full_block(width, narrower))
                width = narrower
                if side in config.attention_sizes:
                    layers.append(Attention(width))
            if level > 0:
                layers.append(Upsample(width, config.dimensions))
                side *= 2
        return [*layers, group_norm(width)]

    def _full_block(self, inputs: int, outputs: int) -> ResidualBlock:
        conv = convolution(self.config.dimensions)
        return self._residual(
            inputs,
            outputs,
            *(group_norm(inputs), nn.SiLU(), conv(inputs, outputs, 3, padding=1)),
            *(group_norm(outputs), nn.SiLU(), conv(outputs, outputs, 3, padding=1)),
        )

    def _depthwise_block(self, inputs: int, outputs: int) -> ResidualBlock:
        conv = convolution(self.config.dimensions)
        return self._residual(
            inputs,
            outputs,
            *(ChannelNorm(inputs), nn.GELU(), conv(inputs, outputs, 1)),
            *(ChannelNorm(outputs), nn.GELU(), conv(outputs, outputs, 3, padding=1, groups=outputs)),
        )

    def _residual(self, inputs: int, outputs: int, *body: nn.Module) -> ResidualBlock:
        identity = inputs == outputs
        needed = not identity or self.config.unused_shortcuts
        shortcut = convolution(self.config.dimensions)(inputs, outputs, 1) if needed else None
        return ResidualBlock(nn.Sequential(*body), shortcut, identity)
