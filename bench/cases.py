"""The cases of a split as tensors, and the views that a method is given. Conventions stand in bench/dataset.py."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.dataset import DatasetCard, Geometry, Split, to_unit
from bench.errors import UsageError
from bench.system.files import write_atomic


def cache_rows(path: Path, shape: Sequence[int], dtype: type[np.generic], rows: Iterable[np.ndarray]) -> np.ndarray:
    """Return the array of this shape in a cache file, memory-mapped.

    The first call writes the rows as they come, all of them or no file.
    """

    def write(file: BinaryIO) -> None:
        write_header(file, shape, dtype)
        for row in rows:
            file.write(np.ascontiguousarray(row, dtype).data)

    if not path.exists():
        write_atomic(path, write)
    return np.load(path, mmap_mode="r")


def write_header(file: BinaryIO, shape: Sequence[int], dtype: type[np.generic]) -> None:
    """Begin a .npy file whose values follow row by row, so that nobody holds an array that is larger than memory."""
    about = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, about)


@dataclass(frozen=True)
class Views:
    """What a method is given at test time, and nothing else."""

    images: Tensor  # (B, V, h, w) in [0, 1]
    angles: Tensor  # (V,) gantry angle in degrees
    mirrored: tuple[bool, ...]  # (V,) columns flipped so that they follow the volume's W axis
    geometry: Geometry

    def to(self, device: torch.device | str) -> "Views":
        """Return the same views with their tensors on `device`."""
        return replace(self, images=self.images.to(device), angles=self.angles.to(device))


class PhantomTruth(Protocol):
    """What is known of the phantoms of a split and of no real case."""

    def factors(self, case: str) -> dict[str, Any]:
        """Return everything drawn for a case, as plain values."""

    def labels(self, case: str) -> dict[str, np.ndarray]:
        """Return label maps (D, H, W) uint8 of a case by name."""


@dataclass(frozen=True)
class Cases:
    """The cases of one split, memory-mapped at a preset's resolution."""

    card: DatasetCard
    split: Split
    names: tuple[str, ...]
    hounsfield: np.ndarray  # (N, D, H, W) int16
    line_integrals: np.ndarray  # (N, V, h, w) float32
    affines: np.ndarray  # (N, 4, 4) voxel index (w, h, d) → RAS millimetres
    phantoms: PhantomTruth | None = None  # how their factors and labels are known; None for real cases

    def __len__(self) -> int:
        return len(self.names)

    def index(self, case: str) -> int:
        """Return the place of a case among `names`. Raises UsageError for a name that is none of them."""
        if case not in self.names:
            raise UsageError(f"no case '{case}' in the split {self.split}; cases are named like {self.names[0]}")
        return self.names.index(case)

    def groups(self, at_once: int) -> list[range]:
        """Return the places of all cases in groups of at most so many, in order."""
        return [range(start, min(start + at_once, len(self))) for start in range(0, len(self), at_once)]

    def truth(self, case: str) -> np.ndarray:
        """Return the true volume (D, H, W) of a case in [0, 1], float64."""
        return to_unit(np.asarray(self.hounsfield[self.index(case)], dtype=np.float64), self.card.window)

    def volumes(self, indices: Sequence[int]) -> Tensor:
        """Return volumes (B, D, H, W) in [0, 1], float32."""
        hounsfield = np.asarray(self.hounsfield[list(indices)], dtype=np.float32)
        return torch.from_numpy(to_unit(hounsfield, self.card.window))

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return views (B, V, h, w) in [0, 1], float32."""
        integrals = np.asarray(self.line_integrals[list(indices)], dtype=np.float32)
        return torch.from_numpy(np.clip(integrals / np.float32(self.card.geometry.grey_scale), 0.0, 1.0))

    def views(self, indices: Sequence[int]) -> Views:
        """Return the views of some cases as a method receives them."""
        return Views(self.images(indices), torch.tensor(self.card.angles), self.card.mirrored, self.card.geometry)

    def factors(self, case: str) -> dict[str, float]:
        """Return the factors of variation of a phantom by name: mm, degrees, HU or counts, 0 or 1 for no and yes.

        `described` holds what is not one number. Raises UsageError for a real case.
        """
        return {name: float(value) for name, value in self.described(case).items() if isinstance(value, (int, float))}

    def described(self, case: str) -> dict[str, Any]:
        """Return everything that was drawn for a phantom, as plain values. Raises UsageError for a real case."""
        return self._phantoms("factors").factors(case)

    def labels(self, case: str) -> dict[str, np.ndarray]:
        """Return label maps (D, H, W) uint8 of a phantom by name, at the preset's grid.

        Raises UsageError for a real case.
        """
        return self._phantoms("labels").labels(case)

    def _phantoms(self, what: str) -> PhantomTruth:
        if self.phantoms is None:
            raise UsageError(
                f"{what} are known of phantoms alone; these {self.split} cases of {self.card.name} have none"
            )
        return self.phantoms


def take_first(cases: Cases, limit: int | None) -> Cases:
    """Return the first cases of a split, all of them for None."""
    arrays = ("names", "hounsfield", "line_integrals", "affines")
    return replace(cases, **{name: getattr(cases, name)[:limit] for name in arrays})
