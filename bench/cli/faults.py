"""`bench faults`: does a run survive what befalls long work?"""

from pathlib import Path
from typing import Annotated

import typer


def faults(
    method: Annotated[str, typer.Option(help="Method whose smallest run is disturbed.")],
    dataset: Annotated[str, typer.Option(help="Dataset; its phantom is used.")],
    preset: Annotated[str, typer.Option(help="Preset; the smallest will do.")] = "smoke",
    set_: Annotated[list[str], typer.Option("--set", help="Override a setting of the run: key=value.")] = [],  # noqa: B006
    protocol: Annotated[str, typer.Option(help="How predictions are scored.")] = "x2ct-2019",
    seed: Annotated[int, typer.Option(help="Of the random moments.")] = 0,
    results_dir: Annotated[Path, typer.Option(help="faults.csv goes there.")] = Path("results"),
    readme: Annotated[
        Path | None, typer.Option(help="File whose block between <!-- faults --> and <!-- /faults --> is renewed.")
    ] = None,
) -> None:
    """Kill, stop, starve and crowd runs on purpose; print what came of each fault, and write results/faults.csv.

    A small run is killed at random moments of each of its tasks, warned by SIGTERM, given a full disk, read-only
    folders and a clock that goes back, and started twice at once; eight processes merge into one scores.csv. What is
    left must equal, bit for bit, what an undisturbed run leaves. Takes some minutes; exit code 1 when a fault won.
    """
    import tempfile

    from bench.drills.faults import fault_drills
    from bench.drills.outcome import as_markdown, write_outcomes
    from bench.errors import BenchError
    from bench.pipeline.run import RunRequest
    from bench.system.files import replace_block
    from bench.system.progress import Progress

    progress = Progress()
    request = RunRequest(method, dataset, preset, 0, tuple(set_), protocol, "phantom", device="cpu")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="bench-faults-") as folder:
        for outcome in fault_drills(request, Path(folder), seed, progress):
            progress.say(f"{outcome.fault}, {outcome.where}, {outcome.times} times: {outcome.outcome}")
            outcomes.append(outcome)
    write_outcomes(results_dir, outcomes)
    table = as_markdown(outcomes)
    if readme is not None:
        replace_block(readme, "faults", table)
    typer.echo(table)
    lost = [outcome for outcome in outcomes if not outcome.survived]
    if lost:
        raise BenchError(f"{len(lost)} faults were not survived; first: {lost[0].fault}, {lost[0].outcome}")
