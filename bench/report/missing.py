"""What cannot be shown for want of predictions, said once for all cases, and the command lines that make them."""

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.dataset import TRANSFER
from bench.errors import BenchError
from bench.pipeline.plan import RunRequest, name_source, plan
from bench.plugins.registry import find_installed_dataset, method_card
from bench.report.collect import Group, Subject
from bench.report.pictures import LEAST_SAMPLES

Way = Literal["train", "take weights"]
OWN_ROW = (
    "--from-pretrained takes the weights that come with a method, which makes a row of its own; without it the method "
    "is trained anew."
)
ELSEWHERE = "Predictions kept elsewhere are found with --runs-dir."


@dataclass(frozen=True)
class Places:
    """Folders that `bench report` was given, and a command must be given where they are not the usual ones."""

    runs_dir: Path
    results_dir: Path

    @property
    def options(self) -> list[str]:
        """Those of a command line."""
        given = (("--runs-dir", self.runs_dir, "runs"), ("--results-dir", self.results_dir, "results"))
        return [text for name, path, usual in given if path != Path(usual) for text in (name, str(path))]


@dataclass(frozen=True)
class Gap:
    """What is missing and why, the commands that would mend it, and what to know of them."""

    sentence: str
    commands: tuple[str, ...] = ()
    after: str = ""


def find_picture_gap(group: Group, places: Places) -> Gap | None:
    """Return which methods have no predictions in the folder of runs; None where all have some."""
    without = [subject for subject in group.subjects if subject.missing]
    if not without:
        return None
    ways = {subject: _find_way(subject, subject.seeds[:1], group.facts) for subject in without}
    commands: list[str] = []
    notes: list[str] = []
    for way, options in (("take weights", ("--from-pretrained",)), ("train", ())):
        chosen = [subject for subject, found in ways.items() if found == way]
        commands += _write_commands(chosen, group.facts, places, 1, *options)
    notes += [OWN_ROW] if "take weights" in ways.values() else []
    notes += [ELSEWHERE] if None in ways.values() else []
    sentence = f"Not in {places.runs_dir}, so without pictures and volumes: the runs of {_list(without)}."
    return Gap(f"{sentence} To make them:" if commands else sentence, tuple(commands), " ".join(notes))


def find_spread_gap(group: Group, places: Places) -> Gap:
    """Return why there are no several volumes of one case."""
    seeded = [subject for subject in group.subjects if len(subject.entry.run_ids) >= LEAST_SAMPLES]
    short = [subject for subject in seeded if len(subject.folders) < LEAST_SAMPLES]
    if short:
        many = [subject for subject in short if _find_way(subject, subject.seeds, group.facts) == "train"]
        commands = tuple(_write_commands(many, group.facts, places, None))
        sentence = f"The tables have {LEAST_SAMPLES} seeds or more of {_list(short)}, but {places.runs_dir} does not "
        sentence += f"hold the predictions of {LEAST_SAMPLES} of them."
        return Gap(f"{sentence} To train and predict them all:" if commands else sentence, commands)
    if group.cases is None and any(subject.folders for subject in group.subjects):
        return Gap("It takes the cases themselves, which are missing, as said above.")
    if seeded:
        return Gap(f"No method has {LEAST_SAMPLES} volumes of one case that can be read and differ.")
    few = f"No method has {LEAST_SAMPLES} volumes of one case, of as many seeds or samples. To keep samples:"
    return Gap(few, ("bench study samples --method METHOD",))


def _find_way(subject: Subject, seeds: Sequence[int], facts: Mapping[str, str]) -> Way | None:
    """Return how `bench run` makes the very runs of some seeds of a row, or them with weights that come with a method.

    None where no plain command line does: other settings, an outside method, predictions made elsewhere. Names of a
    results file only ever choose among what is installed.
    """
    if not seeds or find_installed_dataset(facts["dataset"]) is None or method_card(subject.entry.method) is None:
        return None
    run_ids, given = set(subject.entry.run_ids), ""
    try:
        trained = {_name_run(subject, seed, facts, weights=False) for seed in seeds}
    except (BenchError, OSError):
        return None
    if len(seeds) == 1:
        with suppress(BenchError, OSError):  # a method that comes without weights
            given = _name_run(subject, seeds[0], facts, weights=True)
    if given and given not in trained and run_ids & {given, *trained}:
        return "take weights"
    return "train" if trained <= run_ids else None


def _name_run(subject: Subject, seed: int, facts: Mapping[str, str], *, weights: bool) -> str:
    """Return the run that a plain command would make; no name where that would be of other data."""
    place, source = (facts["dataset"], facts["preset"]), _source(facts)
    planned = plan(RunRequest(subject.entry.method, *place, seed, source=source, from_pretrained=weights))
    return planned.run_id if planned.data.fingerprint == facts["data_fingerprint"] else ""


def _source(facts: Mapping[str, str]) -> str:
    return TRANSFER if facts["trained_on"] != facts["source"] else facts["source"]


def _write_commands(
    subjects: Sequence[Subject], facts: Mapping[str, str], places: Places, count: int | None, *more: str
) -> Iterator[str]:
    """One command line for all subjects of the same first `count` seeds, all of them for None."""
    by_seeds: dict[tuple[int, ...], dict[str, None]] = defaultdict(dict)
    for subject in subjects:
        by_seeds[subject.seeds[:count]][subject.entry.method] = None
    for seeds, methods in by_seeds.items():
        words = ["bench", "run", "--method", ",".join(methods), "--dataset", facts["dataset"]]
        words += ["--preset", facts["preset"], *name_source(_source(facts))]
        words += [] if seeds == (0,) else ["--seeds", ",".join(map(str, seeds))]
        yield shlex.join([*words, *more, *places.options])


def _list(subjects: Sequence[Subject]) -> str:
    *before, last = dict.fromkeys(subject.entry.title for subject in subjects)
    return f"{', '.join(before)} and {last}" if before else last
