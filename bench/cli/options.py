"""What several verbs share: options of one name and one meaning, lists in one, and where tables are printed."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from bench.errors import UsageError
from bench.results.published import BUILTIN, find_results

LARGEST = 2**63 - 1  # seed, as PyTorch takes it
WIDTH = 160  # columns of text that goes to a file or a pipe


def _keep_builtin_results(folder: Path) -> Path:
    """Return a folder that is written to. Raises UsageError for the results that come with the harness."""
    if str(folder) == BUILTIN:
        raise UsageError("the results called builtin are shown and never added to; name a folder of your own")
    return folder


Seeds = Annotated[str, typer.Option("--seeds", "--seed", help="Seed or comma list; each seed is one run.")]
Settings = Annotated[list[str], typer.Option("--set", help="Override a setting: key=value. Repeatable.")]
Source = Annotated[
    Literal["auto", "real", "phantom"],
    typer.Option(help="auto takes real scans where enough are prepared, else the embedded phantom."),
]
TestOn = Annotated[
    Literal["real"] | None,
    typer.Option(help="real: test what is trained on phantoms on all prepared real scans; a run of its own."),
]
Split = Annotated[Literal["train", "validation", "test"], typer.Option(help="Split the cases belong to.")]
Protocol = Annotated[str, typer.Option(help="How predictions are scored. See `bench show ct3d-2`.")]
Samples = Annotated[
    int,
    typer.Option(min=1, help="Reconstructions of each case by a method that draws; scored one, as mean and as best."),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")]
FindingsProtocol = Annotated[str, typer.Option("--protocol", help="Protocol whose numbers the findings are of.")]
GridPreset = Annotated[str, typer.Option(help="Preset whose grid the predictions in DIR are on.")]
Unit = Annotated[
    Literal["hu", "unit", "hu+1024", "mhu", "signed", "byte"] | None,
    typer.Option(
        help="hu: Hounsfield units; unit: [0, 1] over the dataset's window; signed: [-1, 1]; byte: 0 … 255; "
        "hu+1024, mhu: HU + 1024, HU + 1000.",
        show_default="that of the card DIR.toml, else hu",
    ),
]
RunsDir = Annotated[Path, typer.Option(help="Weights, predictions and logs of each run; on a cluster, shared.")]
ResultsDir = Annotated[
    Path,
    typer.Option(
        help="Results of all runs: scores/, runs/, and what is made from them.", callback=_keep_builtin_results
    ),
]
ShownResults = Annotated[
    Path,
    typer.Option(help="Folder of results; `builtin`: those that come with the harness.", callback=find_results),
]
By = Annotated[str, typer.Option(help="Distortion metric to sort by.")]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 when a file is out of date.")]
OnlyDataset = Annotated[str | None, typer.Option(help="Only this dataset.")]
OnlyProtocol = Annotated[str | None, typer.Option(help="Only this protocol.")]
OnlyPreset = Annotated[str | None, typer.Option(help="Only this preset.")]
OnlySource = Annotated[Literal["real", "phantom"] | None, typer.Option(help="Only real or phantom data.")]
OnlySplit = Annotated[str | None, typer.Option(help="Only this split.")]


def parse_list(text: str | None, option: str) -> list[str]:
    """Return the parts of a comma list, none where the option was left out.

    Raises UsageError, naming the option, for an empty part.
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not any(parts):
        raise UsageError(f"{option} needs at least one name or number; leave it out, or see `bench list`")
    if not all(parts):
        raise UsageError(f"{option} '{text}' has nothing between two commas or at an end; take out that comma")
    return parts


def parse_numbers(text: str | None, option: str) -> list[int]:
    """Return the whole numbers from 0 of a comma list. Raises UsageError, naming the option, for anything else."""
    parts = parse_list(text, option)
    if not all(re.fullmatch(r"\+?[0-9]{1,19}", part) and int(part) <= LARGEST for part in parts):
        raise UsageError(f"{option} takes whole numbers from 0 to {LARGEST}, separated by commas, not '{text}'")
    return [int(part) for part in parts]


def folder_beside(results_dir: Path) -> Path:
    """Return where what is made of results is written: beside them, or here where they came with the harness."""
    return Path() if results_dir == find_results(BUILTIN) else results_dir


def make_console(width: int = WIDTH) -> Console:
    """Return a console of the terminal's width, or of `width` columns where the output is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=width)
