"""`bench new-method` and `bench new-dataset`: a working start of your own, and its test."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

Name = Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and _; becomes NAME.py.")]


def new_method(name: Name) -> None:
    """Write NAME.py, a small method that trains and scores, and test_NAME.py, which passes."""
    cls = _write("method", name)
    typer.echo(f"wrote {name}.py and test_{name}.py; next:")
    typer.echo(f"  pytest test_{name}.py")
    typer.echo(f"  bench run --method mean,./{name}.py:{cls} --dataset lidc")
    typer.echo("  bench leaderboard")


def new_dataset(name: Name) -> None:
    """Write NAME.py, a small dataset with a phantom, and test_NAME.py, which passes."""
    _write("dataset", name)
    typer.echo(f"wrote {name}.py and test_{name}.py; next:")
    typer.echo(f"  pytest test_{name}.py")
    typer.echo(f"  bench run --method mean --dataset ./{name}.py:DATASET")
    typer.echo("  bench table all")


def _write(kind: Literal["method", "dataset"], name: str) -> str:
    """Write both files into the current folder; return the name of the class."""
    from bench.errors import UsageError
    from bench.plugins import templates
    from bench.plugins.registry import discover_datasets, discover_methods
    from bench.system.files import write_text

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"'{name}': begin with a lower-case letter and use only lower-case letters, digits and _")
    if name in sys.stdlib_module_names or find_spec(name) is not None:
        raise UsageError(
            f"{name}.py would hide the Python package {name} from everything run here; choose another name"
        )
    known = discover_methods()[0] if kind == "method" else discover_datasets()[0]
    if name in known:
        raise UsageError(f"there is a {kind} called {name} already; choose another name")
    files = {Path(f"{name}.py"): f"new_{kind}.py", Path(f"test_{name}.py"): f"test_new_{kind}.py"}
    for path in files:
        if path.exists():
            raise UsageError(f"{path} is there already; choose another name or move it away")
    cls = "".join(part.capitalize() for part in name.split("_"))
    texts = {
        path: (Path(templates.__path__[0]) / template).read_text(encoding="utf-8") for path, template in files.items()
    }
    if any(re.search(rf"\b{cls}\b", text) for text in texts.values()):
        raise UsageError(f"{cls} is already a class in what is written; choose another name")
    for path, text in texts.items():
        text = text.replace(f"new_{kind}", name).replace(f"New{kind.capitalize()}", cls)
        write_text(path, text.replace("pytest FILE", f"pytest {path.name}"))
    return cls
