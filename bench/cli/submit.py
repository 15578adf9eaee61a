"""`bench submit`: a run as one file for the keepers of a leaderboard."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import RunsDir
from bench.cli.verify import Run
from bench.errors import UsageError
from bench.runs.folder import require_run


def submit(
    run: Run,
    submitter: Annotated[str, typer.Option(help="Who sends it, as the leaderboard shall name them.")],
    code: Annotated[str, typer.Option(help="Address of the method's code or paper.")] = "",
    note: Annotated[str, typer.Option(help="One line to the reader.")] = "",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Archive to write; default RUN.bench.zip.")] = None,
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
    from bench.runs.submission import write_submission

    record = folder.finished_record()
    write_submission(folder, submitter, code, note)
    out = out or Path(f"{folder.root.name}.bench.zip")
    count = export_run(folder, out)
    scored = ", ".join(record.scored)
    typer.echo(f"wrote {out}: {count} files, {out.stat().st_size / 2**20:.1f} MiB, scored by {scored}")
    typer.echo(f"send it as it is; `bench import {out}` in a clean folder shows what its receiver will see")
