"""`bench findings`: what the results say, in sentences made from the numbers."""

from pathlib import Path
from typing import Annotated

import typer


def findings(
    out: Annotated[
        Path, typer.Option(help="File whose block between <!-- findings --> and <!-- /findings --> is renewed.")
    ] = Path("results/FINDINGS.md"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 when the block is out of date.")
    ] = False,
    results_dir: Annotated[Path, typer.Option(help="Where scores.csv and runs.csv are.")] = Path("results"),
) -> None:
    """Write what the results say: printed order against ours, floors, ceilings, controls, other definitions."""
    from bench.errors import BenchError
    from bench.results.findings import BLOCK, EMPTY, write_findings
    from bench.results.model import read_results
    from bench.system.files import replace_block, with_block, write_text

    text = write_findings(read_results(results_dir))
    if check:
        if not out.exists() or with_block(out, BLOCK, text) != out.read_text(encoding="utf-8"):
            raise BenchError(f"{out} out of date; run `bench findings --out {out} --results-dir {results_dir}`")
        typer.echo("up to date")
        return
    if not out.exists():
        write_text(out, EMPTY)
    replace_block(out, BLOCK, text)
    typer.echo(f"wrote {out}")
