"""Cases of a dataset at a preset's resolution: chosen source, volumes and views computed once, cached, verified.

Layout: $BENCH_DATA/<dataset>/presets/<fingerprint>/volumes.npy, integrals.npy and manifest.json with their hashes;
factors and label maps of phantoms lie beside them (bench.data.phantoms).
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from joblib import cpu_count
from torch.nn import functional as F

from bench.cases import Cases, write_header
from bench.data.phantoms import Described, Phantoms, describe, keep
from bench.data.sources import CaseSource, ChosenData, choose_data, choose_source, list_cases
from bench.data.store import data_root, load_stored_views, load_volume
from bench.dataset import SPLITS, DataConfig, DatasetCard, DatasetSpec, Split, centred_affine, is_mirrored
from bench.errors import BenchError, unknown_name
from bench.projector import project
from bench.system.files import drop_partial, is_intact, locked, read_json, write_atomic, write_json
from bench.system.progress import Progress
from bench.system.workers import map_in_workers

GREY_PERCENTILE = 99.9
FEW_TRAINING = 8  # phantoms whose views give a preview its grey scale
WORKERS_FROM = 20.0  # CPU seconds of work left after the first case; below it processes cost more than they save

OnProgress = Callable[[int, int], None]
"""`on_progress(done, total)`, called after each case."""


def load_dataset(
    spec: DatasetSpec, config: DataConfig, source: str = "auto", on_progress: OnProgress | None = None
) -> dict[Split, Cases]:
    """Return the three splits at the preset's resolution; computed at the first call, then read from the cache.

    A damaged cache is detected by its hashes and rebuilt. Views of real scans that are tested by what was trained on
    phantoms have the grey scale of these. Raises UsageError for a grid above the prepared one.
    """
    data = choose_data(spec, config, source)
    trained = load_dataset(spec, config, data.trained.source, on_progress) if data.trained else None
    grey_scale = trained["test"].card.geometry.grey_scale if trained else None
    folder = _find_folder(spec, data)
    with locked(folder / "lock"):
        drop_partial(folder)
        manifest = _intact_manifest(folder)
        if manifest is None:
            manifest = _build(spec, config, data.cases, folder, on_progress, grey_scale)
    cases = _open(spec, config, data, folder, manifest)
    if trained is None:
        return cases
    card = cases["test"].card
    counts = {**trained["test"].card.counts, "test": len(cases["test"])}
    return {**trained, "test": replace(cases["test"], card=replace(card, counts=counts))}


def load_few(
    spec: DatasetSpec, config: DataConfig, source: str, split: Split, count: int, on_progress: OnProgress | None = None
) -> Cases:
    """Return at least the first `count` cases of a split, or all it has, to look at and not to train with.

    Phantoms that are not cached are not all made: besides those asked for there are a few of training, from which the
    grey scale of the views is taken. Raises as `load_dataset`.
    """
    data = choose_data(spec, config, source)
    if data.source == "phantom" and not (_find_folder(spec, data) / "manifest.json").exists():
        wanted = {split: count, "train": max(count, FEW_TRAINING) if split == "train" else FEW_TRAINING}
        few = (min(of, wanted.get(name, 1)) for name, of in zip(SPLITS, config.phantoms, strict=True))
        config = config.model_copy(update={"phantoms": tuple(few)})
    return load_dataset(spec, config, source, on_progress)[split]


def load_preset(spec: DatasetSpec, preset: str, source: str, progress: Progress) -> dict[Split, Cases]:
    """Return the three splits of a preset, saying which data they are. Raises UsageError for an unknown preset."""
    if preset not in spec.presets:
        raise unknown_name("preset", preset, list(spec.presets))
    chosen, reason = choose_source(spec, source)
    progress.say_once(f"data of {spec.name}: {reason}")
    with progress.task(f"prepare {spec.name}", 1) as task:
        return load_dataset(spec, spec.presets[preset], chosen, task.counted)


def describe_shift(cases: Mapping[Split, Cases]) -> str:
    """Return how grey the views of the tested cases are beside those of the training cases, in a sentence."""
    levels = []
    for split in ("test", "train"):
        images = (cases[split].images([index]).double() for index in range(len(cases[split])))
        moments = torch.stack([torch.stack([one.mean(), one.square().mean()]) for one in images])
        mean, square = moments.mean(0).tolist()
        levels.append(f"{mean:.3f} ± {max(square - mean**2, 0.0) ** 0.5:.3f}")
    return f"grey levels of the views, mean ± sd: {levels[0]} tested, {levels[1]} in training"


def fine_volumes(spec: DatasetSpec, config: DataConfig, source: str, split: Split) -> Iterator[np.ndarray]:
    """Return the volumes (n, n, n) in HU from which the views of a split were projected, in the order of its cases."""
    cases = list_cases(spec, config, source)
    return (_fine_volume(spec, config, case) for case in cases if case.split == split)


def downsample(hounsfield: torch.Tensor, size: int) -> torch.Tensor:
    """Return (D, H, W) averaged over the voxels each coarse voxel covers, which removes what the grid cannot hold."""
    return F.adaptive_avg_pool3d(hounsfield[None, None], size)[0, 0]


def _find_folder(spec: DatasetSpec, data: ChosenData) -> Path:
    return data_root() / spec.name / "presets" / data.fingerprint[:16]


def _build(
    spec: DatasetSpec,
    config: DataConfig,
    sources: Sequence[CaseSource],
    folder: Path,
    on_progress: OnProgress | None,
    grey_scale: float | None,
) -> dict[str, Any]:
    count = len(sources)
    integrals = np.empty((count, len(config.angles), config.image_size, config.image_size), dtype=np.float32)
    beside: dict[str, str] = {}

    def fill(volumes: BinaryIO) -> Iterator[tuple[str, Described]]:
        """Volumes and label maps are written as they come: all of them would fill the memory."""
        write_header(volumes, (count, *(config.size,) * 3), np.int16)
        for index, (volume, views, described) in enumerate(_compute_cases(spec, config, sources)):
            volumes.write(np.ascontiguousarray(volume, np.int16).data)
            integrals[index] = views
            if on_progress:
                on_progress(index + 1, count)
            yield sources[index].name, described

    def write(volumes: BinaryIO) -> None:
        if any(source.seed is not None for source in sources):
            beside.update(keep(folder, fill(volumes)))
        else:
            deque(fill(volumes), maxlen=0)

    hashes = {"volumes": write_atomic(folder / "volumes.npy", write)}
    if grey_scale is None:
        training = integrals[[source.split == "train" for source in sources]]
        grey_scale = max(float(np.percentile(training, GREY_PERCENTILE)), 1e-6)
    if config.views == "stored":  # drawn over the grey scale of projected views, as their own is lost
        for index, source in enumerate(sources):
            images = load_stored_views(spec.name, source.name, config.angles, config.image_size)
            integrals[index] = grey_scale * images
    hashes["integrals"] = write_atomic(folder / "integrals.npy", lambda file: np.save(file, integrals))
    manifest = {**hashes, "grey_scale": grey_scale, "beside": beside}
    write_json(folder / "manifest.json", manifest)
    return manifest


def _compute_cases(
    spec: DatasetSpec, config: DataConfig, sources: Sequence[CaseSource]
) -> Iterator[tuple[np.ndarray, np.ndarray, Described]]:
    """Yield every case in order, in this process or, where much work is left after the first, in one a core."""
    compute = partial(_compute_case, spec, config)
    before = time.process_time()
    first, rest = compute(sources[0]), sources[1:]
    left = (time.process_time() - before) * len(rest)
    yield first
    yield from map_in_workers(compute, rest, 1 if left < WORKERS_FROM else min(cpu_count(), len(rest)))


def _compute_case(
    spec: DatasetSpec, config: DataConfig, source: CaseSource
) -> tuple[np.ndarray, np.ndarray, Described]:
    """Return a volume (D, H, W) int16 at the preset's grid and its line integrals (V, h, w) from a finer one.

    With a phantom come its factors and label maps.
    """
    fine = _fine_volume(spec, config, source)
    hounsfield = torch.from_numpy(fine.astype(np.float32))
    views = project(hounsfield[None], spec.cube_mm / fine.shape[0], spec.geometry, config.angles, config.image_size)
    coarse = downsample(hounsfield, config.size).round().to(torch.int16)
    described: Described = ({}, {}) if source.seed is None else describe(spec, source.seed, config.size)
    return coarse.numpy(), views[0].numpy(), described


def _fine_volume(spec: DatasetSpec, config: DataConfig, source: CaseSource) -> np.ndarray:
    if source.record is not None:
        return load_volume(spec.name, source.record)
    return spec.phantom(source.seed or 0, min(spec.full_grid, 2 * config.size))


def _intact_manifest(folder: Path) -> dict[str, Any] | None:
    if not (folder / "manifest.json").exists():
        return None
    try:
        manifest = read_json(folder / "manifest.json")
        intact = all(is_intact(folder / f"{name}.npy", manifest[name]) for name in ("volumes", "integrals"))
        return manifest if intact and "grey_scale" in manifest else None
    except (BenchError, OSError, KeyError, TypeError):
        return None


def _open(
    spec: DatasetSpec, config: DataConfig, data: ChosenData, folder: Path, manifest: dict[str, Any]
) -> dict[Split, Cases]:
    sources = data.cases
    voxel_mm = spec.cube_mm / config.size
    card = DatasetCard(
        name=spec.name,
        source="phantom" if data.source == "phantom" else "real",
        size=config.size,
        voxel_mm=voxel_mm,
        window=spec.window,
        image_size=config.image_size,
        angles=config.angles,
        mirrored=tuple(is_mirrored(angle) for angle in config.angles),
        geometry=replace(spec.geometry, grey_scale=manifest["grey_scale"]),
        counts={split: sum(source.split == split for source in sources) for split in SPLITS},
        fingerprint=data.fingerprint,
        subject=spec.subject,
        trained_on="phantom" if data.trained else "",
    )
    volumes = np.load(folder / "volumes.npy", mmap_mode="r")
    integrals = np.load(folder / "integrals.npy", mmap_mode="r")
    centres = [source.record.centre_ras_mm if source.record else (0.0, 0.0, 0.0) for source in sources]
    affines = np.stack([centred_affine(config.size, voxel_mm, centre) for centre in centres])
    cases: dict[Split, Cases] = {}
    start = 0
    for split in SPLITS:
        part = slice(start, start + card.counts[split])
        names = tuple(source.name for source in sources[part])
        phantoms = None
        if data.source == "phantom":
            seeds = {source.name: source.seed for source in sources[part] if source.seed is not None}
            phantoms = Phantoms(spec, config.size, seeds, folder, manifest.get("beside", {}))
        cases[split] = Cases(card, split, names, volumes[part], integrals[part], affines[part], phantoms)
        start = part.stop
    return cases
