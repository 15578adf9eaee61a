"""Class masks of X-rays: two-lung masks, predicted from the X-ray alone.

The released code reads a soft mask a case from files that were never published and cuts it at 0.8. Here a small U-Net
a view learns, on the training split, where the rays of the X-ray cross the lungs of the CT. No other CT is looked at:
at test time a mask is a function of the X-ray.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.cases import Cases
from bench.dataset import DatasetCard, Split
from bench.errors import BenchError, UsageError
from bench.method import Items, Stage, Update
from bench.projector import WATER_PER_CM, project

from ..x2ctgan.alignment import resample_views
from .card import GROUPS, MaskConfig

AIR_HU = -1000.0
TISSUE_HU = -320.0  # what is denser is tissue
LEAST_CM = 3.0  # of lung that a ray of the mask crosses; at any contact the lungs would join behind the heart
SMALLEST_PART = 0.1  # of the largest: what is smaller is gas in the bowels or between skin and clothes
CASES_AT_ONCE = 16


def lungs(hounsfield: np.ndarray) -> np.ndarray:
    """The lungs (D, H, W), true or false, of a CT (D, H, W) in HU: air that the body encloses in its axial slice."""
    tissue = hounsfield > TISSUE_HU
    labels, count = ndimage.label(tissue)
    if count == 0:
        return np.zeros_like(tissue)
    body = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    filled = np.stack([ndimage.binary_fill_holes(axial) for axial in body])
    parts, count = ndimage.label(filled & ~tissue)
    if count == 0:
        return np.zeros_like(tissue)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes >= SMALLEST_PART * sizes.max())[parts]


def shadows(volumes: np.ndarray, card: DatasetCard, pixels: int) -> Tensor:
    """Which rays cross at least 3 cm of the parts (B, D, H, W) that are true: 0 or 1, (B, V, pixels, pixels)."""
    dense = torch.from_numpy(np.where(volumes, np.float32(0.0), np.float32(AIR_HU)))  # all else attenuates nothing
    crossed = project(dense, card.voxel_mm, card.geometry, card.angles, pixels, mirrored=card.mirrored)
    return (crossed > LEAST_CM * WATER_PER_CM).float()


def foreground(images: Tensor) -> Tensor:
    """Return what is above Otsu's threshold of each X-ray (B, V, h, w): 0 or 1, the same shape; 0 in an even one."""
    flat = images.flatten(0, 1)
    cuts = [threshold_otsu(image) if image.min() < image.max() else np.inf for image in flat.float().cpu().numpy()]
    return (flat > torch.tensor(cuts).to(flat)[:, None, None]).to(images).view_as(images)


class UNet(nn.Module):
    """One X-ray (B, 1, h, w) → logits of its mask (B, 1, h, w)."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(_double(a, b) for a, b in zip((1, *widths[:-1]), widths, strict=True))
        upwards = widths[::-1]
        pairs = list(pairwise(upwards))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(_double(2 * b, b) for _, b in pairs)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        passed: list[Tensor] = []
        features = image
        for level, block in enumerate(self.down):
            features = block(F.max_pool2d(features, 2) if level else features)
            passed.append(features)
        passed.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            features = merge(torch.cat([up(features), passed.pop()], 1))
        return self.head(features)


class ClassMasks(nn.Module):
    """X-rays (B, V, h, w) in [0, 1] → class masks of the same shape, 0 or 1, from the X-rays alone."""

    def __init__(self, config: MaskConfig, views: int, side: int, method: str) -> None:
        super().__init__()
        self.config, self.method = config, method
        count = views if config.kind == "lungs" else 0
        self.networks = nn.ModuleList(UNet(config.widths) for _ in range(count))
        factor = 2 ** (len(config.widths) - 1)
        if count and side % factor:
            raise UsageError(
                f"{method}, mask: {len(config.widths)} widths need X-rays whose side is a multiple of {factor}, "
                f"not {side}; shorten mask.widths"
            )

    def logits(self, images: Tensor) -> Tensor:
        """Of the lung masks (B, V, h, w)."""
        return torch.cat([network(images[:, i : i + 1]) for i, network in enumerate(self.networks)], 1)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        if self.config.kind == "zero":
            return torch.zeros_like(images)
        if self.config.kind == "otsu":
            return foreground(images)
        return (self.logits(images).float().sigmoid() > self.config.threshold).to(images)


class MaskStage(Stage):
    """Trains the U-Nets on X-rays and lung shadows of the training split."""

    name = "mask"

    def __init__(self, masks: ClassMasks, side: int) -> None:
        self.masks, self.side = masks, side
        self.loop = masks.config.loop
        self.networks: dict[str, nn.Module] = {"masks": masks}
        self.pairs: dict[str, tuple[Tensor, Tensor]] = {}

    def prepare(self, cases: Mapping[Split, Cases], cache: Path, device: torch.device) -> None:
        self.pairs = {split: self._pairs(cases[split]) for split in ("train", "validation")}
        if not self.pairs["train"][1].any():
            raise BenchError(
                f"{self.masks.method}, mask: the training volumes hold no lungs to learn class masks from; "
                "set mask.kind=otsu or mask.kind=zero"
            )

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        images, targets = self.pairs[split]
        return Items(len(images), lambda i: (images[i], targets[i]))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"masks": torch.optim.Adam(self.masks.parameters(), self.masks.config.learning_rate)}

    def step(self, batch: tuple[Tensor, Tensor], update: Update, step: int) -> dict[str, Tensor | float]:
        loss = self._loss(batch)
        update("masks", loss)
        return {"loss": loss.detach()}

    def validation_loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self._loss(batch)

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, targets = batch
        return F.binary_cross_entropy_with_logits(self.masks.logits(images).float(), targets)

    def _pairs(self, cases: Cases) -> tuple[Tensor, Tensor]:
        """X-rays and lung shadows (N, V, side, side) of a split."""
        images, targets = [], []
        for chosen in cases.groups(CASES_AT_ONCE):
            images.append(torch.cat(resample_views(cases.images(chosen), self.side), 1))
            volumes = np.stack([lungs(cases.hounsfield[i]) for i in chosen])
            targets.append(shadows(volumes, cases.card, self.side))
        empty = torch.zeros(0, cases.card.views, self.side, self.side)
        return torch.cat([empty, *images]), torch.cat([empty, *targets])


def _double(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.GroupNorm(GROUPS, after), nn.ReLU()]
    return nn.Sequential(*layers)
