"""`bench export` and `bench import`: a run as one file, and back."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Device, ResultsDir, RunsDir
from bench.cli.verify import Run
from bench.runs.folder import require_run


def export(
    run: Run,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Archive to write; default RUN.bench.zip.")] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Write its weights alone, beside the method, for --from-pretrained.")
    ] = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Write configuration, weights, predictions, scores and provenance of a finished run to one file.

    Anyone can add it with `bench import FILE` and check it with `bench verify RUN`.
    """
    folder = require_run(run, runs_dir)

    from bench.pipeline.archive import export_run
    from bench.pipeline.pretrained import write_pretrained
    from bench.plugins.registry import get_method
    from bench.plugins.shipped_weights import folder_of

    if pretrained:
        method = folder.finished_record().config.method
        out = out or folder_of(get_method(method)) / f"{folder.root.name.rpartition('-')[0]}.safetensors"
        typer.echo(f"wrote {out}: {write_pretrained(folder, out) / 2**20:.1f} MiB")
        return
    out = out or Path(f"{folder.root.name}.bench.zip")
    count = export_run(folder, out)
    typer.echo(f"wrote {out}: {count} files, {out.stat().st_size / 2**20:.1f} MiB")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Archive that `bench export` wrote.")],
    unscored: Annotated[
        bool, typer.Option("--unscored", help="Add it although its data are not here to score it again.")
    ] = False,
    device: Device = "auto",
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Check an archive, score its predictions again, and add it to runs/ and to the results.

    Refused, with the name of what is wrong, and without a trace: files outside the run's own, links, pickles, wrong
    hashes, compressed members, numbers that its predictions do not give.
    """
    from bench.errors import BenchError
    from bench.pipeline.archive import import_run
    from bench.pipeline.fit import make_accelerator
    from bench.pipeline.verify import check_scores
    from bench.runs.folder import RunFolder
    from bench.system.progress import Progress

    progress, target = Progress(), make_accelerator(device).device

    def check(folder: RunFolder) -> None:
        bad = [finding for finding in check_scores(folder, progress, target) if not finding.good]
        if bad:
            hint = "" if bad[0].what != "data" else "; pass --unscored to add it as it is"
            raise BenchError(f"{file}: {bad[0].what}: {bad[0].text}{hint}")

    folder, new = import_run(file, runs_dir, results_dir, None if unscored else check)
    done = "not scored again" if unscored else "scored again with the same numbers"
    progress.say(f"{folder.root}: added, {done}; see `bench table`" if new else f"{folder.root} is there already")
