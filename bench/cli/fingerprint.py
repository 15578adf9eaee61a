"""`bench fingerprint`: prove that a method's networks are the published ones, value by value."""

import json
import sys
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.errors import UsageError
from bench.plugins.registry import discover_methods, method_module
from bench.system.progress import Progress

WIDTH = 120  # of a table that does not go to a terminal
LONGEST = 24  # characters of a value in a table


def fingerprint(
    method: Annotated[str | None, typer.Argument(help="Method; all that have golden numbers when left out.")] = None,
    entry: Annotated[
        str | None,
        typer.Option(help="Path of one entry, of a part of it or of several, e.g. ae3d/run64_f32.", metavar="TOP/NAME"),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the computed values as one JSON object, and compare nothing.")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Leave out the entries that take long.")] = False,
) -> None:
    """Fill the networks by rule, run fixed inputs, and compare with numbers taken from the official code.

    With --entry and --json any entry of the known kinds is computed, whether or not there are golden numbers of it.
    Exits with 1 when a value differs.
    """
    if entry is not None and method is None:
        raise UsageError("--entry needs a method, e.g. bench fingerprint codediff --entry ae3d/params")
    modules = _load_modules(method)
    if json_:
        print(json.dumps(_compute(modules, entry, fast)))
        return
    good = [_report(name, module, entry, fast) for name, module in modules.items()]
    if not all(good):
        raise typer.Exit(1)


def _load_modules(method: str | None) -> dict[str, Any]:
    """Return by method the modules `fingerprint` of one or of all, each as bench.fingerprint describes it."""
    names = sorted(discover_methods()[0]) if method is None else [method]
    found: dict[str, Any] = {}
    for name in names:
        module = method_module(name, "fingerprint")
        if module is not None and module not in found.values():  # methods of one folder share it
            found[name] = module
    if not found:
        raise UsageError(f"{method or 'no method'} has no golden numbers: its folder holds no fingerprint.py")
    return found


def _compute(modules: dict[str, Any], entry: str | None, fast: bool) -> dict[str, Any]:
    from bench.fingerprint import compute_all, compute_path

    if entry is None:
        values = {name: compute_all(module, fast) for name, module in modules.items()}
        return values if len(values) > 1 else next(iter(values.values()))
    (module,) = modules.values()
    value = compute_path(module, entry)
    return value if isinstance(value, dict) else {entry.rpartition("/")[2]: value}


def _report(name: str, module: Any, entry: str | None, fast: bool) -> bool:
    from bench.fingerprint import Comparison, compare, select, worst_of_each

    chosen = select(module, entry, fast)
    rows: list[Comparison] = []
    with Progress(Console(stderr=True)).task(f"fingerprint of {name}", len(chosen)) as task:
        for done, (path, part) in enumerate(chosen, start=1):
            rows += [row for row in compare(module, path) if f"{row.key}/".startswith(part)]
            task.advance(done, path)
    wrong = [row for row in rows if not row.ok]
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for section, group in groupby(rows if entry else worst_of_each(rows), lambda row: row.entry.partition("/")[0]):
        table = Table(title=f"{name}: {section}", title_justify="left")
        table.add_column("entry", overflow="fold")
        for column in ("value", "golden", "deviation", "ok"):
            table.add_column(column, no_wrap=True)
        for row in group:
            judged = "not judged" if row.tolerance is None else "yes" if row.ok else "[red]no[/]"
            where = f"{row.entry.partition('/')[2]}/{row.key}".rstrip("/")
            table.add_row(where, *_show_pair(row.value, row.golden), f"{row.deviation:.1e}", judged)
        console.print(table)
    unjudged = sum(row.tolerance is None for row in rows)
    print(
        f"{name}: {len(rows)} values of {len(chosen)} entries, {len(wrong)} differ, "
        f"{unjudged} left to rounding and not judged"
    )
    return not wrong


def _show_pair(value: Any, golden: Any) -> tuple[str, str]:
    """Two values for a table; of lists the elements that differ most."""
    from bench.fingerprint import deviation_of

    while isinstance(value, list) and isinstance(golden, list) and len(value) == len(golden) > 0:
        scale = max((abs(number) for number in golden if isinstance(number, float)), default=None)
        value, golden = max(zip(value, golden, strict=True), key=lambda pair: deviation_of(pair[0], pair[1], scale))
    return _shorten(value), _shorten(golden)


def _shorten(value: Any) -> str:
    text = f"{value:.9g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
