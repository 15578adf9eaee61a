"""`bench compare A B`: the same cases under two methods, pair by pair, with an interval and a test for every metric."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.entries import SHOWN, Column, Entry, entries_of, read_rows
from bench.errors import UsageError, unknown_name
from bench.metrics import METRICS
from bench.stats import LEAST, LEVEL, POWER, paired_differences
from bench.tables import Filters

CHOICES = ("protocol", "dataset", "source", "split", "preset")  # facts that an option can choose
FACT_NAMES = {"protocol_hash": "version of the protocol", "data_fingerprint": "data"}
NOTE = (
    f"Δ is A − B over the same cases, each the mean of its seeds, with a {LEVEL:.0%} bootstrap interval over cases; ± "
    "is the standard deviation over seeds. p: Wilcoxon signed-rank, two-sided; p (Holm): adjusted for the metrics "
    f"shown. Smallest: the true difference that n cases of this spread show with probability {POWER:.0%} in one test "
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
        where = f"{facts['protocol']}, {facts['dataset']} ({facts['source']}), preset {facts['preset']}"
        return f"A = {self.first.names} · B = {self.second.names} · {where}, {facts['split']}, {cases}"


def compare(
    results_dir: Path, first: str, second: str, filters: Filters | None = None, metrics: Sequence[str] = ()
) -> Comparison:
    """Compare two methods or runs of scores.csv, by default in all metrics of single cases that tables show.

    Raises UsageError, in one line, where they were not measured in the same way on the same data, where it is not
    clear which of several results is meant, and where there are fewer than three cases in common.
    """
    for metric in metrics:
        if metric not in METRICS or METRICS[metric].level != "case":
            known = sorted(name for name in METRICS if METRICS[name].level == "case")
            raise unknown_name("metric of single cases", metric, known)
    wanted = [*SHOWN, *(("3d", metric) for metric in metrics if ("3d", metric) not in SHOWN)]
    columns = [(space, metric) for space, metric in wanted if not metrics or metric in metrics]
    rows = read_rows(results_dir, filters)
    if not len(rows):
        raise UsageError(f"{results_dir} has no scores of single cases to compare; run `bench run` first")
    left, right = (list(entries_of(_called(rows, name), columns)) for name in (first, second))
    one, other = _matched(first, left, second, right)
    if one.run_ids == other.run_ids:
        raise UsageError(f"{first} and {second} are the same runs ({one.names}); name two")
    comparison = compare_entries(one, other, columns)
    if comparison.cases < LEAST:
        raise UsageError(f"{first} and {second} have {comparison.cases} cases in common; a comparison needs {LEAST}")
    return comparison


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


def _called(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    mine = rows[(rows["run_id"] == name) | (rows["method"] == name)]
    if not len(mine):
        raise unknown_name("method or run", name, sorted({*rows["method"], *rows["run_id"]}))
    return mine


def _matched(first: str, left: Sequence[Entry], second: str, right: Sequence[Entry]) -> tuple[Entry, Entry]:
    """The one pair of entries that share all facts."""
    pairs = [(a, b) for a in left for b in right if a.facts == b.facts and (first != second or a is not b)]
    if not pairs:
        differing = min((_differing(a, b) for a in left for b in right), key=len)
        if not differing:
            raise UsageError(f"{first} is compared with itself; name two methods or runs")
        raise UsageError(f"{first} and {second} cannot be compared: " + "; ".join(differing))
    if len(pairs) == 1:
        return pairs[0]
    several = {name: sorted({a.facts[name] for a, _ in pairs}) for name in CHOICES}
    options = [f"--{name} {'|'.join(values)}" for name, values in several.items() if len(values) > 1]
    if options:
        raise UsageError(f"{first} and {second} were both measured in several ways; choose with {', '.join(options)}")
    ids = {entry.names: None for pair in pairs for entry in pair}
    raise UsageError(f"{first} and {second} have several configurations there; name runs: {'; '.join(ids)}")


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
