"""What the findings ask of the results, and what the tests answer: orders of methods, floors, ceilings, controls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import pandas as pd

from bench.metrics import BASELINE_SUFFIX, BLURRED_SUFFIX, METRICS, NLL, metrics_shown
from bench.results.inference import Difference, Sample, compare_samples, sample_of
from bench.results.model import Block, Column, Entry, Kind, belongs
from bench.results.tables import SPECS
from bench.scoring.protocols import say_version

FEWEST_FOR_ORDER = 2
FIRST: Column = ("3d", "psnr")  # the metric of ceilings and seeds
BITS: Column = ("3d", NLL)
AGAINST_FLOORS: tuple[Column, ...] = (FIRST, ("3d", "mae"), ("mip", "psnr"))
REAL, BLURRED = "real cases", "blurred cases"  # what is scored in place of predictions
Measure = Literal["value", "distance", "excess"]
"""What is compared of a metric: its value, its distance from what real cases score, or by how much it is above that."""


class Question(NamedTuple):
    """A test: of two methods, or of one and what real cases score."""

    column: Column
    measure: Measure
    first: str
    second: str


@dataclass(frozen=True, eq=False)
class Field:
    """A block with one entry of each method that has values of single cases."""

    block: Block
    entries: tuple[Entry, ...]
    answers: Mapping[Question, Difference] = field(default_factory=dict)

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
        return [floor for floor in self.of("floor") if not floor.values([BITS]).notna().any(axis=None)]

    def of(self, kind: Kind) -> list[Entry]:
        """Return the entries of a kind, by method."""
        return [entry for entry in self.entries if entry.kind == kind]

    def answers_against(self, reference: Entry, column: Column) -> dict[str, Difference]:
        """Return method → what the test of its value against that of a floor or ceiling says."""
        asked = {entry.method: Question(column, "value", entry.method, reference.method) for entry in self.methods}
        return {method: self.answers[question] for method, question in asked.items() if question in self.answers}

    def sample(self, question: Question, name: str) -> Sample:
        """Return what a side of a question scored, by case or, in a metric of whole sets, by encoder."""
        column, measure = question.column, question.measure
        if name == REAL:
            scored = self.sample(question, question.first).values
            return Sample(scored.iloc[:1] * 0.0, deterministic=True)
        if name == BLURRED:  # the same test cases in all runs
            excesses = (_excess(entry, column, BLURRED_SUFFIX) for entry in self.entries)
            return Sample(next(excess for excess in excesses if excess.size), deterministic=True)
        (entry,) = (entry for entry in self.entries if entry.method == name)
        if METRICS[column[1]].family != "fidelity":
            return sample_of(entry, column)
        values = entry.by_encoder(column) if measure == "value" else _excess(entry, column)
        return Sample(values.abs() if measure == "distance" else values, entry.deterministic)


@dataclass(frozen=True)
class Order:
    """The methods of one column, best first, as printed and here."""

    column: Column
    measure: Measure
    printed: list[str]
    here: list[str]

    @property
    def same_first(self) -> bool:
        """True where the same method is first."""
        return self.printed[0] == self.here[0]

    @property
    def question(self) -> Question:
        """Is the method that is first in print as good as the first here?"""
        return Question(self.column, self.measure, self.printed[0], self.here[0])


def choose_entries(block: Block) -> Field:
    """Of a method measured in several configurations the one with most seeds; pretrained weights if no other."""
    entries = [entry for entry in block.entries if len(entry.by_run) and entry.origin != "published"]
    entries.sort(key=lambda entry: (entry.origin != "pretrained", len(entry.run_ids)))
    chosen = {entry.method: entry for entry in entries}
    return Field(block, tuple(chosen[method] for method in sorted(chosen)))


def answer_questions(own: Field) -> Field:
    """Return the field with the answers to all that is said of it; p is adjusted for what stands in one sentence."""
    answers: dict[Question, Difference] = {}
    for questions in _ask(own):
        pairs = [(q.column, own.sample(q, q.first), own.sample(q, q.second)) for q in questions]
        answers |= {q: answer for q, answer in zip(questions, compare_samples(pairs), strict=True) if answer}
    return replace(own, answers=answers)


def _ask(own: Field) -> Iterator[list[Question]]:
    """Yield the tests behind each table or sentence about a field."""
    yield [order.question for order in list_orders(own) if not order.same_first]
    against = [(column, floor) for floor in own.baselines for column in AGAINST_FLOORS]
    for column, reference in (*against, *((FIRST, ceiling) for ceiling in own.of("ceiling"))):
        yield [Question(column, "value", entry.method, reference.method) for entry in own.methods]
    for metric in metrics_shown("3d"):
        if find_controls(own, metric):
            names = [BLURRED, *(entry.method for entry in own.methods if entry.by_encoder(("3d", metric)).size)]
            yield [Question(("3d", metric), "excess", name, REAL) for name in names]


def list_orders(own: Field) -> Iterator[Order]:
    """Yield the orders column by column of the paper, but for its NLL, which is none."""
    dataset = own.block.facts["dataset"]
    for spec in SPECS:
        cells = {key: c.value for key, c in spec.printed.items() if c.value is not None and c.metric != NLL}
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
                    orders = (rank(list(theirs), scores, metric, measure) for scores in (theirs, ours))
                    yield Order(column, measure, *orders)


def find_controls(own: Field, metric: str) -> tuple[float, float] | None:
    """Return what real cases and blurred ones score; None of a metric without both."""
    both = [own.block.control(("3d", metric), suffix) for suffix in (BASELINE_SUFFIX, BLURRED_SUFFIX)]
    return (both[0].value, both[1].value) if both[0] and both[1] else None


def mean_scores(own: Field, column: Column, measure: Measure) -> dict[str, float]:
    """Return method → its mean over cases, or encoders, and seeds, of those that have one."""
    samples = ((e.method, own.sample(Question(column, measure, e.method, ""), e.method)) for e in own.methods)
    return {method: mean for method, sample in samples if (mean := sample.mean) is not None}


def rank(methods: Sequence[str], scores: Mapping[str, float], metric: str, measure: Measure = "value") -> list[str]:
    """Return methods from best to worst; density and coverage by the arrows they are printed with."""
    less_is_better = measure == "distance" or METRICS[metric].direction == "down"
    return sorted(methods, key=lambda method: scores[method] if less_is_better else -scores[method])


def _excess(entry: Entry, column: Column, suffix: str = "") -> pd.DataFrame:
    return entry.by_encoder(column, suffix) - entry.by_encoder(column, BASELINE_SUFFIX)
