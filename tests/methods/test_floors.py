"""Floors know exactly what they claim: the mean, the most alike training case, and what geometry alone gives."""

import lzma
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cases import Cases, Views
from bench.dataset import DatasetCard, Split
from bench.errors import BenchError
from bench.method import FittedStage, Method
from bench.methods.floors.coder import decode, encode
from bench.plugins.registry import get_method
from bench.projector import pixel_of_voxel, project

from ..helpers.small_methods import CARD

GEOMETRY = CARD.geometry


def fresh(name: str, card: DatasetCard) -> Method:
    method_class = get_method(name).load()
    return method_class(method_class.Config(), card)


def fitted(name: str, cases: Mapping[Split, Cases], folder: Path) -> Method:
    method = fresh(name, cases["test"].card)
    for stage in method.stages():
        assert isinstance(stage, FittedStage)
        stage.fit(cases, folder)
        stage.recall(cases)
    return method


def test_the_mean_is_that_of_the_windowed_training_volumes(make_data: Callable[..., dict], tmp_path: Path) -> None:
    cases = make_data(train=37)
    window = np.clip(cases["train"].hounsfield.astype(np.float64), -1000, 1000)
    made = fitted("mean", cases, tmp_path).reconstruct(cases["test"].views([0, 1]), seeds=[0, 1])
    assert made.shape == (2, 16, 16, 16)
    np.testing.assert_allclose(made[1].numpy(), (window.mean(0) + 1000) / 2000, atol=1e-6)


def test_the_nearest_case_of_a_training_view_is_that_case(make_data: Callable[..., dict], tmp_path: Path) -> None:
    cases = make_data()
    method = fitted("nearest", cases, tmp_path)
    asked = [7, 0, 3]
    views = cases["train"].views(asked)
    noisy = replace(views, images=views.images + 0.02 * torch.randn(views.images.shape))
    assert torch.equal(method.reconstruct(noisy, seeds=[0, 0, 0]), cases["train"].volumes(asked))


