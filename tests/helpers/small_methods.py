"""Methods of the smoke preset on a card made by hand: how to build one, show it views and train it on four volumes."""

import csv
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.cases import Cases, Views
from bench.dataset import DatasetCard, Geometry, is_mirrored
from bench.method import Method
from bench.pipeline.fit import fit_stages
from bench.plugins.config import method_settings, parse_overrides
from bench.plugins.registry import get_method

from .toy_runs import toy_run

SIZE, IMAGE = 16, 32  # voxels and pixels a side
CARD = DatasetCard(
    name="lidc",
    source="phantom",
    size=SIZE,
    voxel_mm=20.0,
    window=(-1000.0, 1000.0),
    image_size=IMAGE,
    angles=(270.0, 0.0),
    mirrored=(True, False),
    geometry=Geometry(541.0, 949.0, 500.0),
    counts={},
    fingerprint="test",
)


def card_of(*angles: float, size: int = SIZE, image_size: int = IMAGE) -> DatasetCard:
    mirrored = tuple(is_mirrored(angle) for angle in angles)
    return replace(CARD, angles=angles, mirrored=mirrored, size=size, image_size=image_size)


def build(name: str, *overrides: str, card: DatasetCard = CARD, dataset: str = "lidc", seed: int = 0) -> Method:
    """Return a new method with all of its networks in evaluation mode."""
    torch.manual_seed(seed)
    plugin = get_method(name)
    method = plugin.load()(method_settings(plugin, "smoke", dataset, parse_overrides(overrides)), card)
    for stage in method.stages():
        for network in stage.networks.values():
            network.eval()
    return method


def random_views(batch: int, *angles: float) -> Views:
    """Return uniform noise as views (B, V, 32, 32), at the angles of CARD where none are named."""
    angles = angles or CARD.angles
    images = torch.rand(batch, len(angles), IMAGE, IMAGE, generator=torch.Generator().manual_seed(1))
    return Views(images, torch.tensor(angles), tuple(is_mirrored(angle) for angle in angles), CARD.geometry)


class FourVolumes:
    """Cases as stages use them, of volumes (4, 16, 16, 16) in [0, 1] whose views are means along two axes."""

    def __init__(self, unit: Tensor) -> None:
        self.card, self.unit = CARD, unit
        self.hounsfield = (unit * 2000 - 1000).round().short().numpy()

    def __len__(self) -> int:
        return len(self.unit)

    groups = Cases.groups

    def volumes(self, indices: list[int]) -> Tensor:
        return self.unit[list(indices)]

    def images(self, indices: list[int]) -> Tensor:
        unit = self.volumes(indices)
        return F.interpolate(torch.stack([unit.mean(2), unit.mean(3)], 1), size=IMAGE)


def coordinates() -> Tensor:
    """Return (3, 16, 16, 16): where each voxel lies along D, H and W, from -1 to 1."""
    return torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 3, indexing="ij"))


def blobs() -> FourVolumes:
    """Return volumes with one soft blob each, whose place the views show."""
    centres = torch.tensor([[0.3, 0, 0], [-0.3, 0, 0], [0, 0.4, 0.2], [0, -0.4, -0.2]])
    grid = coordinates()
    return FourVolumes(torch.stack([(-(grid - c[:, None, None, None]).square().sum(0) * 6).exp() for c in centres]))


def train(
    method: Method, cases: FourVolumes, folder: Path, seed: int = 0
) -> tuple[list[str], dict[tuple[str, str], list[float]]]:
    """Train all stages on the cases; return the names of the stages, and of each value that was logged its course."""
    run = toy_run(folder, {"train": cases, "validation": cases}, seed)  # type: ignore[dict-item]
    stages = list(fit_stages(method.stages(), run))
    logged: dict[tuple[str, str], list[float]] = {}
    with (folder / "train.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            logged.setdefault((row["stage"], row["name"]), []).append(float(row["value"]))
    return stages, logged
