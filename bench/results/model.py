"""The one model that everything people read is made from: results read once, by block and entry.

A block holds what was measured in the same way on the same cases, so that it may be compared. An entry of it is one
method in one configuration: its runs differ in their seed alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.errors import UsageError
from bench.metrics import BASELINE_SUFFIX, LAPLACE, MEAN_OF_K, METRICS, NLL, Space, metrics_shown
from bench.plugins.registry import find_installed_dataset, method_card
from bench.results.published import title_of
from bench.runs.record import RunLine
from bench.scoring import DEFAULT
from bench.scoring.protocol import TRUTH_CT, TRUTH_ENCODED
from bench.scoring.store import load_results, read_runs

Kind = Literal["method", "floor", "ceiling", "reference"]
Column = tuple[Space, str]
"""Space and metric; the axis is the one that is shown of the space."""
FAIR: Column = ("3d", "psnr" + MEAN_OF_K)
"""What a method that draws is compared in with one that does not: a regressor aims at the mean of the samples."""
BLOCK_KEYS = (
    *("protocol", "protocol_hash", "dataset", "source", "trained_on", "split", "preset", "views", "data_fingerprint"),
)
ORIGINS = {  # said behind a title
    "external": " (outside predictions)",
    "pretrained": " (pretrained weights)",
    "published": " (published weights)",
    "plugin": " (plug-in)",
}
ORACLE_SUFFIX = "-oracle"  # ends the name of a method's own encoding of the truth: its ceiling
TRUTHS = {TRUTH_CT: "ct", TRUTH_ENCODED: "encoded"}


@dataclass(frozen=True)
class ShownSpace:
    """What is shown of a space, and how it is called."""

    axis: str
    title: str  # of its tables in the paper
    heading: str  # in the leaderboard
    noun: str  # in sentences
    sparse: bool = False  # tables leave out what nothing was measured of: not every data set has it


SPACES: dict[Space, ShownSpace] = {
    "3d": ShownSpace("all", "3-D fidelity and distortion", "volumes", "volumes"),
    "mip": ShownSpace("mean", "Maximum-intensity projections", "maximum-intensity projections", "projections"),
    "drr": ShownSpace("heldout", *("X-ray images at angles not given",) * 2, "X-ray images"),
    "anatomy": ShownSpace("all", "Structures, and agreement with the given views", *("structures",) * 2, sparse=True),
    "tissue": ShownSpace("all", "Errors by class of voxel", *("errors by class of voxel",) * 2, sparse=True),
}


@dataclass(frozen=True)
class Summary:
    """The mean of one run over a whole set."""

    run_id: str
    value: float  # NaN unless the status is ok or partial
    n: int  # cases
    status: str
    note: str

    @property
    def known(self) -> bool:
        """True where it has a value."""
        return self.status in ("ok", "partial")


@dataclass(frozen=True, eq=False)
class Entry:
    """One method in one configuration, measured under the facts of its block."""

    facts: Mapping[str, str]  # by BLOCK_KEYS
    method: str
    name: str  # as people call it
    kind: Kind
    origin: str
    variant: str
    runs: pd.DataFrame  # the facts of each run, by its id
    rows: pd.DataFrame  # all scores of these runs
    beside: str = ""  # what tells it from other configurations of the same method

    @property
    def title(self) -> str:
        """The name, and which configuration where there are several."""
        return f"{self.name} · {self.beside}" if self.beside else self.name

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs, in the order of their names."""
        return tuple(self.runs.index)

    @property
    def finished(self) -> str:
        """When the last of its runs ended; empty where that is not known."""
        return str(self.runs["finished"].max())

    @cached_property
    def cpu_minutes(self) -> float | None:
        """Processor minutes of one training, the mean over the runs; None where a run does not say."""
        seconds = self.runs["seconds_fit_cpu"]
        return None if seconds.isna().any() else float(seconds.mean()) / 60

    @property
    def deterministic(self) -> bool:
        """True where its card says that no seed matters; what was predicted elsewhere may have been trained anyhow."""
        card = method_card(self.method) if self.origin != "external" else None
        return card is not None and card.deterministic

    @property
    def is_for_bits(self) -> bool:
        """True for a floor that has a likelihood: it is there for its bits, and pictures and tests leave it out."""
        return self.kind == "floor" and self.has(("3d", NLL))

    @cached_property
    def by_run(self) -> pd.DataFrame:
        """The values (run and case) × (space and metric) of single cases; NaN where there is none."""
        rows = self.rows[_is_of_case(self.rows)]
        return rows.pivot(index=["run_id", "case"], columns=["space", "metric"], values="value").astype("float64")

    @cached_property
    def by_case(self) -> pd.DataFrame:
        """The same by case, means over seeds; NaN where a seed has no value."""
        of_case = self.by_run.groupby(level="case")
        return of_case.mean().where(of_case.count().eq(of_case.size(), axis=0))

    def has(self, column: Column) -> bool:
        """Return whether any case has a value of a column."""
        return column in self.by_case and bool(self.by_case[column].notna().any())

    def values(self, columns: Sequence[Column]) -> pd.DataFrame:
        """Return what `by_case` has of some columns; NaN in those that it lacks."""
        return _reindex(self.by_case, columns)

    def means(self, columns: Sequence[Column]) -> pd.DataFrame:
        """Return the means over cases, runs × columns."""
        return _reindex(self.by_run.groupby(level="run_id").mean(), columns)

    @cached_property
    def summaries(self) -> dict[Column, list[Summary]]:
        """The means over whole sets that tables show, by column, in the order of the runs."""
        rows = self.rows[(self.rows["level"] == "set") & (self.rows["stat"] == "mean") & _is_shown(self.rows)]
        found: dict[Column, list[Summary]] = {}
        rows = rows.assign(n=rows["n"].fillna(0))
        cells = (rows[name] for name in ("space", "metric", "run_id", "value", "n", "status", "note"))
        for space, metric, run_id, value, n, status, note in zip(*cells, strict=True):
            found.setdefault((space, metric), []).append(Summary(run_id, value, n, status, note))
        return found

    def has_own_truth(self, column: Column) -> bool:
        """Return whether a column is scored against the method's own encoding of the CT, which no other shares."""
        of_column = (self.rows["space"] == column[0]) & (self.rows["metric"] == column[1]) & _is_shown(self.rows)
        return any(truth_of(note) == "encoded" for note in self.rows[of_column]["note"].unique())

    def cases_in(self, space: Space) -> int | None:
        """Return on how many cases `space` was measured, 0 where that failed; None where it was not tried."""
        numbers = (s.n for (of, _), summaries in self.summaries.items() if of == space for s in summaries)
        return max(numbers, default=None)

    def by_encoder(self, column: Column, suffix: str = "") -> pd.DataFrame:
        """Return a fidelity metric, or its control called by `suffix`, runs × encoders: means over draws."""
        rows = self.rows[(self.rows["level"] == "set") & (self.rows["stat"] == "value") & _is_shown(self.rows)]
        rows = rows[(rows["space"] == column[0]) & (rows["metric"] == column[1] + suffix) & rows["value"].notna()]
        encoder = rows["rep"].str.split(".").str[0].rename("encoder")
        return rows["value"].astype("float64").groupby([rows["run_id"], encoder]).mean().unstack()

    @cached_property
    def samples(self) -> tuple[int, ...]:
        """Of how many samples its means are, ascending: 1 of a method that draws nothing; empty without any."""
        mine = self.rows[_is_of_case(self.rows) & (self.rows["metric"] == FAIR[1]) & self.rows["value"].notna()]
        return tuple(sorted(map(int, mine["n"].unique())))

    def distance(self, column: Column) -> float | None:
        """Return the mean over runs of a value less its baseline, else its control of real cases; None without."""
        known = [summary for summary in self.summaries.get(column, ()) if summary.known]
        real = {s.run_id: s.value for s in self.summaries.get((column[0], column[1] + BASELINE_SUFFIX), ()) if s.known}
        if (fixed := METRICS[column[1]].baseline) is not None:
            real = dict.fromkeys((summary.run_id for summary in known), fixed)
        apart = [summary.value - real[summary.run_id] for summary in known if summary.run_id in real]
        return float(np.mean(apart)) if apart else None


