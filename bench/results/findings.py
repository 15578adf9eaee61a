"""What the results say, in sentences: is the printed order reproduced, which floors are beaten, what misleads.

Every sentence is made from scores.csv and the studies beside it, so that it cannot outlive its numbers. What needs a
judgement is written by hand outside the block that this module fills.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from scipy.stats import kendalltau
from tabulate import tabulate

from bench.metrics import BASELINE_SUFFIX, BLURRED_SUFFIX, METRICS
from bench.metrics.stats import LEVEL, mean_intervals
from bench.results.compare import Difference, compare_entries
from bench.results.entries import SHOWN, Column, Entry, entries_of, read_rows
from bench.results.published import NLL, read_published
from bench.results.tables import BLOCK_KEYS, SPECS, Filters, belongs, title_and_kind
from bench.scoring.protocols import DEFAULT, say_version
from bench.scoring.store import load_results

BLOCK = "findings"
EMPTY = f"# Findings\n\n<!-- {BLOCK} -->\n<!-- /{BLOCK} -->\n"
NOTHING = "Nothing has been measured yet: `bench run --method codediff --dataset lidc` is a start."
SET_METRICS = ("density", "coverage")
TEST = f"Wilcoxon signed-rank test, adjusted (Holm) for the metrics shown, at {1 - LEVEL:.0%}"
OF_SPACE: dict[str, str] = {"3d": "volumes", "mip": "projections"}
FEWEST_FOR_ORDER = 2


@dataclass(frozen=True)
class Field:
    """All that was measured in the same way on the same cases."""

    facts: Mapping[str, str]
    methods: tuple[Entry, ...]
    floors: tuple[Entry, ...]
    ceilings: tuple[Entry, ...]
    sets: pd.DataFrame  # rows of whole sets

    @property
    def title(self) -> str:
        """Dataset, source and preset."""
        return f"{self.facts['dataset']}, {self.facts['source']} data, preset {self.facts['preset']}"


def findings(results_dir: Path) -> str:
    """The text of the block, in Markdown. Raises BenchError for a damaged results file."""
    fields = [field for field in _fields(results_dir, DEFAULT) if len(field.methods) >= FEWEST_FOR_ORDER]
    parts = []
    for field in fields:
        printed = _printed_order(field)
        parts += [f"## {field.title}", _measured(field), *printed, *_bullets(field), *_definitions(results_dir, field)]
    return "\n\n".join(parts) if parts else NOTHING


def name_of(entry: Entry) -> str:
    """How a method is called."""
    return title_and_kind(entry.method)[0]


def _fields(results_dir: Path, protocol: str) -> Iterator[Field]:
    rows = read_rows(results_dir, Filters(protocol=protocol))
    scores = load_results(results_dir)
    of_sets = scores[scores["level"] == "set"]
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries_of(rows):
        groups.setdefault(tuple(entry.facts.values()), []).append(entry)
    for key, entries in sorted(groups.items()):
        facts = dict(zip(BLOCK_KEYS, key, strict=True))
        kinds: dict[str, list[Entry]] = {"method": [], "floor": [], "ceiling": []}
        for entry in entries:
            kinds[title_and_kind(entry.method)[1]].append(entry)
        runs = [run for entry in entries for run in entry.run_ids]
        own = of_sets[of_sets["run_id"].isin(runs)]
        for name, value in facts.items():
            own = own[own[name] == value]
        yield Field(facts, _one_each(kinds["method"]), _one_each(kinds["floor"]), _one_each(kinds["ceiling"]), own)


def _one_each(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Of a method measured in several configurations, the one with most seeds; pretrained weights if no other."""
    chosen: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: (entry.origin != "pretrained", len(entry.run_ids))):
        chosen[entry.method] = entry
    return tuple(chosen[method] for method in sorted(chosen))


def _measured(field: Field) -> str:
    seeds = ", ".join(f"{name_of(entry)} {len(entry.run_ids)}" for entry in field.methods)
    cases = max(len(entry.values) for entry in field.methods)
    return f"{cases} {field.facts['split']} cases, protocol {_protocol(field)}; seeds: {seeds}."


def _protocol(field: Field) -> str:
    name, protocol_hash = field.facts["protocol"], field.facts["protocol_hash"]
    version = say_version(name, protocol_hash)
    return f"{name} ({version}, {protocol_hash[:8]})" if version else name


