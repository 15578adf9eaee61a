"""`bench compare A B`: the same cases under two methods, pair by pair, with an interval and a test for every metric."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.errors import UsageError, unknown_name
from bench.metrics import METRICS
from bench.metrics.stats import LEAST, LEVEL, POWER, paired_differences
from bench.results.entries import SHOWN, Column, Entry, entries_of, read_rows
from bench.results.tables import Filters, filtered, variant_of
from bench.scoring.protocols import DEFAULT, say_version
from bench.scoring.store import load_runs

FACT_NAMES = {"protocol_hash": "version of the protocol", "data_fingerprint": "data"}
NOTE = (
    f"Δ is A − B over the same cases, each the mean of its seeds, with a {LEVEL:.0%} bootstrap interval over cases; ± "
    "is the standard deviation over seeds. p: Wilcoxon signed-rank, two-sided; p (Holm): adjusted for the metrics of "
    f"a table. Smallest: the true difference that n cases of this spread show with probability {POWER:.0%} in one test "
    f"at {1 - LEVEL:.0%}."
)


@dataclass(frozen=True)
class Difference:
    """One metric of two entries."""

    space: str
    metric: str
    n: int  # cases where both have a value
    first: float  # mean over those cases
    second: float
    first_sd: float | None  # over seeds
    second_sd: float | None
    difference: float  # first − second
    low: float
    high: float
    p: float
    p_holm: float
    detectable: float

    @property
    def better(self) -> str:
        """A or B where the difference is established (Holm), else nothing."""
        if not self.p_holm < 1 - LEVEL or METRICS[self.metric].direction == "toward_baseline":
            return ""
        return "A" if (self.difference > 0) == (METRICS[self.metric].direction == "up") else "B"


@dataclass(frozen=True)
class Comparison:
    """Two entries and their differences."""

    first: Entry
    second: Entry
    cases: int  # that both have
    differences: tuple[Difference, ...]

    @property
    def header(self) -> str:
        """What is compared, and on which cases."""
        facts = self.first.facts
        most = max(len(self.first.values), len(self.second.values))
        cases = f"{self.cases} cases" if self.cases == most else f"{self.cases} cases in common of {most}"
        version = say_version(facts["protocol"], facts["protocol_hash"])
        protocol = f"{facts['protocol']} ({facts['protocol_hash'][:8]})" + (f", {version}" if version else "")
        return f"{protocol}, {_where(self.first)}, {cases} · A = {self.first.names} · B = {self.second.names}"


def compare(
    results_dir: Path, first: str, second: str, filters: Filters | None = None, metrics: Sequence[str] = ()
) -> tuple[list[Comparison], list[str]]:
    """Compare two methods, configurations or runs of scores.csv wherever both were measured, the largest grid first.

    Under the default protocol, if both were scored by it and none is asked for; by default in all metrics of single
    cases that tables show. Returns also, in a sentence each, why a place where both were measured is left out: it is
    not clear which of several results is meant, or there are fewer than three cases in common.

    Raises UsageError, in one line, where nothing is left or nothing was measured in the same way on the same data.
    """
    for metric in metrics:
        if metric not in METRICS or METRICS[metric].level != "case":
            known = sorted(name for name in METRICS if METRICS[name].level == "case")
            raise unknown_name("metric of single cases", metric, known)
    wanted = [*SHOWN, *(("3d", metric) for metric in metrics if ("3d", metric) not in SHOWN)]
    columns = [(space, metric) for space, metric in wanted if not metrics or metric in metrics]
    rows = read_rows(results_dir)
    if not len(rows):
        raise UsageError(f"{results_dir} has no scores of single cases to compare; run `bench run` first")
    filters = filters or Filters()
    left, right = (_meant(_called(results_dir, rows, name, filters), name, columns) for name in (first, second))
    runs = rows.drop_duplicates("run_id").set_index("run_id")
    comparisons, left_out = [], []
    for ones, others in _places(first, left, second, right, runs, usual=filters.protocol is None):
        if len(ones) > 1 or len(others) > 1:
            left_out.append(_several(results_dir, first, ones, second, others, runs))
            continue
        comparison = compare_entries(ones[0], others[0], columns)
        if ones[0].run_ids == others[0].run_ids:
            left_out.append(f"{first} and {second} are the same runs ({ones[0].names}); name two methods or runs")
        elif comparison.cases < LEAST:
            few = f"{comparison.cases} cases in common on {_where(ones[0])}"
            left_out.append(f"{first} and {second} have {few}; a comparison needs {LEAST}")
        else:
            comparisons.append(comparison)
    if not comparisons:
        raise UsageError(left_out[0])
    return comparisons, left_out


def compare_entries(first: Entry, second: Entry, columns: Sequence[Column] = SHOWN) -> Comparison:
    """Two entries that share all facts, in the columns that both have on at least three common cases."""
    cases = first.values.index.intersection(second.values.index)
    return Comparison(first, second, len(cases), tuple(_differences(first, second, cases, columns)))


def as_lines(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the table that is shown."""
    heads = ["Space", "Metric", "n", "A", "B", "Δ", f"{LEVEL:.0%} interval", "p", "p (Holm)", "Smallest", "Better"]
    lines = []
    for d in comparison.differences:
        digits = METRICS[d.metric].decimals + 1
        lines.append(
            [
                *(d.space, METRICS[d.metric].label, str(d.n)),
                _with_spread(d.first, d.first_sd, digits),
                _with_spread(d.second, d.second_sd, digits),
                f"{d.difference:+.{digits}f}",
                f"[{d.low:+.{digits}f}, {d.high:+.{digits}f}]",
                *(f"{p:.3f}" if p >= 0.001 else "<0.001" for p in (d.p, d.p_holm)),
                f"{d.detectable:.{digits}f}",
                d.better,
            ]
        )
    return heads, lines


