"""`bench study`: how robust is a trained method?"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Device, ResultsDir, RunsDir, Seeds, Source, make_console, parse_list, parse_numbers
from bench.cli.usage import check_choices
from bench.system.progress import Progress


def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="views, shuffle, misalign, angle, lesion, noise, steps, samples, calibration, ood, train-size "
            "or budget.",
        ),
    ],
    method: Annotated[str | None, typer.Option(help="Method, comma list, or path/to/file.py:Class.")] = None,
    run: Annotated[
        str | None, typer.Option(help="Id of a finished run, or comma list, in place of method and seed.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Dataset.")] = "lidc",
    preset: Annotated[str, typer.Option(help="Preset.")] = "tiny",
    seeds: Seeds = "0",
    values: Annotated[
        str | None,
        typer.Option(
            help="Comma list in place of the study's own: views, steps, samples, training cases, diameters, "
            "percent of the training."
        ),
    ] = None,
    setting: Annotated[str, typer.Option(help="Setting that the study `steps` varies.")] = "sampling.steps",
    set_: Annotated[list[str], typer.Option("--set", help="Override a setting of the runs: key=value.")] = [],  # noqa: B006
    sites: Annotated[
        Path | None,
        typer.Option(help="CSV with case, x_mm, y_mm, z_mm (RAS): where `lesion` plants nodules; phantoms need none."),
    ] = None,
    source: Source = "auto",
    limit: Annotated[int | None, typer.Option(min=3, help="Take only the first cases of the test split.")] = None,
    device: Device = "auto",
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Ask one question of trained methods; write results/studies/NAME-….csv and .png.

    views, train-size and budget train runs of their own; the others load finished ones and change nothing but the test
    views (shuffle, misalign, angle, lesion, noise), the test cases (ood) or the sampling (steps, samples, calibration).
    The mean training volume and the nearest training case stand beside them all, fitted by the study itself.
    """
    methods, numbers = parse_list(method, "--method"), parse_numbers(seeds, "--seeds")
    chosen_values = parse_numbers(values, "--values")
    own = [] if run else [preset]  # a finished run has a preset and settings of its own
    check_choices(methods, [dataset], own, settings=[set_])

    from bench.results.terminal import print_sheet
    from bench.study.catalogue import STUDIES, run_study
    from bench.study.points import draw_sheet, say_trainings, summarise
    from bench.study.runs import StudyRequest

    progress = Progress()
    request = StudyRequest(
        methods=tuple(methods),
        dataset=dataset,
        preset=preset,
        seeds=tuple(numbers),
        run_ids=tuple(parse_list(run, "--run")),
        overrides=tuple(set_),
        values=tuple(chosen_values),
        setting=setting,
        source=source,
        limit=limit,
        device=device,
        runs_dir=runs_dir,
        results_dir=results_dir,
        sites=sites,
    )
    answer = run_study(name, request, progress)
    sheet = draw_sheet(summarise(answer.points), STUDIES[name].metrics)
    print_sheet(replace(sheet, title=STUDIES[name].question), make_console())
    progress.say("Change: from the first setting of the same parameter, mean over the same cases with its interval.")
    progress.say("Minus mean volume: the same cases under the mean training volume, which ignores its views.")
    if STUDIES[name].trains:
        progress.say(say_trainings(len(numbers)))
    for point in answer.points:
        if point.measured and point.note:
            progress.say(f"{point.facts['method']}, {point.setting}: {point.note}")
    progress.say(f"wrote {answer.csv} and {answer.picture}")
