"""`bench compare`: is one method better than another, case by case?"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import OnlyDataset, OnlyPreset, OnlyProtocol, OnlySource, OnlySplit, ShownResults, make_console
from bench.scoring import DEFAULT


def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="Method, run id, or the hash that ends the run ids of all its seeds.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="What A is compared with.")],
    metric: Annotated[list[str], typer.Option(help="Only this metric. Repeatable.")] = [],  # noqa: B006
    form: Annotated[Literal["rich", "md", "csv"], typer.Option("--format", help="csv: unrounded.")] = "rich",
    results_dir: ShownResults = Path("results"),
    dataset: OnlyDataset = None,
    protocol: OnlyProtocol = None,
    preset: OnlyPreset = None,
    source: OnlySource = None,
    split: OnlySplit = None,
) -> None:
    """Compare two methods over the same cases and all their trainings: difference, interval, test, verdict.

    One table for each dataset, source, preset and split where both were measured, by default under the protocol of
    the leaderboard. A trained method with one seed gets no verdict: what is said holds for that training. A method's
    name stands for what was trained here; pretrained weights that stand beside it have a run id. What was not measured
    in the same way is refused.
    """

    from bench.results.compare import NOTE, compare_methods, sheet_of, write_csv
    from bench.results.model import read_results
    from bench.results.renderers import draw_markdown
    from bench.results.terminal import print_sheet

    asked = {"dataset": dataset, "protocol": protocol, "preset": preset, "source": source, "split": split}
    results = read_results(results_dir)
    comparisons, left_out = compare_methods(results, first, second, metric, **asked)
    if protocol is None and (lack := results.tell_lack(DEFAULT)):
        typer.echo(lack, err=True)
    for reason in left_out:
        typer.echo(f"left out: {reason}", err=True)
    if form == "csv":
        typer.echo(write_csv(comparisons), nl=False)
        return
    if form == "md":
        for comparison in comparisons:
            remark = f"\n{comparison.remark}\n" if comparison.remark else ""
            typer.echo(f"{comparison.header}\n\n{draw_markdown(sheet_of(comparison))}\n{remark}")
        typer.echo(NOTE)
        return
    console = make_console()
    for comparison in comparisons:
        console.print(comparison.header, highlight=False, markup=False)
        print_sheet(sheet_of(comparison), console)
        if comparison.remark:
            console.print(comparison.remark, highlight=False, markup=False)
    console.print(NOTE, style="dim", highlight=False, markup=False)
