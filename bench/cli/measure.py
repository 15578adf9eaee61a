"""`bench data measure`: what the phantoms and the projector are worth, in numbers that can be checked."""

import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bench.dataset import DatasetSpec

GRID = 128  # of the volumes that are projected
SPEED_GRID, TIMED = 64, 10  # and how many phantoms are timed


def measure(
    dataset: Annotated[str, typer.Argument(metavar="[DATASET]", help="Default: every built-in dataset.")] = "",
    subjects: Annotated[int, typer.Option(min=2, help="Phantoms that are measured.")] = 20,
    real: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Scans of the whole field, to measure beside the phantoms.")
    ] = None,
    readme: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Renew the blocks of this Markdown file as well.")
    ] = None,
) -> None:
    """Measure phantoms against published statistics, and the projector against plastimatch; print the tables.

    A population takes minutes: chests are rendered at 2 mm. The projector is tried on the first prepared scan
    (`bench data sample` obtains one) and on a phantom.
    """
    from bench.plugins.registry import discover_datasets, get_dataset
    from bench.system.files import replace_block
    from bench.system.progress import Progress

    progress = Progress()
    names = [dataset] if dataset else [name for name in sorted(discover_datasets()[0]) if _population_of(name)]
    specs = [get_dataset(name) for name in names]
    scans = _scans(real, progress) if real else []
    blocks: dict[str, str] = {}
    for spec in specs:
        module = _population_of(spec.name)
        if module is None:
            progress.say(f"{spec.name} has no population to measure")
            continue
        with progress.task(f"measure {spec.name}", subjects) as task:
            blocks[f"population {spec.name}"] = module.population(subjects, scans, task.counted)
    blocks["projector"] = "\n\n".join(f"{spec.title}:\n\n{_projector(spec)}" for spec in specs)
    blocks["speed"] = _speed(specs)
    for name, text in blocks.items():
        progress.say(f"\n{name}\n\n{text}")
        if readme:
            replace_block(readme, name, text)


def _population_of(dataset: str) -> Any:
    """The module `population` in the folder of a dataset, or None when it has none."""
    name = f"bench.datasets.{dataset}.population"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            return None
        raise


def _scans(folder: Path, progress: Any) -> list[Any]:
    """The CTs below a folder; what else is there is named."""
    from bench.errors import UsageError
    from bench.scans.reading.find import find_scans

    found = list(find_scans(folder))
    scans = [item for item in found if hasattr(item, "read")]
    for item in found:
        if not hasattr(item, "read"):
            progress.say(f"passed over: {item.path}: {item.reason}")
    if not scans:
        raise UsageError(f"no CT was found in {folder}; name a folder with scans of any format that is read")
    return scans


def _projector(spec: "DatasetSpec") -> str:
    from bench.performance.agreement import agreement_table

    return agreement_table(dict(_volumes(spec)), spec.cube_mm / GRID, spec.geometry)


def _volumes(spec: "DatasetSpec") -> Iterator[tuple[str, Any]]:
    import torch

    from bench.data.cases import downsample
    from bench.data.store import load_volume, read_store

    for record in read_store(spec.name)[:1]:
        volume = torch.from_numpy(load_volume(spec.name, record)).float()
        yield record.case, downsample(volume, GRID).numpy()
    yield "phantom 0", spec.phantom(0, GRID)


def _speed(specs: "list[DatasetSpec]") -> str:
    """CPU time is what other work on the machine changes least."""
    rows = [f"| phantom at {SPEED_GRID}³ | CPU seconds a case | cases a second on two cores |", "|---|---|---|"]
    for spec in specs:
        spec.phantom(0, SPEED_GRID)
        began = time.process_time()
        for seed in range(1, TIMED + 1):
            spec.phantom(seed, SPEED_GRID)
        each = (time.process_time() - began) / TIMED
        rows.append(f"| {spec.name} | {each:.3f} | {2 / each:.1f} |")
    return "\n".join(rows)