def _called(results_dir: Path, rows: pd.DataFrame, name: str, filters: Filters) -> pd.DataFrame:
    mine = rows[(rows["run_id"] == name) | (rows["method"] == name) | (rows["run_id"].map(variant_of) == name)]
    if not len(mine):
        runs = load_runs(results_dir)
        unscored = runs[(runs["run_id"] == name) | (runs["method"] == name)]
        if len(unscored):
            reason = next(filter(None, unscored["error"]), "its runs were not scored")
            raise UsageError(f"{name} has no scores of single cases to compare: {reason}")
        raise unknown_name("method or run", name, sorted({*rows["method"], *rows["run_id"]}))
    return filtered(mine, filters, name)


def _meant(rows: pd.DataFrame, name: str, columns: Sequence[Column]) -> list[Entry]:
    """The entries that a name stands for: that of a method for what was trained here, where there is such."""
    entries = list(entries_of(rows, columns))
    if not (rows["method"] == name).all():
        return entries
    best: dict[tuple[str, ...], int] = {}
    for entry in entries:
        place, own = tuple(entry.facts.values()), _preference(entry)
        best[place] = min(best.get(place, own), own)
    return [entry for entry in entries if _preference(entry) == best[tuple(entry.facts.values())]]


def _preference(entry: Entry) -> int:
    """Lowest first."""
    return {"external": 1, "pretrained": 2}.get(entry.origin, 0)


