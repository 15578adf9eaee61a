"""What the results say, in sentences: is the printed order reproduced, which floors are beaten, what misleads.

Every sentence is made from the results, so that it cannot outlive its numbers, and every conclusion rests on a test
over cases and trainings; p is adjusted for the tests of one table or sentence.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scipy.stats import kendalltau

from bench.errors import UsageError
from bench.metrics import INTERVAL_COVERAGE, METRICS, OF_K, metrics_shown
from bench.metrics.stats import POWER
from bench.results.inference import LEVEL_OF_TESTS, TEST, Difference, estimate_means, say_detectable
from bench.results.model import (
    SPACES,
    Column,
    Entry,
    Results,
    draws,
    is_of_patients,
    place_of,
    say_source,
    title_and_kind,
)
from bench.results.questions import (
    AGAINST_FLOORS,
    BITS,
    BLURRED,
    FEWEST_FOR_ORDER,
    FIRST,
    Field,
    Order,
    choose_entries,
    compare_with,
    compare_with_real_cases,
    find_controls,
    list_orders,
    mean_scores,
    rank,
)
from bench.results.renderers import Sheet, draw_markdown, wrap_text
from bench.scoring import DEFAULT
from bench.system.generated import Generated
from bench.system.text import escape_markdown

BLOCK = "findings"
EMPTY = f"# Findings\n\n<!-- {BLOCK} -->\n<!-- /{BLOCK} -->\n\n## Studies\n\n<!-- studies -->\n<!-- /studies -->\n"
START = "bench run --method codediff --dataset lidc"
NOTHING = f"Nothing has been measured yet: `{START}` is a start."
REDEFINED = ("psnr", "ssim", "mae", "density", "coverage")  # of volumes, held against the published definitions
ORDER_HEADS = ("Of", "Metric", "Printed order", "Order here", "Kendall τ", "Printed first − first here")
ORDER_NOTE = (
    "Orders are those of the means. A column is reproduced where the printed first is first here or cannot be told "
    "apart from the first. Density is ordered by the arrow it is printed with; its distance from what real training "
    "cases score, in print from 1, is a line of its own and no column. Density and coverage are compared over encoders "
    "and trainings, on these test cases."
)
TEST_NOTE = (
    f"{TEST} Tests are made at {LEVEL_OF_TESTS:.0%}, with p adjusted (Holm) for all of one table or sentence; "
    "intervals are not adjusted. Beside what cannot be told apart stands the smallest difference that would have been "
    f"established there with a probability of about {POWER:.0%}."
)
REDEFINED_NOTE = (
    "Orders are those of the means and not tested; they hold the methods that are scored against the CT. A method that "
    "is scored against its own encoding of the CT stands apart, in brackets what it scores here."
)


def generate_findings(
    results: Results, out: Path, readme: Path | None = None, protocol: str = DEFAULT
) -> list[Generated]:
    """Return the block of FINDINGS.md, which is begun where there is none, and the shorter one of a README.

    Raises UsageError as `write_findings`.
    """
    parts = [Generated(out, write_findings(results, protocol), BLOCK, EMPTY)]
    if readme is not None:
        parts.append(Generated(readme, write_summary(results, protocol), BLOCK))
    return parts


def write_findings(results: Results, protocol: str = DEFAULT) -> str:
    """Return the text of the block, in Markdown: of what was measured under `protocol`, and how others order it.

    Raises UsageError where there are results and none of this protocol.
    """
    ours, others = _read_fields(results, protocol)
    parts = [TEST_NOTE]
    for own in ours:
        facts, place = own.block.facts, place_of(own.block.facts)
        seeds = ", ".join(f"{_title(entry.method)} {len(entry.run_ids)}" for entry in own.methods)
        cases = max(len(entry.by_case) for entry in own.methods)
        parts.append(f"## {_name(own)}")
        parts.append(f"{cases} {facts['split']} cases, protocol {own.protocol}; seeds: {seeds}.")
        bullets = [line for say in BULLETS for line in say(own)]
        parts += [*_printed_order(own), *(["\n".join(f"- {line}" for line in bullets)] if bullets else [])]
        parts += _redefined(own, [other for other in others if place_of(other.block.facts) == place])
    return "\n\n".join(parts) if ours else NOTHING


def write_summary(results: Results, protocol: str = DEFAULT) -> str:
    """Return what stands in a README, of one data set: the printed order, the strongest floor, the spread of trainings.

    Of several it is the first, patients before anything else.
    """
    found = summarise(results, protocol)
    if not found:
        return NOTHING
    name, lines = found[0]
    return "\n".join([f"{name}:", "", *(wrap_text(f"- {line}", "  ") for line in lines)])


def summarise(results: Results, protocol: str = DEFAULT) -> list[tuple[str, list[str]]]:
    """Return what a summary says of each data set, patients first: its name and the sentences. Raises UsageError."""
    ours, _ = _read_fields(results, protocol)
    found = []
    for own in sorted(ours, key=lambda field: not is_of_patients(field.block.facts["dataset"])):
        floors = [floor for floor in own.baselines if floor.has(FIRST)]
        strongest = sorted(floors, key=lambda floor: -float(floor.values([FIRST]).mean().iloc[0]))[:1]
        found.append((_name(own), [*_count_firsts(list_orders(own)), *_floors(own, strongest, [FIRST]), *_seeds(own)]))
    return found


def list_missing(results: Results, protocol: str = DEFAULT) -> list[str]:
    """Return, a line each, what the findings cannot say for want of runs, and the command that makes them."""
    fields = [field for field in map(choose_entries, results.blocks) if field.block.facts["protocol"] == protocol]
    lines = []
    for own in fields:
        facts = own.block.facts
        test_on = "" if facts["trained_on"] == facts["source"] else " --test-on real"
        chosen = f"--preset {facts['preset']} --protocol {protocol}{test_on}"
        run = f"bench run --dataset {facts['dataset']} {chosen} --method"
        if len(own.methods) < FEWEST_FOR_ORDER:
            lines.append(f"{_name(own)}: an order needs {FEWEST_FOR_ORDER} methods, not {len(own.methods)}: {run} NAME")
        if not own.of("floor"):
            lines.append(f"{_name(own)}: no floor was run: {run} mean,nearest")
        once = [e.method for e in own.methods if len(e.run_ids) < 2 and not e.deterministic and e.origin != "external"]
        if once:
            lines.append(f"{_name(own)}: trained once, so without a verdict: {run} {','.join(once)} --seeds 0,1,2")
        drawn = [entry.method for entry in own.methods if draws(entry.method) and not entry.samples]
        if drawn:
            lines.append(f"{_name(own)}: of one sample a case: {run} {','.join(drawn)} --samples 8")
    return lines or ([] if fields else [f"all: nothing was measured under {protocol}: {START}"])


def _read_fields(results: Results, protocol: str) -> tuple[list[Field], list[Field]]:
    """Return what was scored by a protocol, and by others."""
    if lack := results.tell_lack(protocol):
        raise UsageError(lack)
    fields = [field for field in map(choose_entries, results.blocks) if len(field.methods) >= FEWEST_FOR_ORDER]
    ours = [field for field in fields if field.block.facts["protocol"] == protocol]
    return ours, [field for field in fields if field.block.facts["protocol"] != protocol]


def _printed_order(own: Field) -> list[str]:
    """Draw the printed order beside ours, column by column; nothing for a data set the paper does not have."""
    lines, orders = [], list_orders(own)
    for order in orders:
        tau = kendalltau([order.printed.index(m) for m in order.printed], [order.here.index(m) for m in order.printed])
        gap = "same" if order.same_first else _describe(order.answer) if order.answer else "too few cases"
        label = METRICS[order.column[1]].label + (", distance" if order.measure == "distance" else "")
        noun = SPACES[order.column[0]].noun
        lines.append((noun, label, _join(order.printed), _join(order.here), f"{tau.statistic:+.2f}", gap))
    return [*_count_firsts(orders), _draw(ORDER_HEADS, lines), ORDER_NOTE] if lines else []


def _count_firsts(orders: Sequence[Order]) -> list[str]:
    """State in how many columns the first in print is first here, or cannot be told apart from it; if there is any."""
    columns = [order for order in orders if order.measure == "value"]
    if not columns:
        return []
    printed = [order.printed[0] for order in columns]
    favourite = max(printed, key=printed.count)
    first = sum(order.same_first for order in columns)
    answers = [order.answer for order in columns if not order.same_first]
    tied = sum(answer is not None and answer.tied for answer in answers)
    unknown = sum(answer is None or bool(answer.scope) for answer in answers)
    none = f" In {unknown} there is no verdict: one of the two was trained once, or cases are too few."
    return [
        f"**The printed order.** The paper prints {_title(favourite)} first in {printed.count(favourite)} of "
        f"{len(columns)} columns. The printed first is first here in {first} of {len(columns)}; it is first or not "
        f"distinguishable from the first in {first + tied}.{none if unknown else ''}"
    ]


def _floors(
    own: Field, floors: Sequence[Entry] | None = None, columns: Sequence[Column] = AGAINST_FLOORS
) -> Iterator[str]:
    """Name the methods that beat what has learned nothing, and those that do not; of all floors where none is named."""
    for floor in own.baselines if floors is None else floors:
        for column in columns:
            if found := compare_with(own, floor, column):
                title = f"{_label(column)} against {_title(floor.method)}"
                yield f"**{title}** ({_mean(floor, column)}): {_sort(found)}."


def _ceilings(own: Field) -> Iterator[str]:
    """State what an autoencoder alone loses, and who is above it."""
    for ceiling in own.of("ceiling"):
        if not (found := compare_with(own, ceiling, FIRST)):
            continue
        above = [_title(method) for method, d in found.items() if d.better == "A"]
        end = f". No prior over its codes could reach {', '.join(above)}" if above else ""
        yield f"**Ceiling:** {_title(ceiling.method)} scores {_mean(ceiling, FIRST)}; {_sort(found)}{end}."


def _sort(found: Mapping[str, Difference]) -> str:
    """Sort methods by what a test against a floor or ceiling says of them."""
    if all(d.better == "A" for d in found.values()):
        return "every method is better"
    groups = {
        "better:": [_title(m) for m, d in found.items() if d.better == "A"],
        "worse:": [f"{_title(m)} ({_describe(d)})" for m, d in found.items() if d.better == "B"],
        "cannot be told apart:": [f"{_title(m)} ({_describe(d)})" for m, d in found.items() if d.tied],
    }
    once = {method: d for method, d in found.items() if d.scope}
    for ahead, words, say in (("A", "better", _differ), ("B", "worse", _differ), ("", "not told apart", _describe)):
        names = [f"{_title(m)} ({say(d)})" for m, d in once.items() if d.ahead == ahead]
        groups[f"no verdict (trained once), {words} here:"] = names
    return "; ".join(f"{words} {', '.join(names)}" for words, names in groups.items() if names)


def _seeds(own: Field) -> Iterator[str]:
    """State how far trainings of one method lie apart, and whether each seed alone gives the same order."""
    digits = METRICS[FIRST[1]].decimals
    by_seed = {e.method: e.means([FIRST])[FIRST].rename(index=e.runs["seed"].to_dict()).dropna() for e in own.methods}
    several = {method: means for method, means in by_seed.items() if len(means) > 1}
    if not several:
        return
    spreads = (f"{_title(name)} {own.mean():.{digits}f} ± {own.std():.{digits}f}" for name, own in several.items())
    common = sorted(set.intersection(*(set(means.index) for means in by_seed.values())))
    of_seeds = ({method: float(means.loc[seed]) for method, means in by_seed.items()} for seed in common)
    orders = {tuple(rank(list(scores), scores, FIRST[1])) for scores in of_seeds}
    verdict = f"; each of the {len(common)} seeds alone gives the same order" if len(common) > 1 else ""
    if len(orders) > 1:
        verdict = f"; the {len(common)} seeds give {len(orders)} different orders"
    yield f"**Seeds:** {_label(FIRST)}, mean ± sd over seeds: {', '.join(spreads)}{verdict}."


def _samples(own: Field) -> Iterator[str]:
    """State what one sample, the mean and the best of several score, and how often they enclose the CT."""
    drawing = [entry for entry in own.methods if draws(entry.method)]
    for entry in (entry for entry in drawing if entry.samples):
        parts = [f"one sample {_mean(entry, FIRST)}"]
        for suffix, what in OF_K.items():
            column: Column = (FIRST[0], FIRST[1] + suffix)
            parts += [f"{what} {_mean(entry, column)}"] if entry.has(column) else []
        enclosed: Column = (FIRST[0], INTERVAL_COVERAGE)
        if entry.has(enclosed):
            parts.append(f"the lowest and the highest enclose the CT in {_mean(entry, enclosed)} of the voxels")
        counts = ", ".join(map(str, entry.samples))
        yield f"**Samples:** {_label(FIRST)}, {_title(entry.method)}, K = {counts}: {'; '.join(parts)}."
    if lacking := [_title(entry.method) for entry in drawing if not entry.samples]:
        yield f"**Samples:** of {' and '.join(lacking)} one of many volumes was scored, and no mean of several."


def _controls(own: Field) -> Iterator[str]:
    """State what fidelity metrics say of sets that are known."""
    facts = own.block.facts
    for metric in metrics_shown("3d"):
        if not (known := find_controls(own, metric)):
            continue
        found = compare_with_real_cases(own, metric)
        above = [name for name, d in found.items() if d.established and d.difference > 0 and not d.scope]
        higher = ", ".join(_title(name) for name in above if name != BLURRED)
        label, (real, blurred) = METRICS[metric].label, known
        whose = "real" if facts["trained_on"] == facts["source"] else facts["trained_on"]
        yield (
            f"**{label}:** {whose} training cases score {real:.2f}; the test cases themselves, blurred, {blurred:.2f}; "
            + (f"higher than real cases: {higher}." if higher else "no method is established to score higher.")
            + (f" A high {label.lower()} is no sign of realism." if BLURRED in above else "")
        )


def _likelihood(own: Field) -> Iterator[str]:
    """State the bits that methods need and, without any view, floors and coders that were measured in the same bins."""
    groups = own.methods, [*own.of("floor"), *own.of("reference")]
    needs, beside = ([f"{_title(e.method)} {_mean(e, BITS)}" for e in group if e.has(BITS)] for group in groups)
    if needs:
        none = "; no other method has one" if len(needs) < len(own.methods) else ""
        told = f". Without the views: {', '.join(beside)}" if beside else ""
        yield f"**Likelihood** (1-HU bins): {', '.join(needs)}{none}{told}."


def _redefined(own: Field, others: Sequence[Field]) -> list[str]:
    """Draw the order of the same predictions under other protocols: does a definition decide who is first?

    A method takes part when the very same runs are scored under both.
    """
    lines = []
    for other in others:
        runs_here, runs_there = ({entry.method: entry.run_ids for entry in f.methods} for f in (own, other))
        for metric in REDEFINED:
            column: Column = ("3d", metric)
            there, here = (mean_scores(f, column, "value") for f in (other, own))
            common = [method for method in there if method in here and runs_there[method] == runs_here[method]]
            apart = [entry.method for entry in other.methods if entry.has_own_truth(column)]
            alike = [method for method in common if method not in apart]
            if len(common) < FEWEST_FOR_ORDER:
                continue
            digits = METRICS[metric].decimals
            orders = (rank(alike, scores, metric) for scores in (there, here))
            told = (f"{_join([m])} {there[m]:.{digits}f} ({here[m]:.{digits}f})" for m in common if m in apart)
            lines.append((METRICS[metric].label, other.protocol, *map(_join, orders), ", ".join(told)))
    title = "**The same predictions under the published definitions:**"
    ours = f"Order under {own.block.facts['protocol']}"
    heads = ("Metric", "Protocol", "Order there", ours, "Against its own encoding of the CT")
    return [title, _draw(heads, lines), REDEFINED_NOTE] if lines else []


def _differ(d: Difference) -> str:
    """Return a difference with its interval."""
    digits = METRICS[d.metric].digits(d.first)
    return f"{d.difference:+.{digits}f} [{d.low:+.{digits}f}, {d.high:+.{digits}f}]"


def _describe(d: Difference) -> str:
    """Return a difference with its interval and p, and what could have been found where it is not established."""
    p = f"p = {d.p_holm:.3f}" if d.p_holm >= 0.001 else "p < 0.001"
    words = f"{_differ(d)}, {p}"
    words += "" if d.established else f", detectable {say_detectable(d)}"
    return f"{words}, {d.scope}" if d.scope else words


def _mean(entry: Entry, column: Column) -> str:
    (mean,), metric = estimate_means(entry, [column]), METRICS[column[1]]
    if mean.value is None:
        return "na: no case has a value in all runs"
    digits = metric.digits(mean.value)
    ends = f" [{', '.join(f'{end:.{digits}f}' for end in mean.interval)}]" if mean.interval else ""
    return f"{mean.value:.{digits}f}{ends} {metric.unit}".rstrip()


def _name(own: Field) -> str:
    facts = own.block.facts
    return f"{facts['dataset']}, {say_source(facts)}, preset {facts['preset']}"


def _label(column: Column) -> str:
    return f"{METRICS[column[1]].label} of {SPACES[column[0]].noun}"


def _join(methods: Sequence[str]) -> str:
    return " > ".join(title_and_kind(method)[0] for method in methods)


def _draw(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return draw_markdown(Sheet(heads, lines, words=range(len(heads))))


def _title(method: str) -> str:
    """Return how people call a method, as a sentence in Markdown holds it; cells are escaped as they are drawn."""
    return escape_markdown(title_and_kind(method)[0])


BULLETS = (_floors, _ceilings, _seeds, _samples, _controls, _likelihood)  # in the order they are read