def _printed_order(field: Field) -> list[str]:
    """A table of the printed order beside ours, column by column; none for a dataset the paper does not have."""
    lines: list[tuple[str, ...]] = []
    first_here, first_printed = 0, dict[str, int]()
    for space in OF_SPACE:
        printed_of = _printed(field, space)
        for metric in dict.fromkeys(metric for _, metric in printed_of):
            printed = {method: value for (method, name), value in printed_of.items() if name == metric}
            ours = _values(field, (space, metric))
            common = [method for method in printed if method in ours]
            if metric == NLL or len(common) < FEWEST_FOR_ORDER:
                continue
            before = _sorted({method: _key(printed[method], metric, 1.0) for method in common})
            here = _sorted({method: _own_key(ours[method], metric) for method in common})
            tau = kendalltau([before.index(m) for m in common], [here.index(m) for m in common]).statistic
            gap = "same" if before[0] == here[0] else _gap(field, (space, metric), before[0], here[0])
            first_here += before[0] == here[0]
            first_printed[before[0]] = first_printed.get(before[0], 0) + 1
            label = METRICS[metric].label + (", distance" if metric == "density" else "")
            orders = (" > ".join(_title(method) for method in order) for order in (before, here))
            lines.append((OF_SPACE[space], label, *orders, f"{tau:+.2f}", gap))
    if not lines:
        return []
    heads = ("Of", "Metric", "Printed order", "Order here", "Kendall τ", "Printed first − first here")
    favourite = max(first_printed, key=lambda method: first_printed[method])
    summary = (
        f"**The printed order.** The paper prints {_title(favourite)} first in {first_printed[favourite]} of "
        f"{len(lines)} columns. The printed first is first here in {first_here} of {len(lines)}."
    )
    note = (
        "Density is ordered by its distance, here from what real training cases score, in print from 1. Differences of "
        f"volumes and projections are means over cases with {LEVEL:.0%} bootstrap intervals, p from a {TEST}; those of "
        "density and coverage are means ± sd over random encoders, and say nothing of other test cases."
    )
    return [summary, tabulate(lines, heads, tablefmt="pipe", disable_numparse=True), note]


def _bullets(field: Field) -> list[str]:
    found = [*_floors(field), *_ceilings(field), *_seeds(field), *_controls(field), *_likelihood(field)]
    return ["\n".join(f"- {line}" for line in found)] if found else []


def _floors(field: Field) -> Iterator[str]:
    """Which methods do not beat what has learned nothing."""
    columns: tuple[Column, ...] = (("3d", "psnr"), ("3d", "mae"), ("mip", "psnr"))
    for floor in field.floors:
        compared = {entry.method: _by_column(entry, floor) for entry in field.methods}
        for column in columns:
            found = {method: of[column] for method, of in compared.items() if column in of}
            if not found:
                continue
            worse, equal = ({m: d for m, d in found.items() if d.better == verdict} for verdict in ("B", ""))
            parts = [
                f"{word} {', '.join(f'{_title(m)} ({_signed(d)})' for m, d in chosen.items())}"
                for word, chosen in (("worse:", worse), ("not distinguishable:", equal))
                if chosen
            ]
            label = f"{METRICS[column[1]].label} of {OF_SPACE[column[0]]}"
            verdict = "; ".join(parts) if parts else "every method is better"
            yield f"**{label} against {name_of(floor)}** ({_text(floor, column)}): {verdict}."


def _ceilings(field: Field) -> Iterator[str]:
    """What an autoencoder alone loses, and who is above it."""
    column: Column = ("3d", "psnr")
    for ceiling in field.ceilings:
        if ceiling.values[column].isna().all():
            continue
        compared = ((entry, _by_column(entry, ceiling).get(column)) for entry in field.methods)
        above = [entry for entry, difference in compared if difference and difference.better == "A"]
        names = ", ".join(f"{name_of(entry)} ({_text(entry, column)})" for entry in above)
        verdict = f"above it: {names}. No prior over its codes could reach them" if above else "no method is above it"
        yield f"**Ceiling:** {name_of(ceiling)} scores {_text(ceiling, column)}; {verdict}."


