"""Reference: what a lossless coder needs for the volume itself, without any model of chests or bags.

Coded is the windowed volume in whole HU above the window's lower end, as unsigned 16-bit numbers in (D, H, W) order:
all low bytes, then all high bytes, by LZMA2 as xz runs it at its slowest preset. There is no container: what is the
same for all cases (shape, window, settings) is not counted, the few bytes of the stream's own chunks are.
"""

import lzma
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.cases import Views
from bench.dataset import DatasetCard, to_unit
from bench.errors import UsageError
from bench.method import FittedStage, Likelihood, Method

from .card import PRESETS, XZ, NoSettings

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def encode(hounsfield: np.ndarray, window: tuple[float, float]) -> bytes:
    """Return the code of a volume (D, H, W), rounded and clipped to the window in HU."""
    low, high = window
    steps = (np.clip(np.rint(hounsfield), low, high) - low).astype("<u2")
    planes = np.ascontiguousarray(np.frombuffer(steps.tobytes(), np.uint8).reshape(-1, 2).T)
    return lzma.compress(planes.tobytes(), format=lzma.FORMAT_RAW, filters=FILTERS)


def decode(code: bytes, shape: tuple[int, ...], window: tuple[float, float]) -> np.ndarray:
    """Return the volume (D, H, W) float32 in HU of a code."""
    planes = np.frombuffer(lzma.decompress(code, format=lzma.FORMAT_RAW, filters=FILTERS), np.uint8).reshape(2, -1)
    steps = np.frombuffer(np.ascontiguousarray(planes.T).tobytes(), "<u2")
    return steps.reshape(shape).astype(np.float32) + np.float32(window[0])


class Xz(Method):
    """A coder that is given the volume; it loses nothing, and all that is measured is its length."""

    card = XZ
    Config = NoSettings
    presets = PRESETS

    def __init__(self, config: NoSettings, data: DatasetCard) -> None:
        self.window = data.window

    def stages(self) -> Sequence[FittedStage]:
        return []

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        raise UsageError("xz codes the true volume; it cannot reconstruct one from views")

    def reconstruct_truth(self, volume: Tensor) -> Tensor:
        decoded = [decode(encode(one, self.window), one.shape, self.window) for one in self._hounsfield(volume)]
        return torch.from_numpy(to_unit(np.stack(decoded), self.window)).to(volume)

    def log_likelihood(self, volume: Tensor, views: Views, *, seeds: Sequence[int]) -> Likelihood:
        bits = [8.0 * len(encode(one, self.window)) for one in self._hounsfield(volume)]
        nats = torch.tensor(bits, dtype=torch.float64) * math.log(2.0)
        return Likelihood(nats, torch.zeros_like(nats), voxels=volume[0].numel(), codes=0)

    def _hounsfield(self, volume: Tensor) -> np.ndarray:
        low, high = self.window
        return volume.cpu().double().numpy() * (high - low) + low
