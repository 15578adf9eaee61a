"""What the findings ask of the results, and what the tests answer: orders of methods, floors, ceilings, controls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from bench.metrics import BASELINE_SUFFIX, BLURRED_SUFFIX, METRICS, NLL
from bench.results.inference import Difference, Sample, compare_entries, compare_samples, sample_of
from bench.results.model import Block, Column, Entry, Kind, belongs
from bench.results.tables import SPECS
from bench.scoring.protocols import say_version

FEWEST_FOR_ORDER = 2
FIRST: Column = ("3d", "psnr")  # the metric of ceilings and seeds
BITS: Column = ("3d", NLL)
AGAINST_FLOORS: tuple[Column, ...] = (FIRST, ("3d", "mae"), ("mip", "psnr"))
BLURRED = "blurred cases"  # what is scored in place of predictions
Measure = Literal["value", "distance", "excess"]
"""What is compared of a metric: its value, its distance from what real cases score, or by how much it is above that."""


@dataclass(frozen=True, eq=False)
class Field:
    """A block with one entry of each method that has values of single cases."""

    block: Block
    entries: tuple[Entry, ...]

    @property
    def methods(self) -> list[Entry]:
        """The entries that are ranked."""
        return self.of("method")

    @property
    def protocol(self) -> str:
        """Its name, and the version where it is not today's."""
        name, protocol_hash = self.block.facts["protocol"], self.block.facts["protocol_hash"]
        version = say_version(name, protocol_hash)
        return f"{name} ({version}, {protocol_hash[:8]})" if version else name

    @property
    def baselines(self) -> list[Entry]:
        """The floors that methods are held against; those with a likelihood of their own are there for their bits."""
        return [floor for floor in self.of("floor") if not floor.is_for_bits]

    def of(self, kind: Kind) -> list[Entry]:
        """Return the entries of a kind, by method."""
        return [entry for entry in self.entries if entry.kind == kind]


@dataclass(frozen=True)
class Order:
    """The methods of one column, best first, as printed and here."""

    column: Column
    measure: Measure
    printed: list[str]
    here: list[str]
    answer: Difference | None = None  # of the two firsts; None where they are one, or cases too few

    @property
    def same_first(self) -> bool:
        """True where the same method is first."""
        return self.printed[0] == self.here[0]


def choose_entries(block: Block) -> Field:
    """Of a method measured in several configurations the one with most seeds; pretrained weights if no other."""
    entries = [entry for entry in block.entries if len(entry.by_run) and entry.origin != "published"]
    entries.sort(key=lambda entry: (entry.origin != "pretrained", len(entry.run_ids)))
    chosen = {entry.method: entry for entry in entries}
    return Field(block, tuple(chosen[method] for method in sorted(chosen)))


def compare_with(own: Field, reference: Entry, column: Column) -> dict[str, Difference]:
    """Return method → what the test against a floor or ceiling says, adjusted for all methods."""
    found = compare_entries([(column, entry, reference) for entry in own.methods])
    return {entry.method: answer for entry, answer in zip(own.methods, found, strict=True) if answer}


def compare_with_real_cases(own: Field, metric: str) -> dict[str, Difference]:
    """Return method, and BLURRED → what the test of its excess over real cases says, adjusted for all of them."""
    column: Column = ("3d", metric)
    excesses = (_excess(entry, column, BLURRED_SUFFIX) for entry in own.entries)  # the same test cases in all runs
    samples = {BLURRED: Sample(next(excess for excess in excesses if excess.size), deterministic=True)}
    scored = (entry for entry in own.methods if entry.by_encoder(column).size)
    samples |= {entry.method: _take_sample(entry, column, "excess") for entry in scored}
    real = (Sample(sample.values.iloc[:1] * 0.0, deterministic=True) for sample in samples.values())
    found = compare_samples([(column, *pair) for pair in zip(samples.values(), real, strict=True)])
    return {name: answer for name, answer in zip(samples, found, strict=True) if answer}


def list_orders(own: Field) -> list[Order]:
    """Return the orders column by column, each with the test of its two firsts, adjusted for all columns."""
    orders, entries = list(_list_orders(own)), {entry.method: entry for entry in own.methods}
    pairs = []
    for order in (order for order in orders if not order.same_first):
        firsts = (entries[names[0]] for names in (order.printed, order.here))
        first, second = (_take_sample(entry, order.column, order.measure) for entry in firsts)
        pairs.append((order.column, first, second))
    answers = iter(compare_samples(pairs))
    return [order if order.same_first else replace(order, answer=next(answers)) for order in orders]


def _list_orders(own: Field) -> Iterator[Order]:
    """Yield the orders column by column of the paper, but for its NLL, which is none."""
    dataset = own.block.facts["dataset"]
    for spec in SPECS:
        cells = {key: c.number for key, c in spec.printed.items() if c.number is not None and c.metric != NLL}
        for metric in dict.fromkeys(metric for _, metric in cells if belongs(dataset, spec.dataset)):
            column: Column = (spec.space, metric)
            printed = {method: value for (method, of), value in cells.items() if of == metric}
            measures: list[Measure] = ["value"]
            if METRICS[metric].direction == "toward_baseline" and METRICS[metric].range[1] is None:  # it has no best
                measures.append("distance")
            for measure in measures:
                ours = mean_scores(own, column, measure)
                theirs = {m: abs(v - 1.0) if measure == "distance" else v for m, v in printed.items() if m in ours}
                if len(theirs) >= FEWEST_FOR_ORDER:
                    printed_order, here = (rank(list(theirs), scores, metric, measure) for scores in (theirs, ours))
                    yield Order(column, measure, printed_order, here)


def find_controls(own: Field, metric: str) -> tuple[float, float] | None:
    """Return what real cases and blurred ones score; None of a metric without both."""
    both = [own.block.control(("3d", metric), suffix) for suffix in (BASELINE_SUFFIX, BLURRED_SUFFIX)]
    return (both[0].value, both[1].value) if both[0] and both[1] else None


def mean_scores(own: Field, column: Column, measure: Measure) -> dict[str, float]:
    """Return method → its mean over cases, or encoders, and seeds, of those that have one."""
    means = {entry.method: _take_sample(entry, column, measure).mean for entry in own.methods}
    return {method: mean for method, mean in means.items() if mean is not None}


def rank(methods: Sequence[str], scores: Mapping[str, float], metric: str, measure: Measure = "value") -> list[str]:
    """Return methods from best to worst; density and coverage by the arrows they are printed with."""
    less_is_better = measure == "distance" or METRICS[metric].direction == "down"
    return sorted(methods, key=lambda method: scores[method] if less_is_better else -scores[method])


def _take_sample(entry: Entry, column: Column, measure: Measure) -> Sample:
    """Return what an entry scored, by case or, in a metric of whole sets, by encoder."""
    if METRICS[column[1]].family != "fidelity":
        return sample_of(entry, column)
    values = entry.by_encoder(column) if measure == "value" else _excess(entry, column)
    return Sample(values.abs() if measure == "distance" else values, entry.deterministic)


def _excess(entry: Entry, column: Column, suffix: str = "") -> pd.DataFrame:
    return entry.by_encoder(column, suffix) - entry.by_encoder(column, BASELINE_SUFFIX)
