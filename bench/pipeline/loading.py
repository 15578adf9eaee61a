"""The training batches of a stage: in the order that the seed says, and loaded while a device computes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from accelerate import Accelerator
from torch.utils.data import DataLoader

from bench.method import Batch, Items, Stage
from bench.system.seeding import BatchOrder, derive_seed


def load_training(stage: Stage, seed: int, start: int, accelerator: Accelerator, workers: int) -> Iterator[Batch]:
    """Yield this process's share of the batches of a stage from step `start` on."""
    items = stage.batches("train")
    order = BatchOrder(
        length=len(items),  # type: ignore[arg-type]
        batch=stage.loop.batch_size // accelerator.num_processes,
        seed=derive_seed(seed, stage.name, "order"),
        start=start,
        steps=stage.loop.steps,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    loaded = iter(DataLoader(items, batch_sampler=order, num_workers=workers))
    waits = accelerator.device.type != "cpu"  # a CPU would only share its cores with the thread
    return load_ahead(loaded) if waits and isinstance(items, Items) and items.ahead else loaded


def load_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the same batches, each loaded in a thread while the one before is worked on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch
