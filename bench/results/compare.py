"""`bench compare A B`: the same cases under two methods, pair by pair, with an interval and a test for every metric."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError, unknown_name
from bench.metrics import METRICS
from bench.metrics.stats import LEAST, LEVEL, POWER
from bench.results.inference import LEVEL_OF_TESTS, TEST, Difference, compare_entries, sample_of
from bench.results.model import BLOCK_KEYS, FAIR, SPACES, Column, Entry, Results, columns_shown, draws, say_source
from bench.results.renderers import Sheet, draw_csv
from bench.scoring import DEFAULT
from bench.scoring.protocols import say_version

FACT_NAMES = {"protocol_hash": "version of the protocol", "data_fingerprint": "data", "trained_on": "trained on"}
CSV_COLUMNS = (*BLOCK_KEYS, *Difference.__dataclass_fields__, "better", "verdict")
PREFERENCE = {"external": 1, "pretrained": 2, "published": 3}  # what a method's name stands for, lowest first; else 0
NOTE = (
    f"Δ is A − B over the same cases; ± is the standard deviation over seeds. {TEST} p (Holm): "
    f"adjusted for all differences printed here; it decides the verdict, at {LEVEL_OF_TESTS:.0%}. Smallest: the true "
    f"difference that would be established here with a probability of about {POWER:.0%}, with as many cases and seeds "
    "of this spread; what cannot be told apart may differ by less than that."
)
Place = tuple[list[Entry], list[Entry]]
"""The entries of both methods that share a block."""


@dataclass(frozen=True)
class Comparison:
    """Two entries of one block and their differences."""

    first: Entry
    second: Entry
    cases: int  # that both have
    differences: tuple[Difference, ...]
    most: int  # cases of the one that has more

    @property
    def remark(self) -> str:
        """What to know where one of the two draws one of many volumes and the other none; empty of two of a kind."""
        sides = {"A": self.first, "B": self.second}
        drawing = [side for side, entry in sides.items() if draws(entry.method)]
        counts = {side: "/".join(map(str, entry.samples)) for side, entry in sides.items() if entry.samples}
        if any((d.space, d.metric) == FAIR for d in self.differences):
            of = {side: f"{count} samples" if count != "1" else "its one volume" for side, count in counts.items()}
            told = " and ".join(f"{side} that of {many}" for side, many in of.items())
            return f"Mean of K: {told}." if drawing else ""
        if len(drawing) != 1:
            return ""
        lacking = [side for side in sides if side not in counts]
        have = f"{' and '.join(lacking)} {'has' if len(lacking) == 1 else 'have'}"
        return (
            f"{drawing[0]} draws one of many possible volumes, the other method none: one sample has a lower PSNR than "
            f"the mean of several, which compares. {have} no mean of K; `bench run --samples K` makes it."
        )

    @property
    def header(self) -> str:
        """The protocol, the data, the cases and the runs that are compared."""
        facts = self.first.facts
        cases = f"{self.cases} cases" if self.cases == self.most else f"{self.cases} cases in common of {self.most}"
        version = say_version(facts["protocol"], facts["protocol_hash"])
        protocol = f"{facts['protocol']} ({facts['protocol_hash'][:8]})" + (f", {version}" if version else "")
        runs = (f"{side} = {', '.join(entry.run_ids)}" for side, entry in (("A", self.first), ("B", self.second)))
        return f"{protocol}, {_locate(self.first)}, {cases} · {' · '.join(runs)}"


def compare_methods(
    results: Results, first: str, second: str, metrics: Sequence[str] = (), **asked: str | None
) -> tuple[list[Comparison], list[str]]:
    """Compare two methods, configurations or runs wherever both were measured, the largest grid first.

    Where none is asked for, under the default protocol, or else that of the committed results, if both were scored by
    it; by default in all metrics of single cases that tables show. Returns also, in a sentence each, why a place where
    both were measured is left out: it is not clear which of several results is meant, or there are fewer than three
    cases in common.

    Raises UsageError, in one line, where nothing is left or nothing was measured in the same way on the same data.
    """
    columns, results = _columns(metrics), results.of_cases()
    if not len(results.rows):
        raise UsageError(f"{results.whose} has no scores of single cases to compare; run `bench run` first")
    left, right = (_find_entries(results, name, asked) for name in (first, second))
    chosen: list[tuple[Entry, Entry]] = []
    left_out = []
    places = _pair(first, left, second, right)
    if asked.get("protocol") is None:
        places = [place for place in places if place[0][0].facts["protocol"] == DEFAULT] or places
    for ones, others in places:
        if len(ones) > 1 or len(others) > 1:
            left_out.append(_tell_several(results, (first, ones), (second, others)))
            continue
        cases = len(_cases_of(ones[0]) & _cases_of(others[0]))
        if ones[0].run_ids == others[0].run_ids:
            runs = ", ".join(ones[0].run_ids)
            left_out.append(f"{first} and {second} are the same runs ({runs}); name two methods or runs")
        elif cases < LEAST:
            few = f"{cases} cases in common on {_locate(ones[0])}"
            left_out.append(f"{first} and {second} have {few}; a comparison needs {LEAST}")
        else:
            chosen.append((ones[0], others[0]))
    if not chosen:
        raise UsageError(left_out[0])
    comparisons, incomparable = _compare(chosen, columns)
    if not any(comparison.differences for comparison in comparisons) and incomparable:
        raise UsageError(f"{first} and {second} cannot be compared: {incomparable[0]}")
    return comparisons, left_out + incomparable


def write_csv(comparisons: Sequence[Comparison]) -> str:
    """Return all differences as CSV, unrounded."""
    return draw_csv(CSV_COLUMNS, list_differences(comparisons))


def list_differences(comparisons: Sequence[Comparison]) -> Iterator[dict[str, Any]]:
    """Yield all differences by CSV_COLUMNS, unrounded, with where they were measured."""
    for comparison in comparisons:
        for d in comparison.differences:
            yield {**comparison.first.facts, **asdict(d), "better": d.better, "verdict": d.verdict}


def sheet_of(comparison: Comparison) -> Sheet:
    """Return the table that is shown, without its header."""
    heads = ["Space", "Metric", "n", "A", "B", "Δ", f"{LEVEL:.0%} interval", "p", "p (Holm)", "Smallest", "Verdict"]
    lines = []
    for d in comparison.differences:
        digits = max(METRICS[d.metric].decimals + 1, METRICS[d.metric].digits(d.first))
        sides = (_with_spread(*side, digits) for side in ((d.first, d.first_sd), (d.second, d.second_sd)))
        difference = f"{d.difference:+.{digits}f}", f"[{d.low:+.{digits}f}, {d.high:+.{digits}f}]"
        ps = (f"{p:.3f}" if p >= 0.001 else "<0.001" for p in (d.p, d.p_holm))
        of_what = d.space, METRICS[d.metric].label, str(d.n)
        lines.append([*of_what, *sides, *difference, *ps, f"{d.detectable:.{digits}f}", d.verdict])
    return Sheet(heads, lines, words=(0, 1, -1), keys=2)


def _columns(metrics: Sequence[str]) -> list[Column]:
    of_cases = sorted(name for name, metric in METRICS.items() if metric.level == "case")
    unknown = [metric for metric in metrics if metric not in of_cases]
    if unknown:
        raise unknown_name("metric of single cases", unknown[0], of_cases)
    asked: list[Column] = [("3d", metric) for metric in metrics]
    wanted = dict.fromkeys([*columns_shown(of_samples=True), *asked])
    return [column for column in wanted if not metrics or column[1] in metrics]


def _find_entries(results: Results, name: str, asked: Mapping[str, str | None]) -> list[Entry]:
    """The entries that a name stands for: that of a method for what was trained here, where there is such."""
    mine = results.of(name)
    if not len(mine.rows):
        runs = [run for run in results.runs if name in (run.run_id, run.method)]
        if runs:
            reason = next((run.error for run in runs if run.error), "its runs were not scored")
            raise UsageError(f"{name} has no scores of single cases to compare: {reason}")
        raise unknown_name("method or run", name, sorted({*results.rows["method"], *results.rows["run_id"]}))
    found = []
    for block in mine.only(**asked).blocks:
        best = min(PREFERENCE.get(entry.origin, 0) for entry in block.entries)
        is_method = all(entry.method == name for entry in block.entries)
        found += [entry for entry in block.entries if not is_method or PREFERENCE.get(entry.origin, 0) == best]
    return found


def _pair(first: str, left: Sequence[Entry], second: str, right: Sequence[Entry]) -> list[Place]:
    """The entries of both that share all facts."""
    places: dict[tuple[str, ...], Place] = {}
    for side, entries in enumerate((left, right)):
        for entry in entries:
            places.setdefault(tuple(entry.facts.values()), ([], []))[side].append(entry)
    shared = [place for place in places.values() if all(place)]
    if not shared:
        apart = ([(n, f, b.facts[n]) for n, f in a.facts.items() if f != b.facts[n]] for a in left for b in right)
        differing = (
            f"{FACT_NAMES.get(name, name)} {one[:12] or 'unknown'} against {other[:12] or 'unknown'}"
            for name, one, other in min(apart, key=len)
        )
        raise UsageError(f"{first} and {second} cannot be compared: " + "; ".join(differing))
    return sorted(shared, key=lambda place: (-place[0][0].runs["size"].fillna(0).iloc[0], _locate(place[0][0])))


def _compare(chosen: Sequence[tuple[Entry, Entry]], columns: Sequence[Column]) -> tuple[list[Comparison], list[str]]:
    """Return all comparisons, whose p values are adjusted together, and what cannot be compared, and why."""
    unfair = [column for column in columns if column != FAIR] or columns  # of methods that draw nothing it is the PSNR
    wanted = [unfair if a.samples == b.samples == (1,) else columns for a, b in chosen]
    alike = [
        [column for column in asked if a.has_own_truth(column) == b.has_own_truth(column)]
        for asked, (a, b) in zip(wanted, chosen, strict=True)
    ]
    pairs = [(column, *entries) for entries, own in zip(chosen, alike, strict=True) for column in own]
    differences = iter(compare_entries(pairs))
    comparisons, incomparable = [], []
    for (first, second), asked, own in zip(chosen, wanted, alike, strict=True):
        if apart := [METRICS[metric].label for space, metric in asked if (space, metric) not in own]:
            incomparable.append(f"{', '.join(apart)} on {_locate(first)}: scored against different truths")
        of_column = dict(zip(own, differences, strict=False))
        known = tuple(difference for difference in of_column.values() if difference)
        one, other = _cases_of(first), _cases_of(second)
        comparisons.append(Comparison(first, second, len(one & other), known, max(len(one), len(other))))
        for column, difference in of_column.items():
            samples = (sample_of(entry, column).values for entry in (first, second))
            if difference is None and all(values.notna().any(axis=None) for values in samples):
                what = f"{METRICS[column[1]].label} of {SPACES[column[0]].noun}"
                incomparable.append(f"{what} is na on {_locate(first)}: fewer than {LEAST} cases have it in all runs")
    return comparisons, incomparable


def _cases_of(entry: Entry) -> set[str]:
    return set(entry.by_run.index.get_level_values("case"))


def _tell_several(results: Results, *sides: tuple[str, Sequence[Entry]]) -> str:
    """Say that a name stands for several configurations, which, and by which command the newest are compared."""
    chosen, told = [name for name, _ in sides], []
    same = chosen[0] == chosen[1]
    for index, (name, entries) in enumerate(sides[:1] if same else sides):
        if len(entries) < 2:
            continue
        newest = sorted(sorted(entries, key=lambda e: e.variant), key=lambda e: e.finished, reverse=True)
        chosen[index] = newest[0].variant
        if same:
            chosen[1] = newest[1].variant
        named = ", ".join(f"{entry.variant} ({entry.finished or 'when is not known'})" for entry in newest)
        settings = {str(entry.runs["config_sha256"].iloc[0]) for entry in entries}
        alike = len(settings) == 1 and "" not in settings
        differ = " of equal settings but other plug-in files or weights" if alike else ""
        told.append(f"{name} has {len(entries)} configurations{differ}, newest first: {named}")
    place = sides[0][1][0]
    command = f"bench compare {' '.join(chosen)}"
    command += "" if place.facts["protocol"] == DEFAULT else f" --protocol {place.facts['protocol']}"
    command += "" if Path(results.whose) == Path("results") else f" --results-dir {shlex.quote(results.whose)}"
    return f"{' and '.join(told)} on {_locate(place)}; name one, as in `{command}`"


def _locate(entry: Entry) -> str:
    facts = entry.facts
    data = f"{facts['dataset']} ({say_source(facts)} {facts['data_fingerprint'][:8]})"
    return f"{data}, preset {facts['preset']}, {facts['split']}, views {facts['views']}"


def _with_spread(value: float, spread: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")
