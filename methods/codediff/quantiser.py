"""Vector quantiser of CodeDiff3D (ICCV 2023, section 3.1): plain gradient VQ, the same in 2-D and 3-D."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from bench.errors import UsageError
from bench.method import full_precision

from .card import Weighting


class Quantised(NamedTuple):
    """What the quantiser makes of latents (B, D, *latent)."""

    codes: Tensor  # (B, *latent) int64 index of the nearest code
    vectors: Tensor  # (B, D, *latent) the codes' vectors; gradients pass straight through to the latents
    loss: Tensor  # scalar, mean over all elements
    perplexity: Tensor  # scalar, exp of the entropy of the batch's code histogram; 1 … K


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
