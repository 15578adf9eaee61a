"""What is known of phantoms and of no real case: the factors each was drawn from, and what each voxel is.

Kept beside the volumes of a preset: factors.json (case → plain values) and labels.npz (`case/map` → (D, H, W) uint8),
with their hashes in the manifest. A cache that lacks them, or holds damaged ones, is no worse: they follow from the
seed and are computed when asked for.
"""

import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.dataset import DatasetSpec
from bench.errors import UsageError
from bench.system.files import is_intact, read_json, write_atomic, write_text

FACTORS, LABELS = "factors.json", "labels.npz"
Described = tuple[dict[str, Any], dict[str, np.ndarray]]
"""Factors and label maps of one phantom."""


@dataclass(frozen=True)
class Phantoms:
    """The phantoms of one split, as `Cases.factors` and `Cases.labels` ask for them."""

    spec: DatasetSpec
    size: int  # voxels a side
    seeds: Mapping[str, int]  # case → seed
    folder: Path  # of the preset's cache
    hashes: Mapping[str, str]  # of the files there, by name; empty for a cache without them

    def factors(self, case: str) -> dict[str, Any]:
        """Return all that was drawn for a case, as plain values. Raises UsageError for a case or dataset without."""
        seed = self._seed(case)
        if self.spec.factors is None:
            raise UsageError(f"the dataset {self.spec.name} states no factors of its phantoms")
        return self._factors_by_case.get(case) or self.spec.factors(seed)

    def labels(self, case: str) -> dict[str, np.ndarray]:
        """Label maps (D, H, W) uint8 of a case by name. Raises UsageError for a case or dataset that has none."""
        seed = self._seed(case)
        if self.spec.labels is None:
            raise UsageError(f"the dataset {self.spec.name} states no labels of its phantoms")
        if not self._labels_intact:
            return self.spec.labels(seed, self.size)
        with np.load(self.folder / LABELS) as kept:
            return {name.partition("/")[2]: kept[name] for name in kept.files if name.startswith(f"{case}/")}

    def _seed(self, case: str) -> int:
        if case not in self.seeds:
            raise UsageError(f"'{case}' is no phantom of this split of {self.spec.name}")
        return self.seeds[case]

    @cached_property
    def _factors_by_case(self) -> dict[str, dict[str, Any]]:
        return read_json(self.folder / FACTORS) if self._intact(FACTORS) else {}

    @cached_property
    def _labels_intact(self) -> bool:
        return self._intact(LABELS)

    def _intact(self, name: str) -> bool:
        path = self.folder / name
        return name in self.hashes and path.exists() and is_intact(path, self.hashes[name])


def describe(spec: DatasetSpec, seed: int, size: int) -> Described:
    """Return factors and label maps of one phantom, both empty where the dataset states none."""
    return (spec.factors(seed) if spec.factors else {}, spec.labels(seed, size) if spec.labels else {})


def keep(folder: Path, cases: Iterable[tuple[str, Described]]) -> dict[str, str]:
    """Write factors and label maps of cases into a preset's cache; return the hashes of the files by name."""
    factors: dict[str, dict[str, Any]] = {}

    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for case, (drawn, maps) in cases:
                factors[case] = drawn
                for name, values in maps.items():
                    with archive.open(f"{case}/{name}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, values, allow_pickle=False)

    labels = write_atomic(folder / LABELS, write)
    return {LABELS: labels, FACTORS: write_text(folder / FACTORS, json.dumps(factors, sort_keys=True) + "\n")}