def _seeds(field: Field) -> Iterator[str]:
    """How far training runs of one method lie apart, and whether each seed alone gives the same order."""
    column: Column = ("3d", "psnr")
    digits = METRICS[column[1]].decimals
    seed_of = field.sets.drop_duplicates("run_id").set_index("run_id")["seed"].to_dict()
    by_seed = {e.method: e.means[column].rename(index=seed_of).dropna() for e in field.methods}
    several = {method: means for method, means in by_seed.items() if len(means) > 1}
    if not several:
        return
    spreads = ", ".join(
        f"{_title(method)} {means.mean():.{digits}f} ± {means.std():.{digits}f}" for method, means in several.items()
    )
    common = sorted(set.intersection(*(set(means.index) for means in by_seed.values())))
    orders = {tuple(_sorted({m: -float(means[seed]) for m, means in by_seed.items()})) for seed in common}
    verdict = f"; each of the {len(common)} seeds alone gives the same order" if len(common) > 1 else ""
    if len(orders) > 1:
        verdict = f"; the {len(common)} seeds give {len(orders)} different orders"
    yield f"**Seeds:** {METRICS[column[1]].label} of volumes, mean ± sd over seeds: {spreads}{verdict}."


def _controls(field: Field) -> Iterator[str]:
    """What density and coverage say of sets that are known."""
    for metric in SET_METRICS:
        real, blurred = (_control(field, metric + suffix) for suffix in (BASELINE_SUFFIX, BLURRED_SUFFIX))
        values = {method: value.mean() for method, value in _encoder_values(field, ("3d", metric)).items()}
        if real is None or blurred is None or not values:
            continue
        higher = [_title(method) for method, value in values.items() if value > real]
        text = f"the other methods’ output and {', '.join(higher)}" if len(higher) < len(values) else "every method"
        more = f"{', '.join(higher)} score higher than real cases" if higher else "no method scores higher"
        more = f"{text} scores higher than real cases" if len(higher) == len(values) else more
        label = METRICS[metric].label
        yield (
            f"**{label}:** real training cases score {real:.2f}; the test cases themselves, blurred, {blurred:.2f}; "
            f"{more}." + (f" A high {label.lower()} is no sign of realism." if blurred > real else "")
        )


def _likelihood(field: Field) -> Iterator[str]:
    column: Column = ("3d", NLL)
    for entry in field.methods:
        if entry.values[column].notna().any():
            yield f"**Likelihood:** {name_of(entry)} needs {_text(entry, column)} (1-HU bins); no other method has one."


def _definitions(results_dir: Path, field: Field) -> list[str]:
    """The same predictions under the other protocols: does another definition put another method first?

    A method takes part when the very same runs are scored under both.
    """
    lines = []
    protocols = sorted(set(load_results(results_dir)["protocol"]) - {DEFAULT})
    for protocol in protocols:
        for other in _fields(results_dir, protocol):
            same = all(other.facts[key] == field.facts[key] for key in BLOCK_KEYS if not key.startswith("protocol"))
            if same and len(other.methods) >= FEWEST_FOR_ORDER:
                lines += list(_definition_lines(field, other))
    if not lines:
        return []
    heads = (
        "Metric",
        "Protocol",
        "Order there",
        f"Order under {DEFAULT}",
        "Value of the first there",
        "of the same here",
    )
    title = "**The same predictions under the published definitions:**"
    return [title, tabulate(lines, heads, tablefmt="pipe", disable_numparse=True)]


def _definition_lines(field: Field, other: Field) -> Iterator[tuple[str, ...]]:
    runs_here, runs_there = ({entry.method: entry.run_ids for entry in f.methods} for f in (field, other))
    for metric in ("psnr", "ssim", "mae", *SET_METRICS):
        column: Column = ("3d", metric)
        there, here = _values(other, column), _values(field, column)
        common = [method for method in there if method in here and runs_there[method] == runs_here[method]]
        if len(common) < FEWEST_FOR_ORDER:
            continue
        distant = {m: _own_key(there[m], metric) if metric != "density" else -there[m][0] for m in common}
        orders = _sorted(distant), _sorted({m: _own_key(here[m], metric) for m in common})
        digits = METRICS[metric].decimals
        values = (f"{source[orders[0][0]][0]:.{digits}f}" for source in (there, here))
        shown = (" > ".join(_title(method) for method in order) for order in orders)
        yield METRICS[metric].label, _protocol(other), *shown, *values


