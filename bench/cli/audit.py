"""`bench audit`: one prediction under every protocol, and the printed numbers that cannot be."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from bench.cli.options import Device, GridPreset, RunsDir, Source, Split, Unit, make_console
from bench.cli.usage import check_choices
from bench.errors import UsageError
from bench.runs.folder import RunFolder, find_run
from bench.system.generated import replace_block
from bench.system.progress import Progress


def audit(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|DIR]",
            help="Id or folder of a finished run, or a folder of predictions made elsewhere; without it the published "
            "tables alone are looked over.",
        ),
    ] = None,
    case: Annotated[str | None, typer.Option(help="Only the prediction of this case.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset the cases of DIR belong to.")] = None,
    preset: GridPreset = "tiny",
    unit: Unit = None,
    split: Split = "test",
    source: Source = "auto",
    form: Annotated[Literal["rich", "md"], typer.Option("--format", help="For a terminal, or Markdown.")] = "rich",
    readme: Annotated[
        Path | None, typer.Option(help="Write the table of protocols between the audit marks of this file.")
    ] = None,
    device: Device = "auto",
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Print what each protocol reports for the same predictions, and which published numbers are impossible.

    The predictions are the same in all columns. What differs is the truth, which each column names, and the formula.
    Nothing is added to results/.
    """
    folder = find_run(subject, runs_dir) if subject and dataset is None else None
    if dataset is not None:
        check_choices([], [dataset], [preset])
    elif subject and folder is None:
        raise UsageError(f"no run '{subject}' in {runs_dir}; a folder of predictions made elsewhere needs --dataset")

    from bench.results.audit import (
        BLOCK,
        compare_printed_psnr_and_mse,
        compare_text_and_tables,
        list_doubtful_prints,
    )
    from bench.results.renderers import draw_markdown
    from bench.results.terminal import print_sheet

    if subject is None and (readme is not None or case is not None):
        raise UsageError("name a run or a folder of predictions; without one there is nothing to score")
    own = [_compare(subject, folder, case, dataset or "", preset, unit, split, source, device)] if subject else []
    if readme is not None:
        replace_block(readme, BLOCK, draw_markdown(own[0]))
    sheets = [*own, list_doubtful_prints(), compare_printed_psnr_and_mse(), compare_text_and_tables()]
    if form == "md":
        typer.echo("\n".join(draw_markdown(sheet) for sheet in sheets))
    else:
        console = make_console()
        for sheet in sheets:
            print_sheet(sheet, console)


def _compare(
    subject: str,
    folder: RunFolder | None,
    case: str | None,
    dataset: str,
    preset: str,
    unit: Unit,
    split: Literal["train", "validation", "test"],
    source: str,
    device: str,
) -> Any:
    """Return the sheet (bench.results.renderers.Sheet) of a run, a folder of predictions, or one case of either."""
    from bench.data.cases import load_dataset
    from bench.pipeline.reopen import open_stored
    from bench.plugins.registry import get_dataset
    from bench.results.audit import compare_protocols, compare_protocols_on_case, read_case
    from bench.runs.prediction_card import describe
    from bench.scoring.protocols import list_definitions
    from bench.scoring.score import external_run, score_predictions
    from bench.system.device import choose_device

    progress, target = Progress(Console(stderr=True)), choose_device(device)
    run = None
    if folder is not None:
        run = open_stored(folder, progress)
        cases, predictions, name = run.cases, run.predictions, run.facts.run_id
        split = run.facts.split
    else:
        spec = get_dataset(dataset)
        with progress.task(f"prepare {spec.name}", 1) as task:
            cases = load_dataset(spec, spec.presets[preset], source, task.counted)
        predictions, name = Path(subject), f"{subject} ({spec.name}, {preset})"
    how = describe(predictions, unit) if run is None else "hu"
    card = cases[split].card
    if case is not None:
        volumes = read_case(predictions, cases[split], case, how)
        return compare_protocols_on_case(f"{name}, {card.source} data, case {case}", volumes)
    if run is not None:
        with run.folder.locked():
            rows = {protocol.id: run.score(protocol, progress, target) for protocol in list_definitions()}
    else:
        facts = external_run(predictions, cases, "audited", preset, split, None)
        rows = {
            protocol.id: score_predictions(facts, cases, predictions, protocol, unit=how, device=target)
            for protocol in list_definitions()
        }
    return compare_protocols(f"{name}, {card.source} data, {split} split, mean of {len(cases[split])} cases", rows)