@dataclass(frozen=True, eq=False)
class Block:
    """All entries that share BLOCK_KEYS and so may be compared."""

    facts: Mapping[str, str]
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Voxels a side, from the record of a run or else the data set's own description; 0 where neither says."""
        spec, run = find_installed_dataset(self.facts["dataset"]), self.entries[0].runs.iloc[0]
        preset = spec.presets.get(self.facts["preset"]) if spec else None
        return int(run["size"]) if run["size"] > 0 else preset.size if preset else 0

    @property
    def window(self) -> tuple[float, float] | None:
        """The window in HU, from the same sources."""
        spec, run = find_installed_dataset(self.facts["dataset"]), self.entries[0].runs.iloc[0]
        known = run["window_low"] < run["window_high"]  # unknown ends are NaN
        return (float(run["window_low"]), float(run["window_high"])) if known else spec.window if spec else None

    def control(self, column: Column, suffix: str) -> Summary | None:
        """Return what a known set scores in place of predictions, the mean over all runs; None where none says.

        Its note, of the first run, says what set it is where that needs words.
        """
        controls = [s for entry in self.entries for s in entry.summaries.get((column[0], column[1] + suffix), ())]
        known = sorted((s for s in controls if s.known), key=lambda s: s.run_id)
        return replace(known[0], value=float(np.mean([s.value for s in known]))) if known else None


