"""The cache of cases at a grid: the same to the bit from one process or several, and rebuilt where it is damaged."""

import math
import os
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest

from bench.data import cases
from bench.dataset import DataConfig
from bench.datasets.lidc import DATASET
from bench.system import files

CONFIG = DataConfig(size=16, image_size=16, phantoms=(3, 1, 1))


def test_worker_processes_rebuild_a_damaged_cache_as_one_process_built_it(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = data_folder / "processes"

    def phantom(seed: int, size: int) -> np.ndarray:
        with log.open("a") as file:
            print(os.getpid(), file=file)
        return DATASET.phantom(seed, size)

    spec = replace(DATASET, phantom=phantom)
    monkeypatch.setattr(cases, "cpu_count", lambda: 2)
    monkeypatch.setattr(cases, "WORKERS_FROM", math.inf)
    data_folder.mkdir()
    before = cases.load_dataset(spec, CONFIG, "phantom")
    (folder,) = (data_folder / "lidc" / "presets").iterdir()
    files = {path: path.read_bytes() for path in folder.glob("*.npy")}
    assert set(log.read_text().split()) == {str(os.getpid())}
    (folder / "volumes.npy").write_bytes(files[folder / "volumes.npy"][:-2])
    monkeypatch.setattr(cases, "WORKERS_FROM", 0.0)
    with joblib.parallel_config(backend="loky"):
        after = cases.load_dataset(spec, CONFIG, "phantom")
    assert len(set(log.read_text().split())) > 1
    assert len(files) == 2
    assert {path: path.read_bytes() for path in folder.glob("*.npy")} == files
    for split in before:
        for name in before[split].names:
            assert after[split].described(name) == before[split].described(name)
            for key, labels in before[split].labels(name).items():
                assert np.array_equal(after[split].labels(name)[key], labels)


def test_a_cache_is_hashed_once_and_again_when_its_files_are_changed(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def sha256_of(path: Path) -> str:
        hashed.extend([path.name] if path.suffix == ".npy" else [])
        return real(path)

    real = files.sha256_of
    cases.load_dataset(DATASET, CONFIG, "phantom")
    monkeypatch.setattr(files, "sha256_of", sha256_of)
    cases.load_dataset(DATASET, CONFIG, "phantom")
    assert hashed == ["volumes.npy", "integrals.npy"]
    cases.load_dataset(DATASET, CONFIG, "phantom")
    assert len(hashed) == 2
    (volumes,) = data_folder.glob("lidc/presets/*/volumes.npy")
    content = volumes.read_bytes()
    volumes.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size
    loaded = cases.load_dataset(DATASET, CONFIG, "phantom")
    assert volumes.read_bytes() == content
    assert hashed[2] == "volumes.npy"
    assert len(loaded["train"]) == 3


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_few_phantoms_are_the_first_of_the_whole_set(split: str, data_folder: Path) -> None:
    config, made = DATASET.presets["smoke"], []
    few = cases.load_few(DATASET, config, "phantom", split, 2, lambda done, total: made.append(total))
    assert max(made) <= cases.FEW_TRAINING + 3 < sum(config.phantoms)
    whole = cases.load_dataset(DATASET, config, "phantom")[split]
    assert few.names[:2] == whole.names[:2]
    np.testing.assert_array_equal(few.hounsfield[:2], whole.hounsfield[:2])
    assert len(cases.load_few(DATASET, config, "phantom", split, 2)) == len(whole)  # it is cached now
