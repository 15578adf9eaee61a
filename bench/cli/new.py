"""`bench new-method` and `bench new-dataset`: a working start of your own, and its test."""

import re
import shlex
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.data.splits import read_split_file
from bench.errors import UsageError
from bench.plugins import templates
from bench.plugins.registry import discover_datasets, discover_methods
from bench.system.files import write_text
from bench.system.progress import Progress

Name = Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and _; becomes NAME.py.")]
Kind = Literal["method", "dataset"]


def new_method(name: Name) -> None:
    """Write NAME.py, a small method that trains and scores, and test_NAME.py, which passes."""
    cls = _write("method", name)
    _say_next(name, f"bench run --method mean,./{name}.py:{cls} --dataset lidc")


def new_dataset(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER", help="A name as of new-method, or a folder of CT scans (NIfTI, DICOM, …)."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the dataset.", show_default="that of the folder")] = "",
    subject: Annotated[Literal["patient", "bag"], typer.Option(help="What was scanned.")] = "patient",
    split_file: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Your own split, as of data prepare.", show_default="FOLDER/splits.csv"),
    ] = None,
) -> None:
    """Write NAME.py, a small dataset with a phantom, and test_NAME.py, which passes.

    Of a folder the cube, the grid and the window are measured: one scan of each patient, at most 24. Without a list of
    your own patients are split by hash.
    """
    folder = Path(source)
    if not source or not folder.is_dir():
        if "/" in source:
            raise UsageError(f"there is no folder {source}; name the one that holds the scans")
        _write("dataset", name or source)
        _say_next(name or source, f"bench run --method mean --dataset ./{name or source}.py")
        return

    from bench.scans.measure import measure_scans

    name = name or re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    _check_name("dataset", name)
    if split_file is None and (folder / "splits.csv").is_file():
        split_file = folder / "splits.csv"
    if split_file:
        read_split_file(split_file)
    with Progress().task(f"measure {folder}", 1) as task:
        measured = measure_scans(folder, subject, task.counted)
    constants = {"CUBE_MM": measured.cube_mm, "FULL_GRID": measured.full_grid, "WINDOW": measured.window}
    _write("dataset", name, {**constants, "SUBJECT: Subject": f'"{subject}"'})
    if measured.refused:
        first = measured.refused[0]
        typer.echo(f"no use: {len(measured.refused)} of what was found, such as {first.path}: {first.reason}", err=True)
    low, high = measured.window
    typer.echo(
        f"measured on {measured.scans} scans of {measured.patients} patients: a cube of {measured.cube_mm:g} mm, "
        f"{measured.full_grid}³ voxels, {low:g} to {high:g} HU"
    )
    listed = f" --split-file {shlex.quote(str(split_file))}" if split_file else ""
    _say_next(
        name,
        f"bench data prepare ./{name}.py --from {shlex.quote(source)}{listed}",
        f"bench run --method mean --dataset ./{name}.py --source real --preset smoke",
    )


def _say_next(name: str, *commands: str) -> None:
    typer.echo(f"wrote {name}.py and test_{name}.py; next:")
    for command in (f"pytest test_{name}.py", *commands, "bench leaderboard"):
        typer.echo(f"  {command}")


def _check_name(kind: Kind, name: str) -> str:
    """Return the name of the class. Raises UsageError for a name that is none, is taken, or would hide a package."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        hint = "; choose one with --name" if kind == "dataset" else ""
        raise UsageError(
            f"'{name}': begin with a lower-case letter and use only lower-case letters, digits and _{hint}"
        )
    if name in sys.stdlib_module_names or find_spec(name) is not None:
        raise UsageError(
            f"{name}.py would hide the Python package {name} from everything run here; choose another name"
        )
    known = discover_methods()[0] if kind == "method" else discover_datasets()[0]
    if name in known:
        raise UsageError(f"there is a {kind} called {name} already; choose another name")
    for path in (f"{name}.py", f"test_{name}.py"):
        if Path(path).exists():
            raise UsageError(f"{path} is there already; choose another name or move it away")
    return "".join(part.capitalize() for part in name.split("_"))


def _write(kind: Kind, name: str, constants: Mapping[str, object] | None = None) -> str:
    """Write both files, the first with these values of its constants; return the name of the class."""
    cls = _check_name(kind, name)
    folder = Path(templates.__path__[0])
    texts = {f"{begin}{name}.py": (folder / f"{begin}new_{kind}.py").read_text("utf-8") for begin in ("", "test_")}
    if any(re.search(rf"\b{cls}\b", text) for text in texts.values()):
        raise UsageError(f"{cls} is already a class in what is written; choose another name")
    for path, text in texts.items():
        text = text.replace(f"new_{kind}", name).replace(f"New{kind.capitalize()}", cls)
        for constant, value in (constants or {}).items():
            text = re.sub(rf"(?m)^{constant} = .*?(?=  #)", f"{constant} = {value}", text)
        write_text(Path(path), text.replace("pytest FILE", f"pytest {path}"))
    return cls
