"""`bench score`: numbers for predictions that were made elsewhere."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def score(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of <case>.nii.gz or <case>.nii; cases as `bench data export`.")
    ],
    dataset: Annotated[str, typer.Option(help="Dataset the cases belong to.")],
    method: Annotated[str, typer.Option(help="Name under which the rows are entered.")],
    preset: Annotated[str, typer.Option(help="Preset whose grid the predictions are on.")] = "tiny",
    unit: Annotated[
        Literal["hu", "unit"], typer.Option(help="hu: Hounsfield units; unit: [0, 1] over the dataset's window.")
    ] = "hu",
    protocol: Annotated[str, typer.Option(help="How predictions are scored. See `bench show ct3d-1`.")] = "ct3d-1",
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="Split the cases belong to.")] = "test",
    source: Annotated[
        Literal["auto", "real", "phantom"], typer.Option(help="Data the predictions were made from.")
    ] = "auto",
    seed: Annotated[
        int | None, typer.Option(help="Seed they were made with; several seeds of a method become one row, with ±.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score what is there; the summary is marked partial.")
    ] = False,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where features are computed.")] = "auto",
    runs_dir: Annotated[Path, typer.Option(help="Where the rows of each case are kept.")] = Path("runs"),
    results_dir: Annotated[Path, typer.Option(help="scores.csv and runs.csv of all runs.")] = Path("results"),
) -> None:
    """Score a folder of predictions and add the rows to results/, beside those of `bench run`.

    Volumes may be stored in any orientation their affine describes, but on the grid of the preset. Scoring the
    same predictions twice changes nothing.
    """
    import torch

    from bench.errors import UsageError, unknown_name
    from bench.loading import choose_source, load_dataset
    from bench.progress import Reporter
    from bench.protocols import get_protocol
    from bench.registry import get_dataset
    from bench.scores import merge_rows, merge_run, views_text
    from bench.scoring import external_run, score_predictions

    spec, chosen_protocol = get_dataset(dataset), get_protocol(protocol)
    if preset not in spec.presets:
        raise unknown_name("preset", preset, list(spec.presets))
    if not method or not all(character.isalnum() or character in "._+-" for character in method):
        raise UsageError(f"--method '{method}': use letters, digits and . _ + - in the name")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is available")
    target = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    reporter = Reporter()
    chosen, reason = choose_source(spec, source)
    reporter.say(f"data of {spec.name}: {reason}")
    with reporter.task(f"prepare {spec.name}", 1) as task:
        cases = load_dataset(spec, spec.presets[preset], chosen, task.counted)
    facts = external_run(directory, cases, method, preset, split, seed, allow_missing=allow_missing)
    folder = runs_dir / spec.name / method / facts.run_id
    with reporter.task("score", len(cases[split])) as task:
        rows = score_predictions(
            facts,
            cases,
            directory,
            chosen_protocol,
            folder / "scores.csv",
            task.counted,
            unit=unit,
            allow_missing=allow_missing,
            device=target,
        )
    merge_rows(results_dir, rows)
    card = cases[split].card
    merge_run(
        results_dir,
        {
            "run_id": facts.run_id,
            "status": "done",
            "method": method,
            "origin": facts.origin,
            "dataset": card.name,
            "source": card.source,
            "split": split,
            "preset": preset,
            "seed": seed,
            "views": views_text(card.angles),
            "protocol": protocol,
            "size": card.size,
            "voxel_mm": card.voxel_mm,
            "window_low": card.window[0],
            "window_high": card.window[1],
            "data_fingerprint": card.fingerprint,
            "code_version": facts.code_version,
        },
    )
    for row in rows:
        if row.stat == "mean" and row.value is not None and (row.space, row.axis) in (("3d", "all"), ("mip", "mean")):
            reporter.say(f"{row.space:4} {row.metric:20} {row.value:.5g}  (n={row.n}) {row.note}".rstrip())
    reporter.say(f"{facts.run_id}: {len(rows)} rows in {results_dir}; see `bench table`")
