"""Losses of CodeDiff3D's autoencoders (released code; the paper leaves L_rec unspecified)."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.distributed import mean_over_processes
from bench.errors import UsageError

from .card import Margin

Distance = Callable[[Tensor, Tensor], Tensor]
"""A perceptual distance of two batches of images (B, 1, h, w) in [0, 1], averaged to a scalar."""


def perceptual_distance(kind: Literal["none", "lpips"]) -> Distance | None:
    """LPIPS-VGG of one-channel images repeated to three, not rescaled, as released; None for `none`.

    Raises UsageError where the package `lpips` or its weights are absent: neither can be shipped.
    """
    if kind == "none":
        return None
    try:
        import lpips

        network = lpips.LPIPS(net="vgg").eval().requires_grad_(False)
    except Exception as error:
        raise UsageError(
            f"perceptual = lpips needs the package lpips and its VGG weights ({error}); use none"
        ) from error

    def distance(image: Tensor, target: Tensor) -> Tensor:
        network.to(image.device)
        return network(image.expand(-1, 3, -1, -1), target.expand(-1, 3, -1, -1)).mean()

    return distance


def volume_loss(image: Tensor, target: Tensor, weight: float = 1.0) -> Tensor:
    """Smooth L1 (β = 1/9) plus `weight` times L1, means over all voxels."""
    return F.smooth_l1_loss(image, target, beta=1 / 9) + weight * F.l1_loss(image, target)


def view_loss(image: Tensor, target: Tensor, distance: Distance | None = None, weight: float = 1.0) -> Tensor:
    """L1, plus `weight` times a perceptual distance where one is given (published: LPIPS)."""
    loss = F.l1_loss(image, target)
    return loss if distance is None else loss + weight * distance(image, target)


def discriminator_terms(real: Tensor, fake: Tensor, margin: Margin = "mish") -> tuple[Tensor, Tensor]:
    """Mean m(1 − real) and mean m(1 + fake) of logits; a hinge when m is ReLU, as released m is Mish."""
    function = F.mish if margin == "mish" else F.relu
    return function(1 - real).mean(), function(1 + fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor, margin: Margin = "mish") -> Tensor:
    """Half the sum of the two terms.

    With Mish the loss can be negative: its minimum is −0.309, at real = 2.19 and fake = −2.19.
    """
    return sum(discriminator_terms(real, fake, margin)) / 2


def generator_loss(fake: Tensor) -> Tensor:
    """Minus the mean logit of what the generator made."""
    return -fake.mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, image: Tensor, last_layer: Tensor) -> Tensor:
    """Scalar in [0, 1] that brings the adversarial loss's gradient at `last_layer` to the size of the other's.

    Given are the gradients of both losses at `image`, which `last_layer` makes. On several devices the gradients
    compared are those of the whole batch.
    """
    wanted, given = (
        mean_over_processes(torch.autograd.grad(image, last_layer, gradient, retain_graph=True)[0].float())
        for gradient in (reconstruction, adversarial)
    )
    return (wanted.norm() / (given.norm() + 1e-4)).clamp(0, 1).detach()
