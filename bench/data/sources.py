"""Which cases a dataset has, real or phantom, and the fingerprint of the data, from names and hashes alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from bench.data.splits import assign_splits
from bench.data.store import hash_stored_views, read_store
from bench.dataset import SPLITS, TRANSFER, DataConfig, DatasetSpec, PreparedCase, Split
from bench.errors import BenchError, UsageError
from bench.system.files import digest_of

CACHE_VERSION = 1  # raise when projecting or downsampling computes something else
PHANTOM_SEEDS = {"train": 0, "validation": 1_000_000, "test": 2_000_000}  # the first seed of each split
Source = Literal["real", "phantom", "phantom-to-real"]
LEAST_TRAIN, LEAST_TEST = 6, 2  # prepared patients from which the real data are used by default


@dataclass(frozen=True)
class CaseSource:
    """One case before it is brought to the preset's resolution."""

    name: str
    split: Split
    seed: int | None  # of a phantom
    record: PreparedCase | None  # of a real case


@dataclass(frozen=True)
class ChosenData:
    """The cases of all splits that a configuration takes, in order, and what their numbers depend on."""

    source: Source
    reason: str  # why this source
    cases: tuple[CaseSource, ...]
    fingerprint: str  # SHA-256 of everything the numbers depend on
    trained: "ChosenData | None" = None  # what trains and validates where `cases` are only tested


def choose_source(spec: DatasetSpec, source: str) -> tuple[Source, str]:
    """Return the source and a line that says why. Raises BenchError when real data are wanted and missing."""
    if source not in ("auto", "real", "phantom", TRANSFER):
        raise UsageError(f"unknown source '{source}'; known: auto, real, phantom")
    if source == "phantom":
        return "phantom", "phantom, as asked"
    records = read_store(spec.name)
    if source == TRANSFER:
        if not records:
            raise BenchError(
                f"no {spec.name} scan is prepared to test on; run `bench data prepare {spec.name} --from DIR`"
            )
        return "phantom-to-real", f"phantoms train, all {len(records)} prepared real scans are tested"
    splits = list(assign_splits(spec, records).values())
    train, test = splits.count("train"), splits.count("test")
    if source == "real" and not (train and test):
        have = f"of {len(records)} prepared cases of {spec.name} {train} train and {test} test"
        raise BenchError(
            f"{have if records else f'no prepared {spec.name} data'}: real data need a training and a test case; run "
            f"`bench data prepare {spec.name} --from DIR` on more scans, with --split-file for a split of your own, or "
            "use `--source phantom`"
        )
    if source == "real" or (train >= LEAST_TRAIN and test >= LEAST_TEST):
        return "real", f"real: {train} training and {test} test cases are prepared"
    return "phantom", (
        f"phantom: {train} training and {test} test cases of {spec.name} are prepared, "
        f"real data need {LEAST_TRAIN} and {LEAST_TEST}"
    )


def choose_data(spec: DatasetSpec, config: DataConfig, source: str = "auto") -> ChosenData:
    """Return the cases that `load_dataset` would give, from names and hashes alone.

    Raises UsageError for a grid above the prepared one or views that phantoms do not have, BenchError when real data
    are wanted and missing.
    """
    if config.size > spec.full_grid:
        raise UsageError(f"data.size={config.size} is above the prepared grid of {spec.name}, {spec.full_grid}")
    chosen, reason = choose_source(spec, source)
    if config.views == "stored" and chosen != "real":
        raise UsageError(f"data.views=stored needs real {spec.name} scans that came with X-rays ({reason})")
    cases = list_cases(spec, config, chosen)
    trained = choose_data(spec, config, "phantom") if chosen == TRANSFER else None
    return ChosenData(chosen, reason, cases, _fingerprint(spec, config, chosen, cases, trained), trained)


def list_cases(spec: DatasetSpec, config: DataConfig, source: str) -> tuple[CaseSource, ...]:
    """Return the cases of a dataset from one source, by split, then by name."""
    if source == "phantom":
        return tuple(
            CaseSource(f"phantom-{split}-{index:04d}", split, PHANTOM_SEEDS[split] + index, None)
            for split, count in zip(SPLITS, config.phantoms, strict=True)
            for index in range(count)
        )
    records = read_store(spec.name)
    if source == TRANSFER:  # no split of real scans, and no list of one, decides what is tested
        return tuple(CaseSource(record.case, "test", None, record) for record in records)
    splits = assign_splits(spec, records)
    chosen = [CaseSource(r.case, splits[r.case], None, r) for r in records if r.case in splits]
    return tuple(sorted(chosen, key=lambda source: (SPLITS.index(source.split), source.name)))


def _fingerprint(
    spec: DatasetSpec, config: DataConfig, chosen: str, sources: Sequence[CaseSource], trained: ChosenData | None
) -> str:
    came_along: dict[str, object] = {"trained": trained.fingerprint} if trained else {}  # it decides the grey scale
    if config.views == "stored":  # also tells, before anything is computed, which case lacks them
        came_along = {"views": [hash_stored_views(spec.name, s.name, config.angles) for s in sources]}
    return digest_of(
        {
            **came_along,
            "cache": CACHE_VERSION,
            "dataset": spec.name,
            "source": chosen,
            "phantom": spec.phantom_version if chosen == "phantom" else None,
            "config": config.model_dump(exclude=set() if chosen == "phantom" else {"phantoms"}),
            "window": spec.window,
            "cube": (spec.cube_mm, spec.full_grid),
            "geometry": asdict(spec.geometry),
            "cases": [(s.name, s.split, s.seed, s.record and s.record.volume_sha256) for s in sources],
        }
    )
