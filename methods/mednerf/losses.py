"""Losses of MedNeRF: a hinge on batch means with a noisy margin, redrawn real patches, and those of the inversion.

Images are compared by LPIPS where it and its backbone are installed, otherwise by random features. The backbone can be
had from no package registry, so LPIPS is used only when its weights lie in torch's hub folder; nothing is ever
downloaded. The substitute is a small VGG-like network with fixed random weights and, beside it, the absolute difference
of image gradients.
"""

import importlib.util
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError

from .card import Hinge, Perceptual
from .discriminator import GrafDiscriminator, MedNerfDiscriminator, augment
from .field import COLOURS

Distance = Callable[[Tensor, Tensor], Tensor]
"""Perceptual distances (B,) of two batches of images (B, 3, h, w) in [−1, 1]."""

VIEW_WEIGHT = 0.2  # shared by all augmented views but the identity
MARGIN = (0.8, 1.0)
GRADIENT_PENALTY = 10.0  # R1, of GRAF's discriminator only

Backbone = Literal["vgg", "alex"]
WEIGHTS = {"vgg": "vgg16-*.pth", "alex": "alexnet-*.pth"}  # in torch's hub folder
WIDTHS = (8, 16, 32)  # of the random features, each at half the resolution of the one before
SEED = 2022
LPIPS_SIDE = 64  # smaller images are enlarged for LPIPS: its backbones pool five times
SMALLEST_SIDE = 4  # a level of smaller maps is left out


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


def perceptual_distance(kind: Perceptual, backbone: Backbone) -> tuple[Distance, str]:
    """A distance and its name, `lpips-vgg`, `lpips-alex` or `random-features`.

    Raises UsageError when LPIPS is asked for and missing.
    """
    missing = missing_for_lpips(backbone) if kind != "random" else ""
    if kind == "random" or (kind == "auto" and missing):
        return FeatureDistance(), "random-features"
    if missing:
        raise UsageError(f"mednerf: perceptual = lpips needs {missing}; install it or use perceptual = random")
    return lpips_distance(backbone), f"lpips-{backbone}"


def missing_for_lpips(backbone: Backbone) -> str:
    """Return what LPIPS with this backbone lacks here; empty when it can be used."""
    if importlib.util.find_spec("lpips") is None or importlib.util.find_spec("torchvision") is None:
        return "the packages lpips and torchvision"
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return "" if list(folder.glob(WEIGHTS[backbone])) else f"{WEIGHTS[backbone]} in {folder}"


def lpips_distance(backbone: Backbone) -> Distance:
    """LPIPS v0.1 with its learned weights. Raises UsageError when the packages do not load."""
    try:
        import lpips

        network = lpips.LPIPS(net=backbone, verbose=False).eval().requires_grad_(False)
    except Exception as error:
        raise UsageError(f"mednerf: lpips does not load ({error}); use perceptual = random") from error

    def distance(images: Tensor, targets: Tensor) -> Tensor:
        side = max(LPIPS_SIDE, images.shape[-1])
        first, second = (F.interpolate(x, size=(side, side), mode="nearest") for x in (images, targets))
        return network.to(images.device)(first, second).flatten()

    return distance


class FeatureDistance(nn.Module):
    """Squared differences of unit-length random features, plus the absolute difference of image gradients."""

    def __init__(self) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(SEED)
        layers = [nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in pairwise((COLOURS, *WIDTHS))]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, generator=chance)
        self.layers = nn.ModuleList(layers)
        self.requires_grad_(False)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Distances (B,) of images (B, 3, h, w) in [−1, 1]."""
        self.to(images.device)
        result = (image_gradients(images) - image_gradients(targets)).abs().mean(1)
        first, second = images + 2, targets + 2  # positive, or the middle grey would have no features
        for layer in self.layers:
            if min(first.shape[2:]) < SMALLEST_SIDE:
                break
            first, second = layer(first).relu(), layer(second).relu()
            difference = F.normalize(first, dim=1) - F.normalize(second, dim=1)
            result = result + difference.square().sum(1).flatten(1).mean(1)
            first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
        return result


def image_gradients(images: Tensor) -> Tensor:
    return torch.cat([images.diff(dim=2).flatten(1), images.diff(dim=3).flatten(1)], dim=1)