@dataclass(frozen=True, eq=False)
class Results:
    """All that was measured: scores with the facts of their runs, and all runs, also those without scores."""

    rows: pd.DataFrame
    runs: tuple[RunLine, ...]
    whose: str  # for messages

    def only(self, **asked: str | None) -> "Results":
        """Return the rows that have in each column what is asked for; None asks for nothing.

        Raises UsageError, saying whose rows they are and what there is, where none is left.
        """
        wanted = {column: value for column, value in asked.items() if value is not None}
        rows = self.rows
        for column, value in wanted.items():
            rows = rows[rows[column] == value]
        if len(self.rows) and not len(rows):
            missing = ", ".join(f"{column} {value}" for column, value in wanted.items())
            offers = "; ".join(f"{column} {', '.join(sorted(self.rows[column].unique()))}" for column in wanted)
            raise UsageError(f"{self.whose} has no rows of {missing}; it has {offers}")
        return replace(self, rows=rows)

    def tell_lack(self, protocol: str) -> str:
        """Return, in one line, which protocols there are in place of this one, and what to type; else nothing."""
        known = sorted(self.rows["protocol"].unique())
        if not known or protocol in known:
            return ""
        return f"{self.whose} has no rows of {protocol}, but of {', '.join(known)}: type --protocol {known[0]}"

    def of(self, name: str) -> "Results":
        """Return what belongs to a method, to a run, or to the seeds that share the variant `name`."""
        rows = self.rows
        rows = rows[(rows["method"] == name) | (rows["run_id"] == name) | (rows["variant"] == name)]
        return replace(self, rows=rows, whose=name)

    def of_cases(self) -> "Results":
        """Return the values of single cases alone, of the axes that are shown."""
        return replace(self, rows=self.rows[_is_of_case(self.rows)])

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks by protocol, the default one first, and the largest grid first."""
        blocks = []
        for key, rows in self.rows.groupby(list(BLOCK_KEYS), sort=True, observed=True):
            facts = dict(zip(BLOCK_KEYS, map(str, key), strict=True))
            blocks.append(Block(facts, tuple(_entries(facts, rows))))
        return tuple(sorted(blocks, key=lambda b: (b.facts["protocol"] != DEFAULT, b.facts["protocol"], -b.size)))


def read_results(results_dir: Path) -> Results:
    """Read a results folder. Raises BenchError for a damaged one; without any file there are no rows."""
    rows = load_results(results_dir)
    rows["variant"] = rows["run_id"].map(variant_of)
    return Results(rows, tuple(read_runs(results_dir)), str(results_dir))


def columns_shown(*, of_samples: bool = False) -> list[Column]:
    """Return every column of single cases that tables show, with those of several samples where asked."""
    shown: list[Column] = [(space, key) for space in SPACES for key in metrics_shown(space, of_samples=of_samples)]
    return [column for column in [*shown, ("3d", LAPLACE)] if METRICS[column[1]].level == "case"]


def variant_of(run_id: str) -> str:
    """Return what seeds of one configuration share: the hash that ends their names."""
    return run_id.rpartition("-")[2]


def truth_of(note: str) -> str:
    """Return what a number was scored against, as its note says it: ct, encoded, or nothing for the CT alone."""
    return next((TRUTHS[part] for part in note.split("; ") if part in TRUTHS), "")


def title_and_kind(method: str) -> tuple[str, Kind]:
    """Return how people call a method, and whether it is one that is ranked."""
    card = method_card(method)
    if card is not None:
        return card.title, card.kind
    if method.endswith(ORACLE_SUFFIX):
        return f"{title_and_kind(method.removesuffix(ORACLE_SUFFIX))[0]}, its own encoding of the truth", "ceiling"
    return title_of(method), "method"


def can_measure(method: str, metric: str) -> bool:
    """Return whether a method can have a value of a metric, as far as its card is known."""
    card = method_card(method)
    if card is None or METRICS[metric].family != "likelihood":
        return True
    return not card.sees_truth if metric == LAPLACE else "likelihood" in card.capabilities


def draws(method: str) -> bool:
    """Return whether a method's card says that it draws one of many possible volumes."""
    card = method_card(method)
    return card is not None and "samples" in card.capabilities