def _values(field: Field, column: Column) -> dict[str, tuple[float, float]]:
    """Method → its mean over cases and seeds, and for density and coverage its distance from real cases."""
    if column[1] in SET_METRICS:
        values, real = _encoder_values(field, column), _encoder_values(field, column, BASELINE_SUFFIX)
        return {m: (float(v.mean()), float((v - real[m]).abs().mean())) for m, v in values.items() if m in real}
    found = {entry.method: float(entry.values[column].mean()) for entry in field.methods}
    return {method: (value, 0.0) for method, value in found.items() if value == value}


def _encoder_values(field: Field, column: Column, suffix: str = "") -> dict[str, pd.Series]:
    """Method → one value an encoder, mean over seeds and draws."""
    space, metric = column
    axis = {"3d": "all", "mip": "mean"}[space]
    rows = field.sets
    rows = rows[(rows["space"] == space) & (rows["axis"] == axis) & (rows["metric"] == metric + suffix)]
    rows = rows[(rows["stat"] == "value") & rows["value"].notna()]
    encoders = rows["rep"].str.split(".").str[0]
    found = {}
    for entry in field.methods:
        mine = rows["run_id"].isin(entry.run_ids)
        if mine.any():
            found[entry.method] = rows.loc[mine, "value"].groupby(encoders[mine]).mean()
    return found


def _control(field: Field, metric: str) -> float | None:
    rows = field.sets
    rows = rows[(rows["space"] == "3d") & (rows["metric"] == metric) & (rows["stat"] == "mean")]
    return float(rows["value"].mean()) if rows["value"].notna().any() else None


def _gap(field: Field, column: Column, printed_first: str, first: str) -> str:
    metric, digits = column[1], METRICS[column[1]].decimals + 1
    if metric in SET_METRICS:
        values, real = _encoder_values(field, column), _encoder_values(field, column, BASELINE_SUFFIX)
        pair = [values[m] if metric == "coverage" else (values[m] - real[m]).abs() for m in (printed_first, first)]
        gap = pair[0] - pair[1]
        return f"{gap.mean():+.{digits}f} ± {gap.std():.{digits}f}"
    by_method = {entry.method: entry for entry in field.methods}
    difference = _by_column(by_method[printed_first], by_method[first]).get(column)
    return _signed(difference) if difference else "too few cases"


def _by_column(first: Entry, second: Entry) -> dict[Column, Difference]:
    return {(d.space, d.metric): d for d in compare_entries(first, second, SHOWN).differences}


def _signed(d: Difference) -> str:
    digits = METRICS[d.metric].decimals
    p = f"p = {d.p_holm:.3f}" if d.p_holm >= 0.001 else "p < 0.001"
    return f"{d.difference:+.{digits}f} [{d.low:+.{digits}f}, {d.high:+.{digits}f}], {p}"


def _text(entry: Entry, column: Column) -> str:
    values, metric = entry.values[[column]].to_numpy(), METRICS[column[1]]
    means = mean_intervals(values)
    ends = f"{means.low[0]:.{metric.decimals}f}, {means.high[0]:.{metric.decimals}f}"
    return f"{means.mean[0]:.{metric.decimals}f} [{ends}]" + (f" {metric.unit}" if metric.unit else "")


def _printed(field: Field, space: str) -> dict[tuple[str, str], float]:
    tables = {spec.id for spec in SPECS if spec.space == space and belongs(field.facts["dataset"], spec.dataset)}
    cells = (cell for cell in read_published() if cell.table in tables)
    return {(cell.method, cell.metric): cell.value for cell in cells if cell.value is not None}


def _own_key(value: tuple[float, float], metric: str) -> float:
    return value[1] if metric == "density" else _key(value[0], metric, 0.0)


def _key(value: float, metric: str, real: float) -> float:
    """Smaller is better; `real` is what real cases score."""
    if metric == "density":
        return abs(value - real)
    return value if METRICS[metric].direction == "down" else -value


def _sorted(keys: Mapping[str, float]) -> Sequence[str]:
    return sorted(keys, key=lambda method: keys[method])


def _title(method: str) -> str:
    return title_and_kind(method)[0]
