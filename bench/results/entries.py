"""What is compared: one method in one configuration on one set of cases, with its values by case, mean of its seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.metrics import METRICS
from bench.results.tables import (
    AXIS_OF,
    BLOCK_KEYS,
    DRR_METRICS,
    MIP_METRICS,
    VOLUME_METRICS,
    Filters,
    variant_of,
)
from bench.scoring.store import load_results

Column = tuple[str, str]
"""(space, metric); the axis is the one that tables show of the space."""

SHOWN: tuple[Column, ...] = tuple(
    (space, metric)
    for space, metrics in (("3d", VOLUME_METRICS), ("mip", MIP_METRICS), ("drr", DRR_METRICS))
    for metric in metrics
    if METRICS[metric].level == "case"
)


@dataclass(frozen=True)
class Entry:
    """Runs that differ in their seed alone."""

    facts: Mapping[str, str]  # by BLOCK_KEYS: what must be equal before two entries may be compared
    method: str
    origin: str
    run_ids: tuple[str, ...]
    values: pd.DataFrame  # cases × columns, mean over seeds; NaN where a seed has no value
    means: pd.DataFrame  # runs × columns, mean over cases

    @property
    def names(self) -> str:
        """The runs, for a message."""
        return ", ".join(self.run_ids)


def read_rows(results_dir: Path, filters: Filters | None = None) -> pd.DataFrame:
    """The values of single cases that tables summarise, with the facts of their runs.

    Raises BenchError for a damaged file.
    """
    rows = load_results(results_dir)
    for column, wanted in (filters or Filters()).asked.items():
        rows = rows[rows[column] == wanted]
    axes = rows["space"].map({str(space): axis for space, axis in AXIS_OF.items()})
    return rows[(rows["level"] == "case") & (rows["stat"] == "value") & (rows["rep"] == "") & (rows["axis"] == axes)]


def entries_of(rows: pd.DataFrame, columns: Sequence[Column] = SHOWN) -> Iterator[Entry]:
    """The entries that `rows` of `read_rows` make up, ordered by what they may be compared with."""
    variants = rows.assign(variant=rows["run_id"].map(variant_of))
    for key, group in variants.groupby([*BLOCK_KEYS, "method", "origin", "variant"], sort=True):
        facts = dict(zip(BLOCK_KEYS, map(str, key), strict=False))
        wide = group.pivot(index=["run_id", "case"], columns=["space", "metric"], values="value")
        wide = wide.reindex(columns=pd.MultiIndex.from_tuples(columns)).astype("float64")
        of_case = wide.groupby(level="case")
        by_case = of_case.mean().where(of_case.count().eq(of_case.size(), axis=0))
        means = wide.groupby(level="run_id").mean()
        method, origin = str(group["method"].iloc[0]), str(group["origin"].iloc[0])
        yield Entry(facts, method, origin, tuple(sorted(map(str, means.index))), by_case, means)