def place_of(facts: Mapping[str, str]) -> dict[str, str]:
    """Return the facts of a block but for its protocol: on which data it was measured."""
    return {name: fact for name, fact in facts.items() if not name.startswith("protocol")}


def say_source(facts: Mapping[str, str], noun: str = " data") -> str:
    """Return where test cases come from and, where that is another place, what was trained on."""
    source, trained_on = facts["source"], facts["trained_on"]
    return f"{source}{noun}" + (f", trained on {trained_on}{noun}" if trained_on != source else "")


def belongs(dataset: str, base: str) -> bool:
    """Return whether a data set is `base` or a variant of it, as lidc-x2ct is of lidc."""
    return dataset == base or dataset.startswith(f"{base}-")


def is_of_patients(dataset: str) -> bool:
    """Return whether an installed data set says that its cases are patients; they are shown before anything else."""
    spec = find_installed_dataset(dataset)
    return spec is not None and spec.subject == "patient"


def _entries(facts: Mapping[str, str], rows: pd.DataFrame) -> Iterator[Entry]:
    for (method, origin), of_method in rows.groupby(["method", "origin"], sort=True, observed=True):
        title, kind = title_and_kind(str(method))
        name = title + ORIGINS.get(str(origin), "")
        of_variant = {str(variant): own for variant, own in of_method.groupby("variant", sort=True, observed=True)}
        finished = {variant: own["finished"].max() for variant, own in of_variant.items() if own["finished"].max()}
        newest = max(finished, key=lambda variant: finished[variant]) if len(finished) > 1 else None
        for variant, own in of_variant.items():
            runs = own.drop_duplicates("run_id").set_index("run_id").sort_index()
            beside = f"{variant}, newest" if variant == newest else variant
            alone = len(of_variant) == 1
            yield Entry(facts, str(method), name, kind, str(origin), variant, runs, own, "" if alone else beside)


def _is_shown(rows: pd.DataFrame) -> pd.Series:
    """Return which rows are of the axis that is shown of their space."""
    axes = {str(space): shown.axis for space, shown in SPACES.items()} | {"code": "all"}
    return rows["axis"] == rows["space"].map(axes)


def _is_of_case(rows: pd.DataFrame) -> pd.Series:
    return (rows["level"] == "case") & (rows["rep"] == "") & _is_shown(rows)


def _reindex(values: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    return values.reindex(columns=pd.MultiIndex.from_tuples(columns))
