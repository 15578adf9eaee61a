"""A run as one file, and back, and whether it is what it says: `bench export`, `import`, `submit`, `verify`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from bench.cli.options import Device, ResultsDir, RunsDir
from bench.errors import BenchError, UsageError
from bench.plugins import shipped_weights
from bench.plugins.registry import get_method
from bench.runs.folder import RunFolder, require_run
from bench.runs.submission import write_submission
from bench.system.progress import Progress
from bench.system.text import escape_terminal as escape

Run = Annotated[str, typer.Argument(metavar="RUN", help="Folder or id of a run; see `bench list`.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Archive to write; default RUN.bench.zip.")]


def export(
    run: Run,
    out: Out = None,
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

    if pretrained:
        shipped = shipped_weights.folder_of(get_method(folder.finished_record().config.method))
        out = out or shipped / f"{folder.root.name.rpartition('-')[0]}.safetensors"
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
    from bench.pipeline.archive import import_run
    from bench.pipeline.fit import make_accelerator
    from bench.pipeline.verify import check_scores

    progress, target = Progress(), make_accelerator(device).device

    def check(folder: RunFolder) -> None:
        bad = [finding for finding in check_scores(folder, progress, target) if not finding.good]
        if bad:
            hint = "" if bad[0].what != "data" else "; pass --unscored to add it as it is"
            raise BenchError(f"{file}: {bad[0].what}: {bad[0].text}{hint}")

    folder, new = import_run(file, runs_dir, results_dir, None if unscored else check)
    done = "not scored again" if unscored else "scored again with the same numbers"
    progress.say(f"{folder.root}: added, {done}; see `bench table`" if new else f"{folder.root} is there already")


def submit(
    run: Run,
    submitter: Annotated[str, typer.Option(help="Who sends it, as the leaderboard shall name them.")],
    code: Annotated[str, typer.Option(help="Address of the method's code or paper.")] = "",
    note: Annotated[str, typer.Option(help="One line to the reader.")] = "",
    out: Out = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Check a finished run and write it to one file that is ready to send: predictions, scores, weights, provenance.

    Whoever keeps a leaderboard adds it with `bench import FILE`, which scores the predictions again. Its rows are
    marked: self-reported (the data were not there to score it), re-scored (its predictions gave these numbers) or
    re-run (weights or code were run again). A method in a file of yours runs by `bench run --method FILE.py:Class`.
    """
    found = (path for path in runs_dir.glob("*/*/*") if path.name == run)
    outside = next((path for path in found if not (path / "run.json").exists()), None)
    if outside is not None:
        raise UsageError(
            f"{run} was predicted elsewhere, so there is no run to check; send {outside / 'predictions'}, which its "
            "receiver scores with `bench score`, or make the method a plug-in: `bench new-method`"
        )
    folder = require_run(run, runs_dir)

    from bench.pipeline.archive import export_run

    record = folder.finished_record()
    write_submission(folder, submitter, code, note)
    out = out or Path(f"{folder.root.name}.bench.zip")
    count = export_run(folder, out)
    scored = ", ".join(record.scored)
    typer.echo(f"wrote {out}: {count} files, {out.stat().st_size / 2**20:.1f} MiB, scored by {scored}")
    typer.echo(f"send it as it is; `bench import {out}` in a clean folder shows what its receiver will see")


def verify(
    run: Run,
    device: Device = "auto",
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Hash a run's weights and predictions again, score the predictions again, and compare.

    The run's own scores.csv and the rows in results/ must agree with what is found. Exit code 1 when something
    does not. The method is not needed: nothing of it runs.
    """
    folder = require_run(run, runs_dir)

    from bench.pipeline.fit import make_accelerator
    from bench.pipeline.verify import verify_run

    progress = Progress()
    findings = verify_run(folder, results_dir, progress, make_accelerator(device).device)
    table = Table("", "what", Column("found", overflow="fold"), title=f"bench verify {run}", title_justify="left")
    for finding in findings:
        mark = "[green]good[/]" if finding.good else "[red]bad[/]"
        table.add_row(mark, escape(finding.what), escape(finding.text))
    progress.console.print(table)
    bad = [finding for finding in findings if not finding.good]
    if bad:
        raise BenchError(f"{run} is not what it says it is: {bad[0].what}: {bad[0].text}")
