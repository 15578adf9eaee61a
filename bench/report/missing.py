"""What cannot be shown for want of predictions, said once for all cases, and the command lines that make them."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.errors import BenchError
from bench.plugins.config import resolve
from bench.plugins.registry import find_installed_dataset, get_method, method_card
from bench.plugins.shipped_weights import find_pretrained
from bench.report.collect import Group, Subject
from bench.report.pictures import LEAST_SAMPLES
from bench.runs.record import run_name

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
        """Of a command line."""
        given = (("--runs-dir", self.runs_dir, "runs"), ("--results-dir", self.results_dir, "results"))
        return [text for name, path, usual in given if path != Path(usual) for text in (name, str(path))]


@dataclass(frozen=True)
class Gap:
    """What is missing and why, the commands that would mend it, and what to know of them."""

    sentence: str
    commands: tuple[str, ...] = ()
    after: str = ""


def picture_gap(group: Group, places: Places) -> Gap | None:
    """Which methods have no predictions in the folder of runs; None where all have some."""
    without = [subject for subject in group.subjects if subject.missing]
    if not without:
        return None
    known = [(subject, way) for subject in without if (way := _way_to(subject, subject.seeds[:1], group.facts))]
    trained = [subject for subject, way in known if way == "train"]
    given = [subject for subject, way in known if way == "take weights"]
    commands = [
        *_commands(given, group.facts, places, 1, "--from-pretrained"),
        *_commands(trained, group.facts, places, 1),
    ]
    sentence = f"Not in {places.runs_dir}, so without pictures and volumes: the runs of {_listed(without)}."
    notes = [*([OWN_ROW] if given else []), *([ELSEWHERE] if len(known) < len(without) else [])]
    return Gap(f"{sentence} To make them:" if commands else sentence, tuple(commands), " ".join(notes))


def spread_gap(group: Group, places: Places) -> Gap:
    """Why there are no several volumes of one case."""
    seeded = [subject for subject in group.subjects if len(subject.run_ids) >= LEAST_SAMPLES]
    short = [subject for subject in seeded if len(subject.folders) < LEAST_SAMPLES]
    if short:
        many = [subject for subject in short if _way_to(subject, subject.seeds, group.facts) == "train"]
        commands = tuple(_commands(many, group.facts, places, None))
        sentence = f"The tables have {LEAST_SAMPLES} seeds or more of {_listed(short)}, but {places.runs_dir} does not "
        sentence += f"hold the predictions of {LEAST_SAMPLES} of them."
        return Gap(f"{sentence} To train and predict them all:" if commands else sentence, commands)
    if group.cases is None and any(subject.folders for subject in group.subjects):
        return Gap("It takes the cases themselves, which are missing, as said above.")
    if seeded:
        return Gap(f"No method has {LEAST_SAMPLES} volumes of one case that can be read and differ.")
    few = f"No method has {LEAST_SAMPLES} volumes of one case, of as many seeds or samples. To keep samples:"
    return Gap(few, ("bench study samples --method METHOD",))


def _way_to(subject: Subject, seeds: Sequence[int], facts: Mapping[str, str]) -> Way | None:
    """How `bench run` makes the very runs of some seeds of a row, or the same with weights that come with the method.

    None where no plain command line does: other settings, an outside method, predictions made elsewhere. Names of a
    results file only ever choose among what is installed.
    """
    spec = find_installed_dataset(facts["dataset"])
    if not seeds or spec is None or method_card(subject.method) is None:
        return None
    data = facts["data_fingerprint"]
    try:
        method = get_method(subject.method)
        config, _ = resolve(method, spec, facts["preset"])
        code = method.sha256
    except (BenchError, OSError):
        return None
    ids = set(subject.run_ids)
    if len(seeds) == 1:
        try:
            weights = find_pretrained(method, config, facts["source"], data, seeds[0]).sha256
        except (BenchError, OSError):
            weights = ""
        names = {run_name(config, seeds[0], "test", data, code, own) for own in (None, weights)}
        if weights and names & ids:
            return "take weights"
    return "train" if all(run_name(config, seed, "test", data, code) in ids for seed in seeds) else None


def _commands(
    subjects: Sequence[Subject], facts: Mapping[str, str], places: Places, count: int | None, *more: str
) -> Iterator[str]:
    """One command line for all subjects of the same first `count` seeds, all of them for None."""
    by_seeds: dict[tuple[int, ...], dict[str, None]] = {}
    for subject in subjects:
        by_seeds.setdefault(subject.seeds[:count], {})[subject.method] = None
    for seeds, methods in by_seeds.items():
        words = ["bench", "run", "--method", ",".join(methods), "--dataset", facts["dataset"]]
        words += ["--preset", facts["preset"], "--source", facts["source"]]
        words += [] if seeds == (0,) else ["--seeds", ",".join(map(str, seeds))]
        yield shlex.join([*words, *more, *places.options])


def _listed(subjects: Sequence[Subject]) -> str:
    *before, last = dict.fromkeys(subject.title for subject in subjects)
    return f"{', '.join(before)} and {last}" if before else last
