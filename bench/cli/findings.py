"""`bench findings`: what the results say, in sentences made from the numbers."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Check, ResultsDir


def findings(
    out: Annotated[
        Path | None,
        typer.Option(
            help="File whose block between <!-- findings --> and <!-- /findings --> is renewed.",
            show_default="FINDINGS.md beside the results",
        ),
    ] = None,
    check: Check = False,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Write what the results say: printed order against ours, floors, ceilings, controls, other definitions."""
    from bench.results.findings import generate_findings
    from bench.results.model import read_results
    from bench.system.generated import refresh

    out = out or results_dir / "FINDINGS.md"
    renew = f"bench findings --out {out} --results-dir {results_dir}"
    typer.echo(refresh(generate_findings(read_results(results_dir), out), renew, check=check))