@pytest.mark.parametrize("angle", [270.0, 0.0, 33.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_voxel_is_looked_up_where_the_projector_draws_it(angle: float, mirrored: bool) -> None:
    size, voxel_mm, pixels = 32, 8.0, 64
    d, h, w = 6, 20, 25
    volume = torch.full((1, size, size, size), -1000.0)
    volume[0, d, h, w] = 3000.0
    image = project(volume, voxel_mm, GEOMETRY, [angle], pixels, mirrored=[mirrored], samples=256)[0, 0]
    rows, columns = torch.meshgrid(torch.arange(pixels), torch.arange(pixels), indexing="ij")
    drawn = torch.stack([(image * columns).sum(), (image * rows).sum()]) / image.sum()
    place = pixel_of_voxel(GEOMETRY, angle, mirrored, size, voxel_mm)[d, h, w]
    assert torch.allclose((place + 1) * pixels / 2 - 0.5, drawn.double(), atol=0.15)


def test_views_of_water_are_back_projected_to_water() -> None:
    size = 24
    shape = {"size": size, "voxel_mm": 10.0, "image_size": 48, "geometry": replace(GEOMETRY, grey_scale=20.0)}
    card = replace(CARD, **shape)
    water = project(torch.zeros(1, size, size, size), 10.0, GEOMETRY, card.angles, 48)
    views = Views(water / 20.0, torch.tensor(card.angles), card.mirrored, card.geometry)
    made = fresh("backprojection", card).reconstruct(views, seeds=[0])
    assert torch.allclose(made[0, 2:-2, 2:-2, 2:-2], torch.tensor(0.5), atol=1e-3)


# --- floors and a reference of the likelihood


def nats_of(method: Method, cases: Cases) -> torch.Tensor:
    indices = list(range(len(cases)))
    bound = method.log_likelihood(cases.volumes(indices), cases.views(indices), seeds=indices)
    assert bound is not None
    assert (bound.codes, bound.voxels) == (0, cases.hounsfield[0].size)
    assert torch.equal(bound.codes_given_views, torch.zeros(len(cases), dtype=torch.float64))
    return bound.volume_given_codes


def planted_cases(cases: dict[Split, Cases], centre: np.ndarray, scale: float) -> dict[Split, Cases]:
    """Every split drawn from a Laplace distribution a voxel around `centre` (D, H, W), in whole HU."""
    random = np.random.default_rng(3)

    def draw(split: Cases) -> Cases:
        noise = random.laplace(0, scale, split.hounsfield.shape)
        return replace(split, hounsfield=np.rint(centre + noise).astype(np.int16))

    return {name: draw(split) for name, split in cases.items()}


@pytest.fixture
def drawn(make_data: Callable[..., dict]) -> dict[Split, Cases]:
    centre = np.random.default_rng(2).integers(-700, 700, (8, 8, 8))
    return planted_cases(make_data(train=400, test=6, size=8), centre, 20.0)


def test_a_laplace_a_voxel_finds_the_planted_one_and_costs_its_entropy(drawn: dict[Split, Cases], tmp_path) -> None:
    method = fitted("voxel_laplace", drawn, tmp_path)
    (stage,) = method.stages()
    scales = stage.networks["voxels"].get_buffer("scale")
    assert scales.mean().item() == pytest.approx(20.0, rel=0.03)
    bits = nats_of(method, drawn["test"]).mean().item() / 512 / math.log(2)
    assert bits == pytest.approx(math.log2(2 * math.e * 20.0), abs=0.05)


def test_both_floors_show_the_median_of_the_training_cases(drawn: dict[Split, Cases], tmp_path: Path) -> None:
    median = np.median(drawn["train"].hounsfield.astype(float), axis=0)
    for name in ("voxel_laplace", "voxel_histogram"):
        made = fitted(name, drawn, tmp_path).reconstruct(drawn["test"].views([0, 1]), seeds=[0, 1])
        np.testing.assert_allclose(made[1].numpy(), (median + 1000) / 2000, atol=1e-6)


def test_a_histogram_a_voxel_is_counted_as_written_down(make_data: Callable[..., dict], tmp_path: Path) -> None:
    """Against a loop over cases and voxels in plain Python."""
    cases = make_data(train=5, test=2, size=4)
    method = fitted("voxel_histogram", cases, tmp_path)
    (stage,) = method.stages()
    buffers = dict(stage.networks["voxels"].named_buffers())
    width, weight = int(buffers["width"]), float(buffers["weight"])
    train = np.clip(cases["train"].hounsfield.astype(int), -1000, 1000) + 1000
    test = np.clip(cases["test"].hounsfield.astype(int), -1000, 1000) + 1000
    anywhere = (np.bincount(train.ravel(), minlength=2001) + 1) / (train.size + 2001)
    for case, nats in zip(test, nats_of(method, cases["test"]), strict=True):
        total = 0.0
        for place in np.ndindex(case.shape):
            value, first = case[place], case[place] // width * width
            of_bin = anywhere[first : first + width].sum()
            held = sum(one[place] // width == value // width for one in train)
            total -= math.log((held + weight * of_bin) / (len(train) + weight) * anywhere[value] / of_bin)
        assert nats.item() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("width", [1, 3, 64, 4096])
def test_the_probabilities_of_a_histogram_sum_to_one(width: int, make_data: Callable[..., dict], tmp_path) -> None:
    cases = make_data(train=5, size=4)
    (stage,) = fitted("voxel_histogram", cases, tmp_path).stages()
    stage.networks["voxels"].get_buffer("width").fill_(width)
    total = torch.zeros(4, 4, 4, dtype=torch.float64)
    for value in range(-1000, 1001):
        total += torch.exp(-stage.nats(torch.full((1, 4, 4, 4), float(value)))[0])  # type: ignore[attr-defined]
    assert torch.allclose(total, torch.ones_like(total), atol=1e-9)


@pytest.mark.parametrize("name", ["voxel_laplace", "voxel_histogram"])
def test_the_validation_cases_choose_and_the_test_cases_do_not(
    name: str, make_data: Callable[..., dict], tmp_path: Path
) -> None:
    drawn = planted_cases(make_data(train=40, test=6, size=8), np.zeros((8, 8, 8)), 3.0)

    def buffers(**other: np.ndarray) -> dict[str, torch.Tensor]:
        cases = {
            split: replace(own, hounsfield=other[split]) if split in other else own for split, own in drawn.items()
        }
        (stage,) = fitted(name, cases, tmp_path).stages()
        return dict(stage.networks["voxels"].named_buffers())

    before = buffers()
    noise = np.random.default_rng(0).integers(-1000, 1001, drawn["test"].hounsfield.shape).astype(np.int16)
    same, other = buffers(test=noise), buffers(validation=noise[:2])
    assert all(torch.equal(before[key], same[key]) for key in before)
    assert not all(torch.equal(before[key], other[key]) for key in before)


@pytest.mark.parametrize("name", ["voxel_laplace", "voxel_histogram"])
def test_equal_cases_and_values_that_were_never_met_have_a_finite_number(
    name: str, make_data: Callable[..., dict], tmp_path: Path
) -> None:
    cases = make_data(train=1, test=2, size=4)
    cases = {split: replace(own, hounsfield=np.full_like(own.hounsfield, -1000)) for split, own in cases.items()}
    method = fitted(name, cases, tmp_path)
    assert 0 <= nats_of(method, cases["test"]).max().item() < 64 * 9
    never = replace(cases["test"], hounsfield=np.full_like(cases["test"].hounsfield, 1000))
    assert nats_of(method, never).isfinite().all()


def test_without_validation_cases_nothing_can_choose(make_data: Callable[..., dict], tmp_path: Path) -> None:
    cases = make_data(size=4)
    nobody = replace(cases["validation"], names=(), hounsfield=cases["validation"].hounsfield[:0])
    with pytest.raises(BenchError, match="there are none"):
        fitted("voxel_laplace", {**cases, "validation": nobody}, tmp_path)


def test_the_coder_loses_nothing_and_is_counted_to_the_byte(make_data: Callable[..., dict]) -> None:
    cases = make_data()["test"]
    method = fresh("xz", cases.card)
    volumes = cases.volumes([0, 1])
    assert torch.allclose(method.reconstruct_truth(volumes), volumes, atol=1e-7)
    lengths = []
    for volume in np.clip(cases.hounsfield[:2], -1000, 1000):
        code = encode(volume, (-1000.0, 1000.0))
        np.testing.assert_array_equal(decode(code, volume.shape, (-1000.0, 1000.0)), volume)
        low, high = (volume.astype(int) + 1000) % 256, (volume.astype(int) + 1000) // 256
        planes = bytes(low.ravel().tolist()) + bytes(high.ravel().tolist())
        whole = len(lzma.compress(planes, preset=9 | lzma.PRESET_EXTREME))  # with a container of some 60 bytes
        assert len(code) < whole < len(code) + 100
        lengths.append(8 * len(code))
    nats = method.log_likelihood(volumes, cases.views([0, 1]), seeds=[0, 1]).volume_given_codes
    np.testing.assert_allclose(nats / math.log(2), lengths)
