"""What studies show, in sentences made from their numbers, and no more than their intervals hold.

A method that ignores its views loses nothing, whatever is done to them. So a study of what a method withstands shows
something only where the method stays above the mean volume, and says so where it does not.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from bench.errors import BenchError
from bench.metrics.stats import LEVEL, Estimate
from bench.results.model import title_and_kind
from bench.study.catalogue import STUDIES
from bench.study.inputs import OTHERS
from bench.study.points import MEAN, REFERENCES, TRUTH, Recorded, Summary, read_study, say_trainings
from bench.system.generated import Generated, has_block
from bench.system.text import escape_markdown

BLOCK = "studies"  # between <!-- studies --> and <!-- /studies --> in FINDINGS.md
NOTHING = "No study has been made yet: `bench study misalign --method codediff` is one."
CHANCE = 0.5  # AUROC of what cannot be told apart
Sentences = Callable[[Recorded], Iterator[str]]


def generate_verdicts(results_dir: Path, out: Path) -> list[Generated]:
    """Return the block on studies of FINDINGS.md, none where the file is there and lacks it."""
    return [Generated(out, write_verdicts(results_dir), BLOCK)] if has_block(out, BLOCK) or not out.exists() else []


def write_verdicts(results_dir: Path) -> str:
    """Return the text of the block, in Markdown: a line of each study in the folder, in the order of their names."""
    lines = []
    for path in sorted((results_dir / "studies").glob("*.csv")):
        try:
            lines.append(describe_study(read_study(path)))
        except BenchError as error:
            lines.append(f"`{path.name}` cannot be read: {error}".replace(f"{path.parent}/", ""))
    if not lines:
        return NOTHING
    note = f"Intervals are over cases ({LEVEL:.0%}), of the trainings at hand; PSNR in dB."
    return "\n".join([note, "", *(f"- {line}" for line in lines)])


def describe_study(recorded: Recorded) -> str:
    """Return what one study asked, of which data, and what it shows."""
    study = STUDIES.get(recorded.study)
    facts = "{dataset}, {source} data, preset {preset}".format(**recorded.facts)
    head = f"**{study.question if study else recorded.study}** ({facts}, {recorded.cases} cases)"
    if recorded.study not in SENTENCES:
        return f"{head} See its table."
    if recorded.study in NEEDS_FLOORS and not any(summary.method == MEAN for summary in recorded.summaries):
        return (
            f"{head} Nothing is shown: it was measured without floors, and what ignores its views would lose nothing. "
            f"`bench study {recorded.study}` measures both."
        )
    return " ".join([head, *SENTENCES[recorded.study](recorded)])


def _tell_alignment(recorded: Recorded) -> Iterator[str]:
    """Of each training: is it above the mean volume at every strength?"""
    for name, summaries in _by_training(recorded):
        known = [summary for summary in summaries if not math.isnan(summary.over.value)]
        if not known:
            continue
        aligned = known[0]
        worst = min(known, key=lambda s: -math.inf if math.isnan(s.over.low) else s.over.low)
        shown = f"{name} is {_write(aligned.over)} over the mean volume as the views should be"
        at = f"{_write(worst.over)} at {worst.setting} ({worst.parameter})"
        if not aligned.over.low > 0:
            yield f"{shown}: not above it to begin with, so that it withstands unaligned views is not shown."
        elif worst.over.low > 0:
            yield f"{shown} and at worst {at}: it withstands unaligned views as far as they were tried."
        else:
            yield f"{shown} and {at}, where what ignores its views loses nothing: the claim is not shown."


def _tell_use(recorded: Recorded) -> Iterator[str]:
    """Of each training: does it lose by another case's views?"""
    for name, summaries in _by_training(recorded):
        for change in (summary.change for summary in summaries if summary.setting == OTHERS):
            told = f"{name} changes by {_write(change)} with another's views"
            yield f"{told}: it uses them." if change.high < 0 else f"{told}: that it uses its views is not shown."


def _tell_extreme(recorded: Recorded) -> Iterator[str]:
    """Of each training and parameter: what the last setting changes, and what is left over the mean volume."""
    for name, summaries in _by_training(recorded):
        for parameter, own in groupby(summaries, key=lambda summary: summary.parameter):
            *_, last = own
            change, over = last.change, last.over
            if not math.isnan(change.value) and not math.isnan(over.value):
                above = "above" if over.low > 0 else "below" if over.high < 0 else "not told from"
                yield (
                    f"{name} changes by {_write(change)} at {last.setting} ({parameter}) and is then {above} the mean "
                    f"volume ({_write(over)})."
                )


def _tell_trainings(recorded: Recorded) -> Iterator[str]:
    """Of each method and setting: mean and spread over trainings; and whether these are enough."""
    chosen = sorted(_choose(recorded, "psnr"), key=lambda s: s.method)
    for method, own in groupby(chosen, key=lambda s: s.method):
        settings: dict[str, list[float]] = {}
        for summary in own:
            settings.setdefault(summary.setting, []).append(summary.mean.value)
        parts = [f"{np.mean(values):.2f}{_spread(values)} with {setting}" for setting, values in settings.items()]
        yield f"{_title(method)}: {', '.join(parts)} ({chosen[0].parameter})."
    yield f"{say_trainings(recorded.trainings)}."


