"""What the results say, in sentences: is the printed order reproduced, which floors are beaten, what misleads.

Every sentence is made from the results, so that it cannot outlive its numbers. What needs a judgement is written by
hand outside the block that this module fills.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from scipy.stats import kendalltau

from bench.metrics import BASELINE_SUFFIX, BLURRED_SUFFIX, METRICS, NLL, metrics_shown
from bench.metrics.stats import LEVEL
from bench.results.inference import Difference, compare_entries, estimate_means
from bench.results.model import (
    SPACES,
    Block,
    Column,
    Entry,
    Kind,
    Results,
    belongs,
    columns_shown,
    place_of,
    title_and_kind,
)
from bench.results.renderers import Sheet, draw_markdown
from bench.results.tables import SPECS
from bench.scoring.protocols import DEFAULT, say_version
from bench.system.generated import Generated

BLOCK = "findings"
EMPTY = f"# Findings\n\n<!-- {BLOCK} -->\n<!-- /{BLOCK} -->\n"
NOTHING = "Nothing has been measured yet: `bench run --method codediff --dataset lidc` is a start."
TEST = f"Wilcoxon signed-rank test, adjusted (Holm) for the metrics shown, at {1 - LEVEL:.0%}"
FEWEST_FOR_ORDER = 2
FIRST: Column = ("3d", "psnr")  # the metric of ceilings and seeds
AGAINST_FLOORS: tuple[Column, ...] = (FIRST, ("3d", "mae"), ("mip", "psnr"))
REDEFINED = ("psnr", "ssim", "mae", "density", "coverage")  # of volumes, held against the published definitions
ORDER_HEADS = ("Of", "Metric", "Printed order", "Order here", "Kendall τ", "Printed first − first here")
REDEFINED_HEADS = (
    *("Metric", "Protocol", "Order there", f"Order under {DEFAULT}"),
    *("Value of the first there", "of the same here"),
)
ORDER_NOTE = (
    "Density is ordered by its distance, here from what real training cases score, in print from 1. Differences of "
    f"volumes and projections are means over cases with {LEVEL:.0%} bootstrap intervals, p from a {TEST}; those of "
    "density and coverage are means ± sd over random encoders, and say nothing of other test cases."
)


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

    def of(self, kind: Kind) -> list[Entry]:
        """Return the entries of a kind, by method."""
        return [entry for entry in self.entries if entry.kind == kind]


def generate_findings(results: Results, out: Path) -> list[Generated]:
    """Return the block of FINDINGS.md, which is begun where there is none."""
    return [Generated(out, write_findings(results), BLOCK, EMPTY)]


def write_findings(results: Results) -> str:
    """Return the text of the block, in Markdown."""
    fields = [field for field in map(_choose_entries, results.blocks) if len(field.methods) >= FEWEST_FOR_ORDER]
    parts = []
    for field in fields:
        facts, place = field.block.facts, place_of(field.block.facts)
        if facts["protocol"] != DEFAULT:
            continue
        others = [f for f in fields if place_of(f.block.facts) == place and f.block.facts["protocol"] != DEFAULT]
        seeds = ", ".join(f"{_title(entry.method)} {len(entry.run_ids)}" for entry in field.methods)
        cases = max(len(entry.by_case) for entry in field.methods)
        parts.append(f"## {facts['dataset']}, {facts['source']} data, preset {facts['preset']}")
        parts.append(f"{cases} {facts['split']} cases, protocol {field.protocol}; seeds: {seeds}.")
        bullets = [*_floors(field), *_ceilings(field), *_seeds(field), *_controls(field), *_likelihood(field)]
        parts += [*_printed_order(field), *(["\n".join(f"- {line}" for line in bullets)] if bullets else [])]
        parts += _redefined(field, others)
    return "\n\n".join(parts) or NOTHING


def _choose_entries(block: Block) -> Field:
    """Of a method measured in several configurations the one with most seeds; pretrained weights if no other."""
    entries = [entry for entry in block.entries if len(entry.by_run)]
    entries.sort(key=lambda entry: (entry.origin != "pretrained", len(entry.run_ids)))
    chosen = {entry.method: entry for entry in entries}
    return Field(block, tuple(chosen[method] for method in sorted(chosen)))


def _printed_order(field: Field) -> list[str]:
    """Draw the printed order beside ours, column by column; nothing for a data set the paper does not have."""
    lines: list[tuple[str, ...]] = []
    first_here, first_printed = 0, dict[str, int]()
    for column, printed in _printed(field):
        ours = _scores(field, column)
        common = [method for method in printed if method in ours]
        if len(common) < FEWEST_FOR_ORDER:
            continue
        metric = METRICS[column[1]]
        before = _order({method: _key(printed[method], metric.key, 1.0) for method in common})
        here = _order({method: ours[method][1] for method in common})
        tau = kendalltau([before.index(m) for m in common], [here.index(m) for m in common]).statistic
        gap = "same" if before[0] == here[0] else _gap(field, column, before[0], here[0])
        first_here += before[0] == here[0]
        first_printed[before[0]] = first_printed.get(before[0], 0) + 1
        label = metric.label + (", distance" if _by_distance(metric.key) else "")
        lines.append((SPACES[column[0]].noun, label, _join(before), _join(here), f"{tau:+.2f}", gap))
    if not lines:
        return []
    favourite = max(first_printed, key=lambda method: first_printed[method])
    summary = (
        f"**The printed order.** The paper prints {_title(favourite)} first in {first_printed[favourite]} of "
        f"{len(lines)} columns. The printed first is first here in {first_here} of {len(lines)}."
    )
    return [summary, _draw(ORDER_HEADS, lines), ORDER_NOTE]


def _floors(field: Field) -> Iterator[str]:
    """Name the methods that do not beat what has learned nothing."""
    for floor in field.of("floor"):
        compared = {entry.method: _by_column(entry, floor) for entry in field.methods}
        for column in AGAINST_FLOORS:
            found = {method: of[column] for method, of in compared.items() if column in of}
            if not found:
                continue
            parts = []
            for words, better in (("worse:", "B"), ("not distinguishable:", "")):
                chosen = [f"{_title(m)} ({_describe(d)})" for m, d in found.items() if d.better == better]
                parts += [f"{words} {', '.join(chosen)}"] if chosen else []
            verdict = "; ".join(parts) or "every method is better"
            yield f"**{_label(column)} against {_title(floor.method)}** ({_mean(floor, column)}): {verdict}."


def _ceilings(field: Field) -> Iterator[str]:
    """State what an autoencoder alone loses, and who is above it."""
    for ceiling in field.of("ceiling"):
        if ceiling.values([FIRST]).isna().all(axis=None):
            continue
        compared = ((entry, _by_column(entry, ceiling).get(FIRST)) for entry in field.methods)
        above = [entry for entry, difference in compared if difference and difference.better == "A"]
        names = ", ".join(f"{_title(entry.method)} ({_mean(entry, FIRST)})" for entry in above)
        verdict = f"above it: {names}. No prior over its codes could reach them" if above else "no method is above it"
        yield f"**Ceiling:** {_title(ceiling.method)} scores {_mean(ceiling, FIRST)}; {verdict}."


def _seeds(field: Field) -> Iterator[str]:
    """State how far trainings of one method lie apart, and whether each seed alone gives the same order."""
    digits = METRICS[FIRST[1]].decimals
    by_seed = {e.method: e.means([FIRST])[FIRST].rename(index=e.runs["seed"].to_dict()).dropna() for e in field.methods}
    several = {method: means for method, means in by_seed.items() if len(means) > 1}
    if not several:
        return
    spreads = ", ".join(
        f"{_title(method)} {means.mean():.{digits}f} ± {means.std():.{digits}f}" for method, means in several.items()
    )
    common = sorted(set.intersection(*(set(means.index) for means in by_seed.values())))
    orders = {tuple(_order({m: -float(means[seed]) for m, means in by_seed.items()})) for seed in common}
    verdict = f"; each of the {len(common)} seeds alone gives the same order" if len(common) > 1 else ""
    if len(orders) > 1:
        verdict = f"; the {len(common)} seeds give {len(orders)} different orders"
    yield f"**Seeds:** {_label(FIRST)}, mean ± sd over seeds: {spreads}{verdict}."


def _controls(field: Field) -> Iterator[str]:
    """State what fidelity metrics say of sets that are known."""
    for metric in metrics_shown("3d"):
        column: Column = ("3d", metric)
        real, blurred = (field.block.control(column, suffix) for suffix in (BASELINE_SUFFIX, BLURRED_SUFFIX))
        values = {entry.method: entry.by_encoder(column).mean() for entry in field.methods}
        values = {method: value for method, value in values.items() if value == value}
        if real is None or blurred is None or not values:
            continue
        higher = [_title(method) for method, value in values.items() if value > real.value]
        more = f"{', '.join(higher)} score higher than real cases" if higher else "no method scores higher"
        more = "every method scores higher than real cases" if len(higher) == len(values) else more
        label = METRICS[metric].label
        yield (
            f"**{label}:** real training cases score {real.value:.2f}; the test cases themselves, blurred, "
            f"{blurred.value:.2f}; {more}."
            + (f" A high {label.lower()} is no sign of realism." if blurred.value > real.value else "")
        )


def _likelihood(field: Field) -> Iterator[str]:
    column: Column = ("3d", NLL)
    for entry in field.methods:
        if entry.values([column]).notna().any(axis=None):
            needs = f"{_title(entry.method)} needs {_mean(entry, column)}"
            yield f"**Likelihood:** {needs} (1-HU bins); no other method has one{_likelihoods_beside(field, column)}."


def _likelihoods_beside(field: Field, column: Column) -> str:
    """Return what is needed without any view, by floors and coders that were measured in the same bins."""
    beside = [
        entry for entry in (*field.of("floor"), *field.of("reference")) if entry.values([column]).notna().any(axis=None)
    ]
    told = ", ".join(f"{_title(entry.method)} {_mean(entry, column)}" for entry in beside)
    return f". Without the views: {told}" if told else ""


def _redefined(field: Field, others: Sequence[Field]) -> list[str]:
    """Draw the order of the same predictions under other protocols: does a definition decide who is first?

    A method takes part when the very same runs are scored under both.
    """
    lines = []
    for other in others:
        runs_here, runs_there = ({entry.method: entry.run_ids for entry in f.methods} for f in (field, other))
        for metric in REDEFINED:
            there, here = (_scores(f, ("3d", metric)) for f in (other, field))
            common = [method for method in there if method in here and runs_there[method] == runs_here[method]]
            if len(common) < FEWEST_FOR_ORDER:
                continue
            keys = {m: -there[m][0] if _by_distance(metric) else there[m][1] for m in common}
            first, *_ = order = _order(keys)
            values = (f"{scores[first][0]:.{METRICS[metric].decimals}f}" for scores in (there, here))
            ours = _order({m: here[m][1] for m in common})
            lines.append((METRICS[metric].label, other.protocol, _join(order), _join(ours), *values))
    title = "**The same predictions under the published definitions:**"
    return [title, _draw(REDEFINED_HEADS, lines)] if lines else []


def _scores(field: Field, column: Column) -> dict[str, tuple[float, float]]:
    """Method → its mean over cases and seeds, or over encoders; and the key that orders it, best first."""
    metric, scores = METRICS[column[1]], {}
    for entry in field.methods:
        if metric.family == "fidelity":
            values, real = entry.by_encoder(column), entry.by_encoder(column, BASELINE_SUFFIX)
            value, distance = float(values.mean()), float((values - real).abs().mean())
            if len(values) and len(real):
                scores[entry.method] = value, distance if _by_distance(metric.key) else -value
        elif (value := float(entry.values([column])[column].mean())) == value:
            scores[entry.method] = value, _key(value, metric.key, 0.0)
    return scores


def _printed(field: Field) -> Iterator[tuple[Column, dict[str, float]]]:
    """Column by column of the paper, but for its NLL, which is none: method → printed value."""
    dataset = field.block.facts["dataset"]
    for spec in SPECS:
        if belongs(dataset, spec.dataset):
            cells = {key: c.value for key, c in spec.printed.items() if c.value is not None and c.metric != NLL}
            for metric in dict.fromkeys(metric for _, metric in cells):
                yield (spec.space, metric), {method: value for (method, of), value in cells.items() if of == metric}


def _gap(field: Field, column: Column, printed_first: str, first: str) -> str:
    metric, digits = column[1], METRICS[column[1]].decimals + 1
    entries = {entry.method: entry for entry in field.methods}
    one, other = entries[printed_first], entries[first]
    if METRICS[metric].family != "fidelity":
        difference = _by_column(one, other).get(column)
        return _describe(difference) if difference else "too few cases"

    def ordered_by(entry: Entry) -> pd.Series:
        values = entry.by_encoder(column)
        return (values - entry.by_encoder(column, BASELINE_SUFFIX)).abs() if _by_distance(metric) else values

    gap = ordered_by(one) - ordered_by(other)
    return f"{gap.mean():+.{digits}f} ± {gap.std():.{digits}f}"


def _by_column(first: Entry, second: Entry) -> dict[tuple[str, str], Difference]:
    return {(d.space, d.metric): d for d in compare_entries(first, second, columns_shown())}


def _describe(d: Difference) -> str:
    digits = METRICS[d.metric].decimals
    p = f"p = {d.p_holm:.3f}" if d.p_holm >= 0.001 else "p < 0.001"
    return f"{d.difference:+.{digits}f} [{d.low:+.{digits}f}, {d.high:+.{digits}f}], {p}"


def _mean(entry: Entry, column: Column) -> str:
    (mean,), metric = estimate_means(entry, [column]), METRICS[column[1]]
    ends = f"{mean.low:.{metric.decimals}f}, {mean.high:.{metric.decimals}f}"
    return f"{mean.value:.{metric.decimals}f} [{ends}] {metric.unit}".rstrip()


def _by_distance(metric: str) -> bool:
    """Return whether a metric is ordered by its distance from real cases: where it has no best value."""
    return METRICS[metric].direction == "toward_baseline" and METRICS[metric].range[1] is None


def _key(value: float, metric: str, real: float) -> float:
    """Smaller is better; `real` is what real cases score."""
    if _by_distance(metric):
        return abs(value - real)
    return value if METRICS[metric].direction == "down" else -value


def _label(column: Column) -> str:
    return f"{METRICS[column[1]].label} of {SPACES[column[0]].noun}"


def _order(keys: Mapping[str, float]) -> list[str]:
    return sorted(keys, key=lambda method: keys[method])


def _join(methods: Sequence[str]) -> str:
    return " > ".join(map(_title, methods))


def _draw(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return draw_markdown(Sheet(heads, lines, words=range(len(heads))))


def _title(method: str) -> str:
    return title_and_kind(method)[0]
