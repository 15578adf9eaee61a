"""`bench list` and `bench show`: what there is, and the definition of one thing."""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.card import MethodPlugin
from bench.cli.options import RunsDir, ShownResults, make_console
from bench.data.sources import choose_source
from bench.dataset import DatasetSpec
from bench.errors import BenchError, unknown_name
from bench.plugins.config import flatten, method_settings
from bench.plugins.registry import discover_datasets, discover_methods, method_card, variants_of
from bench.runs.folder import RunFolder
from bench.scoring.protocols import PROTOCOLS, describe
from bench.system.text import drop_controls
from bench.system.text import escape_terminal as escape


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as one JSON object.")] = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """List methods, datasets, protocols and runs."""
    found = _list_all(runs_dir)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return

    console = Console()
    table = Table("name", "kind", "what", "year", title="Methods", title_justify="left")
    for name, method in found["methods"].items():
        whose = "" if method["builtin"] else ", plug-in"
        table.add_row(name, f"{method['kind']}{whose}", escape(method["title"]), str(method["year"]))
        for variant in method["variants"]:
            card = method_card(variant)
            table.add_row(variant, f"variant{whose}", escape(card.title if card else ""), "")
    console.print(table)
    table = Table("name", "what", "presets (volume / image)", title="Datasets", title_justify="left")
    for name, dataset in found["datasets"].items():
        sizes = ((preset, one["size"], one["image_size"]) for preset, one in dataset["presets"].items())
        presets = ", ".join(f"{preset} ({size}³ / {image}²)" for preset, size, image in sizes)
        table.add_row(name, escape(dataset["title"]), escape(presets))
    console.print(table)
    console.print(f"Protocols: {', '.join(found['protocols'])}")
    if found["runs"]:
        table = Table("run", "status", "source", title=f"Runs in {runs_dir}", title_justify="left")
        for name, run in found["runs"].items():
            table.add_row(escape(name), run.get("status", ""), escape(run.get("source", run.get("error", ""))))
        console.print(table)
    for name, reason in found["left_out"].items():
        console.print(f"left out: {escape(name)}: {escape(reason)}", soft_wrap=True, highlight=False)


def _list_all(runs_dir: Path) -> dict[str, Any]:
    """Return what there is as plain values: names, cards, sizes, and the state of each run."""
    methods, broken_methods = discover_methods()
    datasets, broken_datasets = discover_datasets()
    runs: dict[str, Any] = {}
    for file in sorted(runs_dir.glob("*/*/*/run.json")):
        try:
            record = RunFolder(file.parent).record()
        except BenchError as error:
            runs[file.parent.name] = {"status": "damaged", "error": str(error)}
        else:
            known = {"status": record.status, "source": record.data.source} if record else {}
            runs[file.parent.name] = {"folder": str(file.parent), **known}
    return {
        "methods": {
            name: {
                "title": plugin.card.title,
                "year": plugin.card.year,
                "kind": plugin.card.kind,
                "builtin": plugin.builtin,
                "variants": sorted(variants_of(plugin)),
            }
            for name, plugin in sorted(methods.items())
        },
        "datasets": {
            name: {"title": spec.title, "presets": {key: value.model_dump() for key, value in spec.presets.items()}}
            for name, spec in sorted(datasets.items())
        },
        "protocols": list(PROTOCOLS),
        "runs": runs,
        "left_out": {**broken_methods, **broken_datasets},
    }


def show(
    name: Annotated[str, typer.Argument(help="A method, dataset, protocol, or the id of a run.")],
    preset: Annotated[
        str, typer.Option(help="Preset whose settings of a method are shown: by default the one `run` takes.")
    ] = "tiny",
    as_json: Annotated[bool, typer.Option("--json", help="Of a run: its whole record.")] = False,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ShownResults = Path("results"),
) -> None:
    """Show one method (card, deviations, settings), dataset, protocol, or run (scores, times, pictures)."""
    console = make_console()
    methods, _ = discover_methods()
    for plugin in list(methods.values()):
        methods |= variants_of(plugin)
    datasets, _ = discover_datasets()
    runs = {file.parent.name: file for file in runs_dir.glob("*/*/*/run.json")}
    if name in methods:
        text = "\n".join(_method_lines(methods[name], preset))
    elif name in datasets:
        text = "\n".join(_dataset_lines(datasets[name]))
    elif name in PROTOCOLS:
        text = describe(PROTOCOLS[name])
    elif name in runs and as_json:
        text = drop_controls(runs[name].read_text("utf-8", errors="replace"))
    elif name in runs:
        _print_run(runs[name].parent, results_dir, console)
        return
    else:
        raise unknown_name("name", name, [*methods, *datasets, *PROTOCOLS, *runs])
    lines = _wrap(text, console.width) if console.is_terminal else [text]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _wrap(text: str, width: int) -> Iterator[str]:
    """Yield lines no longer than a terminal; what goes on stands below where the first column of the line ends."""
    for line in text.splitlines():
        column = re.match(r" *(?:- |\S.{0,17}?  +)?", line)
        indent = " " * (column.end() if column else 0)
        yield from textwrap.wrap(
            line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [""]


def _print_run(root: Path, results_dir: Path, console: Any) -> None:
    """Print a run's state, scores, times and pictures."""
    from bench.results.summary import draw_scores
    from bench.results.terminal import print_sheet

    folder = RunFolder(root)
    record = folder.record()
    if record is None:
        return
    config, data = record.config, record.data
    pictures = sorted(folder.previews.glob("*.png"))
    seconds = ", ".join(f"{name.replace('_', ' ')} {value:.1f} s" for name, value in record.seconds.items())
    where = data.source + (f", trained on {data.trained_on}: {data.remark}" if data.trained_on else "")
    facts = {
        "run": f"{record.run_id}, {record.status}" + (f": {record.error}" if record.error else ""),
        "what": f"{config.method} on {config.dataset} ({where}), preset {config.preset}, seed {record.seed}",
        "cases": ", ".join(f"{count} {split}" for split, count in data.counts.items()),
        "parameters": f"{record.parameters:,}" if record.parameters else "none",
        "times": seconds or "none yet",
        "pictures": ", ".join(map(str, pictures)) or "none yet",
        "all of it": f"bench show {record.run_id} --json",
    }
    for head, fact in facts.items():
        console.print(f"{head:11} {fact}", markup=False, highlight=False, soft_wrap=True)
    sheet = draw_scores(results_dir, record.run_id)
    if sheet:
        print_sheet(sheet, console)
    else:
        console.print(f"scores      none in {results_dir}", markup=False, highlight=False)


