"""Class masks: lungs of a CT, their shadows on the views, and U-Nets that find them in X-rays alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cases import Cases
from bench.dataset import Split
from bench.errors import BenchError
from bench.methods.ccx_raynet.card import MaskConfig
from bench.methods.ccx_raynet.mask import ClassMasks, MaskStage, foreground, lungs, shadows
from bench.pipeline.fit import fit_stages
from bench.projector import project
from bench.runs.folder import RunFolder
from bench.system.seeding import derive_seed

from ..helpers.small_methods import card_of
from ..helpers.toy_runs import toy_run

SIZE, SIDE = 24, 24
CARD = replace(card_of(270.0, 0.0, size=SIZE, image_size=SIDE), voxel_mm=320 / SIZE)
GRID = np.stack(np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 3, indexing="ij"))


def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    middle, half = np.array(centre)[:, None, None, None], np.array(radii)[:, None, None, None]
    return (((GRID - middle) / half) ** 2).sum(0) <= 1


def chest(width: float = 0.28, height: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """A body with two lungs and bowel gas in air, as HU, and its lungs."""
    body = (GRID[1] / 0.7) ** 2 + (GRID[2] / 0.9) ** 2 <= 1
    both = ellipsoid((-0.2, 0, -0.45), (height, 0.45, width)) | ellipsoid((-0.2, 0, 0.45), (height, 0.45, width))
    hounsfield = np.where(body, 30, -1000)
    hounsfield[both] = -800
    hounsfield[ellipsoid((0.8, 0, 0), (0.1, 0.1, 0.1))] = -900
    return hounsfield.astype(np.int16), both


def cases(split: Split, volumes: list[np.ndarray]) -> Cases:
    hounsfield = np.stack(volumes)
    views = project(torch.from_numpy(hounsfield), CARD.voxel_mm, CARD.geometry, CARD.angles, SIDE).numpy()
    card = replace(CARD, geometry=replace(CARD.geometry, grey_scale=float(views.max())))
    names = tuple(f"{split}-{i}" for i in range(len(volumes)))
    return Cases(card, split, names, hounsfield, views, np.stack([np.eye(4)] * len(volumes)))


def test_lungs_are_air_that_the_body_encloses_without_small_gas() -> None:
    hounsfield, expected = chest()
    assert np.array_equal(lungs(hounsfield), expected)


@pytest.mark.parametrize("value", [-1000, 30])
def test_a_volume_without_a_body_or_without_air_has_no_lungs(value: int) -> None:
    assert not lungs(np.full((8, 8, 8), value, np.int16)).any()


def test_a_shadow_is_where_rays_cross_three_centimetres() -> None:
    box = np.zeros((SIZE, SIZE, SIZE), bool)
    box[8:16, 6:18, 8:16] = True  # 12 voxels = 16 cm along the frontal rays, 8 = 10.7 cm along the lateral ones
    found = shadows(box[None], CARD, 96)
    assert found.shape == (1, 2, 96, 96)
    scale = 949 / 541 * 96 / 500  # pixels a millimetre at the isocentre
    for view, depth_mm in ((0, 160.0), (1, 320 / 3)):
        near = 541 / (541 - depth_mm / 2)  # the side towards the source is drawn largest
        side = float(found[0, view].sum()) ** 0.5
        assert 8 * CARD.voxel_mm * scale * 0.95 < side if view == 0 else side > 0
        assert side < 12 * CARD.voxel_mm * scale * near * 1.05
    thin = np.zeros_like(box)
    thin[8:16, 12:13, 8:16] = True  # 1.3 cm along the frontal rays
    assert not shadows(thin[None], CARD, 48)[0, 0].any()
    assert shadows(thin[None], CARD, 48)[0, 1].any()


def test_foreground_is_the_brighter_of_two_levels() -> None:
    images = torch.rand(2, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.2
    expected = torch.zeros(2, 2, 16, 16)
    expected[:, 0, 4:12, 4:12] = 1
    expected[:, 1, 2:6, 10:] = 1
    differing = (foreground(images + 0.6 * expected) != expected).float().mean()
    assert float(differing) < 0.02  # the threshold is the middle of a bin, which the darker level may end in
    assert not foreground(torch.full((1, 1, 8, 8), 0.5)).any()


def test_masks_need_no_training_without_lungs() -> None:
    images = torch.rand(2, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for kind, wanted in (("zero", torch.zeros_like(images)), ("otsu", foreground(images))):
        masks = ClassMasks(MaskConfig(kind=kind), 2, SIDE, "ccx_raynet")
        assert torch.equal(masks(images), wanted)
        assert not list(masks.parameters())


def test_a_mask_is_certain_above_the_threshold() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 2, SIDE, SIDE)
    low, high = (ClassMasks(MaskConfig(widths=(4, 8), threshold=t), 2, SIDE, "ccx_raynet") for t in (0.4, 0.6))
    high.load_state_dict(low.state_dict())
    probability = low.logits(images).sigmoid()
    assert torch.equal(low(images), (probability > 0.4).float())
    assert torch.equal(high(images), (probability > 0.6).float())


def test_a_view_is_masked_by_its_own_network() -> None:
    torch.manual_seed(0)
    masks = ClassMasks(MaskConfig(widths=(4, 8)), 2, SIDE, "ccx_raynet")
    images = torch.rand(1, 2, SIDE, SIDE)
    changed = images.clone()
    changed[:, 1] = 0
    assert torch.equal(masks.logits(images)[:, 0], masks.logits(changed)[:, 0])
    assert not torch.equal(masks.logits(images), masks.logits(images[:, [0, 0]]))


def trained(tmp_path: Path, volumes: list[np.ndarray], seed: int = 0) -> ClassMasks:
    torch.manual_seed(derive_seed(seed, "test"))
    loop = {"steps": 120, "batch_size": 6, "validate_every": 40}
    # a probability of 0.8 takes some networks, all of whose features stand for the background, many steps more
    config = MaskConfig.model_validate({"widths": (8, 16), "threshold": 0.5, "learning_rate": 1e-2, "loop": loop})
    masks = ClassMasks(config, 2, SIDE, "ccx_raynet")
    # only these splits exist: what looks at a test case fails
    data: dict[Split, Cases] = {"train": cases("train", volumes), "validation": cases("validation", volumes[:2])}
    folder = RunFolder(tmp_path)
    fit_stages([MaskStage(masks, SIDE)], toy_run(folder, data, seed))
    return masks


@pytest.mark.trains
def test_unets_learn_the_shadows_of_lungs_from_training_cases_alone(tmp_path: Path, seed: int) -> None:
    sizes = [(0.2, 0.4), (0.24, 0.65), (0.28, 0.5), (0.32, 0.6), (0.26, 0.45), (0.3, 0.55)]
    masks = trained(tmp_path, [chest(*size)[0] for size in sizes], seed)
    unseen, both = chest(0.27, 0.57)
    found = masks(cases("test", [unseen]).images([0]))
    wanted = shadows(both[None], CARD, SIDE)
    overlap = 2 * (found * wanted).sum((2, 3)) / (found + wanted).sum((2, 3))
    assert float(overlap.min()) > 0.9, overlap


def test_training_volumes_without_lungs_are_refused(tmp_path: Path) -> None:
    solid = np.full((SIZE, SIZE, SIZE), 30, np.int16)
    with pytest.raises(BenchError, match=r"ccx_raynet, mask: .* no lungs .* mask.kind=otsu"):
        trained(tmp_path, [solid] * 6)
