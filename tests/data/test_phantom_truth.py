"""Factors and label maps of phantoms: saved with each case, the same when computed anew, and no part of the volumes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.cases import Cases
from bench.data.cases import load_dataset
from bench.dataset import DataConfig, DatasetSpec, Split
from bench.datasets.baggage import DATASET as BAGGAGE
from bench.datasets.lidc import DATASET as LIDC
from bench.datasets.lidc.anatomy import Organ
from bench.errors import UsageError
from bench.system.files import read_json, write_json

CONFIG = DataConfig(size=16, image_size=16, phantoms=(2, 1, 1))


def loaded(spec: DatasetSpec) -> dict[Split, Cases]:
    return load_dataset(spec, CONFIG, "phantom")


def cache_of(data_folder: Path, spec: DatasetSpec) -> Path:
    (folder,) = (data_folder / spec.name / "presets").iterdir()
    return folder


@pytest.mark.parametrize("spec", [LIDC, BAGGAGE], ids=lambda spec: spec.name)
def test_they_are_saved_with_each_case_and_follow_from_the_seed(data_folder: Path, spec: DatasetSpec) -> None:
    cases = loaded(spec)
    folder = cache_of(data_folder, spec)
    saved = read_json(folder / "factors.json")
    assert list(saved) == ["phantom-test-0000", "phantom-train-0000", "phantom-train-0001", "phantom-validation-0000"]
    for split, first in (("train", 0), ("test", 2_000_000)):
        for index, name in enumerate(cases[split].names):
            assert spec.factors is not None
            assert spec.labels is not None
            expected, maps = spec.factors(first + index), spec.labels(first + index, CONFIG.size)
            assert saved[name] == cases[split].described(name) == json.loads(json.dumps(expected))
            labels = cases[split].labels(name)
            assert labels.keys() == maps.keys() == spec.label_names.keys()
            for key, values in labels.items():
                assert values.shape == cases[split].hounsfield.shape[1:]
                assert values.dtype == np.uint8
                assert np.array_equal(values, maps[key])
    numbers = [cases["train"].factors(name) for name in cases["train"].names]
    assert numbers[0].keys() == numbers[1].keys()
    assert len(numbers[0]) > 15
    assert all(type(value) is float and np.isfinite(value) for value in numbers[0].values())
    assert numbers[0] != numbers[1]


@pytest.mark.parametrize("damage", ["older", "truncated", "gone"])
def test_a_cache_without_them_still_knows_them_and_keeps_its_volumes(data_folder: Path, damage: str) -> None:
    cases = loaded(LIDC)["train"]
    name, folder = cases.names[1], cache_of(data_folder, LIDC)
    factors, labels = cases.described(name), cases.labels(name)["organs"]
    before = (folder / "volumes.npy").stat().st_mtime_ns
    files = [folder / "factors.json", folder / "labels.npz"]
    if damage == "older":
        manifest = read_json(folder / "manifest.json")
        del manifest["beside"]
        write_json(folder / "manifest.json", manifest)
    for file in files:
        file.write_bytes(file.read_bytes()[:50]) if damage == "truncated" else file.unlink()
    again = loaded(LIDC)["train"]
    assert again.described(name) == factors
    assert np.array_equal(again.labels(name)["organs"], labels)
    assert (folder / "volumes.npy").stat().st_mtime_ns == before


def test_they_change_neither_the_fingerprint_nor_the_volumes(data_folder: Path) -> None:
    with_them = loaded(LIDC)["train"]
    folder = cache_of(data_folder, LIDC)
    for file in folder.iterdir():
        file.unlink()
    without = loaded(replace(LIDC, factors=None, labels=None))["train"]
    assert cache_of(data_folder, LIDC) == folder
    assert without.card == with_them.card
    assert np.array_equal(without.hounsfield, with_them.hounsfield)
    with pytest.raises(UsageError, match="lidc states no factors"):
        without.factors(without.names[0])
    with pytest.raises(UsageError, match="lidc states no labels"):
        without.labels(without.names[0])


def test_what_is_no_phantom_has_none(data_folder: Path, make_data: Callable[..., dict[str, Cases]]) -> None:
    real = make_data(source="real")["test"]
    with pytest.raises(UsageError, match="factors are known of phantoms alone"):
        real.factors(real.names[0])
    with pytest.raises(UsageError, match="labels are known of phantoms alone"):
        real.labels(real.names[0])
    cases = loaded(LIDC)
    with pytest.raises(UsageError, match="'phantom-test-0000' is no phantom of this split"):
        cases["train"].factors("phantom-test-0000")


def test_organs_are_labelled_where_the_scan_shows_them() -> None:
    assert LIDC.labels is not None
    assert LIDC.factors is not None
    low_high = {
        Organ.OUTSIDE: (-1024, -900),
        Organ.RIGHT_LUNG: (-960, -700),
        Organ.LEFT_LUNG: (-960, -700),
        Organ.FAT: (-140, -60),
        Organ.MUSCLE: (10, 110),
        Organ.HEART: (20, 350),
        Organ.LIVER: (20, 140),
        Organ.BONE: (120, 1400),
    }
    for seed in range(3):
        organs, factors = LIDC.labels(seed, 80)["organs"], LIDC.factors(seed)
        volume = LIDC.phantom(seed, 80)
        assert set(np.unique(organs)) <= {organ.value for organ in Organ}
        for organ, (low, high) in low_high.items():
            assert low < np.median(volume[organs == organ]) < high, (seed, organ)
        across = np.arange(80) - 39.5
        left, right = (across[np.nonzero(organs == side)[2]] for side in (Organ.LEFT_LUNG, Organ.RIGHT_LUNG))
        assert left.mean() > 10
        assert right.mean() < -10
        height = np.ptp(np.nonzero(np.isin(organs, [Organ.LEFT_LUNG, Organ.RIGHT_LUNG]))[0]) * 4.0
        assert height <= factors["lung_height"] + 8
