"""Preparing a DICOM series costs no more than twice what reading it with SimpleITK does.

`BENCH_DICOM_SERIES=DIR pytest -m slow -s tests/scans/test_reading_cost.py` measures a series of one's own.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.plugins.registry import get_dataset

from ..helpers.scan_files import simpleitk, write_dicom
from ..helpers.scans import prepare_one


def chest() -> np.ndarray:
    """(134, 512, 512) HU: noise, a trunk with two lungs, 2.5 mm slices of 0.7 mm pixels."""
    d, h, w = np.ogrid[:134, -255.5:256:1, -255.5:256:1]
    trunk = (w / 230) ** 2 + (h / 150) ** 2 < 1
    lungs = ((np.abs(w) - 100) / 75) ** 2 + (h / 110) ** 2 + ((d - 60) / 55) ** 2 < 1
    hounsfield = np.where(trunk, np.where(lungs, -860, 40), -1000)
    return (hounsfield + np.random.default_rng(0).normal(0, 15, hounsfield.shape)).astype(np.int16)


def read_alone(folder: Path) -> None:
    reader = simpleitk.ImageSeriesReader()
    deepest = next(path.parent for path in sorted(folder.rglob("*.dcm")))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(deepest)))
    simpleitk.GetArrayFromImage(reader.Execute())


def seconds(work: Callable[[], object]) -> float:
    """CPU time of all threads: what else the machine does counts little."""
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.slow
def test_preparing_costs_at_most_twice_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, folder = get_dataset("lidc"), Path(os.environ.get("BENCH_DICOM_SERIES", tmp_path / "series"))
    if not folder.exists():
        write_dicom(folder, chest(), step=(0, 0, -2.5), PixelSpacing=[0.7, 0.7])
    reading, preparing = [], []
    for turn in range(5):  # in turns, so that other work on the machine slows both
        reading.append(seconds(lambda: read_alone(folder)))
        monkeypatch.setenv("BENCH_DATA", str(tmp_path / str(turn)))
        preparing.append(seconds(lambda: prepare_one(spec, folder)))
    times = min(preparing) / min(reading)
    print(f"\nreading {min(reading):.2f} s, preparing {min(preparing):.2f} s: {times:.2f} times")
    assert times <= 2