def _method_lines(plugin: MethodPlugin, preset: str) -> list[str]:
    card = plugin.card
    variants = [f"  {name}: {v.card.title}" for name, v in variants_of(plugin).items() if not plugin.variant]
    changes = [f"this variant changes, by preset: {json.dumps(plugin.variant)}"] if plugin.variant else []
    settings = flatten(method_settings(plugin, preset, "any").model_dump(mode="json"))
    return [
        f"{card.name}: {card.title} ({card.year}), {card.kind}",
        f"paper: {card.paper}",
        f"licence of the original code: {card.licence_of_original}",
        f"can give: {', '.join(sorted(card.capabilities))}",
        "deviations from the published code:",
        *([f"  - {line}" for line in card.deviations] or ["  none"]),
        *(["variants (`--method NAME`):", *variants] if variants else changes),
        f"settings of preset {preset} (`--set KEY=VALUE`):",
        *(f"  {key} = {json.dumps(value)}" for key, value in settings.items()),
        card.bibtex,
    ]


def _dataset_lines(spec: DatasetSpec) -> list[str]:
    geometry = spec.geometry
    return [
        f"{spec.name}: {spec.title}",
        f"window {spec.window[0]:g} to {spec.window[1]:g} HU; cube {spec.cube_mm:g} mm, {spec.full_grid}³ prepared",
        f"X-ray source to axis {geometry.source_axis_mm:g} mm, to panel {geometry.source_panel_mm:g} mm, "
        f"panel {geometry.panel_mm:g} mm",
        f"source now: {choose_source(spec, 'auto')[1]}",
        *(f"preset {name}: {config.model_dump()}" for name, config in spec.presets.items()),
        spec.citation,
    ]
