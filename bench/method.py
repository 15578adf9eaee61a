"""What a method is: a card, the stages it trains in order, and a reconstruction from views.

A built-in method is a plug-in like any other: a folder under methods/ with a `card.py`, an installed entry point of the
group `bench.methods`, or a file given as `--method path/to/file.py:Class`.
"""

import io
import mmap
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import cloudpickle
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.card import Loop, MethodCard, Settings
from bench.cases import Cases, Views
from bench.dataset import DatasetCard, Split
from bench.errors import UsageError
from bench.system.device import set_precision

Batch = Any  # what `Stage.batches` yields, collated by torch: tensors, or tuples or dicts of them


@dataclass(frozen=True)
class Likelihood:
    """An upper bound of −log p(volume | views) of each case, in nats, split as bits-back does."""

    volume_given_codes: Tensor  # (B,) −log p(volume | codes), discretised to 1 HU
    codes_given_views: Tensor  # (B,) −log p(codes | views), exact or a variational bound
    voxels: int
    codes: int
    codes_standard_error: Tensor | None = None  # (B,) of a Monte-Carlo estimate of the bound


Update = Callable[[str, Tensor], None]
"""`update(name, loss)`: back-propagate the loss, average gradients over devices, clip, step that optimiser."""


class Stage(ABC):
    """One thing to train. bench/pipeline/fit.py owns the loop: steps, precision, devices, averages and checkpoints."""

    name: str
    loop: Loop
    networks: dict[str, nn.Module]  # trained here; saved, restored and moved to the device by the loop
    averaged: tuple[str, ...] = ()  # networks whose moving average is what the stage leaves behind

    def prepare(self, cases: Mapping[Split, Cases], cache: Path, device: torch.device) -> None:  # noqa: B027
        """Compute what this stage needs from earlier ones (cached codes); `cache` is a folder of this run."""

    @abstractmethod
    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        """A map-style data set of training items; the loop decides order and batches."""

    @abstractmethod
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by name; their learning rates are multiplied by `rate(step)`."""

    @abstractmethod
    def step(self, batch: Batch, update: Update, step: int) -> dict[str, Tensor | float]:
        """Train on one batch by calling `update` for each optimiser; return scalars to log, `loss` among them."""

    def rate(self, step: int) -> float:
        """Factor on the learning rates at `step` (0-based)."""
        return 1.0

    def validation_loss(self, batch: Batch) -> Tensor | None:
        """Mean loss of a validation batch, lower is better; None when the stage has none."""
        return None

    def recomputable(self) -> Iterable[nn.Module]:
        """The blocks that `loop.checkpoint_activations` computes again; their passes must not change any buffer.

        Raises UsageError where the stage has none.
        """
        raise UsageError(f"stage {self.name} cannot compute activations again; set loop.checkpoint_activations=false")

    def state(self) -> dict[str, Any]:
        """Return what else must survive a restart (tensors and plain values only), e.g. an augmentation probability."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take back what `state` returned."""


class FittedStage(ABC):
    """A stage without steps (a mean volume, an index of cases): one call computes its networks' buffers."""

    name: str
    networks: dict[str, nn.Module]

    @abstractmethod
    def fit(self, cases: Mapping[Split, Cases], cache: Path) -> None:
        """Compute and store the result in the buffers of `networks`."""

    def recall(self, cases: Mapping[Split, Cases]) -> None:  # noqa: B027
        """Take hold of data that are too large for a buffer; called whenever the buffers are filled."""


class Method(ABC):
    """A way from views to a volume."""

    card: ClassVar[MethodCard]
    Config: ClassVar[type[Settings]]
    presets: ClassVar[Path | None] = None  # a TOML file as bench.card.MethodPlugin describes it

    remark: str = ""
    """Of a built method: what it found on this machine that its numbers depend on; goes into its run's row."""

    leaves_one_out: bool = False
    """Of a built method: it is made of the tested cases themselves, for each of them from the others."""

    @abstractmethod
    def __init__(self, config: Any, data: DatasetCard) -> None:
        """Build the networks; touch no data. Raises UsageError where the data's sizes do not fit the method."""

    @abstractmethod
    def stages(self) -> Sequence[Stage | FittedStage]:
        """Return what is trained, in order; may be empty."""

    @abstractmethod
    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        """Volumes (B, D, H, W) in [0, 1]; `seeds` has one entry a case and decides all that is random about it."""

    def log_likelihood(self, volume: Tensor, views: Views, *, seeds: Sequence[int]) -> Likelihood | None:
        """The bound for volumes (B, D, H, W) in [0, 1]; None where the method has no likelihood."""
        return None

    def renders(self, views: Views, angles: Sequence[float], *, seeds: Sequence[int]) -> Tensor | None:
        """The method's own X-ray images (B, A, h, w) in [0, 1] at other gantry angles, mirrored as `is_mirrored` says.

        Called right after `reconstruct` with the same views and seeds. None, the default: the harness projects the
        reconstruction.
        """
        return None

    def reconstruct_truth(self, volume: Tensor) -> Tensor:
        """The method's own encoding of the true volumes (B, D, H, W); with capability `oracle`, for ceilings only."""
        raise NotImplementedError(f"{self.card.name} has no oracle")

    def require_views(self, views: Views, data: DatasetCard) -> None:
        """Raise UsageError, naming the method, for another number of views than the data it was built for have."""
        if views.images.shape[1] != data.views:
            raise UsageError(
                f"{self.card.name} was trained on {data.views} views and cannot take {views.images.shape[1]}; "
                "train it with another data.angles"
            )

    def seconds_by_part(self) -> dict[str, float]:
        """Measured inference seconds a case of each named part, for the table of times; empty when not measured."""
        return {part: sum(times) / len(times) for part, times in vars(self).get("_seconds", {}).items()}

    def time_part(self, part: str, cases: int, work: Callable[[], Any]) -> Any:
        """Return what `work` makes for so many cases, and count the time it took to a part of the inference."""
        began = time.perf_counter()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds: dict[str, list[float]] = vars(self).setdefault("_seconds", {})
        seconds.setdefault(part, []).append((time.perf_counter() - began) / cases)
        return result


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Within it everything is float32 in whatever precision the run is: geometry and likelihoods do not bear less."""
    return set_precision(device, "fp32")


class Items(Dataset):
    """A map-style data set from a length and a function of the index.

    `ahead` lets a thread load the next batch while a GPU computes: for items that draw no random numbers.
    """

    def __init__(self, length: int, item: Callable[[int], Batch], *, ahead: bool = False) -> None:
        self.length, self.item, self.ahead = length, item, ahead

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        return self.item(index)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle for processes that are spawned: functions of any kind by value, memory maps by their file."""
        content = io.BytesIO()
        _ItemPickler(content).dump(self)
        return cloudpickle.loads, (content.getvalue(),)  # noqa: TID251  # a worker reads what its parent wrote


class _ItemPickler(cloudpickle.CloudPickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Items):
            return partial(Items, ahead=value.ahead), (value.length, value.item)
        if type(value) is np.memmap and value.flags.c_contiguous and value.size:
            whole = value
            while isinstance(whole.base, np.memmap):  # a split is a slice of what was mapped
                whole = whole.base
            if isinstance(whole.base, mmap.mmap):
                place = whole.offset + value.ctypes.data - whole.ctypes.data
                return np.memmap, (value.filename, value.dtype, "r", place, value.shape)
        return super().reducer_override(value)
