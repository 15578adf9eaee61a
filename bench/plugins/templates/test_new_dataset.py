"""new_dataset repeats itself, keeps patients apart and can be run on. Run with: pytest FILE"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench import load_results
from bench.cli import run_command
from bench.plugins.registry import get_dataset

DATASET = f"{Path(__file__).with_name('new_dataset.py')}:DATASET"


def test_the_phantom_is_a_function_of_its_seed_inside_the_window() -> None:
    spec = get_dataset(DATASET)
    volume = spec.phantom(1, 32)
    assert volume.shape == (32, 32, 32)
    assert volume.dtype == np.int16
    assert np.array_equal(volume, spec.phantom(1, 32))
    assert not np.array_equal(volume, spec.phantom(2, 32))
    assert spec.window[0] <= volume.min() < volume.max() <= spec.window[1]


def test_the_scans_of_a_patient_stay_together_and_every_split_has_some() -> None:
    records: list[Any] = [SimpleNamespace(case=f"{i}-{k}", patient=str(i)) for i in range(200) for k in range(2)]
    splits = get_dataset(DATASET).assign_splits(records)
    assert all(splits[f"{i}-0"] == splits[f"{i}-1"] for i in range(200))
    assert set(splits.values()) == {"train", "validation", "test"}


def test_a_method_runs_on_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    options = ["--dataset", DATASET, "--preset", "smoke", "--protocol", "x2ct-2019"]  # the quickest
    folders = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path)]
    assert run_command(["run", "--method", "mean", *options, *folders]) == 0
    assert set(load_results(tmp_path)["dataset"]) == {"new_dataset"}