def _places(
    first: str, left: Sequence[Entry], second: str, right: Sequence[Entry], runs: pd.DataFrame, *, usual: bool
) -> list[tuple[list[Entry], list[Entry]]]:
    """The entries of both that share all facts; with `usual` of the default protocol alone, where there are such."""
    places: dict[tuple[str, ...], tuple[list[Entry], list[Entry]]] = {}
    for side, entries in enumerate((left, right)):
        for entry in entries:
            places.setdefault(tuple(entry.facts.values()), ([], []))[side].append(entry)
    shared = [(ones, others) for ones, others in places.values() if ones and others]
    if not shared:
        differing = min((_differing(a, b) for a in left for b in right), key=len)
        raise UsageError(f"{first} and {second} cannot be compared: " + "; ".join(differing))
    default = [place for place in shared if place[0][0].facts["protocol"] == DEFAULT]
    shared = default if usual and default else shared
    size = runs["size"].fillna(0).to_dict()
    return sorted(shared, key=lambda place: (-size[place[0][0].run_ids[0]], _where(place[0][0])))


def _several(
    results_dir: Path, first: str, ones: Sequence[Entry], second: str, others: Sequence[Entry], runs: pd.DataFrame
) -> str:
    """That a name stands for several configurations, which, and the command that compares the newest."""

    def finished(entry: Entry) -> str:
        return max(map(str, runs.loc[list(entry.run_ids), "finished"]))

    chosen, told = [first, second], []
    sides = [(first, ones), (second, others)]
    for index, (name, entries) in enumerate(sides if first != second else sides[:1]):
        if len(entries) < 2:
            continue
        newest = sorted(sorted(entries, key=_hash), key=finished, reverse=True)
        chosen[index] = _hash(newest[0])
        if first == second:
            chosen[1] = _hash(newest[1])
        named = ", ".join(f"{_hash(e)} ({finished(e) or 'when is not known'})" for e in newest)
        settings = {str(runs.loc[entry.run_ids[0], "config_sha256"]) for entry in entries}
        differ = (
            " of equal settings but other plug-in files or weights" if len(settings) == 1 and "" not in settings else ""
        )
        told.append(f"{name} has {len(entries)} configurations{differ}, newest first: {named}")
    command = f"bench compare {' '.join(chosen)}"
    facts = ones[0].facts
    command += "" if facts["protocol"] == DEFAULT else f" --protocol {facts['protocol']}"
    command += "" if results_dir == Path("results") else f" --results-dir {shlex.quote(str(results_dir))}"
    return f"{' and '.join(told)} on {_where(ones[0])}; name one, as in `{command}`"


def _hash(entry: Entry) -> str:
    return variant_of(entry.run_ids[0])


def _where(entry: Entry) -> str:
    facts = entry.facts
    data = f"{facts['dataset']} ({facts['source']} data {facts['data_fingerprint'][:8]})"
    return f"{data}, preset {facts['preset']}, {facts['split']}, views {facts['views']}"


def _differing(first: Entry, second: Entry) -> list[str]:
    return [
        f"{FACT_NAMES.get(name, name)} {value[:12] or 'unknown'} against {second.facts[name][:12] or 'unknown'}"
        for name, value in first.facts.items()
        if value != second.facts[name]
    ]


def _differences(one: Entry, other: Entry, cases: pd.Index, columns: Sequence[Column]) -> Iterator[Difference]:
    left, right = one.values.loc[cases], other.values.loc[cases]
    together = left.notna() & right.notna()
    shown = [column for column in columns if together[column].sum() >= LEAST]
    left, right = left[shown].where(together[shown]), right[shown].where(together[shown])
    found = paired_differences(left.to_numpy(), right.to_numpy())
    for index, column in enumerate(shown):
        yield Difference(
            *column,
            n=int(found.means.n[index]),
            first=float(left[column].mean()),
            second=float(right[column].mean()),
            first_sd=_over_seeds(one, column),
            second_sd=_over_seeds(other, column),
            difference=float(found.means.mean[index]),
            low=float(found.means.low[index]),
            high=float(found.means.high[index]),
            p=float(found.p[index]),
            p_holm=float(found.p_holm[index]),
            detectable=float(found.detectable[index]),
        )


def _over_seeds(entry: Entry, column: Column) -> float | None:
    return float(entry.means[column].std(ddof=1)) if len(entry.run_ids) > 1 else None


def _with_spread(value: float, spread: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")
