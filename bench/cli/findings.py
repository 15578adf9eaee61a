"""`bench findings`: what the results say, in sentences made from the numbers."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Check, FindingsProtocol, ShownResults, folder_beside
from bench.scoring import DEFAULT


def findings(
    out: Annotated[
        Path | None,
        typer.Option(
            help="File whose blocks <!-- findings --> and, where it has it, <!-- studies --> are renewed.",
            show_default="FINDINGS.md beside the results",
        ),
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(help="File whose block between <!-- findings --> and <!-- /findings --> gets the short form."),
    ] = None,
    protocol: FindingsProtocol = DEFAULT,
    check: Check = False,
    results_dir: ShownResults = Path("results"),
) -> None:
    """Write what results and studies say: printed order against ours, floors, ceilings, controls, other definitions."""
    from bench.results.findings import generate_findings, list_missing
    from bench.results.model import read_results
    from bench.study.verdicts import generate_verdicts
    from bench.system.generated import refresh

    out = out or folder_beside(results_dir) / "FINDINGS.md"
    renew = f"bench findings --out {out} --protocol {protocol} --results-dir {results_dir}"
    renew += f" --readme {readme}" if readme else ""
    results = read_results(results_dir)
    parts = [*generate_findings(results, out, readme, protocol), *generate_verdicts(results_dir, out)]
    typer.echo(refresh(parts, renew, check=check))
    for line in list_missing(results, protocol):
        typer.echo(f"missing: {line}")