def _tell_budget(recorded: Recorded) -> Iterator[str]:
    """Of each training: its PSNR by cost. Then which remain below the least of the best, with however much of it."""
    trainings = {name: sorted(own, key=lambda s: float(s.setting)) for name, own in _by_training(recorded)}
    for name, own in trainings.items():
        parts = ", ".join(f"{s.mean.value:.2f} after {s.setting}" for s in own)
        yield f"{name}: {parts} CPU seconds; the longest changes it by {_write(own[-1].change)}."
    if len(trainings) < 2:
        return
    most = {name: max((s.mean for s in own), key=lambda mean: mean.value) for name, own in trainings.items()}
    best = max(most, key=lambda name: most[name].value)
    least = trainings.pop(best)[0]
    weak = [name for name in trainings if most[name].high < least.mean.low]
    short = [name for name in trainings if name not in weak]
    told = f"the shortest training of {best}, {_write(least.mean, '')} after {least.setting} CPU seconds"
    if weak:
        yield f"Below {told}, however long they were trained here, weak and not only short of it: {', '.join(weak)}."
    if short:
        yield f"Not shown to stay below {told}: {', '.join(short)}."


def _tell_lesion(recorded: Recorded) -> Iterator[str]:
    """Of each training: how much contrast is kept of the smallest and the largest nodule, and from which size on."""
    detected = dict(_by_training(recorded, "auroc_nodule"))
    for name, kept in _by_training(recorded, "contrast_kept"):
        ends = (f"{_write(s.mean, sign='')} at {s.setting} mm" for s in (kept[0], kept[-1]))
        yield (
            f"{name} keeps {' and '.join(ends)} of the contrast; that any is kept is shown "
            f"{_from(kept, 0.0)}, detection {_from(detected[name], CHANCE)}."
        )
    truth = [s for s in recorded.summaries if s.method == TRUTH and s.metric == "auroc_nodule"]
    if truth:
        yield f"The truth on this grid: detection {_from(truth, CHANCE)}."


def _tell_inputs(recorded: Recorded) -> Iterator[str]:
    """Of each training: which inputs its likelihood tells from the test cases, and which a mere distance does."""
    by_distance = dict(_by_training(recorded, "auroc_floor"))
    for name, own in _by_training(recorded, "auroc"):
        yield f"AUROC of the likelihood of {name}: {_sort_inputs(own)}."
        if name in by_distance:
            yield f"AUROC of the distance to the mean training volume: {_sort_inputs(by_distance[name])}."


def _sort_inputs(aurocs: Sequence[Summary]) -> str:
    """Return in words on which side of chance each input is, as far as its interval says."""
    above = [s for s in aurocs if s.mean.low > CHANCE]
    below = [s for s in aurocs if s.mean.high < CHANCE]
    rest = [s for s in aurocs if s not in (*above, *below)]
    named = {"above chance": above, "not told from chance": rest, "below chance, taken for likelier": below}
    told = {words: ", ".join(f"{s.setting} {_write(s.mean, '')}" for s in own) for words, own in named.items()}
    return "; ".join(f"{words}: {inputs}" for words, inputs in told.items() if inputs)


def _tell_calibration(recorded: Recorded) -> Iterator[str]:
    """Of each training: what its widest interval holds of the body, and which factors its samples spread too little."""
    skills = dict(_by_training(recorded, "spread_skill"))
    for name, shares in _by_training(recorded, "inside_body"):
        widest = max(shares, key=lambda s: float(s.setting))
        yield f"{name}: the interval that states {widest.setting} holds {_write(widest.mean, '')} of the body's voxels."
        if factors := skills.get(name):
            less = [s.setting for s in factors if s.mean.high < 1]
            more = [s.setting for s in factors if s.mean.low > 1]
            yield (
                f"Of {len(factors)} factors its samples spread less than they err in {'; '.join(less) or 'none'} and "
                f"more in {'; '.join(more) or 'none'}."
            )


def _choose(recorded: Recorded, metric: str) -> list[Summary]:
    """Return what was measured of a metric on test cases, without the references."""
    return [s for s in recorded.summaries if s.metric == metric and s.split == "test" and s.method not in REFERENCES]


def _by_training(recorded: Recorded, metric: str = "psnr") -> list[tuple[str, list[Summary]]]:
    """Return each training by its name, and its summaries on test cases in their order."""
    found: dict[tuple[str, str], list[Summary]] = {}
    for summary in _choose(recorded, metric):
        found.setdefault((summary.method, summary.seed), []).append(summary)
    return [(f"{_title(method)} (seed {seed})", own) for (method, seed), own in found.items()]


def _title(method: str) -> str:
    return escape_markdown(title_and_kind(method)[0])


def _from(summaries: Sequence[Summary], limit: float) -> str:
    """Return from which setting on all intervals lie above a limit, in words."""
    last = max((index for index, one in enumerate(summaries) if not one.mean.low > limit), default=-1)
    return "at no size" if last == len(summaries) - 1 else f"from {summaries[last + 1].setting} mm on"


def _write(estimate: Estimate, sign: str = "+") -> str:
    interval = f"[{estimate.low:{sign}.2f}, {estimate.high:{sign}.2f}]"
    return f"{estimate.value:{sign}.2f} {'(too few cases for an interval)' if math.isnan(estimate.low) else interval}"


def _spread(values: Sequence[float]) -> str:
    return f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""


SENTENCES: dict[str, Sentences] = {
    "misalign": _tell_alignment,
    "angle": _tell_alignment,
    "shuffle": _tell_use,
    "noise": _tell_extreme,
    "steps": _tell_extreme,
    "samples": _tell_extreme,
    "views": _tell_trainings,
    "train-size": _tell_trainings,
    "budget": _tell_budget,
    "lesion": _tell_lesion,
    "ood": _tell_inputs,
    "calibration": _tell_calibration,
}
NEEDS_FLOORS = [name for name, tell in SENTENCES.items() if tell in (_tell_alignment, _tell_extreme)]
