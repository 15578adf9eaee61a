"""Perceptual distances of images: LPIPS where it and its backbone are installed, otherwise random features.

The backbone of LPIPS can be had from no package registry, so it is used only when its weights lie in torch's hub
folder; nothing is ever downloaded. The substitute is a small VGG-like network with fixed random weights and, beside
it, the absolute difference of image gradients.
"""

import importlib.util
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError

from .card import Perceptual
from .field import COLOURS
from .losses import Distance

Backbone = Literal["vgg", "alex"]
WEIGHTS = {"vgg": "vgg16-*.pth", "alex": "alexnet-*.pth"}  # in torch's hub folder
WIDTHS = (8, 16, 32)  # of the random features, each at half the resolution of the one before
SEED = 2022
LPIPS_SIDE = 64  # smaller images are enlarged for LPIPS: its backbones pool five times
SMALLEST_SIDE = 4  # a level of smaller maps is left out


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
        result = (_gradients(images) - _gradients(targets)).abs().mean(1)
        first, second = images + 2, targets + 2  # positive, or the middle grey would have no features
        for layer in self.layers:
            if min(first.shape[2:]) < SMALLEST_SIDE:
                break
            first, second = layer(first).relu(), layer(second).relu()
            difference = F.normalize(first, dim=1) - F.normalize(second, dim=1)
            result = result + difference.square().sum(1).flatten(1).mean(1)
            first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
        return result


def _gradients(images: Tensor) -> Tensor:
    return torch.cat([images.diff(dim=2).flatten(1), images.diff(dim=3).flatten(1)], dim=1)
