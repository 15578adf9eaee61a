"""`bench verify`: is a run what it says it is?"""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Device, ResultsDir, RunsDir
from bench.runs.folder import require_run

Run = Annotated[str, typer.Argument(metavar="RUN", help="Folder or id of a run; see `bench list`.")]


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

    from rich.console import Console
    from rich.table import Column, Table

    from bench.errors import BenchError
    from bench.pipeline.fit import make_accelerator
    from bench.pipeline.verify import verify_run
    from bench.system.progress import Progress
    from bench.system.text import escape_terminal as escape

    console = Console()
    findings = verify_run(folder, results_dir, Progress(console), make_accelerator(device).device)
    table = Table("", "what", Column("found", overflow="fold"), title=f"bench verify {run}", title_justify="left")
    for finding in findings:
        mark = "[green]good[/]" if finding.good else "[red]bad[/]"
        table.add_row(mark, escape(finding.what), escape(finding.text))
    console.print(table)
    bad = [finding for finding in findings if not finding.good]
    if bad:
        raise BenchError(f"{run} is not what it says it is: {bad[0].what}: {bad[0].text}")
