"""`bench score`: numbers for predictions that are there, of a run of ours or made elsewhere."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.cli.usage import check_choices
from bench.errors import UsageError
from bench.plugins.config import PLAIN_NAME
from bench.runs.folder import find_run
from bench.scoring import DEFAULT
from bench.system.files import sha256_of
from bench.system.progress import Progress

OVERLAID = 4  # cases in the picture of --check


def score(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="RUN|DIR",
            help="Id or folder of a finished run, or a folder of <case>.nii.gz, .nii, .nrrd, .mha, .mhd or .npy files.",
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset the cases of DIR belong to; of a RUN, the file that defines its dataset."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Name under which the rows of DIR are entered.")] = None,
    preset: options.GridPreset = "tiny",
    unit: options.Unit = None,
    protocol: options.Protocol = DEFAULT,
    split: options.Split = "test",
    source: options.Source = "auto",
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=options.LARGEST,
            help="Seed they were made with; several seeds of a method become one row, with ±.",
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score what is there; the summary is marked partial.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, help="Samples of a case to take, the first from DIR, others from DIR/samples/001/ …; all by default."
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(help="Folder of predictions of the validation cases, to fit a likelihood around those of DIR."),
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Interpolate volumes of DIR on other grids to the preset's.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Score nothing: draw DIR over the truth, and say what is doubtful in it.")
    ] = False,
    device: options.Device = "auto",
    runs_dir: options.RunsDir = Path("runs"),
    results_dir: options.ResultsDir = Path("results"),
) -> None:
    """Score the predictions of a run again, or a folder of them, and add the rows to results/.

    Predictions are stored once and scored under any protocol: `bench score RUN --protocol x2ct-2019`. A run knows its
    data and method; a folder needs --dataset and --method. Its volumes may be stored in any orientation their affine
    describes, but on the grid of the preset. Scoring the same predictions twice changes nothing.

    What files cannot say stands in a card, DIR.toml beside DIR: unit, range, axes, flips, crop. Try --check first.
    """
    check_choices([], [] if dataset is None else [dataset], [] if method is None else [preset], protocol)

    folder = find_run(subject, runs_dir) if method is None else None
    if folder is None:
        if dataset is None and method is None:
            raise UsageError(
                f"no run '{subject}' in {runs_dir}; a folder of predictions made elsewhere needs --dataset and --method"
            )
        if dataset is None or method is None:
            raise UsageError("a folder of predictions needs both --dataset and --method; a run needs neither")
        if not PLAIN_NAME.fullmatch(method):
            raise UsageError(f"--method '{method}': begin with a letter or digit, then letters, digits and . _ + -")
        if not Path(subject).is_dir():
            raise UsageError(f"no folder {subject}")
    elif check:
        raise UsageError("--check looks at a folder of predictions made elsewhere; a run of ours needs no check")

    elif samples is not None:
        raise UsageError("a run knows how many samples it has; `bench run --samples K` takes more")

    from bench.data.cases import load_preset
    from bench.pipeline.evaluate import line_of_outside
    from bench.pipeline.reopen import mark_scored, open_stored
    from bench.pipeline.resample import resample_predictions
    from bench.plugins.registry import get_dataset
    from bench.runs.manifest import predictions_sha256
    from bench.runs.prediction_card import describe
    from bench.runs.predictions import count_samples, find_predictions, sample_folder
    from bench.scoring.laplace import NO_FIT, LaplaceFit, fit_folder
    from bench.scoring.protocols import get_protocol
    from bench.scoring.score import external_run, score_predictions
    from bench.scoring.store import put_run
    from bench.system.device import choose_device

    chosen_protocol, target, progress = get_protocol(protocol), choose_device(device), Progress()
    if validation is not None and (folder is not None or chosen_protocol.laplace is None):
        what = f"protocol {protocol} fits none" if folder is None else "a run of ours has its own"
        raise UsageError(f"--validation is for a likelihood around the predictions of a folder; {what}")
    if folder is not None:
        with folder.locked():
            run = open_stored(folder, progress, dataset)
            rows = run.score(chosen_protocol, progress, target)
            put_run(results_dir, run.record.line, rows)  # before the run says that it is scored
            folder.write(mark_scored(run.record, chosen_protocol))
        _say(rows, run.facts.run_id, results_dir, progress)
        return
    assert dataset is not None
    assert method is not None
    spec, directory, how = get_dataset(dataset), Path(subject), describe(Path(subject), unit)
    cases = load_preset(spec, preset, source, progress)
    facts = external_run(directory, cases, method, preset, split, seed, allow_missing=allow_missing)
    there = count_samples(directory)
    if samples is not None and samples > there:
        missing = sample_folder(directory, there)
        raise UsageError(f"{directory} has {there} samples of a case, not {samples}: there is no {missing}")
    facts = replace(facts, samples=samples or there)
    files = find_predictions(directory, cases[split].names, allow_missing=True)
    if check:
        _look_over(directory, files, cases[split], how, progress)
        return
    given = predictions_sha256({case: sha256_of(path) for case, path in files.items()})
    laplace: LaplaceFit | str = NO_FIT
    if validation is not None and chosen_protocol.laplace:
        known = cases["validation"]
        laplace = fit_folder(validation, known, chosen_protocol.laplace, how, allow_missing=allow_missing)
    if resample:
        aligned = runs_dir / spec.name / method / facts.run_id / "predictions" / split
        moved = resample_predictions(directory, aligned, cases[split], how, allow_missing=allow_missing)
        for index in range(1, facts.samples):
            source_of, target_of = (sample_folder(root, index) for root in (directory, aligned))
            resample_predictions(source_of, target_of, cases[split], how, allow_missing=allow_missing)
        progress.say(f"{len(moved)} of {len(files)} volumes interpolated to the grid of {preset}, into {aligned}")
        directory, how = aligned, "hu"
        files = find_predictions(directory, cases[split].names, allow_missing=True)
    with progress.task("score", len(cases[split])) as task:
        rows = score_predictions(
            facts,
            cases,
            directory,
            chosen_protocol,
            runs_dir / spec.name / method / facts.run_id / "scores.csv",
            task.counted,
            unit=how,
            allow_missing=allow_missing,
            laplace=laplace,
            device=target,
        )
    _say_doubts(files, cases[split], how, progress)
    line = line_of_outside(facts, cases[split].card, given, "linearly" if resample else "")
    put_run(results_dir, line, rows)
    _say(rows, facts.run_id, results_dir, progress)


def _look_over(directory: Path, files, cases, how, progress) -> None:
    """Check a folder of predictions as scoring does, draw the first over the truth, and score nothing."""
    from bench.pictures.preview import overlay_predictions
    from bench.runs.predictions import read_prediction
    from bench.scoring.score import check_and_hash

    check_and_hash(files, directory, cases, how)
    made = {case: read_prediction(path, cases, case, how) for case, path in list(files.items())[:OVERLAID]}
    for case, (_, note) in made.items():
        progress.say(f"{case}: {note or 'all values lie in the window'}")
    _say_doubts(files, cases, how, progress)
    picture = Path(f"{directory.resolve().name}-overlay.png")
    overlay_predictions(picture, cases, {case: volume for case, (volume, _) in made.items()})
    progress.say(f"{len(files)} of {len(cases)} cases fit and nothing was scored; picture: {picture}")


def _say_doubts(files, cases, how, progress) -> None:
    from bench.pipeline.doubts import find_better_turn, find_better_unit

    for hint in (find_better_turn(files, cases, how), find_better_unit(files, cases, how)):
        if hint:
            progress.say(f"doubtful: {hint}")


def _say(rows, run_id: str, results_dir: Path, progress) -> None:
    for row in rows:
        if row.stat == "mean" and row.value is not None and (row.space, row.axis) in (("3d", "all"), ("mip", "mean")):
            progress.say(f"{row.space:4} {row.metric:20} {row.value:.5g}  (n={row.n}) {row.note}".rstrip())
    progress.say(f"{run_id}: {len(rows)} rows in {results_dir}; see `bench table`")
