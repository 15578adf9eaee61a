"""The generators of X2CT-GAN (CVPR 2019, section 3.2; released code): one view, or two views fused at every level.

Injection points: `Parts` says which encoder, connection B and fusion (connection C) a generator is made of. A part
with the same call as the published one fits:
  encoder  DenseEncoder(config): view (B, C, s, s) → maps for the links, and last the features (B, C)
  link     Link(inputs, outputs, statistics): (B, C, s, s) → (B, K, s, s, s)
  fusion   Average(): volumes (B, C, D, H, W) of two views → one of them; the same module serves every level
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .alignment import Order, to_local, to_standard
from .card import GeneratorConfig, Statistics
from .parts import BranchDecoder, Bridge, DenseEncoder, Link, MainDecoder, channels_last


class Average(nn.Module):
    """Connection C as published: the mean of two volumes in standard order."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first + second) / 2


@dataclass(frozen=True)
class Parts:
    """What a generator is built of; the defaults are the published parts."""

    encoder: Callable[[GeneratorConfig], DenseEncoder] = DenseEncoder
    link: Callable[[int, int, Statistics], Link] = Link
    fusion: Callable[[], nn.Module] = Average


class Fused(NamedTuple):
    """What a biplanar generator can make, (B, 1, s, s, s) each."""

    volume: Tensor  # standard order
    branches: tuple[Tensor, Tensor]  # of each view alone, in its own order; no published loss uses them


def build_generator(
    config: GeneratorConfig, side: int, orders: Sequence[Order], parts: Parts | None = None
) -> "SingleViewGenerator | BiplanarGenerator":
    """The generator for one or two views of `side` pixels; it maps views to a volume (B, 1, D, H, W)."""
    parts = parts or Parts()
    generator: SingleViewGenerator | BiplanarGenerator
    if len(orders) == 1:
        generator = SingleViewGenerator(config, side, orders[0], parts)
    else:
        generator = BiplanarGenerator(config, side, (orders[0], orders[1]), parts)
    channels_last(generator)
    return generator


class Branch(nn.Module):
    """What every view has for itself: encoder, connections A and B, decoder."""

    def __init__(self, config: GeneratorConfig, side: int, parts: Parts) -> None:
        super().__init__()
        *link_widths, pooled = config.encoder_widths
        self.encoder = parts.encoder(config)
        self.bridge = Bridge(pooled, side // config.reduction, config)
        self.links = nn.ModuleList()
        if config.skips:
            pairs = zip(link_widths, config.links, strict=True)
            self.links.extend(parts.link(inputs, outputs, config.statistics) for inputs, outputs in pairs)
        self.decoder = BranchDecoder(config)

    def encode(self, view: Tensor) -> tuple[list[Tensor], Tensor]:
        """View (B, C, s, s) → the linked volume of each level (none without connection B) and the bridge's volume."""
        *maps, pooled = self.encoder(view)
        linked = [link(features) for link, features in zip(self.links, maps, strict=False)]
        return linked, self.bridge(pooled)

    def compress(self, level: int, volume: Tensor, linked: list[Tensor]) -> Tensor:
        """The first half of a level: the volume from below beside the linked one, brought to the level's width."""
        inputs = torch.cat([volume, linked[level]], dim=1) if linked else volume
        return self.decoder.compress[level](inputs)


class SingleViewGenerator(nn.Module):
    """One view: a branch by itself."""

    def __init__(self, config: GeneratorConfig, side: int, order: Order, parts: Parts) -> None:
        super().__init__()
        self.config, self.orders = config, (order,)
        self.branch = Branch(config, side, parts)

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """One view (B, C, s, s) → volume (B, 1, D, H, W), not negative."""
        linked, volume = self.branch.encode(views[0])
        decoder = self.branch.decoder
        volume = decoder.top(volume)
        for level in reversed(range(len(self.config.links))):
            volume = decoder.expand[level](self.branch.compress(level, volume, linked))
        return to_standard(decoder.head(volume), self.orders[0])


class BiplanarGenerator(nn.Module):
    """Two views: two branches that meet at every level, and a main decoder of what they meet in."""

    def __init__(self, config: GeneratorConfig, side: int, orders: tuple[Order, Order], parts: Parts) -> None:
        super().__init__()
        self.config, self.orders = config, orders
        self.first, self.second = Branch(config, side, parts), Branch(config, side, parts)
        self.fusion = parts.fusion()
        self.main = MainDecoder(config)

    @property
    def branches(self) -> tuple[Branch, Branch]:
        """The branch of each view."""
        return self.first, self.second

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """Two views (B, C, s, s) → volume (B, 1, D, H, W), not negative."""
        main, _ = self._decode(views)
        return self.main.head(main)

    def forward_with_branches(self, views: Sequence[Tensor]) -> Fused:
        """Also what each branch's own head makes, which costs time and which no published loss uses."""
        main, volumes = self._decode(views)
        first, second = (
            branch.decoder.head(branch.decoder.expand[0](volume))
            for branch, volume in zip(self.branches, volumes, strict=True)
        )
        return Fused(self.main.head(main), (first, second))

    def _decode(self, views: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The main decoder's last features, and what each branch has at full resolution after the last fusion."""
        encoded = [branch.encode(view) for branch, view in zip(self.branches, views, strict=True)]
        fused, volumes = self._fuse([volume for _, volume in encoded])
        main = self.main.top(fused)
        for level in reversed(range(len(self.config.links))):
            compressed = []
            for branch, (linked, _), volume in zip(self.branches, encoded, volumes, strict=True):
                decoder = branch.decoder
                above = decoder.top if level + 1 == len(self.config.links) else decoder.expand[level + 1]
                compressed.append(branch.compress(level, above(volume), linked))
            fused, volumes = self._fuse(compressed)
            main = self.main.levels[level](torch.cat([fused, main], dim=1) if self.config.main_skips else main)
        return main, volumes

    def _fuse(self, volumes: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Connection C: the fused volume in standard order, and what each branch goes on with."""
        pairs = list(zip(volumes, self.orders, strict=True))
        fused = self.fusion(*(to_standard(volume, order) for volume, order in pairs))
        if not self.config.feedback:
            return fused, volumes
        return fused, [to_local(fused, order) for order in self.orders]
