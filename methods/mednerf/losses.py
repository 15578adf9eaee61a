"""Losses of MedNeRF: a hinge on batch means with a noisy margin, redrawn real patches, and those of the inversion."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .card import Hinge
from .discriminator import GrafDiscriminator, MedNerfDiscriminator, augment

Distance = Callable[[Tensor, Tensor], Tensor]
"""Perceptual distances (B,) of two batches of images (B, 3, h, w) in [−1, 1]."""

VIEW_WEIGHT = 0.2  # shared by all augmented views but the identity
MARGIN = (0.8, 1.0)
GRADIENT_PENALTY = 10.0  # R1, of GRAF's discriminator only


def over_heads(terms: Sequence[Tensor]) -> Tensor:
    """The identity's term plus 0.2 times the mean of the other heads'."""
    first, *others = terms
    return first + VIEW_WEIGHT / len(others) * torch.stack(others).sum()


def hinge(logits: Tensor, sign: float, margin: float | Tensor, kind: Hinge = "mean") -> Tensor:
    """ReLU(margin − sign·m), m the mean of all logits as released, or each logit and the mean after it."""
    values = logits.mean() if kind == "mean" else logits
    return F.relu(margin - sign * values).mean()


def generator_loss(means: Sequence[Tensor]) -> Tensor:
    """Minus the mean logits of the heads, weighed as `over_heads` does."""
    return over_heads([-mean for mean in means])


def mednerf_discriminator_loss(
    network: MedNerfDiscriminator, real: Tensor, fake: Tensor, distance: Distance, kind: Hinge, batch_size: int
) -> tuple[Tensor, Tensor]:
    """The loss for patches (B, 3, s, s) in [−1, 1], and of it what redrawing the real ones costs.

    Perceptual distances are summed over the batch, as released, so they outweigh the hinge. Of patches that are a part
    of a batch of `batch_size` the sum is scaled up to it: the loop takes the mean of the parts' losses.
    """
    real_terms, redrawing = [], []
    for head, view in enumerate(augment(real)):
        features = network.features(view)
        part = int(torch.randint(4, ()))
        drawn, targets = network.redraw(features, part), network.redraw_targets(view, part)
        redrawing.append(distance(torch.cat(drawn), torch.cat(targets)).sum() * (batch_size / len(real)))
        real_terms.append(hinge(network.logits(features, head), 1.0, _margin(), kind))
    fake_terms = [hinge(network(view, head), -1.0, _margin(), kind) for head, view in enumerate(augment(fake))]
    extra = over_heads(redrawing)
    return over_heads(real_terms) + extra + over_heads(fake_terms), extra.detach()


def mednerf_generator_loss(network: MedNerfDiscriminator, fake: Tensor) -> Tensor:
    """The field's loss for patches (B, 3, s, s)."""
    return generator_loss([network(view, head).mean() for head, view in enumerate(augment(fake))])


def graf_discriminator_loss(network: GrafDiscriminator, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of patches and, beside it and within it, the gradient penalty on real ones."""
    real = real.detach().requires_grad_(True)
    true, false = network(real), network(fake)
    (gradient,) = torch.autograd.grad(true.sum(), real, create_graph=True)
    penalty = GRADIENT_PENALTY * gradient.square().flatten(1).sum(1).mean()
    loss = F.binary_cross_entropy_with_logits(true, torch.ones_like(true))
    return loss + F.binary_cross_entropy_with_logits(false, torch.zeros_like(false)) + penalty, penalty.detach()


def graf_generator_loss(network: GrafDiscriminator, fake: Tensor) -> Tensor:
    """Cross-entropy of taking fake patches for real ones."""
    logits = network(fake)
    return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def latent_nll(latents: Tensor) -> Tensor:
    """Mean of z²/2: the negative log-density of a latent under the prior, without its constant, per number."""
    return latents.square().mean() / 2


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """PSNR (B,) in dB of images (B, …) in [−1, 1]."""
    error = (images - targets).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp(min=1e-12))


def _margin() -> float:
    """A fresh margin for every call, the same for the whole batch."""
    low, high = MARGIN
    return low + (high - low) * torch.rand(()).item()
